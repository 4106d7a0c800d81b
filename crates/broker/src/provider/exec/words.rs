//! What a program said, made fit for an operator's error: without secrets, without control characters, and short.

/// What stands in place of a secret.
const MASK: &str = "***";
/// Parts of secrets shorter than this are not looked for: they would mask half of every text.
const MIN_KNOWN: usize = 4;
/// Words of letters and digits from this length on are taken for secrets that nobody told us of.
const MIN_RANDOM: usize = 16;

/// The last `max` characters of what a program said. Every one of `secrets` in it is masked, whole and line by line, and
/// so is what looks random: a shell's trace shows secrets that never reach us otherwise. Words in `plain` stay.
pub(crate) fn clean(said: &[u8], secrets: &[&[u8]], plain: &[&str], max: usize) -> String {
    let mut text = String::from_utf8_lossy(said).into_owned();
    let mut known: Vec<String> = secrets.iter().flat_map(|secret| parts(secret)).collect();
    // The longest first: a secret may hold another.
    known.sort_by_key(|part| std::cmp::Reverse(part.len()));
    for part in &known {
        text = text.replace(part.as_str(), MASK);
    }
    let words = text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ','));
    let masked: String = words.map(|word| mask_random(word, plain)).collect();
    let visible: String = masked.chars().map(|c| if is_safe(c) { c } else { ' ' }).collect();
    let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().rev().nth(max) {
        line = format!("...{}", &line[at..]);
    }
    line
}

/// A secret as a whole and each of its lines: programs indent and prefix them.
fn parts(secret: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(secret).into_owned();
    let lines = text.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= 2 * MIN_KNOWN);
    let mut parts: Vec<String> = lines.collect();
    parts.push(text);
    parts.retain(|part| part.len() >= MIN_KNOWN);
    parts
}

/// Printable, and without those that turn the direction of a line or hide in it.
fn is_safe(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The word with what looks random in it masked. A path or an address is looked at piece by piece.
fn mask_random(word: &str, plain: &[&str]) -> String {
    let is_path = word.starts_with(['/', '.']) || word.contains("://");
    let is_part = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '_' | '-' | '~') || c == '/' && !is_path
    };
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        out.push_str(if looks_random(run) && !plain.contains(&run) { MASK } else { run });
        let next = after.find(is_part).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

fn looks_random(run: &str) -> bool {
    run.len() >= MIN_RANDOM
        && run.bytes().any(|byte| byte.is_ascii_digit())
        && run.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(text: &str, secrets: &[&str]) -> String {
        let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_bytes()).collect();
        clean(text.as_bytes(), &secrets, &["clv_aaaaaaaaaaaaaaaaaaaaaaaaa2"], 400)
    }

    #[test]
    fn known_secrets_are_masked() {
        assert_eq!(said("login with hunter22 failed", &["hunter22"]), "login with *** failed");
        assert_eq!(said("a=hunter22&b", &["hunter", "hunter22"]), "a=***&b");
        let key = "-----BEGIN X-----\nabcdefgh\nijklmnop\n-----END X-----";
        assert_eq!(said("> abcdefgh\n> ijklmnop", &[key]), "> *** > ***");
    }

    #[test]
    fn what_looks_random_is_masked() {
        let random = format!("{}{}", "k3jF9sLq", "27XbVv0pTz");
        for text in
            [format!("+ PASSWORD={random}"), format!("token: \"{random}\""), format!("https://x/?t={random}")]
        {
            let shown = said(&text, &[]);
            assert!(shown.contains(MASK) && !shown.contains(&random[4..12]), "{shown}");
        }
    }

    #[test]
    fn plain_words_stay() {
        for text in [
            "Traceback: File /usr/lib/python3.11/site-packages/requests/api.py line 59 in request",
            "clv_aaaaaaaaaaaaaaaaaaaaaaaaa2 was not found at https://ci.example/api/v2/tokens",
        ] {
            assert_eq!(said(text, &[]), text);
        }
    }

    #[test]
    fn nothing_moves_the_terminal() {
        assert_eq!(said("a\u{1b}[2Jb\r\nc\u{202e}d\0e", &[]), "a [2Jb c d e");
    }

    proptest! {
        #[test]
        fn it_is_short_and_holds_no_secret(text in ".{0,300}", secret in "[a-z]{4,12}", max in 1_usize..50) {
            let whole = format!("{text} {secret}{text}{secret} {text}");
            let shown = clean(whole.as_bytes(), &[secret.as_bytes()], &[], max);
            prop_assert!(shown.chars().count() <= max + 4);
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
