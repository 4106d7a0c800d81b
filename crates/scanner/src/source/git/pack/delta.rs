//! Deltas: an object as copies out of another one and new bytes (gitformat-pack(5), "Deltified representation").

use crate::engine::Copied;

/// Size of the base and of the result as a delta's header states them, and where its instructions begin.
pub(super) fn sizes(delta: &[u8]) -> Option<(u64, u64, usize)> {
    let mut at = 0;
    let mut number = || {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = *delta.get(at)?;
            at += 1;
            if shift > 56 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    let (base, result) = (number()?, number()?);
    Some((base, result, at))
}

/// Builds the object of a delta in `out` and notes its copies in `runs`, neighbours in the base joined. Both are
/// replaced. `None` when an instruction reaches outside of the base or the sizes do not hold, `out` never grows
/// beyond `limit`.
pub(super) fn apply(
    base: &[u8],
    delta: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
    runs: &mut Vec<Copied>,
) -> Option<()> {
    out.clear();
    runs.clear();
    let (base_size, size, mut at) = sizes(delta)?;
    if base_size != base.len() as u64 || size > limit as u64 {
        return None;
    }
    let size = size as usize;
    out.reserve(size);
    while let Some(&instruction) = delta.get(at) {
        at += 1;
        if instruction & 0x80 != 0 {
            let mut argument = |bits: u8, count: u32| {
                let mut value = 0_usize;
                for byte in 0..count {
                    if bits >> byte & 1 != 0 {
                        value |= usize::from(*delta.get(at)?) << (8 * byte);
                        at += 1;
                    }
                }
                Some(value)
            };
            let from = argument(instruction & 0x0f, 4)?;
            let length = argument(instruction >> 4 & 0x07, 3)?;
            let length = if length == 0 { 0x1_0000 } else { length };
            let copied = base.get(from..from.checked_add(length)?)?;
            if length > size - out.len() {
                return None;
            }
            let run = Copied { from, to: out.len(), length };
            out.extend_from_slice(copied);
            match runs.last_mut() {
                Some(last) if last.to + last.length == run.to && last.from + last.length == run.from => {
                    last.length += length;
                }
                _ => runs.push(run),
            }
        } else {
            let new = delta.get(at..at + usize::from(instruction))?;
            // 0 is reserved.
            if instruction == 0 || new.len() > size - out.len() {
                return None;
            }
            out.extend_from_slice(new);
            at += new.len();
        }
    }
    (out.len() == size).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn applied(base: &[u8], delta: &[u8]) -> Option<(Vec<u8>, Vec<Copied>)> {
        let (mut out, mut runs) = (Vec::new(), Vec::new());
        apply(base, delta, 1000, &mut out, &mut runs).map(|()| (out, runs))
    }

    #[test]
    fn copies_and_new_bytes() {
        let (out, runs) =
            applied(b"hello world", &[11, 9, 0x90, 5, 0x03, b'-', b'-', b'-', 0x91, 10, 1]).unwrap();
        assert_eq!(out, b"hello---d");
        assert_eq!(
            runs,
            [Copied { from: 0, to: 0, length: 5 }, Copied { from: 10, to: 8, length: 1 }]
        );
    }

    #[test]
    fn neighbouring_copies_are_one_run() {
        let (out, runs) = applied(b"hello world", &[11, 7, 0x90, 4, 0x91, 4, 3]).unwrap();
        assert_eq!(out, b"hello w");
        assert_eq!(runs, [Copied { from: 0, to: 0, length: 7 }]);
    }

    #[test]
    fn damaged_deltas() {
        for (name, delta) in [
            ("empty", &[][..]),
            ("no result size", &[11]),
            ("another base", &[10, 1, 0x01, b'x']),
            ("copy outside of the base", &[11, 5, 0x91, 9, 5]),
            ("copy past the result", &[11, 2, 0x90, 5]),
            ("new bytes past the result", &[11, 1, 0x02, b'a', b'b']),
            ("new bytes past the delta", &[11, 5, 0x05, b'a']),
            ("too few", &[11, 5, 0x90, 4]),
            ("reserved", &[11, 1, 0]),
            ("over the limit", &[11, 0xff, 0xff, 0x7f]),
            ("endless number", &[0xff; 30]),
        ] {
            assert_eq!(applied(b"hello world", delta), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            base in proptest::collection::vec(any::<u8>(), 0..50),
            rest in proptest::collection::vec(any::<u8>(), 0..60),
            size in 0_u8..127,
        ) {
            let delta = [&[base.len() as u8, size][..], &rest].concat();
            if let Some((out, runs)) = applied(&base, &delta) {
                prop_assert_eq!(out.len(), usize::from(size));
                for run in runs {
                    prop_assert_eq!(&out[run.range()], &base[run.from..run.from + run.length]);
                }
            }
        }
    }
}
