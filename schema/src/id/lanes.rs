//! MD5 of many ids at a time.
//!
//! An id's canonical text is one MD5 block, and the steps of one block wait for each other. Several blocks side by side do
//! not: written over arrays, each step becomes a few vector instructions for all of them.

use super::EventId;
use crate::HashKey;

/// Ids side by side: two vectors of what every x86-64 and ARM64 processor has.
const LANES: usize = 8;

type Word = [u32; LANES];

/// The state that MD5 begins with.
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// How far each step rotates, by round and by step modulo 4.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// Which word of the block a step takes, by round: `(a * step + b) % 16`.
const WORDS: [(usize, usize); 4] = [(1, 0), (5, 1), (3, 5), (7, 0)];

/// `floor(2^32 * abs(sin(k + 1)))`. Source: RFC 1321, 3.4.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// Hashes of all ids, in their order.
pub(super) fn hash_all(ids: &[EventId], out: &mut Vec<HashKey>) {
    out.reserve(ids.len());
    let (groups, rest) = ids.as_chunks::<LANES>();
    for group in groups {
        out.extend(hash_group(group));
    }
    out.extend(rest.iter().map(|id| id.hash()));
}

fn hash_group(ids: &[EventId; LANES]) -> [HashKey; LANES] {
    let block = block(ids);
    let mut state = START.map(|word| [word; LANES]);
    round::<0>(&mut state, &block, |b, c, d| d ^ (b & (c ^ d)));
    round::<1>(&mut state, &block, |b, c, d| c ^ (d & (b ^ c)));
    round::<2>(&mut state, &block, |b, c, d| b ^ c ^ d);
    round::<3>(&mut state, &block, |b, c, d| c ^ (b | !d));
    std::array::from_fn(|lane| {
        let words: [[u8; 4]; 4] = std::array::from_fn(|k| state[k][lane].wrapping_add(START[k]).to_le_bytes());
        HashKey(u128::from_be_bytes(*words.as_flattened().first_chunk().expect("four words are 16 bytes")))
    })
}

/// The padded texts, word by word across the lanes.
fn block(ids: &[EventId; LANES]) -> [Word; 16] {
    const TEXT_WORDS: usize = 9;
    let mut block = [[0; LANES]; 16];
    for (lane, id) in ids.iter().enumerate() {
        let text = id.canonical();
        let (words, _) = text.as_chunks::<4>();
        for (k, word) in words.iter().enumerate() {
            block[k][lane] = u32::from_le_bytes(*word);
        }
    }
    block[TEXT_WORDS] = [0x80; LANES];
    block[14] = [TEXT_WORDS as u32 * u32::BITS; LANES];
    block
}

#[inline(always)]
fn round<const ROUND: usize>(state: &mut [Word; 4], block: &[Word; 16], mix: impl Fn(u32, u32, u32) -> u32) {
    let [mut a, mut b, mut c, mut d] = *state;
    let (factor, offset) = WORDS[ROUND];
    for step in 0..16 {
        let (word, sine) = (&block[(factor * step + offset) % 16], SINES[16 * ROUND + step]);
        let turn = TURNS[ROUND][step % 4];
        let mut next = b;
        for lane in 0..LANES {
            let sum = a[lane].wrapping_add(mix(b[lane], c[lane], d[lane])).wrapping_add(word[lane]).wrapping_add(sine);
            next[lane] = b[lane].wrapping_add(sum.rotate_left(turn));
        }
        (a, d, c, b) = (d, c, b, next);
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_hashes_are_those_of_the_single_ids(ids in proptest::collection::vec(any::<u128>().prop_map(EventId), 0..40)) {
            let mut hashes = Vec::new();
            hash_all(&ids, &mut hashes);
            let single: Vec<HashKey> = ids.iter().map(|id| id.hash()).collect();
            prop_assert_eq!(hashes, single);
        }
    }
}
