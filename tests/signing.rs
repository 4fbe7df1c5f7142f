//! What is signed cannot be changed: any flipped bit, any cut and any exchange between bundles is
//! refused, also if somebody makes all digests correct again.

#![allow(clippy::expect_used, clippy::panic)]

mod bundle;
mod synthetic;

use partgate::keys::{PublicKey, Role, SecretKeyFile};
use partgate::product::{Product, SectionBytes, Signature, check, sign, write};
use partgate::score::Rule;
use std::sync::OnceLock;
use synthetic::*;

const HEADER: usize = 192;

fn key() -> &'static SecretKeyFile {
    static KEY: OnceLock<SecretKeyFile> = OnceLock::new();
    KEY.get_or_init(|| SecretKeyFile::generate("plant-7", Role::Production).expect("a key"))
}

fn parts(rule: Rule) -> (partgate::product::Manifest, Vec<SectionBytes>) {
    let (mut manifest, sections) = synthetic(&everything(rule));
    manifest.name = format!("{rule}");
    (manifest, sections)
}

fn signed(rule: Rule) -> Vec<u8> {
    let (manifest, sections) = parts(rule);
    let bytes = write(manifest, &sections, &Signature::Unsigned).expect("write");
    sign(bytes, key()).expect("signed")
}

fn number(bytes: &[u8], at: usize) -> usize {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight) as usize
}

/// Makes the digests of manifest and header correct again.
fn mend(bytes: &mut [u8]) {
    let end = HEADER + number(bytes, 16);
    if end <= bytes.len() {
        let digest = *blake3::hash(&bytes[HEADER..end]).as_bytes();
        bytes[32..64].copy_from_slice(&digest);
    }
    let digest = *blake3::hash(&bytes[..160]).as_bytes();
    bytes[160..192].copy_from_slice(&digest);
}

fn why(bytes: &[u8]) -> Option<String> {
    check(bytes).err().map(|error| error.to_string())
}

const FORGED: &str = "does not fit the contents";

#[test]
fn a_signed_bundle_opens_and_names_its_signer() {
    let bytes = signed(Rule::Coverage);
    let product = Product::from_bytes(bytes.clone(), "signed").expect("opens");
    assert_eq!(product.signature().signer(), Some(&key().public().key));
    // The same key and contents give the same bytes; another key replaces the first.
    assert_eq!(sign(bytes.clone(), key()).expect("again"), bytes);
    let other = SecretKeyFile::generate("plant-8", Role::Production).expect("a key");
    let bytes = sign(bytes, &other).expect("again");
    let (_, signature) = check(&bytes).expect("opens");
    assert_eq!(signature.signer(), Some(&other.public().key));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let mut bytes = signed(Rule::Coverage);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(why(&bytes).is_some(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
    for length in 0..bytes.len() {
        assert!(why(&bytes[..length]).is_some(), "cut to {length} bytes");
    }
    println!("{} bits, {} cuts", 8 * bytes.len(), bytes.len());
    assert_eq!(why(&bytes), None);
}

#[test]
fn mended_digests_do_not_help() {
    let bytes = signed(Rule::Pni);
    let end = HEADER + number(&bytes, 16);
    let mut forged = 0;
    // Mending puts the manifest's digest, bytes 32 to 64, back to what it was.
    for at in (0..32).chain(64..160).chain(HEADER..end) {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            mend(&mut changed);
            let why = why(&changed).unwrap_or_else(|| panic!("bit {bit} of byte {at}"));
            forged += usize::from(why.contains(FORGED));
            let only_signature = at >= 64;
            assert!(!only_signature || why.contains(FORGED), "{at}: {why}");
        }
    }
    println!("{forged} refused by the signature alone");
    // Cut, with a length that fits.
    for length in HEADER..bytes.len() {
        let mut cut = bytes[..length].to_vec();
        cut[24..32].copy_from_slice(&(length as u64).to_le_bytes());
        mend(&mut cut);
        assert!(why(&cut).is_some(), "cut to {length} bytes");
    }
}

#[test]
fn sections_and_manifests_and_signatures_of_another_bundle_are_refused() {
    let (a, b) = (signed(Rule::Coverage), signed(Rule::Pni));
    let (of_a, of_b) = (parts(Rule::Coverage), parts(Rule::Pni));
    // The signature of the other bundle.
    let mut changed = a.clone();
    changed[64..160].copy_from_slice(&b[64..160]);
    mend(&mut changed);
    assert!(why(&changed).expect("refused").contains(FORGED));
    // The header of one, all else of the other.
    let mut changed = [&b[..HEADER], &a[HEADER..]].concat();
    assert!(why(&changed).is_some());
    changed[16..32].copy_from_slice(&a[16..32]);
    mend(&mut changed);
    assert!(why(&changed).expect("refused").contains(FORGED));
    // Each section of one in the place of each of the other, under the signature of either.
    for at in 0..of_a.1.len() {
        for with in &of_b.1 {
            let mut sections = of_a.1.clone();
            if sections[at].bytes == with.bytes {
                continue;
            }
            sections[at] = with.clone();
            let mut bytes = write(of_a.0.clone(), &sections, &Signature::Unsigned).expect("write");
            for signature in [&a, &b] {
                bytes[12..16].copy_from_slice(&1u32.to_le_bytes());
                bytes[64..160].copy_from_slice(&signature[64..160]);
                mend(&mut bytes);
                assert!(why(&bytes).expect("refused").contains(FORGED));
            }
        }
    }
}

#[test]
fn there_is_one_signature_and_no_second_form_of_it() {
    /// The order of the group, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = signed(Rule::Coverage);
    let mut carry = 0;
    for (byte, order) in bytes[128..160].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    mend(&mut bytes);
    assert!(why(&bytes).expect("refused").contains(FORGED));
    // A key of small order would accept this signature of any message.
    for first in [0, 1] {
        let mut bytes = signed(Rule::Coverage);
        bytes[64..160].fill(0);
        bytes[64] = first;
        bytes[96] = 1;
        mend(&mut bytes);
        assert!(why(&bytes).expect("refused").contains(FORGED));
    }
    // A made-up signature.
    let (manifest, sections) = parts(Rule::Coverage);
    let made_up = Signature::Ed25519 {
        public_key: PublicKey([3; 32]),
        signature: Box::new([4; 64]),
    };
    let bytes = write(manifest, &sections, &made_up).expect("write");
    assert!(why(&bytes).expect("refused").contains(FORGED));
}

#[test]
#[ignore = "minutes; run it when the container changes"]
fn a_hundred_thousand_flipped_bits_of_a_large_bundle_are_refused() {
    let bytes = std::fs::read(bundle::demo()).expect("the demo bundle");
    let mut bytes = sign(bytes, key()).expect("signed");
    let mut random = partgate::seed::Rng::new(15);
    let bits = 8 * bytes.len();
    for _ in 0..100_000 {
        let bit = random.below(bits);
        let (at, mask) = (bit / 8, 1 << (bit % 8));
        bytes[at] ^= mask;
        assert!(why(&bytes).is_some(), "bit {bit}");
        bytes[at] ^= mask;
    }
    assert_eq!(why(&bytes), None);
    println!("100000 of {bits} bits");
}
