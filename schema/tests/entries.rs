//! Entries of all chains, written and read back: every field of every message, whatever it holds.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use schema::v1::{
    Announcement, Cursor, Decision, DedupEntry, DedupGenesis, LakeObject, Lane, OriginSet, PlanEntry, PlannedInputs,
    PlannedOutput, ReceivedRun, Void, WriterEntry, WriterGenesis, dedup_entry, writer_entry,
};
use schema::{ChainId, IntervalSet, Kind, Origin, Position, ShardId, record};

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn sum() -> impl Strategy<Value = Bytes> {
    any::<u128>().prop_map(|sum| Bytes::copy_from_slice(&sum.to_be_bytes()))
}

fn ids() -> impl Strategy<Value = Bytes> {
    vec(any::<[u8; 16]>(), 0..4).prop_map(|ids| ids.concat().into())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Events), Just(Kind::Quarantine)]
}

/// Positions as embedded streams and Kinesis give them, and the start.
fn position() -> impl Strategy<Value = String> {
    let start = Just(Position::start().as_str().to_string());
    prop_oneof![start, any::<u64>().prop_map(|number| number.to_string()), "[1-9][0-9]{55}"]
}

fn chain() -> impl Strategy<Value = String> {
    let name = |incarnation: String, shard: String, epoch| ChainId::dedup(&incarnation, &ShardId::new(shard), epoch);
    ("[a-z0-9]{1,32}", "[a-zA-Z0-9-]{1,20}", any::<u32>())
        .prop_map(move |(incarnation, shard, epoch)| name(incarnation, shard, epoch).to_string())
}

fn set() -> impl Strategy<Value = IntervalSet> {
    vec((0u64..1 << 40, 1u64..1 << 20), 0..6).prop_map(|ranges| {
        let mut set = IntervalSet::default();
        ranges.into_iter().for_each(|(start, length)| set.insert(start, start + length));
        set
    })
}

fn origin_sets() -> impl Strategy<Value = Vec<OriginSet>> {
    let one = (chain(), kind(), set()).prop_map(|(chain, kind, set)| OriginSet {
        origin: Origin::of(&ChainId::new(chain), kind).to_string(),
        intervals: set.encode(),
    });
    vec(one, 0..4)
}

prop_compose! {
    fn lane()(
        first_ordinal: u64, count: u32, ids in ids(), skipped in vec(any::<u32>(), 0..5),
        received in vec((any::<u32>(), any::<i64>()), 0..4), sum_through in sum(), voids_through: Option<u64>,
    ) -> Lane {
        let received = received.into_iter().map(|(count, received_at)| ReceivedRun { count, received_at }).collect();
        Lane { first_ordinal, count, ids, skipped, received, sum_through, voids_through }
    }
}

prop_compose! {
    fn void()(kind in kind(), first_ordinal: u64, ids in ids(), reason in ".{0,20}") -> Void {
        Void { kind: kind.into(), first_ordinal, ids, reason }
    }
}

prop_compose! {
    fn decision()(
        (from, to, records, met) in (position(), position(), any::<u32>(), any::<u32>()),
        (events, quarantine, voids) in (option::of(lane()), option::of(lane()), vec(void(), 0..3)),
        (strays, duplicates, window_seconds, rule_version) in any::<(u32, u32, u64, u32)>(),
        (forwarded_through, end, newest_through, appended_at) in any::<(u64, bool, i64, i64)>(),
        (tip_at, duplicates_through) in any::<(i64, Option<u64>)>(),
    ) -> Decision {
        Decision {
            from, to, records, met, events, quarantine, strays, duplicates, window_seconds, rule_version,
            forwarded_through, end, newest_through, appended_at, voids, tip_at, duplicates_through,
        }
    }
}

prop_compose! {
    fn dedup_genesis()(
        shard in ".{0,20}", parent_chains in vec(chain(), 0..3), hash_low in sum(), hash_high in sum(), point in sum(),
        epoch: u32, newest_through: i64,
    ) -> DedupGenesis {
        DedupGenesis { shard, parent_chains, hash_low, hash_high, point, epoch, newest_through }
    }
}

prop_compose! {
    fn lake_object()(key in ".{0,60}", table in ".{0,10}", date: i32, rows: u64, rows_hash in sum()) -> LakeObject {
        LakeObject { key, table, date, rows, rows_hash }
    }
}

