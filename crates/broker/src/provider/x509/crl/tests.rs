//! Lists over time: what must stay in them, and until when.

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};

use super::*;
use crate::secret::Secret;

fn format() -> CrlFormat {
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&pair).unwrap().pem();
    let authority = Authority::parse(certificate.as_bytes(), &Secret::text(pair.serialize_pem())).unwrap();
    CrlFormat { authority: Arc::new(authority), lifetime: Ttl::minutes(7 * 24 * 60), der_path: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn serials(crl: &Crl) -> Vec<&[u8]> {
    crl.revoked.iter().map(|revoked| revoked.serial.as_slice()).collect()
}

const START: i64 = 1_800_000_000;

#[test]
fn lists_read_back_and_numbers_grow() {
    let format = format();
    let entry = CrlFormat::entry(&[0, 1, 2, 3], at(START), at(START + 900));
    let first = format.update(None, std::slice::from_ref(&entry), at(START)).unwrap().unwrap();
    let read = format.parse(&first).unwrap();
    assert_eq!(read.revoked, std::slice::from_ref(&entry));
    assert_eq!(read.next_update, START + 7 * 86_400);
    assert_eq!(
        format.update(Some(&first), &[entry], at(START + 1)).unwrap(),
        None,
        "nothing new, nothing written"
    );
    let more = CrlFormat::entry(&[9], at(START + 2), at(START + 5000));
    let second = format.update(Some(&first), &[more], at(START + 2)).unwrap().unwrap();
    let second = format.parse(&second).unwrap();
    assert!(second.number > read.number);
    assert_eq!(serials(&second), [&[1, 2, 3][..], &[9]]);
    // A lost file does not bring numbers back.
    let anew = format.update(None, &[], at(START + 3)).unwrap().unwrap();
    assert!(format.parse(&anew).unwrap().number > second.number);
}

#[test]
fn a_list_is_renewed_at_half_its_life() {
    let format = format();
    let first = format.update(None, &[], at(START)).unwrap().unwrap();
    assert_eq!(format.update(Some(&first), &[], at(START + 3 * 86_400)).unwrap(), None);
    let renewed = format.update(Some(&first), &[], at(START + 4 * 86_400)).unwrap().unwrap();
    assert_eq!(format.parse(&renewed).unwrap().next_update, START + 11 * 86_400);
}

#[test]
fn losing_the_text_loses_no_revocation() {
    let format = format();
    let entry = CrlFormat::entry(&[7], at(START), at(START + 900));
    let list = format.update(None, &[entry], at(START)).unwrap().unwrap();
    let text = String::from_utf8(list).unwrap();
    let bare = &text[text.find("-----").unwrap()..];
    let other = CrlFormat::entry(&[8], at(START + 90_000), at(START + 99_000));
    let later = format.update(Some(bare.as_bytes()), &[other], at(START + 90_000)).unwrap().unwrap();
    assert_eq!(serials(&format.parse(&later).unwrap()), [[7], [8]]);
}

#[test]
fn another_authoritys_list_is_left_alone() {
    let theirs = format().update(None, &[], at(START)).unwrap().unwrap();
    let ours = format();
    for file in [&theirs[..], b"", b"hello", &theirs[..theirs.len() / 2]] {
        let refused = ours.update(Some(file), &[], at(START));
        assert!(matches!(refused, Err(ProviderError::Misconfigured(_))), "{refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// CVE-2021-29653: entries stay until their certificate's end, whatever else happens.
    #[test]
    fn entries_stay_until_their_end(
        steps in prop::collection::vec((0_i64..2000, any::<[u8; 17]>(), 1_i64..20_000), 1..12),
    ) {
        let format = format();
        let (mut file, mut clock, mut all) = (None::<Vec<u8>>, START, Vec::new());
        for (wait, mut serial, life) in steps {
            clock += wait;
            serial[0] = 1;
            let entry = CrlFormat::entry(&serial, at(clock), at(clock + life));
            all.push((serial, clock + life));
            file = format.update(file.as_deref(), &[entry], at(clock)).unwrap().or(file);
            let listed = format.parse(file.as_deref().unwrap()).unwrap();
            for (serial, end) in &all {
                let is_listed = listed.revoked.iter().any(|revoked| revoked.serial == serial);
                prop_assert!(is_listed || *end + KEEP_S <= clock);
            }
        }
    }
}
