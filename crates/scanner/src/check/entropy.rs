//! How random a value looks.

/// Shannon entropy of the bytes, in bits per byte.
pub fn shannon(bytes: &[u8]) -> f32 {
    if bytes.is_empty() {
        return 0.0;
    }
    let mut counts = [0_u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let total = bytes.len() as f32;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|&count| {
            let share = count as f32 / total;
            -share * share.log2()
        })
        .sum()
}

/// How many of the classes lower case, upper case and digit occur.
pub fn classes(bytes: &[u8]) -> u32 {
    let has = |class: fn(&u8) -> bool| u32::from(bytes.iter().any(class));
    has(u8::is_ascii_lowercase) + has(u8::is_ascii_uppercase) + has(u8::is_ascii_digit)
}

/// The share of neighbouring letters that are common neighbours in English and in the names that programmers give;
/// words come out near 1, random letters near 0.35. `None` with fewer than three pairs.
pub fn wordiness(bytes: &[u8]) -> Option<f32> {
    let (mut pairs, mut common) = (0_u32, 0_u32);
    for pair in bytes.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if !a.is_ascii_alphabetic()
            || !b.is_ascii_alphabetic()
            || a.is_ascii_lowercase() && b.is_ascii_uppercase()
        {
            continue;
        }
        pairs += 1;
        common += u32::from(is_common(a.to_ascii_lowercase(), b.to_ascii_lowercase()));
    }
    (pairs >= 3).then(|| common as f32 / pairs as f32)
}

/// For each first letter, the letters that often follow it in words.
const FOLLOWERS: [&[u8]; 26] = [
    b"bcdgilmnprstuvy",    // a
    b"aeilorsuy",          // b
    b"aehiklorstuy",       // c
    b"adeilorsuy",         // d
    b"abcdefglmnprstvwxy", // e
    b"aefiloru",           // f
    b"aehilnoru",          // g
    b"aeiortuy",           // h
    b"abcdefglmnoprstvz",  // i
    b"aeou",               // j
    b"aeinsy",             // k
    b"adefiklosuty",       // l
    b"abeimnopsu",         // m
    b"acdefgiknostuvy",    // n
    b"abcdfgklmnoprstuvw", // o
    b"aehiloprstu",        // p
    b"u",                  // q
    b"acdeghiklmnorstuvy", // r
    b"acehiklmnopqstuwy",  // s
    b"acehiloprstuwy",     // t
    b"abcdegilmnprst",     // u
    b"aeio",               // v
    b"aehinor",            // w
    b"aceipt",             // x
    b"emops",              // y
    b"aeioz",              // z
];

fn is_common(a: u8, b: u8) -> bool {
    FOLLOWERS[usize::from(a - b'a')].contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_of_known_texts() {
        assert_eq!(shannon(b""), 0.0);
        assert_eq!(shannon(b"aaaa"), 0.0);
        assert_eq!(shannon(b"abcd"), 2.0);
        assert_eq!(classes(b"aB3"), 3);
        assert_eq!(classes(b"__"), 0);
    }

    #[test]
    fn words_are_told_from_noise() {
        for word in ["authenticationToken", "password_reset_form", "ConfirmEmailAddress", "userCredentials"] {
            assert!(wordiness(word.as_bytes()).unwrap() > 0.8, "{word}");
        }
        for noise in ["xkqzvbwjhfpdtgmn", "QzXvKjWpLbNmHgFd", "zqxjkvbpwgmfycdh"] {
            assert!(wordiness(noise.as_bytes()).unwrap() < 0.6, "{noise}");
        }
    }
}
