//! A line of progress on the terminal, for scans that take longer than a blink.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use claviger_scanner::scan::{Monitor, Progress};
use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressStyle};

/// Shorter scans show nothing.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Time between two looks.
const TICK: Duration = Duration::from_millis(100);

/// Shows the progress of a monitor until dropped.
#[derive(Debug)]
pub(crate) struct Display {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Begins to show progress on standard error, if that is a terminal.
    pub(crate) fn start(monitor: &Arc<Monitor>, quiet: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if quiet || !std::io::stderr().is_terminal() {
            return Display { done, thread: None };
        }
        let thread = thread::spawn({
            let (monitor, done) = (Arc::clone(monitor), Arc::clone(&done));
            move || show(&monitor, &done)
        });
        Display { done, thread: Some(thread) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the display must not end the scan.
            let _ = thread.join();
        }
    }
}

fn show(monitor: &Monitor, done: &AtomicBool) {
    let start = Instant::now();
    while start.elapsed() < QUIET_FOR {
        if done.load(Ordering::Relaxed) {
            return;
        }
        thread::park_timeout(TICK);
    }
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    while !done.load(Ordering::Relaxed) {
        bar.set_message(line(&monitor.progress(), start.elapsed()));
        bar.tick();
        thread::park_timeout(TICK);
    }
    bar.finish_and_clear();
}

fn line(now: &Progress, elapsed: Duration) -> String {
    let of = if now.total > 0 { format!(" of {}", HumanCount(now.total)) } else { String::new() };
    let rate = (now.bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    format!(
        "{}: {}{of}, {} ({}/s), {} possible secrets",
        now.phase,
        HumanCount(now.done),
        DecimalBytes(now.bytes),
        DecimalBytes(rate),
        HumanCount(now.hits),
    )
}
