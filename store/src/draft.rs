//! Deciding what a commit holds: numbers are given and slots are won here, by the one committer, before anything is
//! written. What is decided is told to nobody until it is durable.

use crate::frame::{Body, HEADER_BYTES, Kind, Place};
use crate::index::Index;
use crate::live::Live;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Something to append. Names are at most [`crate::NAME_BYTES_MAX`] bytes, payloads at most
/// [`crate::PAYLOAD_BYTES_MAX`].
#[derive(Clone, Debug)]
pub enum Append {
    /// Answered with the record's number, one above that of the record before it.
    Record {
        log: Arc<str>,
        bytes: Bytes,
    },
    /// Fills a slot once. The same nonce again is answered as the first time.
    Slot {
        chain: Arc<str>,
        number: u64,
        nonce: u128,
        bytes: Bytes,
    },
    /// Removes slots `[1, below)`, never the head.
    Trim {
        chain: Arc<str>,
        below: u64,
    },
    /// Writes a note if it still has version `seen`, and closes logs in the same moment. Answered with the version.
    Note {
        key: Arc<str>,
        seen: u64,
        bytes: Bytes,
        closes: Vec<Arc<str>>,
    },
    /// Answered with the message's number.
    Message {
        queue: Arc<str>,
        bytes: Bytes,
    },
    Ack {
        queue: Arc<str>,
        number: u64,
    },
    /// Takes no more records for `log` while the store is open.
    Close {
        log: Arc<str>,
    },
}

impl Append {
    fn name(&self) -> &str {
        match self {
            Append::Record { log: name, .. }
            | Append::Slot { chain: name, .. }
            | Append::Trim { chain: name, .. }
            | Append::Note { key: name, .. }
            | Append::Message { queue: name, .. }
            | Append::Ack { queue: name, .. }
            | Append::Close { log: name } => name,
        }
    }

    pub(crate) fn name_bytes(&self) -> usize {
        self.name().len()
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        match self {
            Append::Record { bytes, .. }
            | Append::Slot { bytes, .. }
            | Append::Note { bytes, .. }
            | Append::Message { bytes, .. } => bytes.len(),
            Append::Trim { .. } | Append::Ack { .. } | Append::Close { .. } => 0,
        }
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.name_bytes() + self.payload_bytes()
    }
}

/// Why an append was decided against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The log is closed.
    Closed,
    /// The slot holds another entry, or was trimmed.
    Taken,
    /// The note has changed since; or what was to be moved is gone.
    Changed,
    /// The slot's old content may be what was lost.
    Damaged,
}

/// A live frame on its way from a segment that will be dropped to the tail.
#[derive(Clone, Debug)]
pub(crate) struct Moved {
    pub(crate) live: Live,
    pub(crate) aux: u128,
    pub(crate) bytes: Bytes,
}

/// What a unit asks of the committer.
#[derive(Debug)]
pub(crate) enum Work {
    Appends(Vec<Append>),
    /// Is answered after a commit, which writes down what every commit does: how far logs are consumed.
    Nothing,
    Move(Vec<Moved>),
    /// Gives a segment up, once nothing in it lives.
    Drop(u32),
}

/// A frame of this commit.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    pub(crate) aux: u128,
    pub(crate) payload: Bytes,
}

impl Written {
    pub(crate) fn body(&self) -> Body<'_> {
        let Written { kind, name, number, aux, payload, .. } = self;
        Body { kind: *kind, name, number: *number, aux: *aux, payload }
    }
}

/// Where the commit will stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) synced_through: u32,
    pub(crate) now: i64,
}

