//! A bank of bytes is the bank of its bytes times its scales, exactly; anything else does not open.

#![allow(clippy::expect_used)]

mod bundle;

use partgate::inspection::Inspector;
use partgate::network::Threads;
use partgate::product::{BankBytes, DType, Product, SectionBytes, SectionKind, Signature, write};
use std::path::PathBuf;

/// The sections of `whole` with all banks in bytes.
fn in_bytes(product: &Product, whole: &[u8]) -> Vec<SectionBytes> {
    let mut sections = bundle::sections(product, whole);
    for (number, member) in product.members().iter().enumerate() {
        let bank = member.bank();
        let bytes = BankBytes::of(bank.values(), bank.dimensions());
        let stored = sections
            .iter_mut()
            .find(|s| s.kind == SectionKind::Bank && usize::from(s.member) == number)
            .expect("a bank");
        stored.dtype = DType::I8;
        stored.bytes = bytes.values.iter().map(|v| v.to_le_bytes()[0]).collect();
        sections.push(SectionBytes {
            kind: SectionKind::BankScales,
            member: number as u8,
            dtype: DType::F32,
            shape: vec![bank.rows() as u64],
            bytes: bytes.scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
        });
    }
    sections
}

/// The small product with its bank in bytes, and these bytes. Its golden images keep their scores of
/// before, so it opens and does not prove itself.
fn with_bytes() -> (Vec<SectionBytes>, BankBytes, Product) {
    let whole = bundle::small();
    let product = Product::from_bytes(whole.to_vec(), "small").expect("whole");
    let bank = product.bank();
    let bytes = BankBytes::of(bank.values(), bank.dimensions());
    let sections = in_bytes(&product, whole);
    (sections, bytes, product)
}

fn opened(sections: &[SectionBytes], product: &Product) -> Result<Product, String> {
    let manifest = product.manifest().clone();
    let bytes = write(manifest, sections, &Signature::Unsigned).map_err(|e| e.to_string())?;
    assert_eq!(bytes[8], 5, "older programs must see a newer format");
    Product::from_bytes(bytes, "bytes").map_err(|e| {
        let cause = std::error::Error::source(&e).map(ToString::to_string);
        format!("{e}: {}", cause.unwrap_or_default())
    })
}

#[test]
fn rows_are_bytes_times_scales_to_the_bit() {
    let (sections, bytes, product) = with_bytes();
    let open = opened(&sections, &product).expect("opens");
    assert_eq!(open.bank().values(), bytes.rows());
    let (before, after) = (product.bank().values(), open.bank().values());
    let scales = bytes.scales.iter();
    let rows = before.chunks(152).zip(after.chunks(152));
    for ((before, after), scale) in rows.zip(scales) {
        for (b, a) in before.iter().zip(after) {
            assert!((b - a).abs() <= scale * 0.5001);
        }
    }
}

#[test]
fn scales_must_fit_their_bank() {
    let (sections, _, product) = with_bytes();
    let spoilt = |change: &dyn Fn(&mut Vec<SectionBytes>)| {
        let mut sections = sections.clone();
        change(&mut sections);
        opened(&sections, &product).map(drop)
    };
    let scales = sections.len() - 1;
    assert!(
        spoilt(&|s| s[scales].bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes())).is_err(),
        "a scale that is no number"
    );
    assert!(
        spoilt(&|s| s[scales].bytes[..4].copy_from_slice(&(-1f32).to_le_bytes())).is_err(),
        "a negative scale"
    );
    assert!(
        spoilt(&|s| {
            s[scales].shape = vec![15];
            s[scales].bytes.truncate(60);
        })
        .is_err(),
        "too few scales"
    );
    assert!(
        spoilt(&|s| s[scales].member = 1).is_err(),
        "another's scales"
    );
}

#[test]
fn a_bank_of_floats_has_no_scales_and_one_of_bytes_needs_them() {
    let (sections, bytes, product) = with_bytes();
    let mut without = sections.clone();
    without.pop();
    let manifest = product.manifest().clone();
    let written = write(manifest.clone(), &without, &Signature::Unsigned);
    let refused = written.map(|bytes| Product::from_bytes(bytes, "bytes").is_err());
    assert_ne!(refused.ok(), Some(false));

    let mut floats = sections;
    let bank = floats
        .iter_mut()
        .find(|s| s.kind == SectionKind::Bank)
        .expect("a bank");
    bank.dtype = DType::F32;
    bank.bytes = bytes.rows().iter().flat_map(|v| v.to_le_bytes()).collect();
    assert!(opened(&floats, &product).is_err());
}

fn golden(name: &str) -> PathBuf {
    bundle::root().join("tests/golden").join(name)
}

fn scores(product: &Product) -> Vec<f32> {
    let mut inspector = Inspector::new(product, &Threads::default()).expect("usable");
    let outcomes = inspector.selftest(product).expect("goldens");
    outcomes.iter().map(|o| o.score).collect()
}

/// Writes the golden bundle: that of format 4 with its banks in bytes, and with golden scores of its own.
#[test]
#[ignore = "writes tests/golden/format-5-bytes.pgp"]
fn make_the_golden_bundle_with_banks_of_bytes() {
    let whole = std::fs::read(golden("format-4.pgp")).expect("read");
    let before = Product::from_bytes(whole.clone(), "format 4").expect("opens");
    let sections = in_bytes(&before, &whole);
    let open = opened(&sections, &before).expect("opens");
    let mut manifest = before.manifest().clone();
    for (golden, score) in manifest.goldens.iter_mut().zip(scores(&open)) {
        golden.score = score;
        golden.verdict = manifest.thresholds.verdict(score);
    }
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("bytes");
    std::fs::write(golden("format-5-bytes.pgp"), bytes).expect("write");
}

/// It must open and score as it does today for ever.
#[test]
fn the_golden_bundle_with_banks_of_bytes_is_read_as_it_was_written() {
    let product = Product::open(&golden("format-5-bytes.pgp")).expect("opens");
    assert_eq!(product.format(), 5);
    let mut inspector = Inspector::new(&product, &Threads::default()).expect("usable");
    let outcomes = inspector.selftest(&product).expect("goldens");
    assert!(outcomes.iter().all(|o| o.agrees), "{outcomes:?}");
    let whole = std::fs::read(golden("format-4.pgp")).expect("read");
    let before = Product::from_bytes(whole, "format 4").expect("opens");
    let mut digest = blake3::Hasher::new();
    for (member, floats) in product.members().iter().zip(before.members()) {
        let bank = floats.bank();
        let rounded = BankBytes::of(bank.values(), bank.dimensions()).rows();
        assert_eq!(member.bank().values(), rounded);
        rounded.iter().for_each(|v| {
            digest.update(&v.to_le_bytes());
        });
    }
    // Beside the comparison: a change of the rounding must not move what is in the field.
    let digest = digest.finalize().to_hex();
    assert_eq!(&digest.as_str()[..16], "fc59ec46185453e1");
}
