//! Notes, checkpoints, cosignatures and receipts against published vectors, and against forgeries.

use claviger_audit::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use claviger_audit::note::{KeyKind, Note, NoteError, SigningKey, VerifyingKey};
use claviger_audit::receipt::Receipt;
use claviger_audit::tree::{Edge, inclusion_proof};
use proptest::prelude::*;

const ORIGIN: &str = "audit.example/claviger/prod";
const VKEY: &str = "audit.example/claviger/prod+1bdd0892+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const NOTE: &str = "audit.example/claviger/prod\n7\nju+6vaTwi1RItNuwTrHrzyzYa/Nn0cD+wyFIgqkbe54=\n\n\
    — audit.example/claviger/prod G90Ikicu9iaB5M+pQUm34leAu/Bl+T5ta0IiS+3XIhhtjyP482zr5/YXMmlOLLTb64cskjDf0rUVPjRS8lEEMp2MOA0=\n";
const WITNESS: &str = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X";
const COSIGNATURE: &str = "— witness.example/w1 IDJKvgAAAABqsTuAe6oNjHCa8tIH152r8STmN/joauhQaeZMSEugngAFZfDEW8fdzdII0PnUwcgfuQyRzvn58PZNUa9Tn2rekCInDQ==";

fn seed(from: u8) -> [u8; 32] {
    std::array::from_fn(|i| from + i as u8)
}

fn log_key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &seed(0)).unwrap()
}

fn seven() -> Edge {
    let mut edge = Edge::default();
    (0..7).for_each(|n| edge.push(format!("{{\"n\":{n}}}").as_bytes()));
    edge
}

fn sign(size: u64, edge: &Edge, keys: &[SigningKey]) -> SignedCheckpoint {
    let head = Checkpoint { origin: ORIGIN.into(), size, root: edge.root() };
    head.sign_after(&Checkpoint::empty(ORIGIN), &[], keys).unwrap()
}

#[test]
fn published_checkpoint_is_reproduced_byte_for_byte() {
    assert_eq!(log_key().verifying_key().to_string(), VKEY);
    assert_eq!(sign(7, &seven(), &[log_key()]).to_string(), NOTE);
    let verified = SignedCheckpoint::verify(NOTE, ORIGIN, &[VKEY.parse().unwrap()]).unwrap();
    assert_eq!(verified.checkpoint().size, 7);
    assert_eq!(NOTE.len(), 201);
}

#[test]
fn published_cosignature() {
    let witness = SigningKey::from_seed("witness.example/w1", KeyKind::Cosignature, &seed(0x20)).unwrap();
    assert_eq!(witness.verifying_key().to_string(), WITNESS);
    let mut signed = SignedCheckpoint::verify(NOTE, ORIGIN, &[VKEY.parse().unwrap()]).unwrap();
    let line = witness.sign(&signed.note().text, 1_790_000_000);
    assert_eq!(line.to_string().trim_end(), COSIGNATURE);
    signed.add_signatures(vec![line]);
    let keys = [VKEY.parse().unwrap(), WITNESS.parse().unwrap()];
    let seen =
        SignedCheckpoint::verify(&signed.to_string(), ORIGIN, &keys).unwrap().witnesses(&keys).unwrap();
    assert_eq!((seen.len(), seen[0].time, seen[0].key.name()), (1, 1_790_000_000, "witness.example/w1"));
    // The witness's line alone makes no checkpoint; a wrong one spoils it.
    let spoiled = signed.to_string().replace("IDJKvgAAAABq", "IDJKvgAAAABr");
    let error = SignedCheckpoint::verify(&spoiled, ORIGIN, &keys).unwrap_err();
    assert_eq!(error, CheckpointError::Note(NoteError::BadSignature { name: "witness.example/w1".into() }));
}

#[test]
fn keys_round_trip_and_hide() {
    let key = SigningKey::generate(ORIGIN, KeyKind::Ed25519).unwrap();
    let again = SigningKey::parse(&key.expose()).unwrap();
    assert_eq!(again.verifying_key(), key.verifying_key());
    assert!(key.expose().starts_with("PRIVATE+KEY+audit.example/claviger/prod+"));
    assert_eq!(format!("{key:?}"), format!("SigningKey({ORIGIN}, ..)"));
    for bad in ["", "a+b", "a+1bdd0892+AQ==", "x y+1bdd0892+AQOh", &VKEY.replace("1bdd", "1bde")] {
        assert!(bad.parse::<VerifyingKey>().is_err(), "{bad}");
    }
}

