//! How many pieces each worker should hold. Pure: every worker that sees the same leases comes to the same shares.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Fewest pieces that change hands at a look.
const PACE_MIN: usize = 4;

/// A share is full after this many looks: with a term of 30 s and a look every 5 s, what a dead worker held is spread 50 s
/// after its last sign of life.
const LOOKS_TO_FILL: usize = 4;

/// How many of `pieces` worker `me` should hold, where `held` says how many each live worker holds now.
///
/// Shares differ by one at most and add up to `pieces`. The larger ones fall to those who hold most already, so that no
/// piece changes hands between shares that are even.
pub(super) fn share(pieces: usize, held: &BTreeMap<&str, usize>, me: &str) -> usize {
    let mine = held.get(me).copied().unwrap_or_default();
    let rank_of = |held: usize, worker: &str| (Reverse(held), worker.to_owned());
    let my_rank = rank_of(mine, me);
    let others = held.iter().filter(|(worker, _)| **worker != me);
    let before_me = others.clone().filter(|(worker, held)| rank_of(**held, worker) < my_rank).count();
    let workers = others.count() + 1;
    pieces / workers + usize::from(before_me < pieces % workers)
}

/// Most pieces of a share that are taken or handed off at one look: gradually, so that a new worker is not flooded, and
/// yet done within a minute.
pub(super) fn pace(share: usize) -> usize {
    PACE_MIN.max(share.div_ceil(LOOKS_TO_FILL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn workers(held: &[usize]) -> Vec<String> {
        (0..held.len()).map(|worker| format!("worker-{worker}")).collect()
    }

    fn shares(pieces: usize, held: &[usize]) -> Vec<usize> {
        let workers = workers(held);
        let held = workers.iter().map(String::as_str).zip(held.iter().copied()).collect();
        workers.iter().map(|me| share(pieces, &held, me)).collect()
    }

    proptest! {
        #[test]
        fn shares_add_up_and_differ_by_one_at_most(pieces in 0usize..500, held in prop::collection::vec(0usize..50, 1..20)) {
            let shares = shares(pieces, &held);
            prop_assert_eq!(shares.iter().sum::<usize>(), pieces);
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }

        #[test]
        fn what_is_spread_evenly_stays_where_it_is(pieces in 0usize..500, workers in 1usize..20, turn in 0usize..20) {
            let mut even: Vec<usize> =
                (0..workers).map(|worker| pieces / workers + usize::from(worker < pieces % workers)).collect();
            even.rotate_left(turn % workers);
            prop_assert_eq!(shares(pieces, &even), even);
        }
    }

    #[test]
    fn a_newcomer_gets_its_share_and_nobody_gives_more_than_that() {
        assert_eq!(shares(9, &[3, 3, 3, 0]), [3, 2, 2, 2]);
        assert_eq!(shares(8, &[8, 0, 0]), [3, 3, 2]);
    }

    #[test]
    fn a_worker_that_nobody_sees_yet_counts_itself() {
        assert_eq!(share(8, &BTreeMap::new(), "me"), 8);
        assert_eq!(share(8, &BTreeMap::from([("other", 8)]), "me"), 4);
    }

    #[test]
    fn a_share_fills_in_a_few_looks() {
        assert_eq!([0, 3, 16, 17, 400].map(pace), [4, 4, 4, 5, 100]);
    }
}
