//! Reading the store: the same for the process that writes and for readers beside it.

use crate::chain::SlotAt;
use crate::fetch::Source;
use crate::frame::Kind;
use crate::index::Index;
use crate::log::{Log, Measure};
use crate::{Fetch, FetchError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::Notify;

/// What the store holds, as far as it is durable.
#[derive(Debug)]
pub struct View {
    index: RwLock<Index>,
    /// What was set aside is passed over; otherwise reading up to it is an error.
    skip_damaged: bool,
    /// How far logs are consumed, by hearsay: written down when it costs nothing.
    consumed: Mutex<HashMap<Arc<str>, u64>>,
}

/// A page of a log.
#[derive(Debug)]
pub struct LogPage {
    pub frames: Fetch,
    /// Number that the next record gets.
    pub next: u64,
    /// When the last record arrived, in Unix microseconds; 0 where there never was one.
    pub tip_at: i64,
}

/// A small value by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// From 1 up; 0 stands for a note that was never written.
    pub version: u64,
    pub bytes: Bytes,
}

impl View {
    pub(crate) fn new(index: Index, skip_damaged: bool) -> View {
        View { index: RwLock::new(index), skip_damaged, consumed: Mutex::default() }
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().expect("nobody panics while holding it")
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().expect("nobody panics while holding it")
    }

    /// Records of `log` from number `from` on. Damaged records end the page, unless they were set aside.
    pub fn records(&self, log: &str, from: u64, records_max: usize, bytes_max: usize) -> LogPage {
        let index = self.index();
        let measure = Measure { records_max, bytes_max, skip_damaged: self.skip_damaged };
        let Some(log) = index.logs.get(log) else {
            return LogPage { frames: Fetch::default(), next: 0, tip_at: 0 };
        };
        LogPage { frames: log.gather(from, measure, &index.segments), next: log.next, tip_at: log.tip_at }
    }

    /// Told of each commit that adds to `log`, and of its end.
    pub fn arrivals(&self, log: &str) -> Arc<Notify> {
        if let Some(log) = self.index().logs.get(log) {
            return log.arrivals.clone();
        }
        let mut index = self.index_mut();
        let first = index.first_of_a_new_log();
        index.logs.entry(Arc::from(log)).or_insert_with(|| Log::starting_at(first)).arrivals.clone()
    }

    /// Names of the logs that start with `prefix`, in no order.
    pub fn logs(&self, prefix: &str) -> Vec<Arc<str>> {
        self.index().logs.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Notes that nobody will read `log` below number `through` again.
    pub fn consumed(&self, log: &str, through: u64) {
        let mut consumed = self.consumed.lock().expect("nobody panics while holding it");
        match consumed.get_mut(log) {
            Some(known) => *known = through.max(*known),
            None => {
                consumed.insert(Arc::from(log), through);
            }
        }
    }

    pub(crate) fn take_consumed(&self) -> HashMap<Arc<str>, u64> {
        std::mem::take(&mut *self.consumed.lock().expect("nobody panics while holding it"))
    }

    /// Slots of `chain` from number `from` on. Reading stops at a damaged slot, and at any gap while the log has lost
    /// bytes of unknown content.
    pub fn slots(&self, chain: &str, from: u64, count_max: usize) -> Fetch {
        let index = self.index();
        let Some(chain) = index.chains.get(chain) else { return Fetch::default() };
        let mut fetch = Fetch::default();
        let mut expected = from;
        for (number, slot) in chain.slots_from(from, count_max) {
            let gap = (index.has_doubt() && expected >= chain.low() && number > expected).then_some(expected);
            let damaged = chain.damaged_from(from).filter(|&damaged| damaged < number);
            if let Some(lost) = damaged.or(gap) {
                fetch.stop(lost_slot(lost));
                return fetch;
            }
            push_slot(&index, &mut fetch, number, &slot);
            expected = (number + 1).max(chain.low());
        }
        if fetch.len() < count_max {
            let unsure = index.is_in_doubt(chain).then(|| chain.head().map_or(0, |(head, _)| head + 1));
            if let Some(lost) = chain.damaged_from(from).or(unsure) {
                fetch.stop(lost_slot(lost));
            }
        }
        fetch
    }

    /// The slot with the highest number.
    pub fn head(&self, chain: &str) -> Fetch {
        let head = self.index().chains.get(chain).map(|chain| {
            let head = chain.head().map_or(0, |(head, _)| head);
            let damaged = chain.damaged_from(head);
            damaged.unwrap_or(head)
        });
        head.map_or_else(Fetch::default, |head| self.slots(chain, head, 2))
    }

    /// Names of all chains that start with `prefix`, ascending.
    pub fn chains(&self, prefix: &str) -> Vec<Arc<str>> {
        let index = self.index();
        let from = index.chains.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(name, _)| name).take_while(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// # Errors
    /// [`FetchError::Damaged`]: a later version was lost.
    pub fn note(&self, key: &str) -> Result<Option<Note>, FetchError> {
        let index = self.index();
        let Some(note) = index.notes.get(key) else { return Ok(None) };
        if note.damaged {
            return Err(FetchError::Damaged { number: note.version + 1, detail: format!("note {key} is lost") });
        }
        Ok(Some(Note { version: note.version, bytes: note.bytes.clone() }))
    }

    /// Version of a note without its content; 0 where there is none.
    pub fn note_version(&self, key: &str) -> u64 {
        self.index().notes.get(key).map_or(0, |note| note.version)
    }

    /// Numbers of the messages that wait in `queue`, ascending, with their bytes in the log.
    pub fn messages(&self, queue: &str) -> Vec<(u64, usize)> {
        let index = self.index();
        let waiting = index.queues.get(queue).into_iter().flat_map(|queue| &queue.waiting);
        waiting.map(|(number, place)| (*number, place.bytes as usize)).collect()
    }

    /// Those of the messages that still wait.
    pub fn message_bodies(&self, queue: &str, numbers: &[u64]) -> Fetch {
        let index = self.index();
        let mut fetch = Fetch::default();
        let Some(waiting) = index.queues.get(queue).map(|queue| &queue.waiting) else { return fetch };
        for number in numbers {
            let place = waiting.get(number).and_then(|place| Some((place, index.segments.get(&place.segment)?)));
            if let Some((&place, segment)) = place {
                fetch.push(Source::Disk { file: segment.file.clone(), place, kind: Kind::Message, number: *number });
            }
        }
        fetch
    }

    /// Bytes of all segments, and their number.
    pub fn log_size(&self) -> (u64, usize) {
        let index = self.index();
        (index.segments.values().map(|segment| u64::from(segment.end)).sum(), index.segments.len())
    }
}

fn push_slot(index: &Index, fetch: &mut Fetch, number: u64, slot: &SlotAt) {
    let place = slot.place();
    match index.segments.get(&place.segment) {
        Some(segment) => fetch.push(Source::Disk { file: segment.file.clone(), place, kind: Kind::Slot, number }),
        None => fetch.stop(FetchError::Io("its segment has just been removed".to_owned())),
    }
}

fn lost_slot(number: u64) -> FetchError {
    FetchError::Damaged { number, detail: "lost to damage of the log".to_owned() }
}
