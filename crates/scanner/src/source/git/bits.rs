//! A set of small numbers.

/// One bit for each number; grows when a larger one is put in.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set with room for numbers below `count`.
    pub(super) fn new(count: usize) -> Self {
        Bits(vec![0; count.div_ceil(64)])
    }

    /// Puts a number in; whether it was not there before.
    #[inline]
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize((word + 1).max(self.0.len() * 2), 0);
        }
        let was = self.0[word] & bit != 0;
        self.0[word] |= bit;
        !was
    }

    #[inline]
    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_once() {
        let mut bits = Bits::new(10);
        assert!(bits.insert(3) && bits.insert(64) && bits.insert(1000));
        assert!(!bits.insert(3) && !bits.insert(1000));
        assert!(bits.contains(64) && !bits.contains(4) && !bits.contains(100_000));
    }
}
