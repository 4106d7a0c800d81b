//! A file layer in memory that can lose power, tear writes, and fail any call.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use claviger_audit::files::{Files, Writer};
use claviger_audit::note::{KeyKind, SigningKey};

pub const ORIGIN: &str = "audit.example/test";

pub fn key() -> SigningKey {
    SigningKey::from_seed(ORIGIN, KeyKind::Ed25519, &[7; 32]).unwrap()
}

/// A small generator, so that a seed is enough to repeat a run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The call that fails, counted from 1.
    pub at: u64,
    pub kind: FaultKind,
    /// Does every later call fail too?
    pub forever: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The call has no effect and fails.
    Before,
    /// The call has its effect and fails all the same.
    After,
    /// A write has half its effect. A sync drops what it should have made durable, and says so once.
    Half,
    /// From here on nothing works: the process or the machine is gone.
    Dead,
}

#[derive(Default)]
struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// Unsynced changes, in order.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Truncate,
    Write(usize, Vec<u8>),
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
    MakeDir(String),
    RemoveDir(String),
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    dirs: BTreeSet<String>,
    durable_names: BTreeMap<String, usize>,
    durable_dirs: BTreeSet<String>,
    pending: BTreeMap<String, Vec<NameChange>>,
    locked: BTreeSet<String>,
    calls: u64,
    fault: Option<Fault>,
}

/// The layer. Clones share one state.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned())
}

fn broken() -> io::Error {
    io::Error::other("injected fault")
}

impl State {
    /// Counts a changing call: what should become of it?
    fn call(&mut self) -> Option<FaultKind> {
        self.calls += 1;
        let fault = self.fault?;
        (self.calls == fault.at || (self.calls > fault.at && fault.forever)).then_some(fault.kind)
    }

    fn change(&mut self, change: NameChange) {
        let dir = match &change {
            NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path, _) => {
                parent(path)
            }
            NameChange::MakeDir(path) | NameChange::RemoveDir(path) => parent(path),
        };
        apply(&change, &mut self.names, &mut self.dirs);
        self.pending.entry(dir).or_default().push(change);
    }

    fn existing(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn apply(change: &NameChange, names: &mut BTreeMap<String, usize>, dirs: &mut BTreeSet<String>) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        NameChange::MakeDir(path) => {
            dirs.insert(path.clone());
        }
        NameChange::RemoveDir(path) => {
            dirs.remove(path);
        }
    }
}

fn apply_write(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate => content.clear(),
        Change::Write(at, bytes) => {
            if content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    pub fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// Fails a call from now on; counts anew.
    pub fn inject(&self, fault: Option<Fault>) {
        let mut state = self.0.lock().unwrap();
        state.calls = 0;
        state.fault = fault;
    }

    /// The process ended, the machine did not: all that was written stays.
    pub fn process_died(&self) {
        let mut state = self.0.lock().unwrap();
        state.locked.clear();
        state.fault = None;
    }

    /// The machine lost power: of what was not synced any part, in any order, torn at sectors, is there afterwards.
    pub fn power_lost(&self, rng: &mut Rng) {
        let mut state = self.0.lock().unwrap();
        let state = &mut *state;
        state.locked.clear();
        state.fault = None;
        for inode in &mut state.inodes {
            for change in std::mem::take(&mut inode.pending) {
                match &change {
                    Change::Truncate if rng.coin() => inode.durable.clear(),
                    Change::Truncate => {}
                    Change::Write(at, bytes) => {
                        for (n, sector) in bytes.chunks(512).enumerate() {
                            if rng.below(4) > 0 {
                                apply_write(
                                    &mut inode.durable,
                                    &Change::Write(at + n * 512, sector.to_vec()),
                                );
                            }
                        }
                    }
                }
            }
            inode.cache = inode.durable.clone();
        }
        for changes in std::mem::take(&mut state.pending).into_values() {
            for change in changes {
                if rng.coin() {
                    apply(&change, &mut state.durable_names, &mut state.durable_dirs);
                }
            }
        }
        let dirs = state.durable_dirs.clone();
        state.durable_names.retain(|path, _| parent(path).is_empty() || dirs.contains(&parent(path)));
        state.names = state.durable_names.clone();
        state.dirs = state.durable_dirs.clone();
    }

    /// Every file with its content.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[*inode].cache.clone())).collect()
    }

    /// A layer with these files, all durable.
    pub fn restore(files: &BTreeMap<String, Vec<u8>>) -> Memory {
        let memory = Memory::new();
        {
            let mut state = memory.0.lock().unwrap();
            for (path, content) in files {
                state.inodes.push(Inode {
                    cache: content.clone(),
                    durable: content.clone(),
                    pending: vec![],
                });
                let inode = state.inodes.len() - 1;
                state.names.insert(path.clone(), inode);
                let mut dir = parent(path);
                while !dir.is_empty() {
                    state.dirs.insert(dir.clone());
                    dir = parent(&dir);
                }
            }
            state.durable_names = state.names.clone();
            state.durable_dirs = state.dirs.clone();
        }
        memory
    }

    pub fn shared(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }

    /// Runs a changing call, or fails it as told.
    fn changing(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.call() {
            None => act(&mut state),
            Some(FaultKind::After) => act(&mut state).and(Err(broken())),
            Some(_) => Err(broken()),
        }
    }
}

