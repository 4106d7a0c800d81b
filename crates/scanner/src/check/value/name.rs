//! What the name before a value says of it.

/// Ends of names whose value is about a secret and not one.
#[rustfmt::skip]
const ABOUT: &[&str] = &[
    "url", "uri", "path", "file", "filename", "filepath", "dir", "name", "names", "type", "types", "field",
    "fields", "label", "length", "len", "size", "count", "expiry", "expires", "expiration", "expire",
    "expiresin", "expiresat", "ttl", "timeout", "lifetime", "header", "headers", "regex", "regexp",
    "pattern", "policy", "hint", "placeholder", "error", "errors", "message", "messages", "msg", "title",
    "text", "help", "helper", "required", "enabled", "disabled", "version", "algorithm", "alg", "algo",
    "format", "endpoint", "ref", "arn", "class", "page", "form", "input", "prompt", "dialog", "description",
    "desc", "template", "reset", "resetlink", "strength", "validator", "validators", "hasher", "hash", "hashed", "hashers", "backend", "backends", "validation", "rule", "rules",
    "manager", "provider", "service", "handler", "factory", "builder", "issuer", "audience", "scope",
    "scopes", "status", "state", "mode", "limit", "limits", "index", "idx", "position", "offset", "kind",
    "encoder", "encryption", "encoding", "source", "store", "storage", "column", "table", "view", "screen", "button",
    "link", "icon", "test", "tests", "id", "ids", "keyid", "schema", "param", "params", "parameter",
    "attribute", "attr", "property", "prop", "env", "envvar", "variable", "var", "suffix", "separator",
    "selector", "xpath", "css", "locator", "element", "updated", "changed", "created", "date", "time",
    "timestamp", "at", "event", "action", "method", "function", "callback", "command", "cmd", "option",
    "options", "flag", "plugin", "module", "package", "repo", "repository", "image", "tag", "digest",
    "checksum", "sha", "sha1", "sha256", "md5", "integrity", "fingerprint", "usage", "used", "budget",
    "price", "cost", "symbol", "address", "contract", "balance", "confirmation", "confirm", "invalid",
    "mismatch", "match", "matches", "notmatch", "not", "missing", "empty", "forgotten", "forgot", "change",
    "create", "update", "delete", "remove", "rotate", "rotation", "generator", "prefix", "example", "is",
    "has", "verify", "verified", "verifier", "check", "checker", "exists", "found", "set", "list", "map",
    "array", "dict", "model", "object", "interface", "dto", "request", "response", "result", "resource",
];

/// Ends of names that are public by nature.
#[rustfmt::skip]
const PUBLIC: &[&str] = &[
    "publickey", "publictoken", "publishablekey", "sitekey", "csrftoken", "authenticitytoken", "requestverificationtoken", "viewstate", "publickeytoken", "siteverification", "csrf", "xsrftoken", "nexttoken",
    "pagetoken", "nextpagetoken", "continuationtoken", "synctoken", "primarykey", "foreignkey",
    "partitionkey", "sortkey", "cachekey", "hotkey", "tokenizer", "tokens", "maxtokens", "keywords",
    "secretsmanager", "anonkey", "lockkey", "sequencetoken", "forwardtoken", "backwardtoken", 
    "requesttoken", "idempotencytoken", "clientrequesttoken", "amzcredential", "amzsecuritytoken",
    "lockfilekey", "tokenmint", "cancellationtoken", "starttoken", "endtoken", "eostoken", "bostoken",
    "padtoken", "unktoken", "masktoken", "septoken", "clstoken", "stoptoken", "updatetoken", "resumetoken",
];

/// Why the name alone says that the value is none.
pub(super) fn says_no(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() {
        return None;
    }
    let last =
        name.rsplit(|b| matches!(b, b'_' | b'-' | b'.' | b' ' | b'/' | b':')).next().unwrap_or_default();
    let parts = name.iter().filter(|b| matches!(b, b'_' | b'-' | b'.')).count();
    let joined: Vec<u8> = name.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    if name.rsplit(|b| *b == b' ').next().is_some_and(|word| word.starts_with(b"data-")) {
        return Some("an attribute of an element");
    }
    if last.ends_with(b"pass") && OTHER_PASS.iter().any(|word| last.ends_with(word.as_bytes())) {
        return Some("its name has nothing to do with passwords");
    }
    if parts > 0 && ABOUT.iter().any(|word| last == word.as_bytes()) {
        return Some("its name is about a secret");
    }
    // camelCase names arrive in lower case: look for the longer endings only, where chance is small.
    let camel = ABOUT.iter().any(|word| {
        joined.len() > word.len()
            && joined.ends_with(word.as_bytes())
            && ends_after_secret(&joined[..joined.len() - word.len()])
    });
    if camel {
        return Some("its name is about a secret");
    }
    PUBLIC.iter().any(|word| joined.ends_with(word.as_bytes())).then_some("its name says it is public")
}

