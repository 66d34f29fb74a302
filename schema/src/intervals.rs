//! Sets of ordinals.
//!
//! A set is a list of disjoint, non-adjacent intervals, ascending. It stays short, because what is missing from it is
//! in flight.

/// Ordinals that are taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IntervalSet {
    /// `[start, end)`, ascending, with a gap between neighbours.
    intervals: Vec<(u64, u64)>,
}

impl IntervalSet {
    /// Intervals, ascending, as `[start, end)`.
    pub fn intervals(&self) -> &[(u64, u64)] {
        &self.intervals
    }

    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many ordinals are in the set.
    pub fn len(&self) -> u64 {
        self.intervals.iter().map(|(start, end)| end - start).sum()
    }

    /// One past the highest ordinal; 0 where the set is empty.
    pub fn end(&self) -> u64 {
        self.intervals.last().map_or(0, |&(_, end)| end)
    }

    /// Whether the set is `[0, end)` without a hole.
    pub fn is_dense(&self) -> bool {
        self.is_empty() || (self.intervals.len() == 1 && self.intervals[0].0 == 0)
    }

    pub fn contains(&self, ordinal: u64) -> bool {
        let after = self.intervals.partition_point(|&(start, _)| start <= ordinal);
        after > 0 && ordinal < self.intervals[after - 1].1
    }

    /// The parts of `[start, end)` that are not in the set, ascending.
    pub fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = start;
        let first = self.intervals.partition_point(|&(_, e)| e <= start);
        for &(s, e) in &self.intervals[first..] {
            if s >= end {
                break;
            }
            if at < s {
                gaps.push((at, s));
            }
            at = at.max(e);
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// Adds `[start, end)`; what is there already stays.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.intervals.partition_point(|&(_, e)| e < start);
        let last = self.intervals.partition_point(|&(s, _)| s <= end);
        if first == last {
            self.intervals.insert(first, (start, end));
            return;
        }
        let joined = (start.min(self.intervals[first].0), end.max(self.intervals[last - 1].1));
        self.intervals.splice(first..last, [joined]);
    }

    /// Takes `[start, end)` out, as far as it is there.
    pub fn remove(&mut self, start: u64, end: u64) {
        let before = std::mem::take(self);
        for (from, to) in before.intervals {
            self.insert(from, to.min(start));
            self.insert(from.max(end), to);
        }
    }

    pub fn union(&mut self, other: &IntervalSet) {
        for &(start, end) in &other.intervals {
            self.insert(start, end);
        }
    }

    /// As gap, length, gap, length, …
    pub fn encode(&self) -> Vec<u64> {
        let mut at = 0;
        let mut numbers = Vec::with_capacity(2 * self.intervals.len());
        for &(start, end) in &self.intervals {
            numbers.extend([start - at, end - start]);
            at = end;
        }
        numbers
    }

    /// Reads what [`IntervalSet::encode`] wrote; `None` for an odd count, an empty interval or an overflow.
    pub fn decode(numbers: &[u64]) -> Option<IntervalSet> {
        let mut set = IntervalSet::default();
        let mut at = 0u64;
        let (pairs, rest) = numbers.as_chunks::<2>();
        for (k, &[gap, length]) in pairs.iter().enumerate() {
            let start = at.checked_add(gap)?;
            let end = start.checked_add(length)?;
            if length == 0 || (k > 0 && gap == 0) {
                return None;
            }
            set.intervals.push((start, end));
            at = end;
        }
        rest.is_empty().then_some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn some_ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0u64..60, 0u64..9).prop_map(|(start, len)| (start, start + len)), 0..12)
    }

    proptest! {
        #[test]
        fn a_set_behaves_as_a_set_of_numbers(ranges in some_ranges(), probe in (0u64..70, 0u64..20)) {
            let (mut set, mut model) = (IntervalSet::default(), BTreeSet::new());
            for &(start, end) in &ranges {
                let missing: Vec<u64> = set.missing(start, end).into_iter().flat_map(|(s, e)| s..e).collect();
                let expected: Vec<u64> = (start..end).filter(|n| !model.contains(n)).collect();
                prop_assert_eq!(missing, expected);
                set.insert(start, end);
                model.extend(start..end);
            }
            let (start, end) = (probe.0, probe.0 + probe.1);
            let missing: Vec<u64> = set.missing(start, end).into_iter().flat_map(|(s, e)| s..e).collect();
            prop_assert_eq!(missing, (start..end).filter(|n| !model.contains(n)).collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.end(), model.last().map_or(0, |n| n + 1));
            for n in 0..80 {
                prop_assert_eq!(set.contains(n), model.contains(&n));
            }
            for pair in set.intervals().windows(2) {
                prop_assert!(pair[0].1 < pair[1].0, "neighbours must not touch");
            }
            set.remove(start, end);
            model.retain(|n| !(start..end).contains(n));
            let left: Vec<u64> = set.intervals().iter().flat_map(|&(s, e)| s..e).collect();
            prop_assert_eq!(left, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_set_survives_its_encoding(ranges in some_ranges()) {
            let mut set = IntervalSet::default();
            for (start, end) in ranges {
                set.insert(start, end);
            }
            prop_assert_eq!(IntervalSet::decode(&set.encode()), Some(set));
        }

        #[test]
        fn decoding_any_numbers_gives_a_sound_set_or_none(numbers in proptest::collection::vec(any::<u64>(), 0..8)) {
            if let Some(set) = IntervalSet::decode(&numbers) {
                prop_assert_eq!(set.encode(), numbers);
            }
        }
    }
}
