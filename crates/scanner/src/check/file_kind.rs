//! What a path says about the file: a translated string is no password, and a name in code is no value.

/// What sort of file a path names, as far as it changes what a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileKind {
    /// How values are written in it.
    pub syntax: Syntax,
    /// Under a folder, or with a name, that says test, fixture, mock, example or sample.
    pub is_test: bool,
    /// Holds texts for people in some language.
    pub is_locale: bool,
    /// A lock file, a checksum list: full of hashes.
    pub is_lock: bool,
    /// Documentation.
    pub is_doc: bool,
    /// Generated or minified code.
    pub is_generated: bool,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// Strings are quoted; a bare word is a name.
    Code,
    /// Bare words are values: YAML, properties, env, INI.
    Config,
    /// Bare words are values or commands: shell, Dockerfile, batch.
    Shell,
    /// Strings are quoted: JSON, TOML, HCL.
    Data,
    /// Anything else.
    #[default]
    Unknown,
}

const CODE: &[&str] = &[
    "js", "mjs", "cjs", "jsx", "ts", "tsx", "mts", "cts", "py", "pyi", "java", "kt", "kts", "scala",
    "groovy", "gradle", "go", "rs", "c", "h", "cc", "cpp", "cxx", "hpp", "hh", "cs", "vb", "fs", "swift",
    "m", "mm", "rb", "erb", "php", "phtml", "pl", "pm", "lua", "dart", "ex", "exs", "erl", "hrl", "clj",
    "cljs", "hs", "ml", "mli", "r", "jl", "nim", "zig", "v", "sv", "vue", "svelte", "sql", "proto",
    "graphql", "sol", "cr", "d", "pas", "asm", "s", "html", "htm", "xhtml", "jsp", "aspx", "cshtml", "razor",
    "css", "scss", "less", "sass", "ejs", "hbs", "mustache", "twig", "haml", "pug", "coffee", "ipynb",
    "rake", "gemspec", "cfc", "cfm", "apex", "cls", "trigger", "st", "el", "lisp", "scm", "rkt", "tcl",
    "awk", "jinja", "jinja2", "j2", "tmpl", "vim",
];
const CONFIG: &[&str] = &[
    "yml",
    "yaml",
    "ini",
    "cfg",
    "conf",
    "cnf",
    "config",
    "properties",
    "env",
    "envrc",
    "netrc",
    "credentials",
    "toml-",
    "xml",
    "plist",
    "reg",
    "rc",
    "prefs",
    "desktop",
    "service",
    "txt",
    "log",
    "csv",
    "tsv",
    "secrets",
    "dotenv",
    "list",
    "ovpn",
    "settings",
];
const SHELL: &[&str] =
    &["sh", "bash", "zsh", "fish", "ksh", "bat", "cmd", "ps1", "psm1", "psd1", "dockerfile", "mk", "nix"];
const DATA: &[&str] = &[
    "json", "json5", "jsonc", "jsonl", "ndjson", "toml", "tf", "tfvars", "hcl", "tfstate", "har", "jsonnet",
    "cue", "bicep",
];
const DOC: &[&str] =
    &["md", "markdown", "rst", "adoc", "asciidoc", "mdx", "org", "tex", "pod", "textile", "wiki"];
const LOCKS: &[&str] = &[
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "bun.lock",
    "cargo.lock",
    "go.sum",
    "gopkg.lock",
    "poetry.lock",
    "pdm.lock",
    "uv.lock",
    "pipfile.lock",
    "composer.lock",
    "gemfile.lock",
    "podfile.lock",
    "mix.lock",
    "flake.lock",
    "deno.lock",
    "packages.lock.json",
    "paket.lock",
    "gradle.lockfile",
    "package.resolved",
    "pubspec.lock",
    "cartfile.resolved",
    "conan.lock",
    "chart.lock",
    "sha256sums",
    "checksums.txt",
    ".terraform.lock.hcl",
    "renv.lock",
    "stack.yaml.lock",
];
const LOCALE_FOLDERS: &[&str] = &[
    "locale",
    "locales",
    "i18n",
    "l10n",
    "lang",
    "langs",
    "language",
    "languages",
    "translation",
    "translations",
    "lproj",
    "nls",
];
const TEST_WORDS: &[&str] = &[
    "test",
    "tests",
    "testing",
    "testdata",
    "spec",
    "specs",
    "fixture",
    "fixtures",
    "mock",
    "mocks",
    "__tests__",
    "__mocks__",
    "example",
    "examples",
    "sample",
    "samples",
    "demo",
    "demos",
    "e2e",
    "stub",
    "stubs",
    "dummy",
    "testcases",
    "unittest",
    "tutorial",
];

