//! The search for thousands of anchors at once, by pairs of bytes.
//!
//! Of each anchor a window of four bytes is chosen, the rarest. Windows are dealt to [`BUCKETS`] buckets. A table of all
//! 65,536 pairs of bytes says in which buckets some window has this pair first, second or third: three fields of one
//! bit a bucket. A window can only stand where the fields of three neighbouring pairs have a bucket in common. That
//! costs one look-up and four operations for each byte of text, whatever the number of anchors; the table's lines that
//! texts use stay in the first cache, as there are few pairs that texts use. One place in a hundred passes, and is
//! compared with the windows that have these bytes.
//!
//! The loop has no branch but one for eight places. With AVX2 it takes less than half of the time; which processor runs
//! is known only when it runs, and calling what was compiled for it is the one unsafe block here.

use std::ops::Range;

use super::frequency;

/// Bytes of a window; anchors of three bytes have one of three.
const WINDOW: usize = 4;
/// Buckets: three fields of that many bits fill a word.
const BUCKETS: usize = 21;
/// Places that the loop looks at in one step.
const STEP: usize = 8;
/// Bytes that a step looks at.
const BLOCK: usize = STEP + WINDOW - 1;
/// Places that wait to be compared; the loop stops when no further step would fit.
const WAITING: usize = 128;
/// Bits of the hash by which windows are found.
const HASH_BITS: u32 = 12;
/// Folds ASCII letters to lower case. Other bytes change too, the same way in anchors and texts.
const FOLD: u32 = 0x2020_2020;

/// An anchor to search for.
pub(super) trait Needle {
    /// Its bytes, three at least.
    fn text(&self) -> &[u8];
    /// Whether letters match in either case.
    fn ignores_case(&self) -> bool;
}

/// The table of pairs, and the windows.
#[derive(Debug)]
pub(super) struct Pairs {
    /// For the pair `a`, `b` at `a + 256 b`: buckets in which it stands first, second and third.
    table: Box<[u64; 1 << 16]>,
    /// Buckets of windows of three bytes.
    short: u64,
    windows: Windows,
    #[cfg(target_arch = "x86_64")]
    has_avx2: bool,
}

/// Windows by the hash of their bytes.
#[derive(Debug)]
struct Windows {
    /// Where those of each hash begin in `entries`; they end where those of the next begin.
    starts: Box<[u16]>,
    entries: Vec<Entry>,
}

/// An anchor, and where in it its window stands.
#[derive(Clone, Copy, Debug)]
struct Entry {
    needle: u16,
    offset: u16,
    /// The window; folded, if the anchor ignores case.
    wanted: u32,
    /// Which of the four bytes count.
    mask: u32,
    /// What folds the text before it is compared.
    fold: u32,
}

impl Entry {
    fn new(index: usize, needle: &impl Needle) -> Self {
        let text = needle.text();
        let length = text.len().min(WINDOW);
        let offset = frequency::rarest(text, length);
        let mut bytes = [0; WINDOW];
        bytes[..length].copy_from_slice(&text[offset..offset + length]);
        let mask = u32::MAX >> (8 * (WINDOW - length));
        let fold = if needle.ignores_case() { FOLD } else { 0 };
        let wanted = (u32::from_le_bytes(bytes) | fold) & mask;
        Entry { needle: index as u16, offset: offset as u16, wanted, mask, fold }
    }

    /// Its window as the anchor has it.
    fn window<'a>(&self, needles: &'a [impl Needle]) -> &'a [u8] {
        let offset = usize::from(self.offset);
        &needles[usize::from(self.needle)].text()[offset..offset + if self.is_short() { 3 } else { WINDOW }]
    }

    fn is_short(&self) -> bool {
        self.mask != u32::MAX
    }

    fn hash(&self) -> usize {
        hash(self.wanted | FOLD, self.mask)
    }
}

impl Pairs {
    /// Builds the search.
    pub(super) fn new(needles: &[impl Needle]) -> Self {
        let mut entries: Vec<Entry> =
            needles.iter().enumerate().map(|(index, needle)| Entry::new(index, needle)).collect();
        // Windows that begin alike share a bucket: its first field stays sparse.
        entries.sort_by_cached_key(|e| (!e.is_short(), e.window(needles).to_ascii_lowercase(), e.needle));
        let split = entries.partition_point(Entry::is_short);
        let (short, long) = entries.split_at(split);
        let for_short = match (short.len(), long.len()) {
            (0, _) => 0,
            (_, 0) => BUCKETS,
            // Short windows have one field less to be told apart by.
            (short, long) => (BUCKETS * 3 * short).div_ceil(2 * (short + long)).clamp(1, BUCKETS - 1),
        };
        let mut table: Box<[u64; 1 << 16]> =
            vec![0; 1 << 16].into_boxed_slice().try_into().expect("it has this length");
        deal(short, needles, 0..for_short, &mut table);
        deal(long, needles, for_short..BUCKETS, &mut table);
        Pairs {
            table,
            short: (1 << for_short) - 1,
            windows: Windows::new(entries),
            #[cfg(target_arch = "x86_64")]
            has_avx2: std::arch::is_x86_feature_detected!("avx2"),
        }
    }

