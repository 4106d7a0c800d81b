//! Flags of `claviger audit ...`, as typed.

mod export;
mod keeping;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

pub(crate) use export::{Export, ExportFormat};
pub(crate) use keeping::{
    Bench, Key, KeyList, KeyRetire, KeyRotate, KeyVerb, Prune, WitnessArgs, WitnessInit, WitnessServe,
    WitnessSubmit, WitnessVerb,
};

#[derive(Debug, ClapArgs)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) verb: AuditVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Create a log and its keys
    Init(Init),
    /// Append events (JSON lines) to a log
    Import(Import),
    /// Recompute everything and name the first thing that is wrong
    Verify(Box<Verify>),
    /// Ask for events
    Query(Box<Query>),
    /// Sum up a period: usage, refusals, unused grants, old secrets
    Report(Box<ReportArgs>),
    /// List what a person should look at
    Anomalies(Box<Anomalies>),
    /// Hand events to another system, in order, each at least once
    Export(Box<Export>),
    /// Write the receipt of an entry: a proof that can be checked offline
    Receipt(ReceiptArgs),
    /// Serve tiles and checkpoint over HTTP, read-only
    Serve(Serve),
    /// List, change and retire the keys that sign a log
    Key(Key),
    /// Drop old entries while the proof of the rest stays valid
    Prune(Prune),
    /// Cosign the heads of logs, or have one cosigned
    Witness(WitnessArgs),
    /// Measure what the log does on this machine
    Bench(Bench),
}

const INIT_EXAMPLES: &str = "\
Examples:
  claviger audit init log --origin audit.example.com/prod
  claviger audit init log-2027 --origin audit.example.com/prod-2027 --after log-2026

The private key goes to DIR.key, which only its owner may read, the public one to DIR.vkey. Give the public key to
whoever verifies, and never put the private one into DIR, which a file server may give out.";

#[derive(Debug, ClapArgs)]
#[command(after_help = INIT_EXAMPLES)]
pub(crate) struct Init {
    /// Directory of the new log, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// The log's name for ever: a URL without scheme, of one word
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: String,
    /// Begin with the final checkpoint of this older log, so that the two are one chain
    #[arg(long, value_name = "DIR")]
    pub(crate) after: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) writer: Writer,
}

