//! Events of one request, sorted by where they go.
//!
//! **Fragment**: events of one kind for one shard, at most one record of them. **Parcel**: the fragments of a request.
//! **Staged**: events whose hashes are not known yet, since many are hashed together at a fraction of the cost.

use crate::shards::Routes;
use queue::MESSAGE_BYTES_MAX;
use schema::id::hash_all;
use schema::record::{self, PACK_BYTES_MAX, RECORD_BYTES_MAX};
use schema::{EventId, HashKey, Kind};
use std::ops::Range;

/// Most bytes of ids and plain messages that several events share a record with, so that the overflow queue takes it however
/// badly it compresses. A larger event has a record of its own.
const SHARED_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (RECORD_BYTES_MAX - PACK_BYTES_MAX);

/// Whether several events may share one record of this size.
pub(crate) const fn may_share(bytes: usize, events: usize) -> bool {
    bytes <= SHARED_BYTES_MAX && record::fits(bytes, events)
}

/// Events of one kind for one shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Place of the shard in the routes.
    pub(crate) shard: usize,
    pub(crate) kind: Kind,
    /// Hash of the first event.
    pub(crate) point: HashKey,
    /// 16 bytes each.
    pub(crate) ids: Vec<u8>,
    /// Length-delimited messages.
    pub(crate) plain: Vec<u8>,
}

impl Fragment {
    fn new(shard: usize, kind: Kind, point: HashKey, plain_bytes: usize) -> Fragment {
        let ids = Vec::with_capacity(plain_bytes / EventId::BYTES + EventId::BYTES);
        Fragment { shard, kind, point, ids, plain: Vec::with_capacity(plain_bytes) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ids.len() + self.plain.len()
    }

    pub(crate) fn events(&self) -> usize {
        record::count(&self.ids)
    }
}

/// Events that are staged at most, and their bytes: what stays in the processor's cache.
const STAGED_MAX: usize = 256;
const STAGED_BYTES_MAX: usize = 64 << 10;

/// Bytes that are kept from one request to the next: more than staged ones have, but for an event that is larger itself.
const STAGED_BYTES_KEPT: usize = 2 * STAGED_BYTES_MAX;

/// Events on their way into fragments; kept by its thread, so that requests allocate nothing for it.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    plain: Vec<u8>,
    ids: Vec<EventId>,
    /// Kind of each event, and where its bytes end.
    ends: Vec<(Kind, usize)>,
    hashes: Vec<HashKey>,
}

impl Staged {
    fn clear(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(STAGED_BYTES_KEPT);
        self.ids.clear();
        self.ends.clear();
        self.hashes.clear();
    }
}

/// The fragments of a request.
#[derive(Debug)]
pub(crate) struct Parcel<'r> {
    routes: &'r Routes,
    staged: &'r mut Staged,
    /// Still growing, by shard and kind.
    open: Vec<Option<Fragment>>,
    full: Vec<Fragment>,
    /// Plain bytes that a fragment is likely to grow to.
    plain_bytes: usize,
}

/// Bodies up to here are taken for one event when space is set aside.
const SINGLE_EVENT_BYTES: usize = 1024;

/// Kinds of records there are.
const KINDS: usize = 2;