/// Words that end in `pass` for another reason.
#[rustfmt::skip]
const OTHER_PASS: &[&str] = &[
    "bypass", "compass", "encompass", "trespass", "surpass", "underpass", "overpass", "renderpass", "firstpass",
    "lastpass", "nopass", "askpass", "surrogatepass", "onepass", "multipass", "singlepass", "boardingpass", "allpass", "lowpass", "highpass",
    "bandpass", "shaderpass", "seasonpass", "canpass", "shouldpass", "mustpass", "willpass", "prepass", "effectpass",
];

/// Whether a person chooses such values: one rule's names may be of both sorts.
pub(super) fn names_password(name: &[u8]) -> bool {
    ["passw", "passphrase", "pwd", "_pass", "-pass", ".pass"]
        .iter()
        .any(|word| memchr::memmem::find(name, word.as_bytes()).is_some())
        || name == b"pass"
}

/// Whether the rest of a name, its last word taken away, still ends in a word for a secret.
fn ends_after_secret(name: &[u8]) -> bool {
    ["password", "passwd", "pwd", "secret", "token", "key", "credential", "credentials", "passphrase", "auth"]
        .iter()
        .any(|word| name.ends_with(word.as_bytes()))
}

/// Names that leave no doubt, whatever else they hold.
#[rustfmt::skip]
const SURE: &[&str] = &[
    "secret", "apikey", "apitoken", "accesskey", "accesstoken", "authtoken", "authkey", "privatekey", "credential",
    "passw", "bearertoken", "refreshtoken", "encryptionkey", "signingkey", "masterkey",
];

/// Whether a name says so much for a secret that even a UUID is one.
pub(super) fn is_sure(name: &[u8]) -> bool {
    let joined: Vec<u8> = name.iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    SURE.iter().any(|w| memchr::memmem::find(&joined, w.as_bytes()).is_some())
}

/// Whether a name says by itself that its value is a secret. Other keys index maps, rows and caches. A rule that
/// captures no name knows the place well enough without.
pub(super) fn name_is_plain(name: &[u8]) -> bool {
    if name.is_empty() {
        return true;
    }
    #[rustfmt::skip]
    const WORDS: &[&str] = &[
        "secret", "token", "credential", "passw", "api", "access", "account", "admin", "app", "auth", "client",
        "consumer", "crypt", "cipher", "aes", "hmac", "jwt", "license", "licence", "master", "private",
        "service", "session", "shared", "sign", "storage", "subscription", "deploy", "webhook", "secur",
        "merchant", "partner", "bot", "salt",
    ];
    is_sure(name)
        || matches!(name, b"key" | b"keys")
        || WORDS.iter().any(|w| memchr::memmem::find(name, w.as_bytes()).is_some()) && !keys_something(name)
}

/// Whether a name is of a key that finds something: a row, a file, an entry of a cache.
pub(super) fn keys_something(name: &[u8]) -> bool {
    #[rustfmt::skip]
    const NOT: &[&str] = &[
        "cache", "sort", "primary", "foreign", "partition", "index", "lookup", "map", "object", "lock", "state",
        "query", "route", "event", "config", "storage", "i18n", "translation", "message", "react", "row",
        "column", "group", "public", "file", "node", "item", "field", "blob", "bucket", "s3", "idempotency",
        "dedup", "dedupe", "deduplication", "trace", "anchor", "widget", "verifier",
    ];
    let last = name.rsplit(|b| *b == b'.').next().unwrap_or_default();
    let Some(rest) = last.strip_suffix(b"keys").or_else(|| last.strip_suffix(b"key")) else { return false };
    let rest = rest.strip_suffix(b"_").or_else(|| rest.strip_suffix(b"-")).unwrap_or(rest);
    !is_sure(name) && NOT.iter().any(|word| rest.ends_with(word.as_bytes()))
}

/// Whether a name speaks of a hash: `sha` counts at the end or before a digit only, for there is `shared`.
pub(super) fn is_hash_name(name: &[u8]) -> bool {
    let sha = memchr::memmem::find_iter(name, b"sha")
        .any(|at| !name.get(at + 3).is_some_and(u8::is_ascii_alphabetic));
    #[rustfmt::skip]
    const WORDS: &[&str] = &[
        "md5", "hash", "digest", "checksum", "integrity", "etag", "commit", "revision", "fingerprint", "thumbprint",
    ];
    sha || WORDS.iter().any(|w| memchr::memmem::find(name, w.as_bytes()).is_some())
}
