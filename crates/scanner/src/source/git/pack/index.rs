//! A pack's index: which object is where (gitformat-pack(5), "pack-*.idx files", versions 1 and 2).

use std::ops::Range;

use super::map::Map;

/// What begins an index of version 2 or later.
const MAGIC: &[u8; 4] = b"\xfftOc";
/// Bytes of the table that counts objects by the first byte of their id.
const FANOUT: usize = 256 * 4;

/// An index whose tables lie within the file. What they say is not checked any further.
#[derive(Debug)]
pub(super) struct Index {
    map: Map,
    width: usize,
    count: usize,
    /// Where ids begin, and the distance from one to the next.
    ids: usize,
    stride: usize,
    /// Where offsets begin (version 2), and those of more than 31 bits.
    offsets: usize,
    large: Range<usize>,
    fanout: usize,
}

impl Index {
    /// Finds the tables. `width` is that of an id in bytes. `None` for what is no index, or one of another version.
    pub(super) fn new(map: Map, width: usize) -> Option<Self> {
        let trailer = 2 * width;
        let is_new = map.starts_with(MAGIC);
        if is_new && map.get(4..8)? != [0, 0, 0, 2] {
            return None;
        }
        let fanout = if is_new { 8 } else { 0 };
        let start = fanout + FANOUT;
        let count = be32(&map, fanout + FANOUT - 4)? as usize;
        let body = map.len().checked_sub(start + trailer)?;
        if is_new {
            let fixed = count.checked_mul(width + 8)?;
            let large = start + fixed..map.len() - trailer;
            let is_whole = fixed <= body && large.len() % 8 == 0;
            let offsets = start + count * (width + 4);
            is_whole.then_some(Index { map, width, count, ids: start, stride: width, offsets, large, fanout })
        } else {
            let is_whole = count.checked_mul(width + 4)? == body;
            is_whole.then_some(Index {
                map,
                width,
                count,
                ids: start + 4,
                stride: width + 4,
                offsets: 0,
                large: 0..0,
                fanout,
            })
        }
    }

    /// Number of objects.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The hash of the pack that it belongs to.
    pub(super) fn pack_hash(&self) -> &[u8] {
        &self.map[self.map.len() - 2 * self.width..self.map.len() - self.width]
    }

    /// The id at a position.
    ///
    /// # Panics
    /// If `at` is not below [`Index::count`].
    pub(super) fn id(&self, at: usize) -> &[u8] {
        let start = self.ids + at * self.stride;
        &self.map[start..start + self.width]
    }

    /// Where in the pack the object at a position begins; `None` for a broken reference to a large offset.
    ///
    /// # Panics
    /// If `at` is not below [`Index::count`].
    pub(super) fn offset(&self, at: usize) -> Option<u64> {
        if self.offsets == 0 {
            return be32(&self.map, self.ids + at * self.stride - 4).map(u64::from);
        }
        let low = be32(&self.map, self.offsets + at * 4)?;
        if low & 0x8000_0000 == 0 {
            return Some(u64::from(low));
        }
        let start = self.large.start + (low & 0x7fff_ffff) as usize * 8;
        let bytes = self.map[..self.large.end].get(start..start + 8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// The position of an id. Ids are spread evenly, so a guess by value is off by a few places only.
    pub(super) fn find(&self, id: &[u8]) -> Option<usize> {
        let first = usize::from(*id.first()?);
        let bound = |n: usize| be32(&self.map, self.fanout + n * 4).map_or(0, |n| n as usize).min(self.count);
        let mut low = if first == 0 { 0 } else { bound(first - 1) };
        let mut high = bound(first);
        let value = u64::from(be32(id, 1)?);
        if low >= high {
            return None;
        }
        let guess = low + (((high - low) as u64 * value) >> 32) as usize;
        // The first eight bytes decide nearly always, and compare as one number.
        let wanted = be64(id)?;
        let order = |at: usize| {
            let there = self.id(at);
            be64(there).unwrap_or(0).cmp(&wanted).then_with(|| there.cmp(id))
        };
        // Steps away from the guess double until the id lies between two of them.
        let mut step = 4;
        if order(guess).is_le() {
            low = guess;
            while low + step < high && order(low + step).is_le() {
                low += step;
                step *= 2;
            }
            high = high.min(low + step);
        } else {
            high = guess;
            while high > low + step && order(high - step).is_gt() {
                high -= step;
                step *= 2;
            }
            low = low.max(high.saturating_sub(step));
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match order(middle) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8)?.try_into().ok().map(u64::from_be_bytes)
}
