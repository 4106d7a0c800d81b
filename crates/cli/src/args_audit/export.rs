//! Flags of `claviger audit export`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::Trust;

const EXPORT_EXAMPLES: &str = "\
Examples:
  claviger audit export log --format ocsf > events.ocsf.jsonl
  claviger audit export log --format syslog --to tls://siem.example:6514 --cursor siem.cursor --follow
  claviger audit export log --format webhook --to http://127.0.0.1:9000/hook --cursor hook.cursor --webhook-key hook.key
  claviger audit export log --format otlp --to https://otel.example.com/v1/logs --cursor otlp.cursor

TLS trusts the certificates that the system trusts; SSL_CERT_FILE names others.

The cursor holds the next index; after a restart, exporting goes on there. A batch whose delivery was cut off comes again:
tell doubles by origin and index, which every format carries.

Exit status: 0 all delivered, 2 not all; the cursor stands behind the last batch that was.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct Export {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// What each event becomes
    #[arg(long, short, default_value = "jsonl")]
    pub(crate) format: ExportFormat,
    /// `-`, a file to append to, udp://, tcp:// or tls://HOST:PORT (syslog), http:// or https://HOST/PATH (webhook, otlp)
    #[arg(long, value_name = "WHERE", default_value = "-")]
    pub(crate) to: String,
    /// File that remembers how far it came; needed for everything but standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) cursor: Option<PathBuf>,
    /// Go on with what is appended, until interrupted
    #[arg(long, requires = "cursor")]
    pub(crate) follow: bool,
    /// How often a batch is tried again, with growing pauses
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) retries: u32,
    /// File with the secret that signs webhooks; or set CLAVIGER_WEBHOOK_KEY to the secret itself
    #[arg(long, value_name = "FILE")]
    pub(crate) webhook_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Entries as stored, one a line
    Jsonl,
    /// OCSF 1.8, one JSON object a line
    Ocsf,
    /// ArcSight Common Event Format
    Cef,
    /// RFC 5424
    Syslog,
    /// Signed CloudEvents batches
    Webhook,
    /// OpenTelemetry logs
    Otlp,
}
