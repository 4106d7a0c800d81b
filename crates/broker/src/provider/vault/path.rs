//! Paths in Vault: which are well-formed, and which a provider may reach.

/// The longest path, in bytes.
const MAX_PATH: usize = 512;

/// Where tokens, policies and the server itself are governed: no role reaches there.
const GOVERNING: [&str; 3] = ["auth", "cubbyhole", "sys"];

/// Checks a path below `/v1/`: words of letters, digits and `_.~-`, joined by single slashes. Nothing in it can leave its
/// place or begin a query.
///
/// # Errors
/// In words for the operator.
pub(super) fn check(path: &str) -> Result<(), String> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err(format!("a path has 1 to {MAX_PATH} bytes"));
    }
    if !path.split('/').all(is_word) {
        return Err("write words of letters, digits and `_.~-`, joined by `/`; no `..`, no query".into());
    }
    match path.split('/').next() {
        Some(first) if GOVERNING.contains(&first) => Err(format!("`{first}/` governs Vault itself")),
        _ => Ok(()),
    }
}

fn is_word(word: &str) -> bool {
    !matches!(word, "" | "." | "..")
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.~-".contains(&byte))
}

/// What a claim may bring into a path: never a slash or a dot.
pub(super) fn is_claim_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Checks a pattern of allowed paths: a path in which a word may be `*`, for any one word.
///
/// # Errors
/// In words for the operator.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    let words: Vec<&str> = pattern.split('/').collect();
    if words.first() == Some(&"*") {
        return Err("begin with the name of an engine".into());
    }
    let sample: Vec<&str> = words.iter().map(|word| if *word == "*" { "x" } else { word }).collect();
    check(&sample.join("/"))
}

/// Whether `pattern` allows `path`.
pub(super) fn allows(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        for good in ["database/creds/app", "secret/data/ci/v1.2", "pki/issue/a_b-c~d"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "a/./b",
            "a?b",
            "a#b",
            "a%2fb",
            "a b",
            "ä",
            "sys/seal",
            "auth/token/create",
            "cubbyhole/x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        assert!(allows("database/creds/*", "database/creds/app"));
        assert!(!allows("database/creds/*", "database/creds/app/x"));
        assert!(!allows("database/creds/*", "database/config/app"));
        assert!(!allows("database/creds/app", "database/creds"));
        assert!(check_pattern("database/*/app").is_ok());
        assert!(
            check_pattern("*").is_err() && check_pattern("a/**").is_err() && check_pattern("sys/*").is_err()
        );
    }

    proptest! {
        #[test]
        fn a_path_stays_where_it_is(path in "[a-z./%?#\\\\ *]{0,20}") {
            if check(&path).is_ok() {
                let url = url::Url::parse(&format!("https://v.example/v1/{path}")).unwrap();
                prop_assert_eq!(url.path(), format!("/v1/{}", path));
                prop_assert!(url.query().is_none());
            }
        }
    }
}
