//! Whatever is done to a token: it does not verify, and nothing panics.

use proptest::prelude::*;

use super::*;

/// What is done to a token's bytes.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
    Double(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
        any::<Index>().prop_map(Change::Cut),
        any::<Index>().prop_map(Change::Double),
    ]
}

fn apply(token: &mut Vec<u8>, change: &Change) {
    if token.is_empty() {
        return;
    }
    let length = token.len();
    match change {
        Change::Flip(at, bits) => token[at.index(length)] ^= bits,
        Change::Remove(at) => drop(token.remove(at.index(length))),
        Change::Insert(at, byte) => token.insert(at.index(length), *byte),
        Change::Swap(a, b) => token.swap(a.index(length), b.index(length)),
        Change::Cut(at) => token.truncate(at.index(length)),
        Change::Double(at) => token.extend_from_within(at.index(length)..),
    }
}

/// Runs on one thread without a network: keys lie in a file, and times in the past.
fn still() -> (tokio::runtime::Runtime, Verifier, Vec<u8>, tempfile::TempDir) {
    let issuer = TestIssuer::named("https://issuer.test");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    std::fs::write(&path, issuer.key_set().to_string()).expect("written");
    let config = IssuerConfig { jwks_file: Some(path), internal: false, ..issuer.config("github") };
    let hands = Hands::new();
    let token = issuer.mint_at(hands.now(), claims::github(json!({}))).expose().to_vec();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    (runtime, hands.verifier(&config), token, folder)
}

#[test]
fn no_mutation_of_a_token_verifies() {
    let (runtime, verifier, token, _folder) = still();
    assert!(runtime.block_on(verifier.verify(&Secret::new(token.clone()))).is_ok());
    let config = ProptestConfig { cases: 2000, ..ProptestConfig::default() };
    proptest!(config, |(changes in prop::collection::vec(change(), 1..4))| {
        let mut changed = token.clone();
        changes.iter().for_each(|change| apply(&mut changed, change));
        prop_assume!(changed != token);
        let verdict = runtime.block_on(verifier.verify(&Secret::new(changed)));
        prop_assert!(verdict.is_err());
        prop_assert!(!verdict.expect_err("refused").to_string().chars().any(char::is_control));
    });
}

#[test]
fn no_bytes_make_it_panic() {
    let (runtime, verifier, _, _folder) = still();
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..2000))| {
        prop_assert!(runtime.block_on(verifier.verify(&Secret::new(bytes))).is_err());
    });
    let part = "[A-Za-z0-9_-]{0,200}";
    proptest!(|(a in part, b in part, c in part)| {
        let text = [a, b, c].join(".");
        prop_assert!(runtime.block_on(verifier.verify(&Secret::text(text))).is_err());
    });
}