struct Open {
    memory: Memory,
    inode: usize,
    /// Written up to here by this handle.
    at: usize,
}

impl Writer for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.memory.0.lock().unwrap();
        let fault = state.call();
        let landed = match fault {
            None | Some(FaultKind::After) => bytes,
            Some(FaultKind::Half | FaultKind::Dead) => &bytes[..bytes.len() / 2],
            Some(FaultKind::Before) => &[],
        };
        let change = Change::Write(self.at, landed.to_vec());
        self.at += landed.len();
        let inode = &mut state.inodes[self.inode];
        apply_write(&mut inode.cache, &change);
        inode.pending.push(change);
        if fault.is_some() { Err(broken()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.memory.0.lock().unwrap();
        let fault = state.call();
        let inode = &mut state.inodes[self.inode];
        match fault {
            None | Some(FaultKind::After) => {
                for change in std::mem::take(&mut inode.pending) {
                    apply_write(&mut inode.durable, &change);
                }
            }
            // What Linux does: the pages are dropped from the list of dirty ones, later syncs succeed without them.
            Some(FaultKind::Half) => inode.pending.clear(),
            Some(_) => {}
        }
        if fault.is_some() { Err(broken()) } else { Ok(()) }
    }
}

struct Guard(Memory, String);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().locked.remove(&self.1);
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        Ok(state.inodes[state.existing(path)?].cache.clone())
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let cache = &state.inodes[state.existing(path)?].cache;
        let start = cache.len().min(offset as usize);
        Ok(cache[start..cache.len().min(start + length)].to_vec())
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn Writer>> {
        let mut opened = 0;
        self.changing(|state| {
            if !parent(path).is_empty() && !state.dirs.contains(&parent(path)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            opened = match state.names.get(path) {
                Some(inode) => *inode,
                None => {
                    state.inodes.push(Inode::default());
                    let inode = state.inodes.len() - 1;
                    state.change(NameChange::Link(path.to_owned(), inode));
                    inode
                }
            };
            let inode = &mut state.inodes[opened];
            if !inode.cache.is_empty() {
                inode.cache.clear();
                inode.pending.push(Change::Truncate);
            }
            Ok(())
        })?;
        Ok(Box::new(Open { memory: self.clone(), inode: opened, at: 0 }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.changing(|state| {
            let inode = state.existing(from)?;
            state.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.changing(|state| {
            state.existing(path)?;
            state.change(NameChange::Unlink(path.to_owned()));
            Ok(())
        })
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.changing(|state| {
            if !state.dirs.contains(path) {
                state.change(NameChange::MakeDir(path.to_owned()));
            }
            Ok(())
        })
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        self.changing(|state| {
            state.change(NameChange::RemoveDir(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.changing(|state| {
            for change in state.pending.remove(path).unwrap_or_default() {
                apply(&change, &mut state.durable_names, &mut state.durable_dirs);
            }
            Ok(())
        })
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let all = state.names.keys().chain(state.dirs.iter());
        let mut names: Vec<String> = all
            .filter_map(|full| full.strip_prefix(&prefix))
            .filter(|rest| !rest.is_empty() && !rest.contains('/'))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn lock(&self, path: &str) -> io::Result<Box<dyn Send + Sync>> {
        if !self.0.lock().unwrap().locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Guard(self.clone(), path.to_owned())))
    }
}