impl FileKind {
    /// What the path says; an empty path says nothing.
    pub fn of(path: &[u8]) -> Self {
        let lower = String::from_utf8_lossy(path).to_lowercase().replace('\\', "/");
        let name = inner(lower.rsplit('/').next().unwrap_or_default());
        let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
        let folders = || lower.rsplit_once('/').map_or("", |(f, _)| f).split('/');
        let any = |list: &[&str], text: &str| list.contains(&text);
        let stem = name.split('.').next().unwrap_or_default();
        FileKind {
            syntax: syntax(name, extension),
            is_test: folders().any(|f| {
                any(TEST_WORDS, f)
                    || f.ends_with("-tests")
                    || f.ends_with("-test")
                    || f.ends_with("_test")
                    || f.ends_with("_tests")
                    || f.ends_with(".tests")
                    || f.ends_with(".test")
            }) || name.split(['.', '_', '-']).any(|part| any(TEST_WORDS, part))
                || ends_in_camel(path, &["Test", "Tests", "Spec", "IT"]),
            is_locale: folders()
                .any(|f| any(LOCALE_FOLDERS, f) || f.ends_with(".lproj") || f.starts_with("values-"))
                || matches!(
                    extension,
                    "po" | "pot"
                        | "mo"
                        | "xlf"
                        | "xliff"
                        | "resx"
                        | "strings"
                        | "arb"
                        | "ftl"
                        | "stringsdict"
                        | "resw"
                )
                || (extension == "properties"
                    && (stem.starts_with("messages")
                        || stem.starts_with("strings")
                        || stem.starts_with("labels")))
                || name == "strings.xml",
            is_lock: any(LOCKS, name)
                || matches!(extension, "sum" | "lock" | "sha256" | "sha512" | "md5" | "sha1" | "integrity"),
            is_doc: any(DOC, extension)
                || any(&["readme", "changelog", "license", "contributing"], stem)
                || folders().any(|f| f == "docs" || f == "doc"),
            is_generated: name.contains(".min.")
                || name.contains("-min.")
                || matches!(extension, "map")
                || name.contains(".bundle.")
                || name.contains(".pb."),
        }
    }
}

/// Endings that say how a file came about, and nothing of what is in it.
const OUTER: &[&str] = &[
    "j2", "jinja", "jinja2", "erb", "ejs", "tmpl", "tpl", "template", "dist", "bak", "old", "orig", "backup",
    "save", "default", "local", "copy", "in",
];

/// `config.yml` of `config.yml.j2`.
fn inner(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, ending)) if OUTER.contains(&ending) && rest.trim_start_matches('.').contains('.') => rest,
        _ => name,
    }
}

/// `UserServiceTest.java`, but not `latest.py`.
fn ends_in_camel(path: &[u8], endings: &[&str]) -> bool {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let stem = name.split(|b| *b == b'.').next().unwrap_or_default();
    endings.iter().any(|e| stem.len() > e.len() && stem.ends_with(e.as_bytes()))
}

fn syntax(name: &str, extension: &str) -> Syntax {
    let any = |list: &[&str]| list.contains(&extension);
    if name.starts_with(".env") || name.ends_with(".env") {
        Syntax::Config
    } else if name.starts_with("dockerfile")
        || name.ends_with("dockerfile")
        || name == "makefile"
        || name == "jenkinsfile"
        || any(SHELL)
    {
        Syntax::Shell
    } else if any(CODE) {
        Syntax::Code
    } else if any(DATA) {
        Syntax::Data
    } else if any(CONFIG) || name.starts_with('.') {
        Syntax::Config
    } else {
        Syntax::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_they_hold() {
        assert_eq!(FileKind::of(b"src/main.py").syntax, Syntax::Code);
        assert_eq!(FileKind::of(b".env.production").syntax, Syntax::Config);
        assert_eq!(FileKind::of(b"deploy/Dockerfile").syntax, Syntax::Shell);
        assert_eq!(FileKind::of(b"templates/app.conf.j2").syntax, Syntax::Config);
        assert_eq!(FileKind::of(b"views/index.erb").syntax, Syntax::Code);
        assert_eq!(FileKind::of(b"wp-config.php.bak").syntax, Syntax::Code);
        assert!(FileKind::of(b"app/i18n/de.json").is_locale);
        assert!(FileKind::of(b"src/__tests__/login.ts").is_test);
        assert!(FileKind::of(b"src/UserServiceTest.java").is_test);
        assert!(FileKind::of(b"web/yarn.lock").is_lock);
        assert!(FileKind::of(b"README.md").is_doc);
        assert_eq!(FileKind::of(b""), FileKind::default());
    }
}
