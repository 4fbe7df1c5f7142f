//! Signatures of this program and of the reference implementation, and hostile ones.

use super::*;
use proptest::prelude::*;

/// What `model_signing sign key` 1.1.1 writes for the file that holds [`FILE`], called lid.bin.
const REFERENCE: &str = include_str!("reference.sig");
const REFERENCE_KEY: &str = include_str!("reference.pub.pem");
const FILE: &[u8] = b"what a board needs to inspect a lid\n";

/// A key that is the same in every run.
fn key() -> OmsKey {
    OmsKey(SecretKey::from_slice(&[7; 32]).expect("a key").into())
}

fn signed() -> String {
    key().sign(FILE, "lid.bin").expect("signed")
}

#[test]
fn a_file_is_signed_and_verified() {
    let (key, text) = (key(), signed());
    assert_eq!(
        key.public().verify(FILE, text.as_bytes()).expect("holds"),
        "lid.bin"
    );
    let other = OmsKey::generate().expect("a key");
    let refused = other.public().verify(FILE, text.as_bytes());
    assert!(matches!(refused, Err(OmsError::OtherKey { .. })));
    let refused = key.public().verify(b"another file", text.as_bytes());
    assert!(matches!(refused, Err(OmsError::Digest { .. })));
}

#[test]
fn keys_go_through_pem() {
    let key = OmsKey::generate().expect("a key");
    let again = OmsKey::from_pem(&key.to_pem().expect("PEM")).expect("read");
    assert_eq!(again.0, key.0);
    let public = key.public().to_pem().expect("PEM");
    assert_eq!(
        OmsPublicKey::from_pem(&public).expect("read").0,
        key.public().0
    );
    assert!(matches!(OmsKey::from_pem(&public), Err(OmsError::Key(_))));
    for text in ["", "-----BEGIN PUBLIC KEY-----", "plant-7", "\0"] {
        assert!(OmsKey::from_pem(text).is_err() && OmsPublicKey::from_pem(text).is_err());
    }
}

#[test]
fn the_reference_implementations_signature_holds() {
    let key = OmsPublicKey::from_pem(REFERENCE_KEY).expect("a key");
    let name = key.verify(FILE, REFERENCE.as_bytes()).expect("holds");
    assert_eq!(name, "lid.bin");
    let refused = key.verify(b"another file", REFERENCE.as_bytes());
    assert!(matches!(refused, Err(OmsError::Digest { .. })));
}

/// The signature with its JSON changed, and the statement signed anew if `anew`.
fn changed(change: impl Fn(&mut serde_json::Value), statement: bool) -> String {
    let mut bundle: serde_json::Value = serde_json::from_str(&signed()).expect("JSON");
    if !statement {
        change(&mut bundle);
        return bundle.to_string();
    }
    let envelope = &mut bundle["dsseEnvelope"];
    let payload = Base64::decode_vec(envelope["payload"].as_str().expect("text")).expect("base64");
    let mut stated: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
    change(&mut stated);
    let payload = stated.to_string().into_bytes();
    let signature: Signature = key().0.sign(&encoded(&payload));
    envelope["payload"] = Base64::encode_string(&payload).into();
    envelope["signatures"][0]["sig"] = Base64::encode_string(signature.to_der().as_bytes()).into();
    bundle.to_string()
}

#[test]
fn each_wrong_thing_is_refused_by_its_name() {
    type Change = fn(&mut serde_json::Value);
    let outside: [(Change, &str); 9] = [
        (|b| b["mediaType"] = "application/json".into(), "media type"),
        (
            |b| b["verificationMaterial"]["publicKey"] = ().into(),
            "no public key",
        ),
        (
            |b| b["verificationMaterial"]["publicKey"]["hint"] = "00".into(),
            "another key",
        ),
        (
            |b| b["dsseEnvelope"]["payloadType"] = "text/plain".into(),
            "payload type",
        ),
        (|b| b["dsseEnvelope"]["payload"] = "%".into(), "no base64"),
        (
            |b| b["dsseEnvelope"]["payload"] = "e30=".into(),
            "does not fit",
        ),
        (
            |b| b["dsseEnvelope"]["signatures"] = serde_json::json!([]),
            "has 0 signatures",
        ),
        (
            |b| b["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA".into(),
            "does not fit",
        ),
        (|b| *b = serde_json::json!([1, 2]), "no Sigstore bundle"),
    ];
    let inside: [(Change, &str); 8] = [
        (|s| s["_type"] = "x".into(), "statement type"),
        (
            |s| s["predicateType"] = "https://model_signing/Digests/v0.1".into(),
            "predicate type",
        ),
        (
            |s| s["predicate"]["serialization"]["method"] = "shards".into(),
            "the method",
        ),
        (
            |s| s["predicate"]["serialization"]["hash_type"] = "blake3".into(),
            "the hash type",
        ),
        (
            |s| s["predicate"]["resources"] = serde_json::json!([]),
            "about 0 files",
        ),
        (
            |s| s["predicate"]["resources"][0]["digest"] = "00".repeat(32).into(),
            "of its subject",
        ),
        (
            |s| s["subject"] = serde_json::json!([]),
            "exactly one subject",
        ),
        (|s| *s = 7.into(), "none that this program knows"),
    ];
    let cases = outside.map(|(c, w)| (c, w, false)).into_iter();
    for (change, words, anew) in cases.chain(inside.map(|(c, w)| (c, w, true))) {
        let text = changed(change, anew);
        let refused = key().public().verify(FILE, text.as_bytes());
        let refused = refused.expect_err(words).to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    // Both digests changed together: whoever has the key signed another file.
    let both = changed(
        |s| {
            let digest = "00".repeat(32);
            s["subject"][0]["digest"]["sha256"] = root(&digest).expect("hexadecimal").into();
            s["predicate"]["resources"][0]["digest"] = digest.into();
        },
        true,
    );
    let refused = key().public().verify(FILE, both.as_bytes());
    assert!(matches!(refused, Err(OmsError::Digest { .. })));
}

#[test]
fn every_bit_of_a_signature_counts_or_is_layout() {
    let (public, text) = (key().public(), signed());
    let mut kept = 0;
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // Only what is not signed may differ: the key's name in the envelope.
            if public.verify(FILE, &bytes).is_ok() {
                kept += 1;
                let found: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                let before: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                for part in ["payload", "payloadType"] {
                    assert_eq!(found["dsseEnvelope"][part], before["dsseEnvelope"][part]);
                }
            }
        }
    }
    assert!(kept < text.len() / 4, "{kept}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(key().public().verify(FILE, &bytes).is_err());
    }

    #[test]
    fn no_json_makes_it_stumble(at in 0usize..900, text in "[\\[\\]{}\",:0-9a-z]{0,40}") {
        let mut whole = signed();
        let at = at.min(whole.len());
        whole.insert_str(at, &text);
        let _ = key().public().verify(FILE, whole.as_bytes());
        whole.truncate(at);
        prop_assert!(key().public().verify(FILE, whole.as_bytes()).is_err());
    }
}
