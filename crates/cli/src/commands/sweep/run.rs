//! Runs a sweep: a few threads make repositories ready, the pool scans them.
//!
//! What is ready waits in a heap, the largest first. At most as many repositories are scanned at once as the pool has
//! threads. The parallel parts of a large one are in the same pool: they take whatever thread has nothing to do, so
//! small ones do not wait for it, and it does not wait alone at the end.

use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use claviger_scanner::path::printable;
use claviger_scanner::scan::Monitor;

use super::mirror::{Mirrors, size};
use super::model::{Status, Target, Where};
use super::one::{Interrupted, Scanner, is_damage};
use super::state::{Known, State, Swept};

/// A sweep under way.
pub(super) struct Sweep<'a> {
    pub(super) number: i64,
    pub(super) targets: &'a [Target],
    pub(super) scanner: &'a Scanner,
    pub(super) state: &'a dyn State,
    pub(super) mirrors: Option<Mirrors<'a>>,
    /// Counts repositories.
    pub(super) monitor: Arc<Monitor>,
    /// The monitors of the repositories that are being scanned.
    pub(super) active: Arc<Mutex<Vec<Arc<Monitor>>>>,
    pub(super) stop: &'a AtomicBool,
    pub(super) now: i64,
    pub(super) fetches: usize,
    pub(super) threads: usize,
}

/// A repository that can be scanned. Ordered by size.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    bytes: u64,
    index: usize,
    path: PathBuf,
}

/// What waits and who works; held to push and pop alone.
#[derive(Default)]
struct Queue {
    ready: BinaryHeap<Ready>,
    working: usize,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sweep<'_> {
    /// Deals with every repository.
    ///
    /// # Errors
    /// Only when the state cannot be read or written: what one repository says is kept as its result.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        self.monitor.phase("sweeping repositories", self.targets.len() as u64);
        let (queue, next, fault) = (Mutex::new(Queue::default()), AtomicUsize::new(0), Mutex::new(None));
        rayon::in_place_scope(|pool| {
            std::thread::scope(|threads| {
                for _ in 0..self.fetches.min(self.targets.len()).max(1) {
                    threads.spawn(|| {
                        while let Some(ready) = self.prepare(&next, &fault) {
                            let mut waiting = lock(&queue);
                            waiting.ready.push(ready);
                            if waiting.working < self.threads {
                                waiting.working += 1;
                                pool.spawn(|_| self.work(&queue, &fault));
                            }
                        }
                    });
                }
            });
        });
        fault.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The next repository that must be scanned, its mirror as new as the original.
    fn prepare(&self, next: &AtomicUsize, fault: &Mutex<Option<anyhow::Error>>) -> Option<Ready> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let target = self.targets.get(index).filter(|_| !self.stop.load(Ordering::Relaxed))?;
            let path = match self.state.is_done(self.number, &target.name, self.now) {
                Ok(true) => {
                    self.monitor.advance(0, 0);
                    continue;
                }
                Ok(false) => self.place(target),
                Err(e) => {
                    self.fail(fault, e);
                    return None;
                }
            };
            match path {
                Ok(path) => return Some(Ready { bytes: size(&path), index, path }),
                Err(_) if self.stop.load(Ordering::Relaxed) => return None,
                Err(e) => self.keep(target, &failed(&e), fault),
            }
        }
    }

    fn place(&self, target: &Target) -> anyhow::Result<PathBuf> {
        match (&target.at, &self.mirrors) {
            (Where::Path(path), _) => {
                anyhow::ensure!(path.exists(), "no such file or directory");
                Ok(path.clone())
            }
            (Where::Url(url), Some(mirrors)) => mirrors.update(target, url),
            (Where::Url(_), None) => anyhow::bail!("no folder for mirrors"),
        }
    }

    /// Scans what waits until nothing does.
    fn work(&self, queue: &Mutex<Queue>, fault: &Mutex<Option<anyhow::Error>>) {
        loop {
            let mut waiting = lock(queue);
            let ready = waiting.ready.pop().filter(|_| !self.stop.load(Ordering::Relaxed));
            let Some(ready) = ready else {
                waiting.working -= 1;
                return;
            };
            drop(waiting);
            let target = &self.targets[ready.index];
            match self.result(target, &ready.path) {
                Ok(result) => self.keep(target, &result, fault),
                Err(e) if e.is::<Interrupted>() => {}
                Err(e) => self.fail(fault, e),
            }
        }
    }

    /// A repository's result.
    ///
    /// # Errors
    /// [`Interrupted`], or the state cannot be read.
    fn result(&self, target: &Target, path: &std::path::Path) -> anyhow::Result<Swept> {
        let known = self.state.known(&target.name)?;
        let first = self.scan(target, path, known.as_ref());
        let is_bad = match &first {
            Ok(result) => result.status == Status::Incomplete && is_damage(&result.why),
            Err(e) => !e.is::<Interrupted>(),
        };
        let again = match (&target.at, &self.mirrors) {
            (Where::Url(url), Some(mirrors)) if is_bad => {
                mirrors.renew(target, url).and_then(|path| self.scan(target, &path, known.as_ref()))
            }
            _ => first,
        };
        match again {
            Err(e) if e.is::<Interrupted>() || self.stop.load(Ordering::Relaxed) => Err(Interrupted.into()),
            Err(e) => Ok(failed(&e)),
            ok => ok,
        }
    }

    fn scan(&self, target: &Target, path: &std::path::Path, known: Option<&Known>) -> anyhow::Result<Swept> {
        let monitor = Arc::new(Monitor::default());
        lock(&self.active).push(Arc::clone(&monitor));
        if self.stop.load(Ordering::Relaxed) {
            monitor.cancel();
        }
        // A defect that one repository brings to light must not end the sweep of the others.
        let run = || self.scanner.scan(&target.name, path, known, &monitor);
        let result = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the scan broke off: a defect of claviger")));
        lock(&self.active).retain(|other| !Arc::ptr_eq(other, &monitor));
        let progress = monitor.progress();
        self.monitor.advance(progress.bytes, progress.hits);
        result
    }

    fn keep(&self, target: &Target, result: &Swept, fault: &Mutex<Option<anyhow::Error>>) {
        if result.status == Status::Failed {
            self.monitor.advance(0, 0);
        }
        if let Err(e) = self.state.save(self.number, &target.name, self.now, result) {
            self.fail(fault, e);
        }
    }

    fn fail(&self, fault: &Mutex<Option<anyhow::Error>>, error: anyhow::Error) {
        lock(fault).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn failed(error: &anyhow::Error) -> Swept {
    Swept { status: Status::Failed, why: printable(format!("{error:#}").as_bytes()), news: None }
}
