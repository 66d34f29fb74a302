//! A set of ordinals below a bound, a bit for each.

use schema::IntervalSet;

/// Ordinals `[0, end)` that were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bitmap {
    words: Vec<u64>,
    end: u64,
    count: u64,
}

impl Bitmap {
    pub(super) fn new(end: u64) -> Bitmap {
        let words = usize::try_from(end.div_ceil(64)).expect("64-bit machines only");
        Bitmap { words: vec![0; words], end, count: 0 }
    }

    /// Adds an ordinal below the bound; whether it was missing.
    pub(super) fn insert(&mut self, ordinal: u64) -> bool {
        let (word, bit) = (&mut self.words[ordinal as usize / 64], 1 << (ordinal % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub(super) fn contains(&self, ordinal: u64) -> bool {
        ordinal < self.end && self.words[ordinal as usize / 64] >> (ordinal % 64) & 1 == 1
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// The ordinals below the bound that were not seen.
    pub(super) fn absent(&self) -> IntervalSet {
        let mut absent = IntervalSet::default();
        if self.count == self.end {
            return absent;
        }
        for (word, first) in self.words.iter().zip((0..).step_by(64)) {
            let mut at = first;
            while *word != u64::MAX && at < (first + 64).min(self.end) {
                let run = (!word >> (at - first)).trailing_ones();
                absent.insert(at, (at + u64::from(run)).min(self.end));
                at += u64::from(run.max((*word >> (at - first)).trailing_ones()).max(1));
            }
        }
        absent
    }
}

/// The part of `set` that is in `other` as well.
pub(super) fn intersection(set: &IntervalSet, other: &IntervalSet) -> IntervalSet {
    without(set, &without(set, other))
}

/// The part of `set` that is not in `other`.
pub(super) fn without(set: &IntervalSet, other: &IntervalSet) -> IntervalSet {
    let mut rest = IntervalSet::default();
    for &(start, end) in set.intervals() {
        other.missing(start, end).into_iter().for_each(|(start, end)| rest.insert(start, end));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Ordinals below `end` that follow no simple pattern.
    fn scattered(end: u64, seed: u64) -> BTreeSet<u64> {
        (0..end).filter(|ordinal| (ordinal / 7 * 31 + seed * 17 + ordinal * ordinal / 50) % 5 < 3).collect()
    }

    fn set(ordinals: &BTreeSet<u64>) -> IntervalSet {
        let mut set = IntervalSet::default();
        ordinals.iter().for_each(|&ordinal| set.insert(ordinal, ordinal + 1));
        set
    }

    #[test]
    fn what_was_not_seen_is_absent() {
        for (end, seed) in [0, 1, 63, 64, 65, 200, 1000].into_iter().flat_map(|end| (0..8).map(move |seed| (end, seed)))
        {
            let (seen, mut bitmap) = (scattered(end, seed), Bitmap::new(end));
            assert!(seen.iter().all(|&ordinal| bitmap.insert(ordinal)));
            assert!(seen.iter().all(|&ordinal| !bitmap.insert(ordinal)));
            let unseen: BTreeSet<u64> = (0..end).filter(|ordinal| !seen.contains(ordinal)).collect();
            assert_eq!(bitmap.absent(), set(&unseen), "end {end}, seed {seed}");
            assert!((0..end + 70).all(|ordinal| bitmap.contains(ordinal) == seen.contains(&ordinal)));
            assert_eq!(bitmap.len(), seen.len() as u64);
        }
    }

    #[test]
    fn sets_are_cut_to_what_both_have_and_to_what_one_has() {
        let (a, b) = (scattered(300, 1), scattered(300, 2));
        assert_eq!(intersection(&set(&a), &set(&b)), set(&a.intersection(&b).copied().collect()));
        assert_eq!(without(&set(&a), &set(&b)), set(&a.difference(&b).copied().collect()));
    }
}
