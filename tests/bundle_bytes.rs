//! A bundle that is damaged in any way gives an error that states the damage; never a panic, never
//! a product.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod synthetic;

use partgate::product::{FORMAT, Manifest, Product, SectionKind, Signature, write};
use partgate::score::Rule;
use proptest::prelude::*;
use std::sync::OnceLock;
use synthetic::*;

const HEADER: usize = 192;

fn demo() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| std::fs::read(bundle::demo()).expect("the demo bundle"))
}

#[test]
fn the_demo_bundle_opens() {
    Product::from_bytes(demo().to_vec(), "demo").expect("whole");
}

#[test]
fn every_flipped_header_bit_is_seen() {
    for at in 0..HEADER {
        for bit in 0..8 {
            let mut bytes = demo().to_vec();
            bytes[at] ^= 1 << bit;
            refused(bytes, &format!("bit {bit} of byte {at} was flipped"));
        }
    }
}

#[test]
fn every_cut_in_header_and_manifest_is_seen() {
    let whole = bundle::small();
    for length in (0..8192).chain(whole.len() - 300..whole.len()) {
        refused(whole[..length].to_vec(), &format!("cut to {length} bytes"));
    }
}

#[test]
fn a_newer_format_is_not_taken_for_damage() {
    let mut bytes = demo().to_vec();
    bytes[8..12].copy_from_slice(&(FORMAT + 41).to_le_bytes());
    let text = refused(bytes, "it is of a newer format");
    assert!(text.contains(&format!("{}", FORMAT + 41)) && text.contains("newer"));
}

#[test]
fn trailing_bytes_and_other_files_are_refused() {
    let mut bytes = demo().to_vec();
    bytes.push(0);
    refused(bytes, "a byte was added");
    assert!(refused(vec![], "it is empty").contains("not a partgate bundle"));
    refused(b"PK\x03\x04 something else".repeat(100), "it is a zip");
}

#[test]
fn a_bundle_for_a_later_runtime_names_it() {
    let bytes = bundle::changed(bundle::small(), |m| m.minimum_runtime = [99, 1, 0]);
    assert!(refused(bytes, "it needs another version").contains("99.1.0"));
}

/// Makes header and manifest digests correct again, as an attacker would.
fn seal(bytes: &mut [u8], manifest: usize) {
    let digest = *blake3::hash(&bytes[HEADER..HEADER + manifest]).as_bytes();
    bytes[32..64].copy_from_slice(&digest);
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..192].copy_from_slice(&digest);
}

proptest! {
    #[test]
    fn a_cut_anywhere_is_an_error(share in 0.0f64..1.0) {
        let length = (demo().len() as f64 * share) as usize;
        refused(demo()[..length].to_vec(), &format!("cut to {length} bytes"));
    }

    #[test]
    fn a_flip_anywhere_is_an_error(share in 0.0f64..1.0, bits in 1u8..=255) {
        let at = (demo().len() as f64 * share) as usize;
        let mut bytes = demo().to_vec();
        bytes[at] ^= bits;
        refused(bytes, &format!("byte {at} was changed by {bits:#x}"));
    }

    #[test]
    fn noise_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 12 {
            bytes[..12].copy_from_slice(&demo()[..12]);
        }
        refused(bytes, "it is noise");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Digests catch accidents; this test is about the decoder behind them.
    #[test]
    fn a_forged_manifest_never_panics(
        edits in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..4),
    ) {
        let (whole, manifest) = synthetic_small();
        let mut bytes = whole.clone();
        for (share, value) in edits {
            bytes[HEADER + (*manifest as f64 * share) as usize] = value;
        }
        seal(&mut bytes, *manifest);
        // Both results are allowed: a changed name still makes a product.
        let _ = Product::from_bytes(bytes, "forged");
    }
}

/// A bundle of a few kilobytes and the length of its manifest.
fn synthetic_small() -> &'static (Vec<u8>, usize) {
    static BYTES: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    BYTES.get_or_init(|| {
        let (manifest, sections) = synthetic(&everything(Rule::Coverage));
        let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[16..24]);
        (bytes, u64::from_le_bytes(length) as usize)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(v in varied()) {
        let (manifest, sections) = synthetic(&v);
        let bytes = write(manifest.clone(), &sections, &Signature::Unsigned).expect("write");
        let product = Product::from_bytes(bytes.clone(), "round trip").expect("read");
        let mut read = product.manifest().clone();
        prop_assert_eq!(read.sections.len(), sections.len());
        for (read, written) in read.sections.iter().zip(&sections) {
            prop_assert_eq!((read.kind, read.member), (written.kind, written.member));
        }
        read.sections.clear();
        prop_assert_eq!(&read, &manifest);
        prop_assert_eq!(product.bank().rows(), v.rows);
        prop_assert_eq!(product.backbone_onnx(), b"no ONNX");
        let [place, near] = [SectionKind::PositionMask, SectionKind::Neighbourhood]
            .map(|kind| sections.iter().any(|s| s.kind == kind));
        prop_assert_eq!(product.mask().is_some(), place);
        prop_assert_eq!(product.ignore().is_some(), v.ignore);
        prop_assert_eq!(product.members().len(), 1 + v.others);
        for member in product.members() {
            prop_assert_eq!(member.method().neighbourhood.is_some(), near);
            let scaled = v.density && !matches!(v.rule, Rule::Gaussian | Rule::Glancing);
            prop_assert_eq!(member.row_scale().is_some(), scaled);
        }
        prop_assert_eq!(product.signature(), &Signature::Unsigned);
        // The same values give the same bytes; a rewrite without a change changes nothing.
        prop_assert_eq!(&product.rewritten(manifest).expect("write"), &bytes);
        // The JSON has everything, with readable digests.
        let json = serde_json::to_value(product.manifest()).expect("JSON");
        let digest = json["training"]["digest"].as_str().expect("hexadecimal");
        prop_assert_eq!(digest.len(), 64);
        let back: Manifest = serde_json::from_value(json).expect("a manifest");
        prop_assert_eq!(&back, product.manifest());
    }
}

#[test]
fn every_cut_and_every_changed_byte_of_every_kind_of_section_is_seen() {
    for rule in [Rule::Coverage, Rule::Pni, Rule::NPad, Rule::Glancing] {
        let (manifest, sections) = synthetic(&everything(rule));
        let whole = write(manifest, &sections, &Signature::Unsigned).expect("write");
        Product::from_bytes(whole.clone(), "whole").expect("whole");
        for at in 0..whole.len() {
            refused(whole[..at].to_vec(), &format!("cut to {at} bytes"));
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            refused(bytes, &format!("byte {at} was changed"));
        }
    }
}