    /// Calls back for each place of each needle: its index, where it begins. `needles` are those it was built from.
    pub(super) fn each(&self, text: &[u8], needles: &[impl Needle], mut found: impl FnMut(usize, usize)) {
        let mut waiting = [Place { at: 0, buckets: 0 }; WAITING];
        let mut at = 0;
        while at + BLOCK <= text.len() {
            let count = self.sweep(text, &mut at, &mut waiting);
            for place in &waiting[..count] {
                self.compare(place, text, needles, &mut found);
            }
        }
        // What is left is shorter than a block: bytes that are not there are zeros, and what they let pass does not
        // fit into the text.
        let rest = &text[at..];
        let mut padded = [0; 2 * BLOCK];
        padded[..rest.len()].copy_from_slice(rest);
        let (mut done, start) = (0, at);
        while done < rest.len() {
            let count = self.sweep(&padded[..done + BLOCK], &mut done, &mut waiting);
            for place in waiting[..count].iter().filter(|place| place.at < rest.len()) {
                self.compare(&Place { at: start + place.at, ..*place }, text, needles, &mut found);
            }
        }
    }

    /// Compares with the needles whose windows may stand here.
    #[inline]
    fn compare(
        &self,
        place: &Place,
        text: &[u8],
        needles: &[impl Needle],
        found: &mut impl FnMut(usize, usize),
    ) {
        let there = match text.get(place.at..place.at + WINDOW) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => match text[place.at..] {
                [a, b, c] => u32::from_le_bytes([a, b, c, 0]),
                _ => return,
            },
        };
        for (of_kind, mask) in [(self.short, u32::MAX >> 8), (!self.short, u32::MAX)] {
            if place.buckets & of_kind == 0 {
                continue;
            }
            for entry in self.windows.of(hash(there | FOLD, mask)) {
                if (there | entry.fold) & entry.mask != entry.wanted {
                    continue;
                }
                let needle = needles[usize::from(entry.needle)].text();
                let Some(start) = place.at.checked_sub(usize::from(entry.offset)) else { continue };
                let stands = text.get(start..start + needle.len());
                if stands.is_some_and(|there| there.eq_ignore_ascii_case(needle)) {
                    found(usize::from(entry.needle), start);
                }
            }
        }
    }
}

impl Windows {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_cached_key(|entry| (entry.hash(), entry.needle));
        let mut starts = vec![0_u16; (1 << HASH_BITS) + 1];
        for entry in &entries {
            starts[entry.hash() + 1] += 1;
        }
        for hash in 0..1 << HASH_BITS {
            starts[hash + 1] += starts[hash];
        }
        Windows { starts: starts.into(), entries }
    }

    fn of(&self, hash: usize) -> &[Entry] {
        &self.entries[usize::from(self.starts[hash])..usize::from(self.starts[hash + 1])]
    }
}

/// Deals sorted windows to buckets, so that each lets pass about as many places, and enters their pairs.
fn deal(entries: &[Entry], needles: &[impl Needle], buckets: Range<usize>, table: &mut [u64; 1 << 16]) {
    // A window that is twice as frequent does not fill a bucket twice as much: it adds as many pairs as others.
    let weight = |entry: &Entry| 1_u64 << (frequency::of(entry.window(needles)) / 4).clamp(0, 16);
    let weights: Vec<u64> = entries.iter().map(weight).collect();
    let total: u64 = weights.iter().sum();
    let (mut before, mut last, mut bucket) = (0, Vec::new(), buckets.start);
    for (entry, weight) in entries.iter().zip(weights) {
        let window = entry.window(needles);
        let lower = window.to_ascii_lowercase();
        // Windows of the same letters stay together: apart they would pass twice.
        if last != lower {
            bucket = buckets.start + (before * buckets.len() as u64 / total) as usize;
        }
        last = lower;
        before += weight;
        let spellings = |byte: u8| {
            let is_same = entry.fold == 0 || !byte.is_ascii_alphabetic();
            let other = if is_same { byte } else { byte ^ 0x20 };
            [usize::from(byte), usize::from(other)]
        };
        for (field, pair) in window.windows(2).enumerate() {
            for first in spellings(pair[0]) {
                for second in spellings(pair[1]) {
                    table[first | second << 8] |= 1 << (field * BUCKETS + bucket);
                }
            }
        }
    }
}

/// A place that passed, and the buckets that it passed in.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    buckets: u64,
}

/// The buckets in which windows may stand whose pairs these are.
#[inline]
fn buckets(first: u64, second: u64, third: u64, short: u64) -> u64 {
    // The third has nothing over its field, so that neither has the result.
    first & (second >> BUCKETS) & (third >> (2 * BUCKETS) | short)
}

