//! Checksums that providers put into their tokens. The recipes are in the documentation of each rule; makers stand
//! beside the verifiers because examples need whole tokens.

use crate::rule::Checksum;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// Whether the checksum in the token is right; `None` when the token has a form that this checksum does not cover.
pub fn verify(kind: Checksum, token: &[u8]) -> Option<bool> {
    match kind {
        Checksum::Crc62 => verify_crc62(token),
        Checksum::GitlabRoutable => verify_gitlab_routable(token),
        Checksum::Grafana => verify_grafana(token),
        Checksum::Bech32 => verify_bech32(token),
        Checksum::Nats => verify_nats(token),
    }
}

/// `prefix_` + 30 characters + their checksum.
fn verify_crc62(token: &[u8]) -> Option<bool> {
    let body = &token[token.iter().rposition(|b| *b == b'_')? + 1..];
    if body.len() != 36 {
        return None;
    }
    let (text, sum) = body.split_at(30);
    Some(crc62(text).as_bytes() == sum)
}

/// CRC-32 (IEEE) of the text as six base62 digits.
pub(crate) fn crc62(text: &[u8]) -> String {
    digits(crc32fast::hash(text), BASE62, 6)
}

/// A number in the given digits, padded with zeros to the left.
fn digits(mut number: u32, alphabet: &[u8], width: usize) -> String {
    let mut out = vec![alphabet[0]; width];
    for place in out.iter_mut().rev() {
        *place = alphabet[number as usize % alphabet.len()];
        number /= alphabet.len() as u32;
    }
    out.into_iter().map(char::from).collect()
}

/// prefix + payload + `.01.` + two base36 digits (length of the payload) + seven base36 digits of CRC-32.
fn verify_gitlab_routable(token: &[u8]) -> Option<bool> {
    let (head, sum) = token.split_at_checked(token.len().checked_sub(7)?)?;
    let (payload, length) = head.split_at_checked(head.len().checked_sub(2)?)?;
    let payload = payload.strip_suffix(b".01.")?;
    let sum_right = digits(crc32fast::hash(head), BASE36, 7).as_bytes() == sum;
    let length_right = (27..=payload.len()).any(|n| digits(n as u32, BASE36, 2).as_bytes() == length);
    Some(sum_right && length_right)
}

/// A routable token: random bytes, routing text, and the length byte, in unpadded base64url.
pub(crate) fn make_gitlab_routable(prefix: &str, random: &[u8], routing: &str) -> String {
    use base64::Engine as _;
    let bytes = [random, routing.as_bytes(), &[routing.len() as u8]].concat();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let head = format!("{prefix}{payload}.01.{}", digits(payload.len() as u32, BASE36, 2));
    format!("{head}{}", digits(crc32fast::hash(head.as_bytes()), BASE36, 7))
}

fn verify_grafana(token: &[u8]) -> Option<bool> {
    let at = token.iter().rposition(|b| *b == b'_')?;
    let sum = &token[at + 1..];
    (sum.len() == 8).then(|| grafana(&token[..at]).as_bytes() == sum)
}

/// CRC-32 of everything before the last `_`, little-endian, in hex.
pub(crate) fn grafana(head: &[u8]) -> String {
    hex::encode(crc32fast::hash(head).to_le_bytes())
}

/// The checksum polynomial of BIP-173.
fn bech32_polymod(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        (0..5).filter(|bit| top >> bit & 1 == 1).fold(next, |sum, bit| sum ^ GENERATOR[bit])
    })
}

fn bech32_expand(part: &[u8]) -> impl Iterator<Item = u8> + '_ {
    part.iter().map(|b| b >> 5).chain([0]).chain(part.iter().map(|b| b & 31))
}

fn verify_bech32(token: &[u8]) -> Option<bool> {
    let lower = token.to_ascii_lowercase();
    let at = lower.iter().rposition(|b| *b == b'1')?;
    let data: Option<Vec<u8>> =
        lower[at + 1..].iter().map(|b| BECH32.iter().position(|c| c == b).map(|i| i as u8)).collect();
    let data = data?;
    Some(bech32_polymod(bech32_expand(&lower[..at]).chain(data)) == 1)
}

