//! Walks the forest from its roots, in all threads, and hands each object to a visitor.
//!
//! Depth first: an object waits in memory only as long as something is still to be built from it. A branch that is
//! large beside the whole becomes a job of its own, so that one huge tree keeps all threads busy. No recursion: chains
//! are as long as whoever wrote the pack likes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libdeflater::Decompressor;
use rayon::Scope;

use super::delta;
use super::entry::inflate;
use super::forest::Packs;
use super::{MAX_HELD, MAX_OBJECT};
use crate::engine::Copied;
use crate::scan::Monitor;
use crate::source::git::bits::Bits;

/// Jobs for each thread, at least: enough that no thread waits long for the last one.
const JOBS_PER_THREAD: u64 = 24;
/// Buffers that a job keeps for its next objects.
const MAX_SPARE: usize = 8;
/// Largest buffer that is kept, in bytes.
const MAX_SPARE_BYTES: usize = 4 * 1024 * 1024;

/// What is done with objects.
pub(super) trait Visitor: Sync {
    /// What is kept of an object for those that are built from it.
    type Held: Send + Sync;
    /// What one job found.
    type Job: Default + Send;

    /// An object. `base` is what it was built from, unless that was dropped from memory in between; `is_base` says
    /// whether anything is built from this one.
    fn visit(
        &self,
        job: &mut Self::Job,
        entry: u32,
        bytes: &[u8],
        base: Option<Base<'_, Self::Held>>,
        is_base: bool,
    ) -> Self::Held;

    /// Bytes of memory that are kept with an object.
    fn size(held: &Self::Held) -> usize;

    /// An object that could not be built here: damaged, too large, built from such a one, or the scan was cancelled.
    fn fail(&self, job: &mut Self::Job, entry: u32);
}

/// The object that another was built from.
pub(super) struct Base<'a, H> {
    pub(super) bytes: &'a [u8],
    pub(super) held: &'a H,
    /// What of it is in the new object.
    pub(super) runs: &'a [Copied],
}

/// An object in memory.
struct Node<H> {
    bytes: Vec<u8>,
    /// Missing when it was built a second time, after it was dropped.
    held: Option<H>,
    /// Bytes of both.
    size: usize,
}

/// An object to build.
struct Todo<H> {
    entry: u32,
    from: From<H>,
}

enum From<H> {
    /// It is whole.
    Nothing,
    Node(Arc<Node<H>>),
    /// The base was dropped and must be built again.
    Dropped,
}

/// Buffers of a thread.
struct Scratch {
    zlib: Decompressor,
    delta: Vec<u8>,
    runs: Vec<Copied>,
    spare: Vec<Vec<u8>>,
    /// Entries inflated in this job, and their bytes.
    entries: u64,
    inflated: u64,
}

struct Walk<'a, V: Visitor> {
    packs: &'a Packs,
    needed: &'a Bits,
    visitor: &'a V,
    monitor: &'a Monitor,
    weights: Vec<u32>,
    /// Weight from which on a branch is a job of its own.
    split: u32,
    /// Bytes of all nodes.
    held: AtomicUsize,
    max_held: usize,
    /// Held to push or pop only, as is `done`.
    idle: Mutex<Vec<Scratch>>,
    done: Mutex<Vec<V::Job>>,
}

/// Visits every needed entry below the roots of the forest. `needed` holds the bases of all it holds.
pub(super) fn walk<V: Visitor>(packs: &Packs, needed: &Bits, visitor: &V, monitor: &Monitor) -> Vec<V::Job> {
    walk_within(packs, needed, visitor, monitor, MAX_HELD)
}

