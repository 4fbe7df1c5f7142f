//! The product that is part of the program, fitted on rendered good parts by the recipe in
//! `calibration/`.

use super::failure::Failure;
use flate2::read::ZlibDecoder;
use partgate::product::Product;
use std::io::Read;

/// `calibration/demo.pgp`, packed by the build script.
const PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo.pgp.zlib"));

/// Opens it.
pub(super) fn product() -> Result<Product, Failure> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(PACKED)
        .read_to_end(&mut bytes)
        .map_err(Failure::unexpected)?;
    Product::from_bytes(bytes, "the built-in product").map_err(Failure::bundle)
}
