use super::*;
use crate::check::file_kind::FileKind;
use crate::rule::{Confidence, fill};

/// Judges `value` where `§` stands in `text`. The value is a template, and apart from the text, so that no line here
/// looks like a secret; the name is given in lower case.
fn judge(kind: ValueKind, path: &str, name: &str, text: &str, value: &str) -> &'static str {
    let start = text.find('§').expect("the sample marks the value");
    let plain = text.replace('§', &fill(value, "seed").expect("the template is good"));
    let line = plain[..start].rfind('\n').map_or(0, |i| i + 1);
    let candidate = Candidate {
        text: plain.as_bytes(),
        // A pattern's match ends before the first quote or space.
        span: start..plain[start..].find([' ', '"', '\'', '`', '\n']).map_or(plain.len(), |i| start + i),
        name: plain.to_lowercase().find(name).map(|at| at..at + name.len()),
        line: line..plain[start..].find('\n').map_or(plain.len(), |i| start + i),
        file: FileKind::of(path.as_bytes()),
        confidence: Confidence::Medium,
        now: 0,
    };
    match analyse(kind, &candidate) {
        Analysis::Drop(_) => "drop",
        Analysis::Keep { weaker: true, .. } => "low",
        Analysis::Keep { .. } => "keep",
    }
}

fn check(kind: ValueKind, name: &str, cases: &[(&str, &str, &str, &str)]) {
    for (path, text, value, want) in cases {
        assert_eq!(judge(kind, path, name, text, value), *want, "{path}: {text} with {value}");
    }
}

#[test]
fn passwords() {
    check(
        ValueKind::Password,
        "password",
        &[
            ("a.py", "password = \"§\"", "Tr0ub4dor&3", "keep"),
            ("a.py", "password = §", "get_password()", "drop"),
            ("a.yml", "password: §", "Zk9!vb2Q", "keep"),
            ("a.yml", "password: §", "must be at least eight characters", "drop"),
            ("a.json", "\"password\": \"§\"", "Forgot your password?", "drop"),
            ("a.js", "password: '§'", "confirm{{from P 1}}assword", "drop"),
            ("a.js", "password: '§'", "#password-field", "drop"),
            ("a.yml", "password: §", "postgres", "low"),
            ("a.py", "password = '§'", "test1234", "low"),
            ("a.md", "password = '§'", "s3cr3t", "low"),
            ("a.py", "password = f\"§\"", "{user}-x", "drop"),
            ("a.py", "password = f\"§\"", "{password!r}", "drop"),
            ("i18n/de.json", "\"password\": \"§\"", "Pass{{from w 1}}ort1", "drop"),
            ("a.ts", "password: '§'", "Contraseña", "drop"),
            ("a.xml", "<password>§</password>", "s3cr3t&amp;Pw", "keep"),
            ("a.php", "'password' => '§'", "required|confirmed|min:8", "drop"),
            ("a.py", "password = '§'", "django.hashers.Argon2PasswordHasher", "drop"),
            ("a.py", "password = '§'", "generatedpassword1", "low"),
            ("a.py", "password = '§'", "My{{from P 1}}asswordIs4912", "keep"),
            ("a.py", "password = '§'", "$2b$12${{alnum 53}}", "drop"),
            ("a.java", "password(\"§\")", "{noop}{{alnum 11}}4", "keep"),
            ("a.yml", "password: §", "db.corp.net:5432", "drop"),
        ],
    );
}

