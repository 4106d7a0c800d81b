//! Values that stand where a secret should be put.

/// Words that people put into a value to say that it is none. Matched in any case, anywhere in the value.
const WORDS: &[&str] = &[
    "example",
    "changeme",
    "change_me",
    "change-me",
    "changethis",
    "change_this",
    "replaceme",
    "replace_me",
    "replace-me",
    "replacewith",
    "replace_with",
    "placeholder",
    "your_",
    "your-",
    "yourtoken",
    "yourkey",
    "yourapi",
    "yoursecret",
    "yourstrong",
    "your(",
    "yourpassword",
    "insert_",
    "insertyour",
    "put_your",
    "enter_your",
    "my_api_key",
    "mytoken",
    "todo",
    "redacted",
    "dummy",
    "sample",
    "fake",
    "notreal",
    "not_real",
    "not-a-real",
    "xxxx",
    "goes_here",
    "goes-here",
    "goeshere",
    "_here",
    "-here",
    "foobar",
    "deadbeef",
    "abcdef123456",
    "1234567890abcdef",
    "0123456789abcdef",
    "abcdefghij",
    "0123456789",
    "1234567890",
    "secret_key_here",
    "removed",
    "masked",
    "hidden",
    "censored",
    "lorem",
    "test_test",
    "testtest",
];

/// How the tokens of the OAuth RFCs begin, in lower case; half of all documentation has them.
const SAMPLES: &[&str] = &["2yotnfzfejr1", "tgzv3jokf0xg", "splxlobezqqy", "7fjfp0zbr1kt", "czzcagrsa3f0"];

/// Openings of references to a value that lives elsewhere.
const REFERENCES: &[&str] = &[
    "${",
    "$(",
    "$((",
    "{{",
    "<%",
    "%(",
    "#{",
    "@{",
    "%{",
    "$[",
    "<<",
    "[[",
    "((",
    "process.env",
    "os.environ",
    "os.getenv",
    "getenv(",
    "env(",
    "env.",
    "env:",
    "env[",
    "secrets.",
    "secret:",
    "vault:",
    "vault.",
    "ssm:",
    "arn:aws",
    "op://",
    "!ref",
    "!sub",
    "!vault",
    "file(",
    "file://",
    "var.",
    "local.",
    "data.",
    "module.",
    "projects/",
    "azurekeyvault",
    "@microsoft.keyvault",
    "ref+",
    "enc[",
    "sops:",
    "sm://",
    "bws:",
    "doppler:",
    "{cipher}",
    "enc(",
    "$env:",
    "system.getenv",
    "lookup(",
    "input.",
    "inputs.",
    "params.",
    "credentials(",
    "keyring:",
    "gopass:",
    "pass:",
    "sealed:",
    "ansible_vault",
    "$ansible_vault",
    "kms:",
    "gcp:secretmanager",
    "awssm:",
    "aws-secret",
];

/// Why the value is a placeholder, if it is one.
pub(crate) fn reason(value: &[u8]) -> Option<&'static str> {
    if value.is_empty() {
        return Some("it is empty");
    }
    // Long values (keys, JWTs) hold short words by chance.
    let head = &value[..value.len().min(256)];
    let lower = head.to_ascii_lowercase();
    if is_monotonous(value) {
        return Some("few different characters");
    }
    if REFERENCES.iter().any(|r| lower.starts_with(r.as_bytes())) || is_enclosed(value) {
        return Some("a reference to a value elsewhere");
    }
    if SAMPLES.iter().any(|sample| lower.starts_with(sample.as_bytes())) {
        return Some("a sample of the OAuth RFCs");
    }
    if has_run(head) {
        return Some("a long run of one character");
    }
    if value.len() <= 128 && WORDS.iter().any(|w| holds_word(&lower, w.as_bytes())) {
        return Some("it holds a word that says so");
    }
    if is_sequence(&lower) {
        return Some("characters in alphabetical order");
    }
    None
}

/// Whether the word occurs where it cannot be chance: short words in long random text need a word edge.
fn holds_word(lower: &[u8], word: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = memchr::memmem::find(&lower[from..], word).map(|i| from + i) {
        let before = at.checked_sub(1).map(|i| lower[i]);
        let after = lower.get(at + word.len()).copied();
        let edge = |b: Option<u8>| b.is_none_or(|b| !b.is_ascii_alphanumeric());
        // Four letters beside one edge are chance in a long random value: once in some ten thousand tokens.
        let chance = word.len() <= 4 && lower.len() >= 16;
        if word.len() >= 7 || edge(before) && edge(after) || !chance && (edge(before) || edge(after)) {
            return true;
        }
        from = at + 1;
    }
    false
}

