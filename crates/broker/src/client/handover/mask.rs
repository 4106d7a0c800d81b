//! What must be masked when a value must: each of its lines, and the forms in which tools print it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// Shorter texts are not masked: they would garble the log everywhere.
const SHORTEST: usize = 4;

/// The texts to mask for `value`, longest first, each a single line.
pub(super) fn forms(value: &str) -> Vec<Secret> {
    let mut forms: Vec<String> = Vec::new();
    let mut add = |form: String| {
        if form.len() >= SHORTEST && !forms.contains(&form) {
            forms.push(form);
        }
    };
    if !value.contains(['\n', '\r']) {
        add(value.to_owned());
    }
    for line in value.lines() {
        add(line.trim_end_matches('\r').to_owned());
    }
    add(STANDARD.encode(value));
    add(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
    add(json_escaped(value));
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.into_iter().map(Secret::text).collect()
}

/// The value as it stands between the quotes of JSON.
fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_and_every_form() {
        let forms = forms("top \"line\"\nab\nlast line");
        let texts: Vec<_> = forms.iter().filter_map(Secret::expose_text).collect();
        for wanted in [
            "top \"line\"",
            "last line",
            "top \\\"line\\\"\\nab\\nlast line",
            "top+%22line%22%0Aab%0Alast+line",
        ] {
            assert!(texts.contains(&wanted), "{wanted}: {texts:?}");
        }
        assert!(!texts.contains(&"ab"), "too short");
        assert!(texts.iter().all(|text| !text.contains('\n')));
        assert!(texts.is_sorted_by_key(|text| std::cmp::Reverse(text.len())));
    }

    #[test]
    fn nothing_for_nothing() {
        assert!(forms("").is_empty());
        assert!(forms("abc").iter().all(|form| form.len() >= SHORTEST));
    }
}
