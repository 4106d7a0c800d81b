//! Flags of the verbs that keep a log: its keys, its old entries, its witnesses, its figures.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{Trust, Writer};

const KEY_EXAMPLES: &str = "\
Examples:
  claviger audit key list log
  claviger audit key rotate log           a second key in log.key signs, too; give its public half to all who verify
  claviger audit key retire log           when all have it: the older key of the two signs no more

Both steps are events of the log (type=log.key) that name both keys. While both sign, every verifier is content that knows
one of them.";

#[derive(Debug, ClapArgs)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Every key that signed, and whether it signs the head
    List(KeyList),
    /// Make a new key, which signs beside the old one from now on
    Rotate(KeyRotate),
    /// End the overlap: the old key signs no more
    Retire(KeyRetire),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct KeyList {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct KeyRotate {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// File for the new private key alone, when the old one is not in a file; it must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) writer: Writer,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct KeyRetire {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// The public key to retire [default: the oldest that signs]
    #[arg(long, value_name = "VKEY")]
    pub(crate) old: Option<String>,
    #[command(flatten)]
    pub(crate) writer: Writer,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  claviger audit prune log --before 2026-01-01 --archive /mnt/archive/prod
  claviger audit prune log --before 4711 --no-archive
  claviger audit verify log --key log.vkey --archive /mnt/archive/prod

Entries go in bundles of 256; the hashes stay, so that every head, proof and receipt can still be checked. That they may be
missing is an event of the log (type=log.pruned); without it, `verify` calls a missing bundle tampering.";

#[derive(Debug, ClapArgs)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(crate) struct Prune {
    /// The log: a directory, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// Entries before this index, or logged before this day or instant (UTC)
    #[arg(long, value_name = "INDEX|TIME")]
    pub(crate) before: String,
    /// Copy them there first
    #[arg(long, value_name = "DIR", required_unless_present = "no_archive")]
    pub(crate) archive: Option<PathBuf>,
    /// They are lost
    #[arg(long, conflicts_with = "archive")]
    pub(crate) no_archive: bool,
    #[command(flatten)]
    pub(crate) writer: Writer,
}

const WITNESS_EXAMPLES: &str = "\
Examples, on a machine that the log's operator does not control:
  claviger audit witness init state --name witness.example/w1
  claviger audit witness serve state --log log.vkey --listen 0.0.0.0:8081 --public
and where the log is, with `witnesses.policy` as
  witness w1 witness.example/w1+1f2e3d4c+BCmsuuF... http://witness.example:8081
  quorum w1
  claviger audit import log events.jsonl --policy witnesses.policy    heads are cosigned before they are published
  claviger audit witness submit log --policy witnesses.policy         of a log that others write: the cosigned head
  claviger audit verify log --key log.vkey --policy witnesses.policy";

#[derive(Debug, ClapArgs)]
#[command(after_help = WITNESS_EXAMPLES)]
pub(crate) struct WitnessArgs {
    #[command(subcommand)]
    pub(crate) verb: WitnessVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessVerb {
    /// Create a witness's directory and key
    Init(WitnessInit),
    /// Be a witness over HTTP (C2SP tlog-witness)
    Serve(WitnessServe),
    /// Ask witnesses for the published head of a log, and print it with their cosignatures
    Submit(WitnessSubmit),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WitnessInit {
    /// Directory for what the witness saw; its private key goes to DIR.key, the public one to DIR.vkey
    pub(crate) dir: PathBuf,
    /// The witness's name for ever: a URL without scheme, of one word
    #[arg(long)]
    pub(crate) name: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WitnessServe {
    /// The witness's directory
    pub(crate) dir: PathBuf,
    /// Public key of a log to cosign, or a file with such keys, one a line; may be repeated
    #[arg(long, value_name = "VKEY|FILE", required = true)]
    pub(crate) log: Vec<String>,
    /// File with the witness's private key [default: DIR.key]; or set CLAVIGER_AUDIT_KEY to the key itself
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) how: super::Listen,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WitnessSubmit {
    /// The log: a directory, https://HOST/PATH, or postgres://HOST/DATABASE
    pub(crate) dir: PathBuf,
    /// Witnesses with their URLs, and the quorum (C2SP tlog-policy)
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// File for the cosigned head [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

const BENCH_EXAMPLES: &str = "\
Examples:
  claviger audit bench
  claviger audit bench --dir /var/lib/claviger --events 1000000
  claviger audit bench --database postgres://127.0.0.1/bench

Makes logs of its own in a folder inside --dir, which is removed at the end; in a database, a log of a name of its own, which
stays. Beside each figure about durability stands what a bare write and sync of the same bytes takes there.";

#[derive(Debug, ClapArgs)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// Where to measure: on the disk that the log will be on
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Events in the log that is verified, queried and reported on
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) events: u64,
    /// How long appends are measured, each time
    #[arg(long, value_name = "S", default_value_t = 3)]
    pub(crate) seconds: u64,
    /// Appends on this database instead
    #[arg(long, value_name = "DSN")]
    pub(crate) database: Option<PathBuf>,
}
