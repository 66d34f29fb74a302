//! Which requests are traced.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many more requests than the fraction may be traced because producers ask for it: so that the first one who looks
/// at a quiet gateway sees something.
const ASKED_FOR_AHEAD_MAX: f64 = 10.0;

/// What a request's `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It has none.
    Nothing,
    ToBeTraced,
    NotToBe,
}

/// Takes a fraction of all requests.
///
/// Those of which nobody said anything are taken by chance. Those that were sampled before they came are taken as long as
/// no more than the fraction of all requests, and [`ASKED_FOR_AHEAD_MAX`], would be traced then: who asks for all gets the
/// fraction.
#[derive(Debug)]
pub(super) struct Sampler {
    fraction: f64,
    seed: u64,
    seen: AtomicU64,
    taken: AtomicU64,
}

impl Sampler {
    pub(super) fn new(fraction: f64, seed: u128) -> Sampler {
        Sampler { fraction, seed: seed as u64, seen: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }

    pub(super) fn takes(&self, asked: Asked) -> bool {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let takes = match asked {
            Asked::NotToBe => false,
            Asked::Nothing => self.chance(seen) < self.fraction,
            Asked::ToBeTraced => self.has_room(seen),
        };
        if takes {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        takes
    }

    fn has_room(&self, seen: u64) -> bool {
        let room = seen as f64 * self.fraction + ASKED_FOR_AHEAD_MAX;
        self.fraction > 0.0 && (self.taken.load(Ordering::Relaxed) as f64) < room
    }

    /// From 0 to just below 1, different for each number: SplitMix64, seeded once, since the operating system's
    /// randomness for each request would cost more than all else here.
    fn chance(&self, number: u64) -> f64 {
        let mut z = self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: usize = 100_000;

    fn taken(fraction: f64, asked: impl Fn(usize) -> Asked) -> usize {
        let sampler = Sampler::new(fraction, 7);
        (0..REQUESTS).filter(|&k| sampler.takes(asked(k))).count()
    }

    #[test]
    fn the_fraction_is_held_by_chance() {
        assert_eq!((taken(0.0, |_| Asked::Nothing), taken(1.0, |_| Asked::Nothing)), (0, REQUESTS));
        let thousandth = taken(0.01, |_| Asked::Nothing);
        assert!((900..1100).contains(&thousandth), "{thousandth}");
    }

    #[test]
    fn a_producer_that_asks_for_all_gets_the_fraction() {
        assert_eq!(taken(0.01, |_| Asked::ToBeTraced), REQUESTS / 100 + ASKED_FOR_AHEAD_MAX as usize);
        assert_eq!(taken(0.0, |_| Asked::ToBeTraced), 0);
        let mixed = taken(0.01, |k| if k.is_multiple_of(2) { Asked::ToBeTraced } else { Asked::Nothing });
        assert!((900..1200).contains(&mixed), "{mixed}");
    }

    #[test]
    fn a_producer_that_asks_seldom_gets_all_that_it_asks_for() {
        let seldom = |k: usize| if k.is_multiple_of(1000) { Asked::ToBeTraced } else { Asked::NotToBe };
        assert_eq!(taken(0.01, seldom), REQUESTS / 1000);
    }

    #[test]
    fn what_was_not_sampled_before_it_came_is_not_traced() {
        assert_eq!(taken(1.0, |_| Asked::NotToBe), 0);
    }
}