impl Pairs {
    /// Moves `at` on while there is a whole block and room for what waits. Says how many places passed.
    fn sweep(&self, text: &[u8], at: &mut usize, waiting: &mut [Place; WAITING]) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx2 && text.len() >= *at + vector::BLOCK {
            return vector::sweep(&self.table, self.short, text, at, waiting);
        }
        let mut count = 0;
        while count <= WAITING - STEP
            && let Some(block) = text.get(*at..*at + BLOCK)
            && let Ok(block) = <&[u8; BLOCK]>::try_from(block)
        {
            let pairs: [u64; BLOCK - 1] = std::array::from_fn(|i| self.table[pair(block[i], block[i + 1])]);
            let passed: [u64; STEP] =
                std::array::from_fn(|i| buckets(pairs[i], pairs[i + 1], pairs[i + 2], self.short));
            if passed.iter().fold(0, |any, buckets| any | buckets) != 0 {
                for (i, buckets) in passed.into_iter().enumerate() {
                    waiting[count] = Place { at: *at + i, buckets };
                    count += usize::from(buckets != 0);
                }
            }
            *at += STEP;
        }
        count
    }
}

/// Where a pair stands in the table.
#[inline]
fn pair(first: u8, second: u8) -> usize {
    usize::from(u16::from_le_bytes([first, second]))
}

/// The loop for processors with AVX2: four places at a time.
#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_blend_epi32, _mm256_castsi256_pd, _mm256_cmpeq_epi64,
        _mm256_movemask_pd, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_permute4x64_epi64,
        _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_srli_epi64,
    };

    use super::{BUCKETS, Place, STEP, WAITING, buckets, pair};

    /// Bytes that a step looks at: its own eight places, and the pairs of the next eight.
    pub(super) const BLOCK: usize = 2 * STEP + 1;

    /// As [`super::Pairs::sweep`], on a processor that has AVX2.
    pub(super) fn sweep(
        table: &[u64; 1 << 16],
        short: u64,
        text: &[u8],
        at: &mut usize,
        waiting: &mut [Place; WAITING],
    ) -> usize {
        #[expect(
            unsafe_code,
            reason = "code for a processor that is known only when it runs has no other way"
        )]
        // SAFETY: it is safe code that needs AVX2, and this is called only where the processor has said that it has it.
        unsafe {
            sweep_avx2(table, short, text, at, waiting)
        }
    }

    #[target_feature(enable = "avx2")]
    fn sweep_avx2(
        table: &[u64; 1 << 16],
        short: u64,
        text: &[u8],
        at: &mut usize,
        waiting: &mut [Place; WAITING],
    ) -> usize {
        let shorts = _mm256_set1_epi64x(short.cast_signed());
        let mut count = 0;
        let Some(first) = text.get(*at..*at + STEP + 1).and_then(|b| <&[u8; STEP + 1]>::try_from(b).ok())
        else {
            return 0;
        };
        let (mut low, mut high) = load(table, first);
        while count <= WAITING - STEP
            && let Some(next) = text.get(*at + STEP..*at + BLOCK)
            && let Ok(next) = <&[u8; STEP + 1]>::try_from(next)
        {
            let (next_low, next_high) = load(table, next);
            let passed = (mask(low, high, shorts) | mask(high, next_low, shorts) << 4) as u32;
            let mut left = passed;
            while left != 0 {
                let i = *at + left.trailing_zeros() as usize;
                let entry = |i: usize| table[pair(text[i], text[i + 1])];
                waiting[count] =
                    Place { at: i, buckets: buckets(entry(i), entry(i + 1), entry(i + 2), short) };
                count += 1;
                left &= left - 1;
            }
            (low, high) = (next_low, next_high);
            *at += STEP;
        }
        count
    }

    /// The entries of eight pairs.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(table: &[u64; 1 << 16], text: &[u8; STEP + 1]) -> (__m256i, __m256i) {
        let entry = |i: usize| table[pair(text[i], text[i + 1])].cast_signed();
        (
            _mm256_set_epi64x(entry(3), entry(2), entry(1), entry(0)),
            _mm256_set_epi64x(entry(7), entry(6), entry(5), entry(4)),
        )
    }

    /// Four bits: at which of the four pairs a window may stand; `next` are the four that follow.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(pairs: __m256i, next: __m256i, shorts: __m256i) -> i32 {
        // 1, 2, 3 of `pairs` and 0 of `next`; 2, 3 and 0, 1.
        let second = _mm256_permute4x64_epi64::<0b00_11_10_01>(_mm256_blend_epi32::<0b11>(pairs, next));
        let third = _mm256_permute2x128_si256::<0x21>(pairs, next);
        let second = _mm256_srli_epi64::<{ BUCKETS as i32 }>(second);
        let third = _mm256_or_si256(_mm256_srli_epi64::<{ 2 * BUCKETS as i32 }>(third), shorts);
        let passed = _mm256_and_si256(_mm256_and_si256(pairs, second), third);
        let none = _mm256_cmpeq_epi64(passed, _mm256_setzero_si256());
        _mm256_movemask_pd(_mm256_castsi256_pd(none)) ^ 0b1111
    }
}

/// [`HASH_BITS`] bits of a folded window (Fibonacci hashing).
#[inline]
fn hash(window: u32, mask: u32) -> usize {
    ((window & mask).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}
