//! Turns entries into bundles and tiles, and makes them visible in an order that no crash can upset.

use std::io;

use crate::checkpoint::SignedCheckpoint;
use crate::files::{Files, Group};
use crate::tree::tile::{Row, Tile, WIDTH, fold, split_bundle, split_tile};
use crate::tree::{Edge, Hash, leaf_hash};

/// The name of the published head.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The open ends of a log's rows: what its partial tiles hold.
///
/// Invariant: `rows[l]` are the hashes behind the last full tile of level `l`, `bundle` the entries likewise.
#[derive(Default)]
pub(crate) struct Builder {
    size: u64,
    edge: Edge,
    bundle: Vec<u8>,
    rows: Vec<Vec<Hash>>,
}

/// Why the tiles of a published head could not be taken up again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error("{path}: does not fit the signed head")]
    Damaged { path: String },
}

impl Builder {
    /// Takes up the tiles of a published head, and checks that they lead to its root.
    pub(crate) fn load(files: &dyn Files, size: u64, root: &Hash) -> Result<Builder, LoadError> {
        let mut builder = Builder { size, ..Builder::default() };
        let read = |tile: Tile| read_tile(files, tile);
        for level in 0..8 {
            let len = crate::tree::tile::row_len(Row::Level(level), size);
            let row = match Tile::at(Row::Level(level), len / WIDTH, size) {
                Some(tile) => split_tile(&read(tile)?, tile.width)
                    .ok_or_else(|| LoadError::Damaged { path: tile.to_string() })?,
                None => Vec::new(),
            };
            builder.rows.push(row);
        }
        if let Some(tile) = Tile::at(Row::Entries, size / WIDTH, size) {
            builder.bundle = read(tile)?;
            let entries = split_bundle(&builder.bundle, tile.width);
            let fits = entries.is_some_and(|entries| {
                entries.iter().map(|e| leaf_hash(e)).eq(builder.rows[0].iter().copied())
            });
            if !fits {
                return Err(LoadError::Damaged { path: tile.to_string() });
            }
        }
        builder.edge = builder.edge_of_rows();
        if builder.edge.root() != *root {
            return Err(LoadError::Damaged { path: CHECKPOINT.to_owned() });
        }
        Ok(builder)
    }

    /// The edge of the whole tree out of its open rows: within a row of `w` hashes the set bits of `w` are its peaks.
    fn edge_of_rows(&self) -> Edge {
        struct Rows<'a>(&'a [Vec<Hash>]);
        impl crate::tree::Nodes for Rows<'_> {
            type Error = std::convert::Infallible;
            fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
                let (row, inside) = (&self.0[usize::from(level / 8)], level % 8);
                let start = ((index << inside) % WIDTH) as usize;
                Ok(fold(&row[start..start + (1 << inside)]))
            }
        }
        let Ok(edge) = Edge::load(&Rows(&self.rows), self.size);
        edge
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The tree as it is now.
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Adds one entry; writes each file that this fills.
    pub(crate) fn push(&mut self, entry: &[u8], group: &mut Group<'_>) -> io::Result<()> {
        let length = u16::try_from(entry.len()).expect("entries are at most 65,535 bytes long");
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        let mut hash = leaf_hash(entry);
        self.edge.push_hash(hash);
        self.edge.trim();
        self.size += 1;
        if self.size.is_multiple_of(WIDTH) {
            write(group, Row::Entries, self.size / WIDTH - 1, WIDTH, &self.bundle)?;
            self.bundle.clear();
        }
        for level in 0.. {
            if self.rows.len() == level {
                self.rows.push(Vec::new());
            }
            let row = &mut self.rows[level];
            row.push(hash);
            if row.len() < WIDTH as usize {
                break;
            }
            let count = self.size >> (8 * level);
            write(group, Row::Level(level as u8), count / WIDTH - 1, WIDTH, &concat(row))?;
            hash = fold(row);
            row.clear();
        }
        Ok(())
    }

    /// Writes the partial tiles of the size reached.
    pub(crate) fn write_partial(&self, group: &mut Group<'_>) -> io::Result<()> {
        let width = self.size % WIDTH;
        if width > 0 {
            write(group, Row::Entries, self.size / WIDTH, width, &self.bundle)?;
        }
        for (level, row) in self.rows.iter().enumerate().filter(|(_, row)| !row.is_empty()) {
            let index = (self.size >> (8 * level)) / WIDTH;
            write(group, Row::Level(level as u8), index, row.len() as u64, &concat(row))?;
        }
        Ok(())
    }
}

fn read_tile(files: &dyn Files, tile: Tile) -> Result<Vec<u8>, LoadError> {
    let path = tile.to_string();
    files.read(&path).map_err(|source| LoadError::Io { path, source })
}

fn concat(row: &[Hash]) -> Vec<u8> {
    row.iter().flat_map(|hash| hash.0).collect()
}

fn write(group: &mut Group<'_>, row: Row, index: u64, width: u64, bytes: &[u8]) -> io::Result<()> {
    let tile = Tile { row, index, width: width as u16 };
    group.dir(&tile.dir())?;
    group.put(&tile.to_string(), bytes)
}

/// Puts a head in its place. Everything it speaks of must be durable before.
pub(crate) fn put_checkpoint(files: &dyn Files, head: &SignedCheckpoint) -> io::Result<()> {
    let mut group = Group::new(files);
    group.put(CHECKPOINT, head.to_string().as_bytes())?;
    group.finish()
}

/// Removes the partial tiles of places whose full tile a log of `size` entries has, and a log of `from` had not.
/// Nothing depends on this: what cannot be removed stays.
pub(crate) fn remove_partials(files: &dyn Files, from: u64, size: u64) {
    let full = crate::tree::tile::new_tiles(from, size).into_iter().filter(Tile::is_full);
    for dir in full.map(|tile| tile.partial_dir()) {
        let Ok(names) = files.list(&dir) else { continue };
        for name in &names {
            files.remove(&format!("{dir}/{name}")).ok();
        }
        if !names.is_empty() {
            files.remove_dir(&dir).ok();
        }
    }
}