#[test]
fn places() {
    let value = "tiger{{digit 4}}Xk";
    check(
        ValueKind::Password,
        "password",
        &[
            // Comments: values, switched off code, sentences.
            ("a.py", "# password: §", value, "keep"),
            ("a.py", "x = 1  # password: §", value, "keep"),
            ("a.py", "# password: §", "the password of the user", "drop"),
            ("a.py", "# password = §", "os.environ2.get('X')", "drop"),
            ("a.c", "#define PASSWORD §", value, "drop"),
            // A shell line within something else.
            ("a.tf", "export PASSWORD=§", value, "keep"),
            ("a.tf", "password = §", value, "drop"),
            // Arguments and lists.
            ("a.go", "flag.String(\"password\", \"§\", \"of the db\")", value, "keep"),
            ("a.py", "[\"password\", \"§\", \"token\"]", value, "drop"),
            ("a.js", "Buffer.from(password, '§')", "utf8", "drop"),
            ("a.c", "strcmp(password, \"§\")", "dragon", "low"),
            ("a.py", "('User:Password', '§')", value, "drop"),
            ("a.java", "password.equals(\"§\")", value, "keep"),
            // The whole setting in quotes.
            ("a.yml", "- \"password=§\"", value, "keep"),
            ("a.yml", "- password=§\"", value, "drop"),
            ("a.js", "type('#password', '§')", value, "keep"),
        ],
    );
    assert_eq!(judge(ValueKind::Password, "a.test", "pass", "--- PASS: §", "TestVet/4",), "drop");
    assert_eq!(judge(ValueKind::Password, "a.yml", "lowpass", "lowpass: §", value), "drop");
}

#[test]
fn tokens() {
    let random = "{{alnum 20}}4k";
    check(
        ValueKind::Token,
        "api_key",
        &[
            ("a.py", "api_key = '§'", random, "keep"),
            ("a.py", "api_key = '§'", "authentication_token_name", "drop"),
            ("a.py", "api_key = '§'", "{{uuid}}", "keep"),
            ("a.py", "?api_key=§&x=1", random, "keep"),
            ("a.py", "api_key = '§'", "MIIBIjANBgkqhkiG{{b64 90}}", "drop"),
            ("a.py", "api_key = '§'", "00010203040506070809", "drop"),
            ("a.py", "api_key = '§'", "AbCd12...", "drop"),
        ],
    );
    for (name, text, value, want) in [
        ("token_url", "token_url = '§'", random, "drop"),
        ("token", "token = '§'", "{{uuid}}", "low"),
        ("token", "token = '§'", "evt_{{digit 8}}", "drop"),
        ("token", "token = '§'", "n8n_api_", "drop"),
        ("token", "token = '§'", "tk1.…(16)", "drop"),
        ("token", "badge.svg?token=§", random, "drop"),
        ("public_key", "public_key = '§'", random, "drop"),
        ("token", "token = '§'", "2024-01-31T10:20:30Z", "drop"),
        ("token", "token = §", "tokenizer.next(x1)", "drop"),
        ("shared_secret", "shared_secret = '§'", random, "keep"),
        ("secret", "checksum/secret: '§'", "{{hex 64}}", "drop"),
        ("secret", "secret: '§'", "Tiger{{digit 3}}!", "keep"),
        ("filekey", "fileKey: '§'", random, "drop"),
        ("mapskey", "mapsKey: '§'", random, "keep"),
        ("key", "key: '§'", random, "drop"),
        ("key", "encrypt(data, key='§')", random, "keep"),
        ("releasekey", "releaseKey = '§'", "{{HEX 39}}A", "drop"),
        ("secret_key", "SECRET_KEY = '§'", "\\xfd{H\\xe5<\\x95\\xf9", "keep"),
    ] {
        check(ValueKind::Token, name, &[("a.py", text, value, want)]);
    }
}

#[test]
fn prose() {
    check(
        ValueKind::Prose,
        "password",
        &[
            ("a.txt", "the password is §.", "tiger{{digit 4}}Xk", "keep"),
            ("a.txt", "the password is §", "required", "drop"),
            ("a.txt", "the password is §", "sha256", "drop"),
            ("a.py", "# the password was §, then", "tiger{{digit 4}}Xk", "keep"),
            ("a.py", "password = §", "tiger{{digit 4}}Xk", "drop"),
        ],
    );
}
