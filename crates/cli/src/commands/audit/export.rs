//! `claviger audit export`: events to another system, in order, each at least once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use claviger_audit::export::{
    Cursor, ExportError, Outgoing, SinkError, Syslog, cef, cloud_events, export, ocsf, otlp, signature,
    syslog,
};
use claviger_audit::reader::Reader;

use super::query::POLL;
use super::screen::Screen;
use super::transport::{Encode, Http, Lineout, Lines, Stream, Udp, WayOut};
use super::{key, keys, open};
use crate::Outcome;
use crate::args_audit::{Export, ExportFormat};
use crate::warn;

/// The variable that may hold the secret for webhooks.
const WEBHOOK_VARIABLE: &str = "CLAVIGER_WEBHOOK_KEY";
/// Shortest secret that signs webhooks, in bytes: shorter ones can be guessed from one signature.
const MIN_WEBHOOK_KEY: usize = 16;
/// The header with the signature.
const SIGNATURE_HEADER: &str = "Claviger-Signature";
/// Longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(60);

pub(super) fn run(args: &Export) -> anyhow::Result<Outcome> {
    let mut sink = sink(args)?;
    let mut reader = open(&args.dir, &args.trust)?;
    let Some(cursor) = &args.cursor else {
        ensure!(
            args.to == "-",
            "--to {}: needs a --cursor, so that nothing is left out after a restart",
            args.to
        );
        all(&reader, &mut *sink)?;
        return Ok(Outcome::Clean);
    };
    let cursor = Cursor::new(cursor);
    let keys = keys(&args.trust.key)?;
    loop {
        deliver(&reader, &cursor, &mut *sink, args.retries)?;
        if !args.follow {
            return Ok(Outcome::Clean);
        }
        let before = reader.size();
        while reader.size() == before {
            std::thread::sleep(POLL);
            reader.refresh(&keys).with_context(|| format!("{}", args.dir.display()))?;
        }
    }
}

/// Delivers up to the head. What a receiver does not take now comes again, after pauses that grow; progress begins the
/// count anew.
fn deliver(reader: &Reader, cursor: &Cursor, sink: &mut dyn WayOut, retries: u32) -> anyhow::Result<()> {
    let (mut tries, mut stuck_at) = (0, None);
    loop {
        let (index, why) = match export(reader, cursor, &mut *sink) {
            Ok(_) => return Ok(()),
            Err(ExportError::Sink { index, source: SinkError::Again(why) }) => (index, why),
            Err(e) => return Err(sink.failure().map_or_else(|| e.into(), anyhow::Error::from)),
        };
        if stuck_at != Some(index) {
            (tries, stuck_at) = (0, Some(index));
        }
        if tries == retries {
            bail!("entry {index}: {why}; given up after {} tries, the cursor stands there", tries + 1);
        }
        let pause = MAX_PAUSE.min(Duration::from_millis(200) * (1 << tries.min(16)));
        warn(&format!("entry {index}: {why}; trying again in {:.1} s", pause.as_secs_f64()));
        std::thread::sleep(pause);
        tries += 1;
    }
}

/// Everything, once, without a cursor.
fn all(reader: &Reader, sink: &mut dyn WayOut) -> anyhow::Result<()> {
    let origin = reader.head().checkpoint().origin.clone();
    for number in 0..reader.bundles() {
        let bundle = match reader.bundle(number) {
            // Pruned, as for queries.
            Err(e) if e.is_missing() => continue,
            other => other?,
        };
        let events = bundle.entries().filter_map(|(index, entry)| Outgoing::new(&origin, index, entry).ok());
        let batch: Vec<Outgoing> = events.collect();
        if let Err(e) = sink.deliver(&batch) {
            let error = sink.failure().map_or_else(|| e.into(), anyhow::Error::from);
            return Err(error.context("standard output"));
        }
    }
    Ok(())
}

fn sink(args: &Export) -> anyhow::Result<Box<dyn WayOut>> {
    let (scheme, rest) = args.to.split_once("://").unwrap_or(("", args.to.as_str()));
    let by_http = matches!(args.format, ExportFormat::Webhook | ExportFormat::Otlp);
    let is_syslog = args.format == ExportFormat::Syslog;
    Ok(match scheme {
        "" if args.format == ExportFormat::Webhook => {
            bail!("--format webhook goes --to https://HOST/PATH")
        }
        "" if rest == "-" => Box::new(Lines::new(Lineout::Screen(Screen::new()), encode(args.format))),
        "" => Box::new(Lines::new(Lineout::file(Path::new(rest))?, encode(args.format))),
        "udp" if is_syslog => Box::new(Udp::new(rest, encode(args.format))?),
        "tcp" if is_syslog => Box::new(Stream::tcp(rest, encode(args.format))),
        "tls" if is_syslog => Box::new(Stream::tls(rest, encode(args.format))?),
        "http" | "https" if by_http => http(args)?,
        "udp" | "tcp" | "tls" => bail!("--to {scheme}://... goes with --format syslog"),
        "http" | "https" => bail!("--to {scheme}://... goes with --format webhook or otlp"),
        _ => bail!(
            "--to: `{scheme}://` is not known; there are -, a file, udp://, tcp://, tls://, http:// and https://"
        ),
    })
}

fn http(args: &Export) -> anyhow::Result<Box<dyn WayOut>> {
    if args.format == ExportFormat::Otlp {
        let http = Http::new(&args.to, "application/json", Box::new(|_| Vec::new()), encode(args.format))?;
        return Ok(Box::new(http));
    }
    let secret = match &args.webhook_key {
        Some(path) => key::read_secret(path)?,
        None => key::from_environment(WEBHOOK_VARIABLE)?
            .with_context(|| format!("webhooks are signed: give --webhook-key, or set {WEBHOOK_VARIABLE}"))?,
    };
    let long = secret.trim().len() >= MIN_WEBHOOK_KEY;
    ensure!(long, "the secret for webhooks is shorter than {MIN_WEBHOOK_KEY} bytes");
    let headers = move |body: &[u8]| {
        let now = jiff::Timestamp::now().as_second();
        vec![(SIGNATURE_HEADER, signature(secret.trim().as_bytes(), now, body))]
    };
    let content_type = "application/cloudevents-batch+json";
    Ok(Box::new(Http::new(&args.to, content_type, Box::new(headers), encode(args.format))?))
}

fn encode(format: ExportFormat) -> Encode {
    fn each(one: impl Fn(&Outgoing) -> Vec<u8> + 'static) -> Encode {
        Box::new(move |batch| batch.iter().map(&one).collect())
    }
    match format {
        ExportFormat::Jsonl => each(|out| out.entry.clone()),
        ExportFormat::Ocsf => each(|out| ocsf(out).to_string().into_bytes()),
        ExportFormat::Cef => each(|out| cef(out).into_bytes()),
        ExportFormat::Syslog => {
            let from = Syslog { hostname: hostname(), procid: std::process::id() };
            each(move |out| syslog(out, &from).into_bytes())
        }
        ExportFormat::Webhook => Box::new(|batch| vec![cloud_events(batch).to_string().into_bytes()]),
        ExportFormat::Otlp => Box::new(|batch| vec![otlp(batch).to_string().into_bytes()]),
    }
}

/// This machine's name, as far as it can be read without a system call.
fn hostname() -> String {
    let file = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name =
        file.ok().or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    name.map_or_else(|| "-".to_owned(), |name| name.trim().to_owned())
}
