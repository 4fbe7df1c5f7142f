//! A small file whose damage is seen: JSON, a tab, the BLAKE3 of the JSON, a newline.

use serde::Serialize;

/// The bytes of `value`.
pub(super) fn seal(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_string(value)?;
    let digest = blake3::hash(json.as_bytes()).to_hex();
    Ok(format!("{json}\t{digest}\n").into_bytes())
}

/// The JSON in `bytes`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn open(bytes: &[u8]) -> Result<&str, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let (json, digest) = text
        .strip_suffix('\n')
        .and_then(|line| line.rsplit_once('\t'))
        .ok_or("it is cut")?;
    if blake3::hash(json.as_bytes()).to_hex().as_str() != digest {
        return Err("its digest does not match");
    }
    Ok(json)
}
