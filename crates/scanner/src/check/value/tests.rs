use super::*;
use crate::check::file_kind::FileKind;
use crate::rule::Confidence;

fn judge(kind: ValueKind, path: &str, name: &str, text: &str) -> &'static str {
    let start = text.find('§').expect("the sample marks the value's start");
    let plain = text.replace('§', "");
    let candidate = Candidate {
        text: plain.as_bytes(),
        span: start..start + 1,
        name: plain.to_lowercase().find(name).map(|at| at..at + name.len()),
        line: 0..plain.len(),
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

#[test]
fn passwords() {
    let check =
        |path, text, want| assert_eq!(judge(ValueKind::Password, path, "password", text), want, "{text}");
    check("a.py", "password = \"§Tr0ub4dor&3\"", "keep");
    check("a.py", "password = §get_password()", "drop");
    check("a.yml", "password: §Zk9!vb2Q", "keep");
    check("a.yml", "password: §must be at least eight characters", "drop");
    check("a.json", "\"password\": \"§Forgot your password?\"", "drop");
    check("a.js", "password: '§confirmPassword'", "drop");
    check("a.js", "password: '§#password-field'", "drop");
    check("a.yml", "password: §postgres", "low");
    check("a.py", "password = '§test1234'", "low");
    check("a.py", "password = f\"§{user}-x\"", "drop");
    check("i18n/de.json", "\"password\": \"§Passwort1\"", "drop");
    check("a.xml", "<password>§s3cr3t&amp;Pw</password>", "keep");
}

#[test]
fn tokens() {
    let check = |name, text, want| assert_eq!(judge(ValueKind::Token, "a.py", name, text), want, "{text}");
    check("api_key", "api_key = '§kX9vQ2mZ7pLw4RtYbN3c'", "keep");
    check("api_key", "api_key = '§authentication_token_name'", "drop");
    check("token_url", "token_url = '§kX9vQ2mZ7pLw4RtYbN3c'", "drop");
    check("secret", "secret = '§8f14e45f-ceea-467a-9575-1c2d3e4f5a6b'", "low");
    check("public_key", "public_key = '§kX9vQ2mZ7pLw4RtYbN3c'", "drop");
    check("token", "token = '§2024-01-31T10:20:30Z'", "drop");
    check("token", "token = §tokenizer.next(x1)", "drop");
}
