//! Packs as nobody should write them: each is read or left to libgit2, never a panic and never a wrong object.

use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use libdeflater::{CompressionLvl, Compressor};
use tempfile::TempDir;

use super::entry::Kind;
use super::forest::Packs;
use super::walk::{Base, Visitor, walk_within};
use crate::scan::Monitor;
use crate::source::git::bits::Bits;

/// An entry to write: its header and what is packed.
struct Raw {
    kind: u8,
    size: u64,
    /// What stands between header and content: a distance or an id.
    base: Vec<u8>,
    packed: Vec<u8>,
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = Compressor::new(CompressionLvl::default());
    let mut out = vec![0; zlib.zlib_compress_bound(bytes.len())];
    let length = zlib.zlib_compress(bytes, &mut out).expect("there is room");
    out.truncate(length);
    out
}

fn whole(bytes: &[u8]) -> Raw {
    Raw { kind: 3, size: bytes.len() as u64, base: Vec::new(), packed: deflated(bytes) }
}

fn reference(base: u8, delta: &[u8]) -> Raw {
    Raw { kind: 7, size: delta.len() as u64, base: vec![base; 20], packed: deflated(delta) }
}

/// A delta on the object that begins `back` bytes before.
fn offset(back: u64, delta: &[u8]) -> Raw {
    let mut base = vec![(back & 0x7f) as u8];
    let mut rest = back >> 7;
    while rest > 0 {
        rest -= 1;
        base.insert(0, 0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    Raw { kind: 6, size: delta.len() as u64, base, packed: deflated(delta) }
}

fn header(raw: &Raw) -> Vec<u8> {
    let mut size = raw.size >> 4;
    let mut out = vec![raw.kind << 4 | (raw.size & 0x0f) as u8];
    while size > 0 {
        *out.last_mut().expect("there is one") |= 0x80;
        out.push((size & 0x7f) as u8);
        size >>= 7;
    }
    out
}

/// Writes a pack and its index; the id of an entry is its number in every byte. `offsets` may lie.
fn write(folder: &Path, entries: &[Raw], lie: impl Fn(usize, u32) -> u32) {
    let mut pack = [b"PACK".as_slice(), &2_u32.to_be_bytes(), &(entries.len() as u32).to_be_bytes()].concat();
    let mut offsets = Vec::new();
    for (at, raw) in entries.iter().enumerate() {
        offsets.push(lie(at, pack.len() as u32));
        pack.extend(header(raw));
        pack.extend(&raw.base);
        pack.extend(&raw.packed);
    }
    pack.extend([7; 20]);
    let mut index = [b"\xfftOc".as_slice(), &2_u32.to_be_bytes()].concat();
    let ids: Vec<u8> = (0..entries.len() as u8).collect();
    for first in 0..=255_u8 {
        let count = ids.iter().filter(|id| **id <= first).count() as u32;
        index.extend(count.to_be_bytes());
    }
    ids.iter().for_each(|id| index.extend([*id; 20]));
    ids.iter().for_each(|_| index.extend([0; 4]));
    offsets.iter().for_each(|offset| index.extend(offset.to_be_bytes()));
    index.extend([7; 40]);
    let folder = folder.join("pack");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::File::create(folder.join("a.pack"))
        .and_then(|mut f| f.write_all(&pack))
        .expect("there is space");
    std::fs::write(folder.join("a.idx"), index).expect("there is space");
}

/// Keeps what it sees.
#[derive(Default)]
struct Seen {
    built: Mutex<Vec<(u8, Vec<u8>)>>,
    failed: Mutex<Vec<u8>>,
}

impl Visitor for (&Packs, Seen) {
    type Held = ();
    type Job = ();

    fn visit(&self, (): &mut (), entry: u32, bytes: &[u8], _: Option<Base<'_, ()>>, _: bool) {
        let id = self.0.id(entry).as_bytes()[0];
        self.1.built.lock().expect("no test panics").push((id, bytes.to_vec()));
    }

    fn size((): &()) -> usize {
        0
    }

    fn fail(&self, (): &mut (), entry: u32) {
        self.1.failed.lock().expect("no test panics").push(self.0.id(entry).as_bytes()[0]);
    }
}

/// Objects that were built; ids of those that failed; ids of those whose kind is not known.
type Outcome = (Vec<(u8, Vec<u8>)>, Vec<u8>, Vec<u8>);

/// What is built of a pack, what fails and what cannot be told, by id.
fn read_within(folder: &Path, max_held: usize) -> Outcome {
    let packs = Packs::open(&[folder.to_owned()], 20);
    let needed: Bits = packs.with_bases(|_| true);
    let visitor = (&packs, Seen::default());
    walk_within(&packs, &needed, &visitor, &Monitor::default(), max_held);
    let mut built = visitor.1.built.into_inner().expect("no test panics");
    let mut failed = visitor.1.failed.into_inner().expect("no test panics");
    let unknown = (0..packs.len() as u32).filter(|e| packs.kind(*e) == Kind::Unknown);
    let unknown = unknown.map(|entry| packs.id(entry).as_bytes()[0]).collect();
    built.sort();
    failed.sort_unstable();
    (built, failed, unknown)
}

fn read(entries: &[Raw]) -> Outcome {
    let folder = TempDir::new().expect("a temporary folder");
    write(folder.path(), entries, |_, offset| offset);
    read_within(folder.path(), usize::MAX)
}

/// "hello" and a byte more.
const MORE: &[u8] = &[5, 6, 0x90, 5, 1, b'!'];

#[test]
fn good_entries() {
    let first = whole(b"hello");
    let back = (header(&first).len() + first.packed.len()) as u64;
    let (built, failed, unknown) = read(&[first, offset(back, MORE), reference(0, MORE)]);
    let more = b"hello!".to_vec();
    assert_eq!(built, [(0, b"hello".to_vec()), (1, more.clone()), (2, more)]);
    assert!(failed.is_empty() && unknown.is_empty());
}

#[test]
fn circles_and_missing_bases_are_unknown() {
    let (built, failed, unknown) =
        read(&[reference(1, MORE), reference(0, MORE), reference(2, MORE), reference(99, MORE), whole(b"x")]);
    assert_eq!(built, [(4, b"x".to_vec())]);
    assert_eq!((failed, unknown), (vec![], vec![0, 1, 2, 3]));
}

#[test]
fn distances_that_lead_nowhere_are_unknown() {
    for back in [0, 1, 5, 1 << 20, 1 << 50] {
        let (built, _, unknown) = read(&[whole(b"hello"), offset(back, MORE)]);
        assert_eq!((built.len(), unknown), (1, vec![1]), "{back}");
    }
}

#[test]
fn sizes_that_lie_fail_and_so_does_what_is_built_on_them() {
    for (name, size) in [("short", 4), ("long", 6), ("huge", 1 << 40), ("endless", u64::MAX >> 4)] {
        let lie = Raw { size, ..whole(b"hello") };
        let (built, failed, _) = read(&[lie, reference(0, MORE), reference(1, MORE), whole(b"x")]);
        assert_eq!((built, failed), (vec![(3, b"x".to_vec())], vec![0, 1, 2]), "{name}");
    }
}

#[test]
fn a_bomb_is_not_inflated() {
    let zeros = vec![0; 64 * 1024 * 1024];
    let honest = whole(&zeros);
    let lie = Raw { size: 10, ..whole(&zeros) };
    let (built, failed, _) = read(&[honest, lie]);
    assert_eq!((built, failed), (vec![], vec![0, 1]));
}

#[test]
fn deltas_that_lie_fail_alone() {
    for delta in [&[5, 200, 0x90, 5][..], &[4, 5, 0x90, 5], &[5, 9, 0x91, 3, 9], &[5, 1, 0], &[], &[0xff; 9]]
    {
        let (built, failed, _) = read(&[whole(b"hello"), reference(0, delta), reference(0, MORE)]);
        assert_eq!((built.len(), failed), (2, vec![1]), "{delta:?}");
    }
}

#[test]
fn an_index_that_lies() {
    for to in [0, 3, 11, 13, 1_000_000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        let folder = TempDir::new().expect("a temporary folder");
        write(folder.path(), &[whole(b"hello"), whole(b"world"), reference(1, MORE)], |at, offset| {
            if at == 1 { to } else { offset }
        });
        let (built, failed, unknown) = read_within(folder.path(), usize::MAX);
        assert!(built.contains(&(0, b"hello".to_vec())) || to < 20, "{to}");
        assert!(!built.iter().any(|(_, bytes)| bytes == b"world"), "{to}");
        assert_eq!(built.len() + failed.len() + unknown.len(), 3, "{to}");
    }
}

#[test]
fn files_cut_anywhere_are_no_packs() {
    let folder = TempDir::new().expect("a temporary folder");
    write(folder.path(), &[whole(b"hello"), reference(0, MORE)], |_, offset| offset);
    for name in ["pack/a.pack", "pack/a.idx"] {
        let file = folder.path().join(name);
        let good = std::fs::read(&file).expect("it is there");
        for end in (0..good.len()).step_by(3) {
            std::fs::write(&file, &good[..end]).expect("there is space");
            assert_eq!(Packs::open(&[folder.path().to_owned()], 20).len(), 0, "{name} {end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            std::fs::write(&file, &bad).expect("there is space");
            let (built, ..) = read_within(folder.path(), usize::MAX);
            assert!(built.iter().all(|(_, bytes)| bytes.starts_with(b"hello")), "{name} {at}");
        }
        std::fs::write(&file, &good).expect("there is space");
    }
}

#[test]
fn what_is_dropped_from_memory_is_built_again() {
    let mut entries = vec![whole(b"hello")];
    // A chain with two branches at each link.
    for at in 0..40_u8 {
        let size = 5 + at / 2;
        let base = if at < 2 { 0 } else { at - 1 - at % 2 };
        entries.push(reference(base, &[size, size + 1, 0x90, size, 1, b'a' + at % 26]));
    }
    let folder = TempDir::new().expect("a temporary folder");
    write(folder.path(), &entries, |_, offset| offset);
    let whole = read_within(folder.path(), usize::MAX);
    assert_eq!((whole.0.len(), whole.1.len()), (41, 0));
    for max_held in [0, 1, 20, 100] {
        assert_eq!(read_within(folder.path(), max_held), whole, "{max_held}");
    }
}
