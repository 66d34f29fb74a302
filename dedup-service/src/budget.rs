//! The room for ids that the owners of a process share.
//!
//! **Part**: a shard's range as a part of all that is owned here. Ids are spread evenly over the hash key space, so each
//! shard gets its part of the room, for both of its lanes together. Where a shard comes, the parts of the others become
//! smaller, and each makes room at its next turn; where one goes, they grow, and windows lengthen as time passes: what was
//! evicted is not loaded again.

use crate::owned::{Owned, Owning};
use schema::HashRange;

/// A bound on the ids in memory, and who shares it.
#[derive(Clone, Debug)]
pub struct Budget {
    ids_max: usize,
    owned: Owned,
}

impl Budget {
    pub fn new(ids_max: usize) -> Budget {
        Budget { ids_max, owned: Owned::default() }
    }

    /// Most ids of all owners together.
    pub fn ids_max(&self) -> usize {
        self.ids_max
    }

    /// What the owner of `range` may hold, for as long as it has this.
    #[must_use]
    pub fn share(&self, range: HashRange) -> Share {
        Share { ids_max: self.ids_max, owning: self.owned.own(range) }
    }
}

/// One owner's share; goes to the others when dropped.
#[derive(Debug)]
pub struct Share {
    ids_max: usize,
    owning: Owning,
}

impl Share {
    /// Most ids that this owner may hold by now.
    pub fn ids_max(&self) -> usize {
        (self.ids_max as f64 * self.owning.part()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_gets_its_part_of_the_room_and_what_goes_is_shared_by_those_that_stay() {
        let budget = Budget::new(1_000);
        let quarters = HashRange::even(4);
        let half = HashRange { low: quarters[0].low, high: quarters[1].high };
        let wide = budget.share(half);
        assert_eq!(wide.ids_max(), 1_000);
        let narrow = [budget.share(quarters[2]), budget.share(quarters[3])];
        assert_eq!((wide.ids_max(), narrow[0].ids_max(), narrow[1].ids_max()), (500, 250, 250));
        drop(wide);
        assert_eq!(narrow[0].ids_max(), 500);
    }
}