/// What a command that appends needs.
#[derive(Debug, ClapArgs)]
pub(crate) struct Writer {
    /// File with the private key, or with several that all sign, one a line [default: DIR.key]; or set CLAVIGER_AUDIT_KEY
    /// to the keys themselves
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
    /// Keep the last head seen elsewhere, in a file or a git repository, and refuse a log that does not extend it
    #[arg(long, value_name = "FILE|git:REPO[@BRANCH]")]
    pub(crate) pin: Option<String>,
    /// Witnesses with their URLs, and the quorum (C2SP tlog-policy): asked before anything is appended, and for each head
    /// before it is published
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  claviger audit import log events.jsonl
  zcat events.jsonl.gz | claviger audit import log - --pin /mnt/elsewhere/prod.pin

One event a line: {\"v\":1,\"time\":\"2026-11-24T10:00:00Z\",\"type\":\"lease.issued\",\"who\":{...},...}. `seq` and `logged` are
the log's to give. Events of type `log.*` are left out, because they are the log's own words about itself.

Exit status: 0 all are durable, 2 some are not; the message says which line was the first.";

#[derive(Debug, ClapArgs)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct Import {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// File with events, or `-` for standard input
    pub(crate) file: PathBuf,
    /// Leave out lines that are no events and go on; the exit status is 2 all the same
    #[arg(long)]
    pub(crate) keep_going: bool,
    #[command(flatten)]
    pub(crate) writer: Writer,
}

/// Whose log it must be.
#[derive(Debug, ClapArgs)]
pub(crate) struct Trust {
    /// Public key of the log or of a witness (`name+id+base64`), or a file with such keys, one a line; may be repeated
    #[arg(long, value_name = "VKEY|FILE")]
    pub(crate) key: Vec<String>,
    /// The log's name [default: the name of the first --key, else what the log says]
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  claviger audit verify log --key log.vkey
  claviger audit verify log --key log.vkey --pin /mnt/elsewhere/prod.pin
  claviger audit verify log --key log.vkey --pin git:/srv/pins.git --policy witnesses.policy
  claviger audit verify https://audit.example.com/prod --key log.vkey
  claviger audit verify postgres://db.example.com/audit --key log.vkey        (PGPASSWORD or ~/.pgpass has the password)
  claviger audit verify log --key log.vkey --from yesterday.checkpoint --receipt job-4711.tlog-proof
  claviger audit verify --key log.vkey --receipt job-4711.tlog-proof --entry job-4711.json    (offline, without the log)

Without --key the log's own word is taken for who may sign: that shows integrity, not authenticity.

Exit status: 0 it verifies, 1 it was tampered with or is damaged, 2 it could not be checked.";

#[derive(Debug, ClapArgs)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// The log: a directory, https://HOST/PATH (with --key), or postgres://HOST/DATABASE
    #[arg(required_unless_present = "entry")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// A checkpoint seen before, which the log must extend; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// As --from, with the file or git branch then brought up to what was verified; made if missing
    #[arg(long, value_name = "FILE|git:REPO[@BRANCH]", requires = "key")]
    pub(crate) pin: Option<String>,
    /// Witnesses and the quorum of them that must have cosigned (C2SP tlog-policy)
    #[arg(long, value_name = "FILE", conflicts_with = "entry")]
    pub(crate) policy: Option<PathBuf>,
    /// A receipt, whose entry must be in the log; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Vec<PathBuf>,
    /// The entry of the receipt, byte for byte as stored: checks it without the log
    #[arg(long, value_name = "FILE", requires = "receipt", requires = "key", conflicts_with_all = ["dir", "from", "pin"])]
    pub(crate) entry: Option<PathBuf>,
    /// Where entries that were pruned are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    /// The log before this one, which this one's first entry must name
    #[arg(long, value_name = "DIR")]
    pub(crate) previous: Option<PathBuf>,
    /// Every entry must be an event that this program can read, too
    #[arg(long)]
    pub(crate) events: bool,
    /// As a JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

const QUERY_EXAMPLES: &str = "\
Examples:
  claviger audit query log lease=lease-42                            everything about a lease, who asked first
  claviger audit query log --identity acme/shop --since 2026-11-01   who did what, since when
  claviger audit query log type=lease.issued provider=aws            when issued
  claviger audit query log type=secret.read name=stripe-key          when retrieved
  claviger audit query log type=lease.expired                        when it expired
  claviger audit query log type~renewed                              when updated; also type=secret.rotated
  claviger audit query log --outcome refused 'reason~\"not main\"'     what was not allowed, and why
  claviger audit query log --follow --format jsonl                   what happens now

A filter is FIELD=VALUE, FIELD!=VALUE, FIELD~PART or free text; all must hold.";

/// The fields, read from the table that the filters read.
fn query_help() -> String {
    let fields = claviger_audit::query::FIELDS.iter().map(|f| format!("  {:12} {}", f.name, f.about));
    format!(
        "{QUERY_EXAMPLES}\n\nFields:\n  since, until a day or an instant, in UTC\n{}",
        fields.collect::<Vec<_>>().join("\n")
    )
}

#[derive(Debug, ClapArgs)]
#[command(after_help = query_help())]
pub(crate) struct Query {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// What must hold; several are joined by `and`
    pub(crate) filter: Vec<String>,
    #[command(flatten)]
    pub(crate) span: Span,
    /// Repository, or subject
    #[arg(long, value_name = "NAME")]
    pub(crate) identity: Option<String>,
    /// Provider
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Environment
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// How it was decided or went
    #[arg(long, visible_alias = "decision")]
    pub(crate) outcome: Option<OutcomeName>,
    /// Lease
    #[arg(long, value_name = "ID")]
    pub(crate) lease: Option<String>,
    /// How events are written
    #[arg(long, short, default_value = "table")]
    pub(crate) format: QueryFormat,
    /// Only entries from this index on
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(crate) from: u64,
    /// At most so many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Go on with what is appended, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    /// Read every entry, not the index beside the log, which its operator could have changed
    #[arg(long)]
    pub(crate) no_index: bool,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// A stretch of time.
#[derive(Debug, ClapArgs)]
pub(crate) struct Span {
    /// Not before this day or instant (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this day or instant (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OutcomeName {
    #[value(alias = "allowed")]
    Success,
    #[value(alias = "denied")]
    Refused,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryFormat {
    Table,
    Json,
    /// Entries as stored, one a line
    Jsonl,
    Csv,
}

const REPORT_EXAMPLES: &str = "\
Examples:
  claviger audit report log --since 2026-11-01 --until 2026-12-01
  claviger audit report log --format html --output november.html
  claviger audit report log --format markdown >> \"$GITHUB_STEP_SUMMARY\"
  claviger audit report log --role deploy-prod --role old-admin      roles that nobody asks for, too";

#[derive(Debug, ClapArgs)]
#[command(after_help = REPORT_EXAMPLES)]
pub(crate) struct ReportArgs {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) span: Span,
    /// How the report is written [default: by the ending of --output, else text]
    #[arg(long, short)]
    pub(crate) format: Option<ReportFormat>,
    /// File for the report (`-`: standard output)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A role of the policy; those that nobody asked for are listed. May be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Vec<String>,
    /// A static secret is to be rotated after so many days
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub(crate) rotate_days: u32,
    /// At most so many rows in each table of text and Markdown
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Thresholds of the anomaly rules, as for `audit anomalies`
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Markdown,
    Json,
    /// One page with charts, complete in itself
    Html,
}

const ANOMALIES_EXAMPLES: &str = "\
Examples:
  claviger audit anomalies log
  claviger audit anomalies log --since 2026-11-24 --config anomalies.yaml --format json

The configuration file, with every threshold at its default:
";

/// The thresholds, read from the library's defaults.
fn anomalies_help() -> String {
    let defaults = serde_yaml::to_string(&claviger_audit::report::Config::default()).unwrap_or_default();
    let lines: Vec<String> =
        defaults.lines().filter(|l| !l.starts_with("silence")).map(|l| format!("  {l}")).collect();
    let rules = claviger_audit::report::RULES.iter().map(|r| format!("  {:20} {}", r.id, r.about));
    format!(
        "{ANOMALIES_EXAMPLES}{}\n  silence:\n    - {{ rule: burst, subject: acme/nightly }}\n\nRules:\n{}\n\n\
         Exit status: 0 nothing found, 1 anomalies, 2 the log could not be read.",
        lines.join("\n"),
        rules.collect::<Vec<_>>().join("\n")
    )
}

#[derive(Debug, ClapArgs)]
#[command(after_help = anomalies_help())]
pub(crate) struct Anomalies {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    #[arg(required_unless_present = "schema")]
    pub(crate) dir: Option<PathBuf>,
    /// Only what happened from this day or instant on (UTC); what is usual is learned from the whole log
    #[command(flatten)]
    pub(crate) span: Span,
    /// Thresholds, and what is not to be reported
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the JSON Schema of that file and end
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
    /// How they are written
    #[arg(long, short, default_value = "text")]
    pub(crate) format: AnomalyFormat,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnomalyFormat {
    Text,
    Json,
    /// One finding a line
    Jsonl,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  claviger audit receipt log 4711 --output job.tlog-proof --entry job.json\n\n\
                  Check it with `claviger audit verify --key log.vkey --receipt job.tlog-proof --entry job.json`."
)]
pub(crate) struct ReceiptArgs {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// Index of the entry
    pub(crate) index: u64,
    /// File for the receipt [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// File for the entry, byte for byte as stored
    #[arg(long, value_name = "FILE")]
    pub(crate) entry: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  claviger audit serve log
  claviger audit serve log --listen 127.0.0.1:8443

Only the checkpoint, tiles and bundles are given out (C2SP tlog-tiles), to GET and HEAD. The events in them can be read by
whoever can reach the address: before listening elsewhere than on the loopback, put a proxy with TLS and access control
in front.";

/// How something is served over HTTP.
#[derive(Debug, ClapArgs)]
pub(crate) struct Listen {
    /// Listen on an address that other machines can reach
    #[arg(long)]
    pub(crate) public: bool,
    /// Speak HTTPS with this certificate chain (PEM); read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) how: Listen,
    /// The log's name, for a database that holds several
    #[arg(long, value_name = "NAME")]
    pub(crate) origin: Option<String>,
}
