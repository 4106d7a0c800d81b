//! How a tree is cut into tiles (C2SP tlog-tiles): names, widths, and nodes read back out of them.
//!
//! A tile holds up to 256 hashes: level 0 the leaf hashes, level `l + 1` the roots of full level-`l` tiles. An entry
//! bundle holds the up to 256 entries below a level-0 tile, each behind a big-endian `u16` length.

use std::fmt;

use super::{Hash, Nodes, node_hash};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// Which of the two rows of files a tile belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// The entries themselves: `tile/entries/...`.
    Entries,
    /// Hashes at this tile level: `tile/<level>/...`. At most 7: a tree has at most 2^64 entries.
    Level(u8),
}

/// The name of one tile or bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Entries, or hashes of a level.
    pub row: Row,
    /// Counted from the left, in full tiles.
    pub index: u64,
    /// How many hashes or entries: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The tile that a log of `size` entries has at `row` and `index`, if it has one.
    pub fn at(row: Row, index: u64, size: u64) -> Option<Tile> {
        let count = row_len(row, size);
        let start = index.checked_mul(WIDTH)?;
        if start >= count {
            return None;
        }
        Some(Tile { row, index, width: (count - start).min(WIDTH) as u16 })
    }

    /// Does it hold all 256?
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The path of the full tile of the same place.
    pub fn full(self) -> Tile {
        Tile { width: WIDTH as u16, ..self }
    }

    /// The directory of this place's partial tiles, relative to the log.
    pub fn partial_dir(&self) -> String {
        format!("{}.p", self.full())
    }

    /// The directory that the file lies in, relative to the log.
    pub fn dir(&self) -> String {
        let path = self.to_string();
        path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned())
    }

    /// Reads a path back. `None` unless it is exactly what [`Display`](fmt::Display) would write: no leading zeros,
    /// no `..`, no absolute path can pass.
    pub fn parse(path: &str) -> Option<Tile> {
        let rest = path.strip_prefix("tile/")?;
        let (row, rest) = rest.split_once('/')?;
        let row = if row == "entries" { Row::Entries } else { Row::Level(row.parse().ok()?) };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|w| (1..WIDTH as u16).contains(w))?),
            None => (rest, WIDTH as u16),
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok().filter(|n| *n < 1000)?)?;
        }
        let tile = Tile { row, index, width };
        (tile.to_string() == path).then_some(tile)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Row::Entries => f.write_str("tile/entries/")?,
            Row::Level(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// How many hashes or entries the whole row of a log of `size` entries has.
pub fn row_len(row: Row, size: u64) -> u64 {
    match row {
        Row::Entries => size,
        Row::Level(level) => size.checked_shr(u32::from(level) * 8).unwrap_or(0),
    }
}

/// How many tile levels a log of `size` entries has.
pub fn levels(size: u64) -> u8 {
    (0..8).take_while(|&level| row_len(Row::Level(level), size) > 0).count() as u8
}

/// Every tile of a log of `size` entries that a log of `from` entries did not have: bundles, then low levels first.
/// `from..` is what a publication has to write.
pub fn new_tiles(from: u64, size: u64) -> Vec<Tile> {
    let rows = std::iter::once(Row::Entries).chain((0..levels(size)).map(Row::Level));
    let mut tiles = Vec::new();
    for row in rows {
        let (old, new) = (row_len(row, from), row_len(row, size));
        if old < new {
            tiles.extend((old / WIDTH..new.div_ceil(WIDTH)).filter_map(|index| Tile::at(row, index, size)));
        }
    }
    tiles
}

/// Splits an entry bundle. `None` if it is cut short, goes on too long, or does not hold exactly `width` entries.
pub fn split_bundle(bytes: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (entry, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = tail;
    }
    (entries.len() == usize::from(width)).then_some(entries)
}

/// The hashes of a tile. `None` unless there are exactly `width` of them.
pub fn split_tile(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    if bytes.len() != usize::from(width) * 32 {
        return None;
    }
    bytes.chunks_exact(32).map(Hash::from_slice).collect()
}

/// Folds `1 << k` hashes of neighbours into the root of their subtree.
pub fn fold(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    row[0]
}

/// Answers [`Nodes`] for a log of `size` entries out of its tiles, each fetched through `fetch`.
pub struct TileNodes<F> {
    /// The size of the log: decides how wide its last tiles are.
    pub size: u64,
    /// Gives the hashes of a tile.
    pub fetch: F,
}

impl<E, F: Fn(Tile) -> Result<Vec<Hash>, E>> Nodes for TileNodes<F> {
    type Error = E;

    fn node(&self, level: u8, index: u64) -> Result<Hash, E> {
        let (tile_level, inside) = (level / 8, level % 8);
        let first = index << inside;
        let tile = Tile::at(Row::Level(tile_level), first / WIDTH, self.size)
            .expect("a complete subtree of the log lies in one of its tiles");
        let hashes = (self.fetch)(tile)?;
        let start = (first % WIDTH) as usize;
        Ok(fold(&hashes[start..start + (1 << inside)]))
    }
}
