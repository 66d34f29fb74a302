//! Accepted events that can never be sent: later copies of them are judged anew (PROTOCOL rule 16).
//!
//! An id may have been accepted more than once: with a window between, or again since it became void, by this chain or by
//! another of its lineage. Only the ordinal says which of these times is void.

use crate::batch::lane_of;
use crate::chain::{Accepted, accepted};
use crate::windows::Windows;
use schema::v1::Decision;
use schema::{ChainId, EventId, HashRange, IntervalSet, Kind, record};
use std::collections::{BTreeMap, BTreeSet};

/// What chains gave up on.
#[derive(Debug, Default)]
pub(crate) struct Voids {
    /// By chain and lane.
    ordinals: BTreeMap<(ChainId, usize), IntervalSet>,
    /// With their lanes.
    ids: BTreeSet<(usize, EventId)>,
}

impl Voids {
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Notes what an entry gave up on.
    pub(crate) fn note(&mut self, chain: &ChainId, entry: &Decision) {
        for void in &entry.voids {
            let lane = lane_of(Kind::try_from(void.kind).unwrap_or(Kind::Events));
            let ids = record::ids(&void.ids);
            let end = void.first_ordinal + ids.len() as u64;
            self.ordinals.entry((chain.clone(), lane)).or_default().insert(void.first_ordinal, end);
            self.ids.extend(ids.map(|id| (lane, id)));
        }
    }

    /// Takes the ids out of windows.
    pub(crate) fn forget(&self, windows: &mut Windows) {
        self.ids.iter().for_each(|&(lane, id)| windows.remove(lane, id));
    }

    /// Takes those of the ids back into windows that an entry accepted under an ordinal that is not void.
    pub(crate) fn take_back(&self, windows: &mut Windows, chain: &ChainId, entry: &Decision, range: &HashRange) {
        for Accepted { lane, id, ordinal, minute } in accepted(entry) {
            if self.ids.contains(&(lane, id)) && range.covers(id.hash()) && !self.is_void(chain, lane, ordinal) {
                windows.learn(lane, id, minute);
            }
        }
    }

    fn is_void(&self, chain: &ChainId, lane: usize, ordinal: u64) -> bool {
        self.ordinals.get(&(chain.clone(), lane)).is_some_and(|ordinals| ordinals.contains(ordinal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schema::ShardId;
    use schema::v1::{Lane, ReceivedRun, Void};

    const ID: EventId = EventId(5);

    fn chain(shard: &str) -> ChainId {
        ChainId::dedup("i", &ShardId::new(shard), 0)
    }

    fn accepting(ordinal: u64) -> Decision {
        let ids = Bytes::copy_from_slice(&ID.to_bytes());
        let received = vec![ReceivedRun { count: 1, received_at: 60_000_000 * ordinal as i64 }];
        let lane = Lane { first_ordinal: ordinal, count: 1, ids, received, ..Lane::default() };
        Decision { events: Some(lane), ..Decision::default() }
    }

    fn voiding(ordinal: u64) -> Decision {
        let ids = Bytes::copy_from_slice(&ID.to_bytes());
        let void = Void { kind: Kind::Events.into(), first_ordinal: ordinal, ids, reason: String::new() };
        Decision { voids: vec![void], ..Decision::default() }
    }

    /// Whether an id is known after these entries, as they are loaded.
    fn is_known(entries: &[(&str, Decision)]) -> bool {
        let (mut windows, mut voids) = (Windows::new([7, 7]), Voids::default());
        windows.learn(0, ID, 0);
        entries.iter().for_each(|(shard, entry)| voids.note(&chain(shard), entry));
        voids.forget(&mut windows);
        for (shard, entry) in entries {
            voids.take_back(&mut windows, &chain(shard), entry, &HashRange::ALL);
        }
        windows.contains(0, ID)
    }

    #[test]
    fn an_id_that_is_void_is_not_known() {
        assert!(!is_known(&[("s", accepting(3)), ("s", voiding(3))]));
    }

    #[test]
    fn an_id_that_was_accepted_again_is_known_in_whatever_order_chains_are_loaded() {
        let (before, after) = ([("parent", accepting(3)), ("parent", voiding(3))], [("child", accepting(0))]);
        assert!(is_known(&[&before[..], &after[..]].concat()));
        assert!(is_known(&[&after[..], &before[..]].concat()));
    }

    #[test]
    fn an_id_whose_other_acceptance_became_void_is_known() {
        assert!(is_known(&[("s", accepting(3)), ("s", accepting(9)), ("s", voiding(9))]));
    }
}