prop_compose! {
    fn announcement()(
        (from, to, records) in (position(), position(), any::<u32>()),
        (sets_after, objects) in (origin_sets(), vec(lake_object(), 0..4)),
        (done_through, end, redelivered, tombstones, appended_at, tip_at) in any::<(u64, bool, u64, u64, i64, i64)>(),
    ) -> Announcement {
        Announcement {
            from, to, records, sets_after, objects, done_through, end, redelivered, tombstones, appended_at, tip_at,
        }
    }
}

prop_compose! {
    fn writer_genesis()(
        shard in ".{0,20}", parent_chains in vec(chain(), 0..3), sets in origin_sets(),
    ) -> WriterGenesis {
        WriterGenesis { shard, parent_chains, sets }
    }
}

prop_compose! {
    fn planned_inputs()(chain in chain(), objects in vec(any::<(u64, u32, u64)>(), 0..5)) -> PlannedInputs {
        PlannedInputs {
            chain,
            entries: objects.iter().map(|(entry, _, _)| *entry).collect(),
            parts: objects.iter().map(|(_, part, _)| *part).collect(),
            rows: objects.iter().map(|(_, _, rows)| *rows).collect(),
        }
    }
}

prop_compose! {
    fn plan()(
        cursors in vec((chain(), any::<u64>()), 0..4), inputs in vec(planned_inputs(), 0..3),
        outputs in vec((".{0,60}", any::<u64>(), any::<u64>()), 0..4), dropped_key in ".{0,60}",
        (rule_version, input_rows, appended_at) in any::<(u32, u64, i64)>(), input_hash in sum(),
    ) -> PlanEntry {
        let output = |(key, first_rank, rows)| PlannedOutput { key, first_rank, rows };
        PlanEntry {
            cursors: cursors.into_iter().map(|(chain, next)| Cursor { chain, next }).collect(),
            inputs,
            outputs: outputs.into_iter().map(output).collect(),
            dropped_key, rule_version, input_rows, appended_at, input_hash,
        }
    }
}

/// What is read of the bytes of an entry.
fn written_and_read<M: Message + Default>(entry: &M) -> M {
    M::decode(record::encode(entry)).expect("own bytes")
}

proptest! {
    #[test]
    fn entries_of_dedup_chains_are_read_as_they_were_written(decision in decision(), genesis in dedup_genesis()) {
        for entry in [dedup_entry::Entry::Decision(decision), dedup_entry::Entry::Genesis(genesis)] {
            let entry = DedupEntry { entry: Some(entry) };
            prop_assert_eq!(written_and_read(&entry), entry);
        }
    }

    #[test]
    fn entries_of_writer_chains_are_read_as_they_were_written(
        announcement in announcement(), genesis in writer_genesis(),
    ) {
        for entry in [writer_entry::Entry::Announcement(announcement), writer_entry::Entry::Genesis(genesis)] {
            let entry = WriterEntry { entry: Some(entry) };
            prop_assert_eq!(written_and_read(&entry), entry);
        }
    }

    #[test]
    fn plans_are_read_as_they_were_written(plan in plan()) {
        prop_assert_eq!(written_and_read(&plan), plan);
    }

    #[test]
    fn what_stands_in_an_entry_means_what_it_meant(
        set in set(), (from, to) in (position(), position()), (chain, kind) in (chain(), kind()),
    ) {
        prop_assert_eq!(IntervalSet::decode(&set.encode()), Some(set));
        for text in [from, to] {
            let position = Position::parse(&text);
            prop_assert_eq!(position.as_ref().map(Position::as_str), Some(text.as_str()));
        }
        let chain = ChainId::new(chain);
        let origin = Origin::of(&chain, kind);
        prop_assert_eq!(origin.chain(), chain);
        prop_assert_eq!(Origin::new(origin.to_string()).kind(), kind);
    }

    /// A chain is halted over bytes that are no entry; reading them never goes wrong otherwise.
    #[test]
    fn any_bytes_are_an_entry_or_refused(bytes in some_bytes()) {
        if let Ok(entry) = DedupEntry::decode(bytes.clone()) {
            prop_assert_eq!(written_and_read(&entry), entry);
        }
        if let Ok(entry) = WriterEntry::decode(bytes.clone()) {
            prop_assert_eq!(written_and_read(&entry), entry);
        }
        if let Ok(plan) = PlanEntry::decode(bytes) {
            prop_assert_eq!(written_and_read(&plan), plan);
        }
    }
}
