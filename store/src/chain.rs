//! Chains in memory: where each slot stands and whose it is, 28 bytes a slot.

use crate::frame::Place;
use crate::live::Counts;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A filled slot. Small words keep it free of padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotAt {
    nonce: [u32; 4],
    segment: u32,
    offset: u32,
    bytes: u32,
}

impl SlotAt {
    pub(crate) fn new(nonce: u128, place: Place) -> SlotAt {
        let words = [0, 32, 64, 96].map(|shift| (nonce >> shift) as u32);
        SlotAt { nonce: words, segment: place.segment, offset: place.offset, bytes: place.bytes }
    }

    pub(crate) fn nonce(&self) -> u128 {
        self.nonce.iter().rev().fold(0, |nonce, &word| nonce << 32 | u128::from(word))
    }

    pub(crate) fn place(&self) -> Place {
        Place { segment: self.segment, offset: self.offset, bytes: self.bytes }
    }
}

/// One chain. Slot 0 stands apart, since it is never trimmed.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    genesis: Option<SlotAt>,
    /// Slots next to each other, by the number of the first.
    runs: BTreeMap<u64, VecDeque<SlotAt>>,
    low: u64,
    /// Where the durable copy of `low` stands.
    low_segment: Option<u32>,
    damaged: BTreeSet<u64>,
    advanced_at: Option<Place>,
}

impl Chain {
    pub(crate) fn slot(&self, number: u64) -> Option<&SlotAt> {
        if number == 0 {
            return self.genesis.as_ref();
        }
        let (first, run) = self.runs.range(..=number).next_back()?;
        run.get((number - first) as usize)
    }

    /// The slot with the highest number.
    pub(crate) fn head(&self) -> Option<(u64, &SlotAt)> {
        let last =
            self.runs.last_key_value().and_then(|(first, run)| Some((first + run.len() as u64 - 1, run.back()?)));
        last.or(self.genesis.as_ref().map(|slot| (0, slot)))
    }

    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    pub(crate) fn low_segment(&self) -> Option<u32> {
        self.low_segment
    }

    pub(crate) fn is_trimmed(&self, number: u64) -> bool {
        1 <= number && number < self.low
    }

    /// Where it last got longer.
    pub(crate) fn advanced_at(&self) -> Option<Place> {
        self.advanced_at
    }

    /// The lowest damaged slot from number `from` on.
    pub(crate) fn damaged_from(&self, from: u64) -> Option<u64> {
        self.damaged.range(from..).next().copied()
    }

    /// Up to `count_max` slots from number `from` on, ascending.
    pub(crate) fn slots_from(&self, from: u64, count_max: usize) -> Vec<(u64, SlotAt)> {
        let genesis = self.genesis.iter().filter(|_| from == 0).map(|slot| (0, *slot));
        let start = self.runs.range(..=from).next_back().map_or(from, |(first, _)| *first);
        let runs = self.runs.range(start..).flat_map(|(first, run)| {
            let skip = from.saturating_sub(*first).min(run.len() as u64);
            (first + skip..).zip(run.range(skip as usize..).copied())
        });
        genesis.chain(runs).take(count_max).collect()
    }

    /// Notes where a slot stands; a slot that is known already has moved.
    pub(crate) fn fill(&mut self, number: u64, slot: SlotAt, live: &mut Counts) {
        if self.is_trimmed(number) {
            return;
        }
        live.replace(self.slot(number).map(SlotAt::place), slot.place());
        self.damaged.remove(&number);
        if self.head().is_none_or(|(head, _)| number > head) {
            self.advanced_at = Some(slot.place());
        }
        if number == 0 {
            self.genesis = Some(slot);
            return;
        }
        if let Some((first, run)) = self.runs.range_mut(..=number).next_back() {
            let at = (number - first) as usize;
            if let Some(known) = run.get_mut(at) {
                *known = slot;
                return;
            }
            if at == run.len() {
                run.push_back(slot);
                return;
            }
        }
        self.runs.insert(number, VecDeque::from([slot]));
    }

    pub(crate) fn lose(&mut self, number: u64) {
        if !self.is_trimmed(number) && self.slot(number).is_none() {
            self.damaged.insert(number);
        }
    }

    /// Drops the slots in `[1, low)`; the mark that says so stands in `segment`.
    pub(crate) fn trim(&mut self, low: u64, segment: u32, live: &mut Counts) {
        self.low = self.low.max(low);
        self.low_segment = Some(segment);
        self.damaged.retain(|&number| number == 0 || number >= self.low);
        while let Some(entry) = self.runs.first_entry().filter(|entry| *entry.key() < self.low) {
            let (first, mut run) = entry.remove_entry();
            let gone = (self.low - first).min(run.len() as u64);
            run.drain(..gone as usize).for_each(|slot| live.go(slot.place()));
            if !run.is_empty() {
                self.runs.insert(first + gone, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Count;

    fn slot(number: u64) -> SlotAt {
        SlotAt::new(u128::from(number) << 70 | 7, Place { segment: 1, offset: number as u32, bytes: 1 })
    }

    fn chain(numbers: &[u64]) -> Chain {
        let mut chain = Chain::default();
        numbers.iter().for_each(|&number| chain.fill(number, slot(number), &mut Counts::default()));
        chain
    }

    fn numbers(chain: &Chain, from: u64, count_max: usize) -> Vec<u64> {
        chain.slots_from(from, count_max).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn slots_are_found_whatever_the_order_they_came_in() {
        let chain = chain(&[0, 7, 8, 2, 3, 1, 4]);
        assert_eq!(numbers(&chain, 0, 9), [0, 1, 2, 3, 4, 7, 8]);
        assert_eq!(numbers(&chain, 3, 2), [3, 4]);
        assert_eq!(numbers(&chain, 5, 9), [7, 8]);
        assert_eq!(chain.head().map(|(number, _)| number), Some(8));
        assert_eq!(chain.slot(3), Some(&slot(3)));
        assert_eq!(chain.slot(3).map(SlotAt::nonce), Some(3 << 70 | 7));
        assert_eq!(chain.slot(5), None);
    }

    #[test]
    fn a_trimmed_slot_is_gone_for_good_and_the_genesis_stays() {
        let (mut chain, mut live) = (Chain::default(), Counts::default());
        (0..5).for_each(|number| chain.fill(number, slot(number), &mut live));
        chain.trim(3, 1, &mut live);
        chain.fill(2, slot(2), &mut live);
        assert_eq!(numbers(&chain, 0, 9), [0, 3, 4]);
        assert!(chain.is_trimmed(2) && !chain.is_trimmed(0) && !chain.is_trimmed(3));
        assert_eq!(live.of(1), Count { frames: 3, bytes: 3 });
    }
}
