//! A bank of bytes is the bank of its bytes times its scales, exactly; anything else does not open.

#![allow(clippy::expect_used)]

mod bundle;

use partgate::product::{BankBytes, DType, Product, SectionBytes, SectionKind, Signature, write};

/// The small product with its bank in bytes, and these bytes. Its golden images keep their scores of
/// before, so it opens and does not prove itself.
fn with_bytes() -> (Vec<SectionBytes>, BankBytes, Product) {
    let whole = bundle::small();
    let product = Product::from_bytes(whole.to_vec(), "small").expect("whole");
    let bank = product.bank();
    let bytes = BankBytes::of(bank.values(), bank.dimensions());
    let mut sections = bundle::sections(&product, whole);
    let at = sections
        .iter()
        .position(|s| s.kind == SectionKind::Bank)
        .expect("a bank");
    sections[at].dtype = DType::I8;
    sections[at].bytes = bytes.values.iter().map(|v| v.to_le_bytes()[0]).collect();
    sections.push(SectionBytes {
        kind: SectionKind::BankScales,
        member: 0,
        dtype: DType::F32,
        shape: vec![bank.rows() as u64],
        bytes: bytes.scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
    });
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
