//! Which part of the hash key space this process decides.

use schema::{HashKey, HashRange};
use std::sync::{Arc, Mutex, MutexGuard};

/// The ranges of the raw shards that are owned here. No two owned shards overlap: a child waits for its parents' END.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    ranges: Arc<Mutex<Vec<HashRange>>>,
}

impl Owned {
    /// All of it, as where there is one process.
    pub fn everything() -> Owned {
        Owned { ranges: Arc::new(Mutex::new(vec![HashRange::ALL])) }
    }

    /// Owns `range` for as long as what is given back lives.
    #[must_use]
    pub fn own(&self, range: HashRange) -> Owning {
        self.ranges().push(range);
        Owning { owned: self.clone(), range }
    }

    pub(crate) fn covers(&self, key: HashKey) -> bool {
        self.ranges().iter().any(|range| range.covers(key))
    }

    /// `range` as a part of everything that is owned.
    fn part(&self, range: &HashRange) -> f64 {
        width(range) / self.ranges().iter().map(width).sum::<f64>()
    }

    fn ranges(&self) -> MutexGuard<'_, Vec<HashRange>> {
        self.ranges.lock().expect("nobody panics while holding it")
    }
}

/// How many keys a range covers.
fn width(range: &HashRange) -> f64 {
    (range.high.0 - range.low.0) as f64 + 1.0
}

/// One range that is owned.
#[derive(Debug)]
pub struct Owning {
    owned: Owned,
    range: HashRange,
}

impl Owning {
    /// This range as a part of everything that is owned.
    pub(crate) fn part(&self) -> f64 {
        self.owned.part(&self.range)
    }
}

impl Drop for Owning {
    fn drop(&mut self) {
        let mut ranges = self.owned.ranges();
        if let Some(place) = ranges.iter().position(|range| *range == self.range) {
            ranges.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_owned_until_its_owner_is_gone() {
        let owned = Owned::default();
        let upper = HashRange { low: HashKey(1 << 127), high: HashRange::ALL.high };
        let owning = owned.own(upper);
        assert!(owned.covers(upper.low) && !owned.covers(HashKey(0)));
        let again = owned.own(upper);
        drop(owning);
        assert!(owned.covers(upper.low));
        drop(again);
        assert!(!owned.covers(upper.low));
    }
}