/// `<token>`, `[token]`, `{token}`, `%TOKEN%`, `$TOKEN`, `@TOKEN@`, `__TOKEN__`, `***`.
fn is_enclosed(value: &[u8]) -> bool {
    let (Some(&first), Some(&last)) = (value.first(), value.last()) else { return true };
    let name = |inner: &[u8]| {
        !inner.is_empty()
            && inner.len() <= 64
            && inner
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' ' | b':'))
    };
    let inner = || value.get(1..value.len() - 1).unwrap_or_default();
    match (first, last) {
        (b'<', b'>') | (b'[', b']') | (b'{', b'}') | (b'%', b'%') | (b'@', b'@') | (b'(', b')') => {
            name(inner())
        }
        (b'$', _) => {
            let rest = &value[1..];
            let variable =
                |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'>' | b'-');
            let shape = rest.iter().all(variable)
                && rest.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
            // `$NAME`, `$name`, `$this->x`; but `$3cr3tW0rd` and `$2a$10$...` are values.
            shape
                && (rest.iter().all(|b| !b.is_ascii_lowercase()) || rest.iter().all(|b| !b.is_ascii_digit()))
        }
        (b'_', b'_') => value.starts_with(b"__") && value.ends_with(b"__"),
        _ => false,
    }
}

/// At most three different characters in eight or more, or a quarter of what a random value has.
fn is_monotonous(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    let mut different = 0;
    for &b in &value[..value.len().min(256)] {
        if !std::mem::replace(&mut seen[usize::from(b)], true) {
            different += 1;
        }
    }
    different == 1 || value.len() >= 8 && different <= 3 || value.len() >= 20 && different <= 5
}

/// Six or more of one character in a row (`aaaaaa`, `......`), where they are a good part of the value.
fn has_run(value: &[u8]) -> bool {
    let (mut longest, mut run) = (1, 1);
    for pair in value.windows(2) {
        run = if pair[0] == pair[1] { run + 1 } else { 1 };
        longest = longest.max(run);
    }
    longest >= 6 && (longest >= 10 || longest * 4 >= value.len())
}

/// `abcdefgh…`, `12345678…`, `a1b2c3d4…`: most steps go up by one, either to the next byte or to the one after.
fn is_sequence(lower: &[u8]) -> bool {
    if lower.len() < 8 {
        return false;
    }
    let up = |a: u8, b: u8| b == a.wrapping_add(1) && a.is_ascii_alphanumeric();
    let by_one = lower.windows(2).filter(|w| up(w[0], w[1])).count();
    let by_two = lower.windows(3).filter(|w| up(w[0], w[2])).count();
    // `000102030405…`: bytes in hexadecimal that count up.
    let byte =
        |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let bytes: Vec<Option<u8>> = lower.chunks_exact(2).map(byte).collect();
    let counted =
        bytes.windows(2).filter(|w| w[0].zip(w[1]).is_some_and(|(a, b)| b == a.wrapping_add(1))).count();
    if lower.len() >= 16 && counted * 10 >= (bytes.len() - 1) * 8 {
        return true;
    }
    by_one * 10 >= (lower.len() - 1) * 7 || by_two * 10 >= (lower.len() - 2) * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders() {
        for value in [
            "changeme",
            "<token>",
            "${DB_PASSWORD}",
            "{{ password }}",
            "xxxxxxxxxxxxxxxx",
            "your_api_key",
            "YOUR-TOKEN",
            "$PASSWORD",
            "%DB_PASS%",
            "AKIAIOSFODNN7EXAMPLE",
            "process.env.TOKEN",
            "secrets.TOKEN",
            "abcdefghijklmnop",
            "a1b2c3d4e5f6g7h8",
            "********",
            "@password@",
            "__TOKEN__",
            "000000000000",
            "ENC[AES256_GCM,data:x]",
            "000102030405060708090A0B0C0D0E0F",
        ] {
            assert!(reason(value.as_bytes()).is_some(), "{value}");
        }
    }

    #[test]
    fn values() {
        for value in
            ["hunter2", "$3cr3tW0rd", "Tr0ub4dor&3", "kX9vQ2mZ7pLw4RtY", "9f86d081884c7d65", "p@ss<w>0rd"]
        {
            assert_eq!(reason(value.as_bytes()), None, "{value}");
        }
    }
}