#[test]
fn wrong_key_wrong_origin_two_signatures_of_which_one_is_bad() {
    let other = SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &seed(7)).unwrap();
    let signed =
        sign(7, &seven(), &[log_key(), SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &seed(7)).unwrap()]);
    let (log, second) = (log_key().verifying_key().clone(), other.verifying_key().clone());
    let verify = |text: &str, keys: &[VerifyingKey]| SignedCheckpoint::verify(text, ORIGIN, keys);
    assert!(verify(&signed.to_string(), std::slice::from_ref(&log)).is_ok());
    assert!(verify(&signed.to_string(), &[log.clone(), second.clone()]).is_ok());
    let mut broken = signed.note().clone();
    broken.signatures[1].bytes[9] ^= 1;
    // Known and bad: refused. Unknown and bad: not looked at, as the format says.
    assert!(matches!(
        verify(&broken.to_string(), &[log.clone(), second.clone()]),
        Err(CheckpointError::Note(NoteError::BadSignature { .. }))
    ));
    assert!(verify(&broken.to_string(), std::slice::from_ref(&log)).is_ok());
    assert!(matches!(
        verify(NOTE, &[second]),
        Err(CheckpointError::Note(NoteError::NoKnownSignature { .. }))
    ));
    assert!(matches!(
        SignedCheckpoint::verify(NOTE, "audit.example/other", &[log]),
        Err(CheckpointError::Origin { .. })
    ));
}

#[test]
fn a_contradicting_head_is_never_signed() {
    let edge = seven();
    let last = Checkpoint { origin: ORIGIN.into(), size: 7, root: edge.root() };
    let mut fork = seven();
    fork.push(b"other");
    let mut head = Checkpoint { origin: ORIGIN.into(), size: 7, root: fork.root() };
    assert!(matches!(head.sign_after(&last, &[], &[log_key()]), Err(CheckpointError::Contradiction(_))));
    head.size = 6;
    assert!(matches!(head.sign_after(&last, &[], &[log_key()]), Err(CheckpointError::Contradiction(_))));
    head.size = 8;
    assert!(matches!(head.sign_after(&last, &[], &[log_key()]), Err(CheckpointError::Contradiction(_))));
}

#[test]
fn malformed_notes() {
    let cases = [
        NOTE.replace("\n\n", "\n"),
        NOTE.trim_end().to_owned(),
        NOTE.replace("— ", "- "),
        NOTE.replace('7', "07"),
        NOTE.replace("\n7\n", "\n-7\n"),
        NOTE.replace("\n7\n", "\n7\r\n"),
        NOTE.replace("\n7\n", "\n0\n"),
        format!("{NOTE}\n"),
        format!("\n{NOTE}"),
        "x".repeat(2 << 20),
        String::new(),
    ];
    for case in &cases {
        let short = &case[..case.len().min(80)];
        assert!(SignedCheckpoint::verify(case, ORIGIN, &[VKEY.parse().unwrap()]).is_err(), "{short}");
    }
    let many = "— a AAAAAAAA\n".repeat(101);
    assert!(format!("text\n\n{many}").parse::<Note>().is_err());
}

fn receipt() -> Receipt {
    let edge = seven();
    let proof = inclusion_proof(&edge, 5, 7).unwrap();
    Receipt { index: 5, proof, checkpoint: NOTE.into(), extra: None }
}

#[test]
fn receipt_round_trip() {
    let mut receipt = receipt();
    receipt.extra = Some(b"lease".to_vec());
    let text = receipt.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra bGVhc2U=\nindex 5\n"));
    let read: Receipt = text.parse().unwrap();
    assert_eq!(read, receipt);
    let keys = [VKEY.parse().unwrap()];
    assert_eq!(read.verify(b"{\"n\":5}", ORIGIN, &keys).unwrap().checkpoint().size, 7);
    assert!(read.verify(b"{\"n\":6}", ORIGIN, &keys).is_err());
}

/// The size is the signed one: no field of the receipt can name another.
#[test]
fn a_receipt_has_no_size_of_its_own() {
    let keys = [VKEY.parse().unwrap()];
    for size in [6, 8] {
        let mut forged = receipt();
        forged.checkpoint = forged.checkpoint.replace("\n7\n", &format!("\n{size}\n"));
        assert!(forged.verify(b"{\"n\":5}", ORIGIN, &keys).is_err());
    }
}

/// `CLAVIGER_SEEDS` sets how many mutations are tried.
fn cases() -> u32 {
    std::env::var("CLAVIGER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Any change to a receipt's bytes is refused, or leaves its meaning as it was.
    #[test]
    fn mutated_receipts_are_not_accepted(at in any::<prop::sample::Index>(), byte in any::<u8>(), kind in 0..3) {
        let good = receipt();
        let mut bytes = good.to_string().into_bytes();
        let at = at.index(bytes.len());
        match kind {
            0 => bytes[at] = byte,
            1 => { bytes.remove(at); }
            _ => bytes.insert(at, byte),
        }
        let keys = [VKEY.parse().unwrap()];
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(read) = text.parse::<Receipt>()
            && let Ok(signed) = read.verify(b"{\"n\":5}", ORIGIN, &keys)
        {
            prop_assert_eq!((read.index, &read.proof, signed.checkpoint().size), (5, &good.proof, 7));
        }
    }
}
