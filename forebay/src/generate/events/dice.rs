//! Numbers that look drawn and are computed: SplitMix64. Source: <https://prng.di.unimi.it/splitmix64.c>

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row of numbers that is a function of what it was made from.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, n: u64, purpose: u64) -> Dice {
        // Mixed twice: rows whose states are a step apart would share all numbers but one.
        Dice(mix(mix(seed ^ purpose.wrapping_mul(GOLDEN)).wrapping_add(n.wrapping_mul(GOLDEN))))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`, which is above zero; even enough for made-up data.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