/// The same with another bound for the bytes that wait.
pub(super) fn walk_within<V: Visitor>(
    packs: &Packs,
    needed: &Bits,
    visitor: &V,
    monitor: &Monitor,
    max_held: usize,
) -> Vec<V::Job> {
    let weights = packs.weights(needed);
    let roots: Vec<u32> = (0..packs.len() as u32)
        .filter(|entry| needed.contains(*entry) && packs.base_of(*entry).is_none())
        .collect();
    let total: u64 = roots.iter().map(|root| u64::from(weights[*root as usize])).sum();
    let share = total / (JOBS_PER_THREAD * rayon::current_num_threads() as u64);
    let split = u32::try_from(share.max(256)).unwrap_or(u32::MAX);
    let walk = Walk {
        packs,
        needed,
        visitor,
        monitor,
        weights,
        split,
        held: AtomicUsize::new(0),
        max_held,
        idle: Mutex::new(Vec::new()),
        done: Mutex::new(Vec::new()),
    };
    rayon::scope(|scope| {
        let mut start: Vec<Todo<V::Held>> = Vec::new();
        let mut weight = 0_u32;
        for root in roots {
            start.push(Todo { entry: root, from: From::Nothing });
            weight = weight.saturating_add(walk.weights[root as usize]);
            if weight >= walk.split {
                let job = std::mem::take(&mut start);
                let walk = &walk;
                scope.spawn(move |scope| walk.job(scope, job));
                weight = 0;
            }
        }
        walk.job(scope, start);
    });
    walk.done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl<V: Visitor> Walk<'_, V> {
    fn job<'s>(&'s self, scope: &Scope<'s>, mut stack: Vec<Todo<V::Held>>) {
        let idle = lock(&self.idle).pop();
        let mut scratch = idle.unwrap_or_else(|| Scratch {
            zlib: Decompressor::new(),
            delta: Vec::new(),
            runs: Vec::new(),
            spare: Vec::new(),
            entries: 0,
            inflated: 0,
        });
        let mut job = V::Job::default();
        // The last is taken first; in the order of their place in the pack, the system reads ahead.
        stack.reverse();
        let mut dropped = 0;
        while let Some(todo) = stack.pop() {
            if self.monitor.is_cancelled() {
                self.fail(&mut job, todo.entry);
                self.release(todo.from, &mut scratch);
                continue;
            }
            self.step(scope, todo, &mut stack, &mut job, &mut scratch);
            dropped = dropped.min(stack.len());
            // Those at the bottom are needed last; the top is needed next.
            while self.held.load(Ordering::Relaxed) > self.max_held && dropped + 1 < stack.len() {
                let from = std::mem::replace(&mut stack[dropped].from, From::Dropped);
                match from {
                    From::Nothing => stack[dropped].from = From::Nothing,
                    from => self.release(from, &mut scratch),
                }
                dropped += 1;
            }
        }
        self.monitor.inflated(std::mem::take(&mut scratch.entries), std::mem::take(&mut scratch.inflated));
        lock(&self.idle).push(scratch);
        lock(&self.done).push(job);
    }

    /// Builds an object, shows it to the visitor, and puts what is built from it on the stack.
    fn step<'s>(
        &'s self,
        scope: &Scope<'s>,
        todo: Todo<V::Held>,
        stack: &mut Vec<Todo<V::Held>>,
        job: &mut V::Job,
        scratch: &mut Scratch,
    ) {
        let Todo { entry, mut from } = todo;
        let mut bytes = scratch.spare.pop().unwrap_or_default();
        if let From::Dropped = from
            && let Some(base) = self.packs.base_of(entry)
            && let Some(bytes) = self.rebuild(base, scratch)
        {
            let size = bytes.len();
            self.held.fetch_add(size, Ordering::Relaxed);
            let node = Arc::new(Node { bytes, held: None, size });
            // Its siblings come next and need the same.
            for next in stack.iter_mut().rev() {
                if !matches!(next.from, From::Dropped) || self.packs.base_of(next.entry) != Some(base) {
                    break;
                }
                next.from = From::Node(Arc::clone(&node));
            }
            from = From::Node(node);
        }
        let is_built = match &from {
            From::Nothing => self.whole(entry, &mut bytes, scratch),
            From::Node(node) => self.build(entry, &node.bytes, &mut bytes, scratch),
            From::Dropped => None,
        };
        if is_built.is_none() {
            self.fail(job, entry);
        } else {
            let base = match &from {
                From::Node(node) => node.held.as_ref().map(|held| Base {
                    bytes: &node.bytes,
                    held,
                    runs: &scratch.runs,
                }),
                _ => None,
            };
            let is_base = self.packs.children(entry).iter().any(|child| self.needed.contains(*child));
            let held = self.visitor.visit(job, entry, &bytes, base, is_base);
            bytes = self.push_children(scope, entry, bytes, held, stack);
        }
        scratch.keep(bytes);
        self.release(from, scratch);
    }

    /// Gives the buffer back when nothing is built from it.
    fn push_children<'s>(
        &'s self,
        scope: &Scope<'s>,
        entry: u32,
        bytes: Vec<u8>,
        held: V::Held,
        stack: &mut Vec<Todo<V::Held>>,
    ) -> Vec<u8> {
        let children = self.packs.children(entry);
        let mut wanted = children.iter().rev().filter(|child| self.needed.contains(**child)).peekable();
        if wanted.peek().is_none() {
            return bytes;
        }
        let size = bytes.len() + V::size(&held);
        self.held.fetch_add(size, Ordering::Relaxed);
        let node = Arc::new(Node { bytes, held: Some(held), size });
        while let Some(&child) = wanted.next() {
            let todo = Todo { entry: child, from: From::Node(Arc::clone(&node)) };
            // The last one stays: a chain that never branches gains nothing by a job for each of its links.
            if self.weights[child as usize] >= self.split && wanted.peek().is_some() {
                scope.spawn(move |scope| self.job(scope, vec![todo]));
            } else {
                stack.push(todo);
            }
        }
        Vec::new()
    }

    fn whole(&self, entry: u32, out: &mut Vec<u8>, scratch: &mut Scratch) -> Option<()> {
        let (size, packed) = self.packs.content(entry)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_OBJECT)?;
        scratch.entries += 1;
        scratch.inflated += size as u64;
        inflate(&mut scratch.zlib, packed, size, out).then_some(())
    }

    fn build(&self, entry: u32, base: &[u8], out: &mut Vec<u8>, scratch: &mut Scratch) -> Option<()> {
        let (size, packed) = self.packs.content(entry)?;
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_OBJECT)?;
        scratch.entries += 1;
        scratch.inflated += size as u64;
        if !inflate(&mut scratch.zlib, packed, size, &mut scratch.delta) {
            return None;
        }
        delta::apply(base, &scratch.delta, MAX_OBJECT, out, &mut scratch.runs)
    }

    /// Builds an object from its root on.
    fn rebuild(&self, entry: u32, scratch: &mut Scratch) -> Option<Vec<u8>> {
        let mut chain = vec![entry];
        while let Some(base) = chain.last().and_then(|at| self.packs.base_of(*at)) {
            chain.push(base);
        }
        let (mut bytes, mut next) = (Vec::new(), Vec::new());
        self.whole(chain.pop()?, &mut bytes, scratch)?;
        while let Some(entry) = chain.pop() {
            self.build(entry, &bytes, &mut next, scratch)?;
            std::mem::swap(&mut bytes, &mut next);
        }
        Some(bytes)
    }

    /// Tells the visitor of an object that cannot be built, and of all that is built from it.
    fn fail(&self, job: &mut V::Job, entry: u32) {
        let mut below = vec![entry];
        while let Some(entry) = below.pop() {
            self.visitor.fail(job, entry);
            below.extend(self.packs.children(entry).iter().filter(|child| self.needed.contains(**child)));
        }
    }

    fn release(&self, from: From<V::Held>, scratch: &mut Scratch) {
        if let From::Node(node) = from
            && let Some(node) = Arc::into_inner(node)
        {
            self.held.fetch_sub(node.size, Ordering::Relaxed);
            scratch.keep(node.bytes);
        }
    }
}

impl Scratch {
    fn keep(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE && (1..=MAX_SPARE_BYTES).contains(&buffer.capacity()) {
            self.spare.push(buffer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
