//! `claviger audit import`: JSON lines in, durable entries out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use claviger_audit::event::{Event, EventError};
use claviger_audit::recorder::Recorder;

use super::init::writer;
use crate::Outcome;
use crate::args_audit::Import;
use crate::commands::print;
use crate::warn;

/// Longest line, in bytes. Of a long event, the long fields become their hashes; of a longer line, nothing is read.
const MAX_LINE: u64 = 16 << 20;
/// Events that are made durable together, at most.
const BATCH: usize = 4096;
/// Bytes of events that wait for that, at most.
const BATCH_BYTES: usize = 8 << 20;

pub(super) fn run(args: &Import) -> anyhow::Result<Outcome> {
    // Opened before the log: a file that is missing must not leave entries about an import that was none.
    let input: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.file).with_context(|| format!("{}", args.file.display()))?)
    };
    let recorder = writer(&args.dir, &args.writer)?;
    if let Some(torn) = &recorder.log().recovery().torn {
        warn(&format!(
            "a crash left {} bytes of a batch at the end of {}, which were cut; nobody had been told that they were logged",
            torn.bytes, torn.segment
        ));
    }
    let name =
        if args.file == Path::new("-") { "standard input".into() } else { args.file.display().to_string() };
    let mut intake = Intake {
        recorder,
        name,
        keep_going: args.keep_going,
        batch: Vec::new(),
        bytes: 0,
        counts: Counts::default(),
    };
    // The log is closed properly whatever the input was; the input's error comes first.
    let read = intake.read(&mut BufReader::with_capacity(1 << 20, input));
    let counts = intake.counts;
    let closed = intake.recorder.close();
    if let Err(error) = read {
        return Err(error.context(format!("{} events were logged", counts.logged)));
    }
    let head =
        closed.context("the events are durable, but not all are published; the next writer does that")?;
    let mut text =
        format!("{} events logged; the log has {} entries\n", counts.logged, head.checkpoint().size);
    if counts.left_out > 0 {
        text += &format!(
            "{} events of type log.* left out: they are words of a log about itself\n",
            counts.left_out
        );
    }
    if counts.bad > 0 {
        text += &format!("{} lines left out that are no events\n", counts.bad);
    }
    print(&text)?;
    Ok(if counts.bad > 0 { Outcome::Incomplete } else { Outcome::Clean })
}

#[derive(Clone, Copy, Default)]
struct Counts {
    /// Durable.
    logged: u64,
    /// Of type `log.*`.
    left_out: u64,
    /// Not events.
    bad: u64,
}

struct Intake {
    recorder: Recorder,
    /// The input's.
    name: String,
    keep_going: bool,
    /// Encoded by the recorder later; kept as events so that each is checked when its line is at hand.
    batch: Vec<Event>,
    bytes: usize,
    counts: Counts,
}

impl Intake {
    fn read(&mut self, input: &mut BufReader<Box<dyn Read>>) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            let taken = match next_line(input, &mut line).with_context(|| self.name.clone())? {
                Line::End => break,
                Line::Whole if line.trim_ascii().is_empty() => Ok(()),
                Line::Whole => self.take(&line),
                Line::TooLong => Err(format!("longer than {MAX_LINE} bytes")),
            };
            if let Err(why) = taken {
                // What came before is good, and durable before anybody hears of the bad line.
                self.flush()?;
                let place = format!("{}:{number}: {why}", self.name);
                if !self.keep_going {
                    bail!("{place}");
                }
                warn(&place);
                self.counts.bad += 1;
            }
            // Who writes line by line and waits is answered line by line.
            if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES || input.buffer().is_empty() {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let mut event = Event::parse(line).map_err(|e| e.to_string())?;
        event.imported = true;
        if event.action.kind().starts_with("log.") {
            // `log.pruned` allows entries to be missing: nobody but the log may say that.
            self.counts.left_out += 1;
            return Ok(());
        }
        if line.len() > claviger_audit::event::MAX_EVENT {
            // Refused here, where the line's number is known, if even its hashes are too long.
            event.encode().map_err(|e: EventError| e.to_string())?;
        }
        self.bytes += line.len();
        self.batch.push(event);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if !batch.is_empty() {
            self.recorder.record_all(&batch).context("the log did not take the events")?;
            self.counts.logged += batch.len() as u64;
        }
        Ok(())
    }
}

enum Line {
    End,
    Whole,
    TooLong,
}

/// Reads one line; of one that is too long, the rest is skipped.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    if input.by_ref().take(MAX_LINE + 1).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.len() as u64 <= MAX_LINE || line.ends_with(b"\n") {
        return Ok(Line::Whole);
    }
    input.skip_until(b'\n')?;
    Ok(Line::TooLong)
}