impl<'r> Parcel<'r> {
    /// Starts a parcel for a body of `body_bytes`.
    pub(crate) fn new(routes: &'r Routes, staged: &'r mut Staged, body_bytes: usize) -> Parcel<'r> {
        // Shards get even shares of a large body; a small one is likely to be a single event.
        let plain_bytes = (body_bytes / routes.len()).max(body_bytes.min(SINGLE_EVENT_BYTES)).min(SHARED_BYTES_MAX);
        // A request that was refused halfway may have left something.
        staged.clear();
        let open = (0..routes.len() * KINDS).map(|_| None).collect();
        Parcel { routes, staged, open, full: Vec::new(), plain_bytes }
    }

    /// Adds one event; `encode` appends it behind its length, at most a record's worth.
    pub(crate) fn add(&mut self, kind: Kind, id: EventId, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.staged.plain);
        self.staged.ids.push(id);
        self.staged.ends.push((kind, self.staged.plain.len()));
        if self.staged.ids.len() == STAGED_MAX || self.staged.plain.len() >= STAGED_BYTES_MAX {
            self.deal_out();
        }
    }

    fn deal_out(&mut self) {
        hash_all(&self.staged.ids, &mut self.staged.hashes);
        let mut start = 0;
        for place in 0..self.staged.ids.len() {
            let (kind, end) = self.staged.ends[place];
            self.put(kind, place, start..end);
            start = end;
        }
        self.staged.clear();
    }

    /// Puts a staged event into the fragment of its shard and kind.
    fn put(&mut self, kind: Kind, place: usize, bytes: Range<usize>) {
        let (id, point, plain) = (self.staged.ids[place], self.staged.hashes[place], &self.staged.plain[bytes]);
        let shard = self.routes.place(point);
        let slot = &mut self.open[shard * KINDS + kind as usize];
        let fragment = slot.get_or_insert_with(|| Fragment::new(shard, kind, point, self.plain_bytes));
        let bytes = fragment.bytes() + plain.len() + EventId::BYTES;
        if !may_share(bytes, fragment.events() + 1) && !fragment.ids.is_empty() {
            let next = Fragment { shard, kind, point, ids: Vec::new(), plain: Vec::new() };
            self.full.push(std::mem::replace(fragment, next));
        }
        fragment.plain.extend_from_slice(plain);
        debug_assert!(fragment.bytes() + EventId::BYTES <= PACK_BYTES_MAX, "events are bounded at the door");
        fragment.ids.extend_from_slice(&id.to_bytes());
    }

    pub(crate) fn into_fragments(mut self) -> Vec<Fragment> {
        self.deal_out();
        let Parcel { open, mut full, .. } = self;
        full.extend(open.into_iter().flatten());
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::stored::Messages;
    use schema::{HashRange, ShardId};
    use stream::Shard;

    fn routes(count: u32) -> Routes {
        let shard =
            |(k, range)| Shard { id: ShardId::new(format!("s{k}").as_str()), range, parents: vec![], closed: false };
        Routes::of(HashRange::even(count).into_iter().enumerate().map(shard).collect()).expect("open shards")
    }

    #[test]
    fn no_fragment_has_more_events_than_a_record_may_carry() {
        let routes = routes(1);
        let mut staged = Staged::default();
        let mut parcel = Parcel::new(&routes, &mut staged, 1 << 20);
        for k in 0..25_000 {
            parcel.add(Kind::Events, EventId(k), |plain| plain.push(0));
        }
        let events: Vec<usize> = parcel.into_fragments().iter().map(Fragment::events).collect();
        assert_eq!(events, [record::RECORD_EVENTS_MAX, record::RECORD_EVENTS_MAX, 5_000]);
    }

    #[test]
    fn events_are_sorted_by_shard_and_kind_and_none_is_lost() {
        let routes = routes(3);
        let mut staged = Staged::default();
        let mut parcel = Parcel::new(&routes, &mut staged, 1000);
        for k in 0..100 {
            let kind = if k % 10 == 0 { Kind::Quarantine } else { Kind::Events };
            parcel.add(kind, EventId(k), |plain| plain.extend([1, k as u8]));
        }
        let mut seen = 0;
        for fragment in parcel.into_fragments() {
            let ids: Vec<EventId> = record::ids(&fragment.ids).collect();
            assert_eq!(fragment.point, ids[0].hash());
            for (id, message) in ids.iter().zip(Messages::new(&fragment.plain)) {
                assert_eq!(message.expect("own bytes"), [id.0 as u8]);
                assert_eq!(routes.place(id.hash()), fragment.shard);
                assert_eq!(id.0 % 10 == 0, fragment.kind == Kind::Quarantine);
                seen += 1;
            }
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn what_does_not_fit_one_record_starts_another() {
        let routes = routes(1);
        let mut staged = Staged::default();
        let mut parcel = Parcel::new(&routes, &mut staged, 1000);
        for k in 0..5 {
            parcel.add(Kind::Events, EventId(k), |plain| plain.extend(vec![0; SHARED_BYTES_MAX / 2 - 100]));
        }
        let sizes: Vec<usize> = parcel.into_fragments().iter().map(|fragment| record::count(&fragment.ids)).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
