//! Chance that is a function of a seed: SplitMix64. Source: <https://prng.di.unimi.it/splitmix64.c>

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A row of numbers that depends on nothing but what it was made from.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The dice of one call. Other operations don't change them, so that concurrent ones may come in any order.
    pub(super) fn of_call(seed: u64, operation: &str, number: u64) -> Dice {
        let named = operation.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Dice(mix(named.wrapping_add(number.wrapping_mul(GOLDEN))))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// True with this probability, from 0 (never) to 1 (always).
    pub(super) fn falls(&mut self, probability: f64) -> bool {
        const STEPS: f64 = (1u64 << 53) as f64;
        ((self.next() >> 11) as f64) < probability * STEPS
    }

    /// A number below `bound`, which is above zero.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
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

    fn falls(seed: u64, operation: &str) -> Vec<bool> {
        (0..1000).map(|number| Dice::of_call(seed, operation, number).falls(0.1)).collect()
    }

    #[test]
    fn one_seed_gives_one_row_of_calls() {
        assert_eq!(falls(7, "PutRecords"), falls(7, "PutRecords"));
        assert_ne!(falls(7, "PutRecords"), falls(8, "PutRecords"));
        assert_ne!(falls(7, "PutRecords"), falls(7, "PutItem"));
    }

    #[test]
    fn dice_fall_as_often_as_they_should() {
        let fallen = falls(7, "PutRecords").into_iter().filter(|fell| *fell).count();
        assert!((60..140).contains(&fallen), "{fallen}");
        assert!((0..100).all(|n| Dice::of_call(n, "x", n).falls(1.0) && !Dice::of_call(n, "x", n).falls(0.0)));
    }
}
