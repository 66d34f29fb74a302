//! Live frames: those that must not go with their segment, counted by the segment in which they stand.

use crate::frame::{Kind, Place};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A live frame that must not go with its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    pub(crate) place: Place,
}

/// Live frames of one segment, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

/// Kept as frames come, move and go, so that nobody has to visit them all to know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<u32, Count>);

impl Counts {
    pub(crate) fn of(&self, segment: u32) -> Count {
        self.0.get(&segment).copied().unwrap_or_default()
    }

    pub(crate) fn come(&mut self, place: Place) {
        let count = self.0.entry(place.segment).or_default();
        count.frames += 1;
        count.bytes += u64::from(place.bytes);
    }

    pub(crate) fn go(&mut self, place: Place) {
        let count = self.0.get_mut(&place.segment).expect("what goes has come");
        count.frames -= 1;
        count.bytes -= u64::from(place.bytes);
        if count.frames == 0 {
            self.0.remove(&place.segment);
        }
    }

    /// A frame stands at `place` now, in place of `former` where there was one.
    pub(crate) fn replace(&mut self, former: Option<Place>, place: Place) {
        former.into_iter().for_each(|former| self.go(former));
        self.come(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::{Append, Options, Store, StoreReader};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::path::Path;
    use std::time::Duration;
    use tokio::runtime::{Builder, Runtime};

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<Append>),
        Retain,
        Reopen,
    }

    fn append() -> impl Strategy<Value = Append> {
        let name = || prop_oneof![Just(Arc::from("a")), Just(Arc::from("b"))];
        let bytes = Bytes::from_static(&[7; 40]);
        let (slot, note, message) = (bytes.clone(), bytes.clone(), bytes);
        prop_oneof![
            8 => (name(), 0..30u64).prop_map(move |(chain, number)| {
                Append::Slot { chain, number, nonce: number.into(), bytes: slot.clone() }
            }),
            1 => (name(), 0..30u64).prop_map(|(chain, below)| Append::Trim { chain, below }),
            2 => (name(), 0..4u64).prop_map(move |(key, seen)| {
                Append::Note { key, seen, bytes: note.clone(), closes: Vec::new() }
            }),
            3 => name().prop_map(move |queue| Append::Message { queue, bytes: message.clone() }),
            2 => (name(), 0..9u64).prop_map(|(queue, number)| Append::Ack { queue, number }),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => proptest::collection::vec(append(), 1..8).prop_map(Step::Append),
            2 => Just(Step::Retain),
            1 => Just(Step::Reopen),
        ]
    }

    /// Every segment but the last is old.
    fn open(dir: &Path) -> Store {
        let options = Options::new(Arc::new(|| 0), "a test");
        let options = Options { segment_bytes: 600, retain_for: Duration::ZERO, ..options };
        Store::open(dir, options).expect("a sound directory opens")
    }

    fn take(runtime: &Runtime, dir: &Path, store: Store, step: Step) -> Store {
        match step {
            Step::Append(appends) => drop(runtime.block_on(store.append(appends)).expect("the store runs")),
            Step::Retain => drop(runtime.block_on(store.enforce_retention(0)).expect("the store runs")),
            Step::Reopen => {
                drop(store);
                return open(dir);
            }
        }
        store
    }

    /// Slots in `segment`, looked at by threes.
    fn slots(index: &Index, segment: u32, chain: &Arc<str>) -> Vec<Live> {
        let (mut all, mut rest) = (Vec::new(), Some(0));
        while let Some(from) = rest {
            let (found, next) = index.slots_in(segment, chain, from, 3);
            all.extend(found);
            rest = next;
        }
        all
    }

    /// What lives, counted by a visit to all of it.
    fn visited(index: &Index) -> Counts {
        let mut counts = Counts::default();
        let last = index.segments.last_key_value().map_or(0, |(number, _)| *number);
        for segment in 0..=last {
            let slots = index.chains.keys().flat_map(|chain| slots(index, segment, chain));
            slots.chain(index.notes_and_messages_in(segment)).for_each(|live| counts.come(live.place));
        }
        counts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_kept_is_what_a_visit_counts(steps in proptest::collection::vec(step(), 1..40)) {
            let dir = tempfile::tempdir().expect("a folder");
            let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
            let mut store = open(dir.path());
            let reader = StoreReader::open(dir.path()).expect("a log");
            for step in steps {
                store = take(&runtime, dir.path(), store, step);
                reader.refresh().expect("a log");
                for index in [store.view().index(), reader.view().index()] {
                    prop_assert_eq!(&index.live, &visited(&index));
                }
            }
        }
    }
}
