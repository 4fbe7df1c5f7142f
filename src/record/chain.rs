//! One entry of the log with its checksum, and the names of log files.
//!
//! An entry is `JSON <tab> checksum <newline>`. The checksum is the CRC-32 of two things: the
//! previous entry's checksum as it is written, and the JSON. So an entry that was changed, moved
//! or removed breaks the chain.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Longest entry in bytes, with checksum and newline. A longer line is not an entry of this log.
pub const MAX_LINE: usize = 8_192;

/// Checksum that a file starts from if no file comes before it.
pub(crate) const START: u32 = 0;

/// Bytes of the tab and the checksum.
pub(super) const SEAL: usize = 9;

/// The checksum of `json` after an entry with the checksum `before`.
pub(crate) fn checksum(before: u32, json: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&digits(before));
    hasher.update(json);
    hasher.finalize()
}

/// The checksum as eight hexadecimal digits.
pub(super) fn digits(checksum: u32) -> [u8; 8] {
    let digit = |i: u32| b"0123456789abcdef"[(checksum >> (28 - 4 * i) & 15) as usize];
    std::array::from_fn(|i| digit(i as u32))
}

/// Reads what [`digits`] writes; None for any other text.
pub(super) fn parse_digits(text: &[u8]) -> Option<u32> {
    let digit = |&c: &u8| match c {
        b'0'..=b'9' => Some(u32::from(c - b'0')),
        b'a'..=b'f' => Some(u32::from(c - b'a') + 10),
        _ => None,
    };
    if text.len() != 8 {
        return None;
    }
    text.iter().try_fold(0, |sum, c| Some(sum << 4 | digit(c)?))
}

/// Appends checksum and newline to the JSON in `line`. Returns the checksum.
pub(crate) fn seal(before: u32, line: &mut Vec<u8>) -> u32 {
    let sum = checksum(before, line);
    line.push(b'\t');
    line.extend(digits(sum));
    line.push(b'\n');
    sum
}

/// JSON and checksum of an entry without its newline; None if the line does not have that form.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], u32)> {
    let (json, seal) = line.split_at_checked(line.len().checked_sub(SEAL)?)?;
    let sum = parse_digits(seal.strip_prefix(b"\t")?)?;
    json.starts_with(b"{").then_some((json, sum))
}

pub(super) fn file_name(number: u64) -> String {
    format!("events-{number:08}.log")
}

pub(super) fn file_number(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("events-")?;
    let digits = digits.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    // No sign and no other number of zeros: each number has exactly one name.
    (file_name(number).as_str() == name).then_some(number)
}

/// Numbers and paths of the log files in `folder`, in rising order.
pub(super) fn files_in(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = file_number(&entry.file_name()) {
            files.push((number, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_names_and_numbers_belong_together() {
        for number in [0, 1, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(file_number(file_name(number).as_ref()), Some(number));
        }
        for name in ["events-1.log", "events-+0000001.log", "events-.log", "x"] {
            assert_eq!(file_number(name.as_ref()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_split(before: u32, json in r"\{[ -~]{0,200}") {
            let mut line = json.clone().into_bytes();
            let sum = seal(before, &mut line);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert_eq!(split(&line), Some((json.as_bytes(), sum)));
            prop_assert_eq!(parse_digits(&digits(sum)), Some(sum));
            prop_assert_eq!(checksum(before, json.as_bytes()), sum);
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            if let Some((json, sum)) = split(&line) {
                let whole = [json, b"\t", &digits(sum)].concat();
                prop_assert_eq!(whole, line);
            }
        }
    }
}
