//! Chance that is a function of a seed: SplitMix64. Source: <https://prng.di.unimi.it/splitmix64.c>

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row of numbers that depends on nothing but the seed.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Rows of different purposes have nothing in common.
    pub(crate) fn new(seed: u64, purpose: u64) -> Dice {
        // Mixed first: rows whose states are a step apart would share all numbers but one.
        Dice(mix(mix(seed).wrapping_add(purpose.wrapping_mul(GOLDEN))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    pub(crate) fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    /// A number below `bound`, which is above zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low) as usize + 1) as u64
    }

    /// True once in a while: `percent` of a hundred times.
    pub(crate) fn percent(&mut self, percent: f64) -> bool {
        const STEPS: f64 = (1u64 << 53) as f64;
        ((self.next() >> 11) as f64) < percent / 100.0 * STEPS
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_comes_up() {
        let mut dice = Dice::new(7, 0);
        let mut met = [0; 6];
        (0..600).for_each(|_| met[dice.below(6)] += 1);
        assert!(met.iter().all(|&count| count > 50), "{met:?}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Dice::new(7, 0).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn percents_come_up_as_often_as_they_say() {
        let mut dice = Dice::new(7, 0);
        let hits = (0..10_000).filter(|_| dice.percent(8.0)).count();
        assert!((700..900).contains(&hits), "{hits}");
    }
}
