//! Logs in memory: where each record stands, 8 bytes a record, and the latest payloads.

use crate::fetch::{Frame, Source};
use crate::frame::{Kind, Place};
use crate::segment::Segment;
use crate::{Fetch, FetchError};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// Records of one log in one segment, without a gap between them.
#[derive(Debug)]
struct Span {
    segment: u32,
    first: u64,
    /// Offset and length of each frame.
    frames: Vec<(u32, u32)>,
}

impl Span {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }
}

/// A record whose payload is still in memory.
#[derive(Debug)]
struct Recent {
    arrived_at: i64,
    bytes: Bytes,
}

/// What a payload in memory takes, its bookkeeping included.
pub(crate) fn weight(payload: &Bytes) -> usize {
    const BOOKKEEPING_BYTES: usize = 128;
    payload.len() + BOOKKEEPING_BYTES
}

/// How much to gather from a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
    /// Pass over what was set aside.
    pub(crate) skip_damaged: bool,
}

/// One log.
#[derive(Debug)]
pub(crate) struct Log {
    spans: VecDeque<Span>,
    /// The latest records, without a gap up to `next`.
    recent: VecDeque<Recent>,
    pub(crate) next: u64,
    /// The first record that retention has left.
    pub(crate) low: u64,
    /// Nobody reads what comes before it again.
    pub(crate) consumed: u64,
    pub(crate) tip_at: i64,
    /// Where the durable copy of `low` and `consumed` stands.
    pub(crate) mark_segment: Option<u32>,
    pub(crate) advanced_at: Option<Place>,
    pub(crate) arrivals: Arc<Notify>,
}

impl Log {
    pub(crate) fn starting_at(next: u64) -> Log {
        Log {
            spans: VecDeque::new(),
            recent: VecDeque::new(),
            next,
            low: 0,
            consumed: 0,
            tip_at: 0,
            mark_segment: None,
            advanced_at: None,
            arrivals: Arc::default(),
        }
    }

    /// Notes where record `number` stands. Records come in ascending order; a gap before it is damage.
    pub(crate) fn place(&mut self, number: u64, arrived_at: i64, place: Place) {
        if number < self.next {
            return;
        }
        let frame = (place.offset, place.bytes);
        match self.spans.back_mut() {
            Some(span) if span.segment == place.segment && span.end() == number => span.frames.push(frame),
            last => {
                if let Some(full) = last {
                    full.frames.shrink_to_fit();
                }
                self.spans.push_back(Span { segment: place.segment, first: number, frames: vec![frame] });
            }
        }
        (self.next, self.tip_at, self.advanced_at) = (number + 1, arrived_at, Some(place));
    }

    /// Keeps the payload of the record that was placed last.
    pub(crate) fn remember(&mut self, arrived_at: i64, bytes: Bytes) {
        self.recent.push_back(Recent { arrived_at, bytes });
    }

    /// Lets go of the oldest payload in memory; gives what it weighed.
    pub(crate) fn forget(&mut self) -> usize {
        self.recent.pop_front().map_or(0, |recent| weight(&recent.bytes))
    }

    /// Record `number` is known to be broken.
    pub(crate) fn lose(&mut self, number: u64, place: Place) {
        if number >= self.next {
            (self.next, self.advanced_at) = (number + 1, Some(place));
        }
    }

    /// Retention has removed what comes before `low`.
    pub(crate) fn raise_low(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.next = self.next.max(self.low);
        while self.spans.front().is_some_and(|span| span.end() <= self.low) {
            self.spans.pop_front();
        }
    }

    pub(crate) fn occupies(&self, segment: u32) -> bool {
        self.spans.iter().any(|span| span.segment == segment)
    }

    /// The first record after those in `segment` and in segments before it.
    pub(crate) fn first_after(&self, segment: u32) -> u64 {
        self.spans.iter().find(|span| span.segment > segment).map_or(self.next, |span| span.first).max(self.low)
    }

    /// Gathers records from number `from` on; stops before the first that is missing.
    pub(crate) fn gather(&self, from: u64, measure: Measure, segments: &BTreeMap<u32, Segment>) -> Fetch {
        if from < self.low {
            return Fetch::stopped(FetchError::Trimmed { first: self.low });
        }
        if from > self.next {
            let detail = format!("beyond the end of the log, which is {}", self.next);
            return Fetch::stopped(FetchError::Damaged { number: from, detail });
        }
        let mut fetch = Fetch::default();
        let (mut number, mut bytes) = (from, 0);
        while number < self.next && fetch.len() < measure.records_max {
            let Some((source, length)) = self.source(number, segments) else {
                match self.spans.iter().find(|span| span.first > number) {
                    Some(span) if measure.skip_damaged => number = span.first,
                    None if measure.skip_damaged => break,
                    _ => {
                        fetch.stop(FetchError::Damaged { number, detail: "lost to damage of the log".to_owned() });
                        break;
                    }
                }
                continue;
            };
            if !fetch.is_empty() && bytes + length > measure.bytes_max {
                break;
            }
            bytes += length;
            fetch.push(source);
            number += 1;
        }
        fetch
    }

    fn source(&self, number: u64, segments: &BTreeMap<u32, Segment>) -> Option<(Source, usize)> {
        let recent_first = self.next - self.recent.len() as u64;
        if let Some(recent) = number.checked_sub(recent_first).and_then(|at| self.recent.get(at as usize)) {
            let aux = u128::from(recent.arrived_at as u64);
            let frame = Frame { number, aux, bytes: recent.bytes.clone() };
            return Some((Source::Memory(frame), recent.bytes.len()));
        }
        let at = self.spans.partition_point(|span| span.first <= number).checked_sub(1)?;
        let span = &self.spans[at];
        let &(offset, bytes) = span.frames.get((number - span.first) as usize)?;
        let file = segments.get(&span.segment)?.file.clone();
        let place = Place { segment: span.segment, offset, bytes };
        Some((Source::Disk { file, place, kind: Kind::Record, number }, bytes as usize))
    }
}