/// An upper-case bech32 text, as age writes its secret keys.
pub(crate) fn make_bech32(human: &str, bytes: &[u8]) -> String {
    let human = human.to_ascii_lowercase();
    let data = regroup(bytes);
    let sum = bech32_polymod(bech32_expand(human.as_bytes()).chain(data.iter().copied()).chain([0; 6])) ^ 1;
    let sums = (0..6).map(|i| (sum >> (5 * (5 - i)) & 31) as u8);
    let text: String = data.iter().copied().chain(sums).map(|v| char::from(BECH32[usize::from(v)])).collect();
    format!("{human}1{text}").to_ascii_uppercase()
}

/// Eight-bit bytes as five-bit ones, padded with zero bits.
fn regroup(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in bytes {
        bits = bits << 8 | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            out.push((bits >> count & 31) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (5 - count) & 31) as u8);
    }
    out
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(
            sum ^ u16::from(*byte) << 8,
            |sum, _| {
                if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 }
            },
        )
    })
}

fn verify_nats(token: &[u8]) -> Option<bool> {
    let mut bytes = Vec::with_capacity(36);
    let (mut bits, mut count) = (0_u32, 0);
    for b in token {
        let value = BASE32.iter().position(|c| c == b)?;
        bits = (bits << 5 | value as u32) & 0xffff;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(2)?)?;
    Some(crc16(body).to_le_bytes() == sum)
}

/// A NATS seed of the given role letter: two prefix bytes, 32 bytes of seed, CRC-16.
pub(crate) fn make_nats(role: u8, seed: &[u8]) -> String {
    // Seed prefix `S` is 18 << 3; the role's five bits are spread over both bytes.
    let role = match role {
        b'A' => 0,
        b'N' => 13 << 3,
        b'C' => 2 << 3,
        b'O' => 14 << 3,
        b'X' => 23 << 3,
        _ => 20 << 3,
    };
    let mut bytes = vec![18 << 3 | (role >> 5), (role & 31) << 3];
    bytes.extend_from_slice(seed);
    bytes.extend(crc16(&bytes).to_le_bytes());
    regroup(&bytes).into_iter().map(|v| char::from(BASE32[usize::from(v)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flips one character near the end, where every checksum must notice.
    fn spoiled(token: &str) -> String {
        let mut bytes = token.as_bytes().to_vec();
        let at = bytes.len() - 2;
        bytes[at] =
            if bytes[at] == b'a' || bytes[at] == b'A' { bytes[at] + 1 } else { bytes[at] & 0x40 | b'1' };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn published_vectors() {
        // The check value of the CRC catalogue for CRC-16/XMODEM and CRC-32.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        // BIP-173, valid strings.
        assert_eq!(verify_bech32(b"A12UEL5L"), Some(true));
        assert_eq!(verify_bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"), Some(true));
        assert_eq!(verify_bech32(b"A12UEL5X"), Some(false));
    }

    #[test]
    fn makers_and_verifiers_agree() {
        let body = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5";
        let cases = [
            (Checksum::Crc62, format!("x_{body}{}", crc62(body.as_bytes()))),
            (Checksum::GitlabRoutable, make_gitlab_routable("x-", &[7; 16], "c:1\no:a\n")),
            (Checksum::Grafana, format!("x_{body}_{}", grafana(format!("x_{body}").as_bytes()))),
            (Checksum::Bech32, make_bech32("AGE-SECRET-KEY-", &[9; 32])),
            (Checksum::Nats, make_nats(b'U', &[5; 32])),
        ];
        for (kind, token) in cases {
            assert_eq!(verify(kind, token.as_bytes()), Some(true), "{kind:?} {token}");
            assert_ne!(verify(kind, spoiled(&token).as_bytes()), Some(true), "{kind:?} {token}");
        }
    }

    #[test]
    fn nats_seeds_begin_with_their_role() {
        assert!(make_nats(b'U', &[1; 32]).starts_with("SU"));
        assert!(make_nats(b'A', &[1; 32]).starts_with("SA"));
        assert_eq!(make_nats(b'O', &[1; 32]).len(), 58);
    }
}
