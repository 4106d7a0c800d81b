//! The audit log as the broker sees it: events in, durable when it answers.
//!
//! Appending blocks until the log's next sync. One thread collects whatever waits and hands it over in one call, so that
//! any number of callers share a sync and no runtime thread is ever blocked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use claviger_audit::event::Event;
use claviger_audit::log::{AppendError, Appended};
use claviger_audit::receipt::Receipt;
use claviger_audit::recorder::{RecordError, Recorder};
use tokio::sync::{mpsc, oneshot};

/// The most events that are handed to the log in one call. A caller's events stay together, whatever their number.
const MOST: usize = 1024;

/// Why events were not recorded. Whatever depends on them must not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The events cannot be written down, and were not.
    #[error("the event cannot be recorded: {0}")]
    Refused(String),
    /// The log did not take them now; any number of them may be in it all the same.
    #[error("the audit log is not available: {0}")]
    Unavailable(String),
}

/// An event that is in the log for good.
#[derive(Debug, Clone)]
pub struct Recorded {
    index: u64,
    appended: Option<Appended>,
}

impl Recorded {
    /// In a ledger without proofs.
    pub fn at(index: u64) -> Recorded {
        Recorded { index, appended: None }
    }

    /// Its index in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The proof that it is in the log; computed when asked for.
    pub fn receipt(&self) -> Option<Receipt> {
        self.appended.as_ref().map(Appended::receipt)
    }

    /// The bytes as stored, which a receipt is checked against.
    pub fn entry(&self) -> Option<&[u8]> {
        self.appended.as_ref().map(Appended::entry)
    }
}

impl From<Appended> for Recorded {
    fn from(appended: Appended) -> Recorded {
        Recorded { index: appended.index(), appended: Some(appended) }
    }
}

/// Takes events.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Records events in order; answers when all are durable, with one record for each.
    ///
    /// # Errors
    /// See [`LedgerError`].
    async fn record(&self, events: Vec<Event>) -> Result<Vec<Recorded>, LedgerError>;

    /// Whether the last attempt to record succeeded.
    fn is_healthy(&self) -> bool {
        true
    }
}

/// A ledger that keeps nothing: for a broker that is tried out, and for measuring the code alone.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    count: AtomicU64,
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn record(&self, events: Vec<Event>) -> Result<Vec<Recorded>, LedgerError> {
        let first = self.count.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok((first..).take(events.len()).map(Recorded::at).collect())
    }
}

struct Waiting {
    events: Vec<Event>,
    answer: oneshot::Sender<Result<Vec<Recorded>, LedgerError>>,
}

/// The ledger over an audit log.
pub struct AuditLedger {
    /// Taken when it is closed.
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
    /// Whether the last attempt succeeded.
    healthy: AtomicBool,
}

/// Callers that wait beyond these wait in line for the queue.
const QUEUE: usize = 4096;

impl AuditLedger {
    /// Records into `recorder`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn new(recorder: Arc<Recorder>) -> std::io::Result<AuditLedger> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || serve(&mut { waiting }, &|events| recorder.record_all(events)))?;
        Ok(AuditLedger { queue: Some(queue), thread: Some(thread), healthy: AtomicBool::new(true) })
    }
}

impl Drop for AuditLedger {
    /// Ends the thread once everything that waits was recorded, so that the recorder is free to be closed.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[async_trait]
impl Ledger for AuditLedger {
    async fn record(&self, events: Vec<Event>) -> Result<Vec<Recorded>, LedgerError> {
        let gone = || LedgerError::Unavailable("it was closed".into());
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Waiting { events, answer }).await.map_err(|_| gone())?;
        let result = answered.await.map_err(|_| gone())?;
        // An event that cannot be written down says nothing about the log.
        if !matches!(result, Err(LedgerError::Refused(_))) {
            self.healthy.store(result.is_ok(), Ordering::Relaxed);
        }
        result
    }

    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
}

type Record<'a> = &'a dyn Fn(&[Event]) -> Result<Vec<Appended>, RecordError>;

fn serve(queue: &mut mpsc::Receiver<Waiting>, record: Record<'_>) {
    while let Some(first) = queue.blocking_recv() {
        let mut count = first.events.len();
        let mut batch = vec![first];
        while count < MOST
            && let Ok(next) = queue.try_recv()
        {
            count += next.events.len();
            batch.push(next);
        }
        answer(batch, record);
    }
}

fn answer(batch: Vec<Waiting>, record: Record<'_>) {
    let (mut events, mut lengths, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for waiting in batch {
        lengths.push(waiting.events.len());
        events.extend(waiting.events);
        answers.push(waiting.answer);
    }
    match record(&events) {
        Ok(appended) => {
            let mut appended = appended.into_iter();
            for (length, answer) in lengths.into_iter().zip(answers) {
                let recorded = appended.by_ref().take(length).map(Recorded::from).collect();
                drop(answer.send(Ok(recorded)));
            }
        }
        // Nothing was appended: one caller's event cannot be encoded, which must not spoil the others'.
        Err(RecordError::Event(_)) if answers.len() > 1 => {
            let mut events = events.into_iter();
            for (length, answer) in lengths.into_iter().zip(answers) {
                let events = events.by_ref().take(length).collect();
                self::answer(vec![Waiting { events, answer }], record);
            }
        }
        Err(error) => {
            let error = refusal(&error);
            answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
        }
    }
}

fn refusal(error: &RecordError) -> LedgerError {
    match error {
        RecordError::Event(_) | RecordError::Append(AppendError::Refused(_)) => {
            LedgerError::Refused(error.to_string())
        }
        _ => LedgerError::Unavailable(error.to_string()),
    }
}
