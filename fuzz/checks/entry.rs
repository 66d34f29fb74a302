//! Any bytes are an entry of a chain or refused; what is read is written the same way again, and so is what stands in it.

use bytes::Bytes;
use prost::Message;
use schema::v1::{DedupEntry, OriginSet, PlanEntry, WriterEntry, dedup_entry, writer_entry};
use schema::{ChainId, HashKey, IntervalSet, Position, record};
use std::fmt::Debug;

/// As how many kinds of entry the bytes are read.
pub(crate) fn check(bytes: &[u8]) -> usize {
    let dedup = reread::<DedupEntry>(bytes).and_then(|entry| entry.entry);
    let writer = reread::<WriterEntry>(bytes).and_then(|entry| entry.entry);
    let plan = reread::<PlanEntry>(bytes);
    match &dedup {
        Some(dedup_entry::Entry::Decision(decision)) => {
            positions([&decision.from, &decision.to]);
            let lanes = [&decision.events, &decision.quarantine].into_iter().flatten();
            lanes.for_each(|lane| assert_eq!(record::ids(&lane.ids).len(), record::count(&lane.ids)));
        }
        Some(dedup_entry::Entry::Genesis(genesis)) => {
            [&genesis.hash_low, &genesis.hash_high, &genesis.point].into_iter().for_each(|bytes| key(bytes));
            genesis.parent_chains.iter().for_each(|name| chain(name));
        }
        None => {}
    }
    match &writer {
        Some(writer_entry::Entry::Announcement(announcement)) => {
            positions([&announcement.from, &announcement.to]);
            announcement.sets_after.iter().for_each(set);
        }
        Some(writer_entry::Entry::Genesis(genesis)) => genesis.sets.iter().for_each(set),
        None => {}
    }
    usize::from(dedup.is_some()) + usize::from(writer.is_some()) + usize::from(plan.is_some())
}

fn reread<T: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let entry = T::decode(Bytes::copy_from_slice(bytes)).ok()?;
    assert_eq!(T::decode(record::encode(&entry)).as_ref(), Ok(&entry));
    Some(entry)
}

fn positions([from, to]: [&String; 2]) {
    let (Some(from), Some(to)) = (Position::parse(from), Position::parse(to)) else { return };
    assert_eq!(Position::parse(to.as_str()).as_ref(), Some(&to));
    assert_eq!(from.cmp(&to), to.cmp(&from).reverse());
}

fn key(bytes: &[u8]) {
    let key = HashKey::from_slice(bytes);
    assert!(key.is_none_or(|key| key.to_bytes() == bytes));
}

fn chain(name: &str) {
    let chain = ChainId::new(name);
    assert!(chain.as_plan().is_none_or(|(table, day)| ChainId::plan(table, day) == chain));
    assert!(!chain.file_token().contains('/'));
}

fn set(written: &OriginSet) {
    let Some(set) = IntervalSet::decode(&written.intervals) else { return };
    assert_eq!(set.encode(), written.intervals);
    assert!(set.len() <= set.end());
    let mut twice = set.clone();
    twice.union(&set);
    assert_eq!(twice, set);
}
