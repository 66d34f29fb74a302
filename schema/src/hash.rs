//! The 128-bit hash key space of the streams, the same as Kinesis' own.
//!
//! **Point**: one key of the space. **Range**: what a shard covers, both ends included.

use std::fmt;

/// A point of the hash key space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HashKey(pub u128);

impl HashKey {
    pub const MAX: HashKey = HashKey(u128::MAX);

    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads 16 big-endian bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<HashKey> {
        Some(HashKey(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The keys from `low` to `high`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashRange {
    pub low: HashKey,
    pub high: HashKey,
}

impl HashRange {
    pub const ALL: HashRange = HashRange { low: HashKey(0), high: HashKey::MAX };

    pub fn covers(&self, point: HashKey) -> bool {
        self.low <= point && point <= self.high
    }

    /// The point in the middle: where a shard's own traffic goes by default.
    pub fn middle(&self) -> HashKey {
        HashKey(self.low.0 + (self.high.0 - self.low.0) / 2)
    }

    pub fn overlaps(&self, other: &HashRange) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Cuts the whole space into `count` even ranges.
    ///
    /// # Panics
    /// If `count` is zero.
    pub fn even(count: u32) -> Vec<HashRange> {
        let width = u128::MAX / u128::from(count);
        let start = |k: u32| width * u128::from(k);
        (0..count)
            .map(|k| HashRange {
                low: HashKey(start(k)),
                high: if k + 1 == count { HashKey::MAX } else { HashKey(start(k + 1) - 1) },
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ranges_cover_the_space_without_overlap() {
        for count in [1, 2, 3, 4, 7, 16] {
            let ranges = HashRange::even(count);
            assert_eq!(ranges[0].low, HashKey(0));
            assert_eq!(ranges[ranges.len() - 1].high, HashKey::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].high.0 + 1, pair[1].low.0);
            }
        }
    }

    #[test]
    fn a_range_covers_both_of_its_ends_and_its_middle() {
        for range in HashRange::even(3) {
            assert!(range.covers(range.low) && range.covers(range.high) && range.covers(range.middle()));
        }
    }
}