/// A commit in the making: the index as it is, and what this commit will add to it.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    index: &'a Index,
    closed: &'a mut HashSet<Arc<str>>,
    out: &'a mut Vec<u8>,
    spot: Spot,
    pub(crate) written: Vec<Written>,
    pub(crate) dropped: Vec<u32>,
    pub(crate) ended: Vec<Arc<str>>,
    records: HashMap<Arc<str>, u64>,
    slots: HashMap<(Arc<str>, u64), u128>,
    lows: HashMap<Arc<str>, u64>,
    notes: HashMap<Arc<str>, u64>,
    messages: HashMap<Arc<str>, u64>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(index: &'a Index, closed: &'a mut HashSet<Arc<str>>, out: &'a mut Vec<u8>, spot: Spot) -> Self {
        Draft {
            index,
            closed,
            out,
            spot,
            written: Vec::new(),
            dropped: Vec::new(),
            ended: Vec::new(),
            records: HashMap::new(),
            slots: HashMap::new(),
            lows: HashMap::new(),
            notes: HashMap::new(),
            messages: HashMap::new(),
        }
    }

    pub(crate) fn decide(&mut self, work: Work) -> Vec<Result<u64, Refusal>> {
        match work {
            Work::Appends(appends) => appends.into_iter().map(|append| self.append(append)).collect(),
            Work::Nothing => Vec::new(),
            Work::Move(frames) => frames.into_iter().map(|frame| self.move_to_tail(frame)).collect(),
            Work::Drop(segment) => vec![self.drop_segment(segment)],
        }
    }

    fn append(&mut self, append: Append) -> Result<u64, Refusal> {
        match append {
            Append::Record { log, bytes } => self.record(log, bytes),
            Append::Slot { chain, number, nonce, bytes } => self.slot(chain, number, nonce, bytes),
            Append::Trim { chain, below } => Ok(self.trim(chain, below)),
            Append::Note { key, seen, bytes, closes } => self.note(key, seen, bytes, closes),
            Append::Message { queue, bytes } => Ok(self.message(queue, bytes)),
            Append::Ack { queue, number } => {
                self.put(Kind::Ack, queue, number, 0, Bytes::new());
                Ok(number)
            }
            Append::Close { log } => {
                self.end(log);
                Ok(0)
            }
        }
    }

    fn record(&mut self, log: Arc<str>, bytes: Bytes) -> Result<u64, Refusal> {
        if self.closed.contains(&log) {
            return Err(Refusal::Closed);
        }
        let number = match self.records.get_mut(&log) {
            Some(next) => std::mem::replace(next, *next + 1),
            None => {
                let next = self.index.logs.get(&log).map_or_else(|| self.index.first_of_a_new_log(), |log| log.next);
                self.records.insert(log.clone(), next + 1);
                next
            }
        };
        self.put(Kind::Record, log, number, u128::from(self.spot.now as u64), bytes);
        Ok(number)
    }

    fn slot(&mut self, chain: Arc<str>, number: u64, nonce: u128, bytes: Bytes) -> Result<u64, Refusal> {
        let key = (chain, number);
        let known = self.index.chains.get(&key.0);
        let holds = known.and_then(|chain| chain.slot(number)).map(|slot| slot.nonce());
        if let Some(holder) = self.slots.get(&key).copied().or(holds) {
            return if holder == nonce { Ok(number) } else { Err(Refusal::Taken) };
        }
        let low = self.lows.get(&key.0).copied().unwrap_or(0);
        if known.is_some_and(|chain| chain.is_trimmed(number)) || (1 <= number && number < low) {
            return Err(Refusal::Taken);
        }
        let lost = known.is_some_and(|chain| chain.damaged_from(number) == Some(number));
        if lost || known.is_some_and(|chain| self.index.is_in_doubt(chain)) {
            return Err(Refusal::Damaged);
        }
        self.put(Kind::Slot, key.0.clone(), number, nonce, bytes);
        self.slots.insert(key, nonce);
        Ok(number)
    }

    fn trim(&mut self, chain: Arc<str>, below: u64) -> u64 {
        let known = self.index.chains.get(&chain);
        let head = known.and_then(|chain| chain.head()).map_or(0, |(head, _)| head);
        let low = known.map_or(0, |chain| chain.low()).max(self.lows.get(&chain).copied().unwrap_or(0));
        let below = below.min(head);
        if below > low.max(1) {
            self.lows.insert(chain.clone(), below);
            self.put(Kind::Low, chain, below, 0, Bytes::new());
        }
        below.max(low)
    }

    fn note(&mut self, key: Arc<str>, seen: u64, bytes: Bytes, closes: Vec<Arc<str>>) -> Result<u64, Refusal> {
        let written = self.index.notes.get(&key).map_or(0, |note| note.version);
        if self.notes.get(&key).copied().unwrap_or(written) != seen {
            return Err(Refusal::Changed);
        }
        self.notes.insert(key.clone(), seen + 1);
        self.put(Kind::Note, key, seen + 1, 0, bytes);
        closes.into_iter().for_each(|log| self.end(log));
        Ok(seen + 1)
    }

    fn message(&mut self, queue: Arc<str>, bytes: Bytes) -> u64 {
        let written = self.index.queues.get(&queue).map_or(0, |queue| queue.next);
        let number = self.messages.get(&queue).copied().unwrap_or(written);
        self.messages.insert(queue.clone(), number + 1);
        self.put(Kind::Message, queue, number, 0, bytes);
        number
    }

    fn end(&mut self, log: Arc<str>) {
        self.ended.push(log.clone());
        self.closed.insert(log);
    }

    /// Writes down how far logs are consumed, where that is news.
    pub(crate) fn marks(&mut self, consumed: &HashMap<Arc<str>, u64>) {
        for (name, &through) in consumed {
            let Some(log) = self.index.logs.get(name).filter(|log| through > log.consumed) else { continue };
            self.put(Kind::Mark, name.clone(), through.min(log.next), log.low.into(), Bytes::new());
        }
    }

    pub(crate) fn marker(&mut self) {
        self.put(Kind::Marker, Arc::from(""), 0, 0, Bytes::new());
    }

    pub(crate) fn seal(&mut self) {
        let now = u128::from(self.spot.now as u64);
        self.put(Kind::Seal, Arc::from(""), 0, now, Bytes::new());
    }

    fn move_to_tail(&mut self, moved: Moved) -> Result<u64, Refusal> {
        let Moved { live: Live { kind, name, number, place }, aux, bytes } = moved;
        if self.index.place_of(kind, &name, number) != Some(place) {
            return Err(Refusal::Changed);
        }
        self.put(kind, name, number, aux, bytes);
        Ok(number)
    }

    /// Writes again what the segment alone knows, and then that the log starts after it.
    fn drop_segment(&mut self, segment: u32) -> Result<u64, Refusal> {
        let index = self.index;
        let oldest = index.segments.first_key_value().map(|(number, _)| *number);
        if oldest != Some(segment) || segment == self.spot.segment || index.live.of(segment).frames > 0 {
            return Err(Refusal::Changed);
        }
        for (name, chain) in index.chains.iter().filter(|(_, chain)| chain.low_segment() == Some(segment)) {
            self.put(Kind::Low, name.clone(), chain.low(), 0, Bytes::new());
        }
        for (name, log) in &index.logs {
            if log.mark_segment == Some(segment) || log.occupies(segment) {
                let low = u128::from(log.first_after(segment));
                self.put(Kind::Mark, name.clone(), log.consumed, low, Bytes::new());
            }
        }
        self.put(Kind::First, Arc::from(""), u64::from(segment) + 1, 0, Bytes::new());
        self.dropped.push(segment);
        Ok(u64::from(segment))
    }

    fn put(&mut self, kind: Kind, name: Arc<str>, number: u64, aux: u128, payload: Bytes) {
        let offset = self.spot.offset + self.out.len() as u32;
        let body = Body { kind, name: &name, number, aux, payload: &payload };
        let place = body.encode(self.out, self.spot.segment, offset, self.spot.synced_through);
        self.written.push(Written { place, kind, name, number, aux, payload });
    }
}
