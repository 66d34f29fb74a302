//! Which rows a range of the clean shard gives.
//!
//! Pure: (sets, record) → (rows, sets). An ordinal that is in its origin's set was taken before and gives nothing; any
//! other one gives a row, in whatever order it comes. What can't be read as what it claims to be becomes a row of
//! quarantine: it keeps its ordinal, and the pipeline goes on.

use crate::deal::Deal;
use crate::uncounted::UNDECODABLE;
use bytes::Bytes;
use schema::body::{BodyOpener, for_each_carried};
use schema::record::{self, RecordError};
use schema::rows::RowPlace;
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::v1::{CleanRecord, OriginSet};
use schema::{EventId, IntervalSet, Kind, Origin, Position, ShardId};
use service::traces::{self, TraceContext};
use service::{Halt, Rule, Rules};
use std::collections::BTreeMap;
use stream::Record;

/// Stage that is written into quarantine rows made here.
const STAGE: &str = "writer";

/// Origins of rows that no dedup chain has numbered: not part of any proof.
pub const UNREGISTERED: &str = "unregistered/";

/// Ordinals that are taken, by origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets(BTreeMap<Origin, IntervalSet>);

impl Sets {
    pub fn knows(&self, origin: &Origin) -> bool {
        self.0.contains_key(origin)
    }

    pub fn get(&self, origin: &Origin) -> Option<&IntervalSet> {
        self.0.get(origin)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Origin, &IntervalSet)> {
        self.0.iter()
    }

    /// Drops an origin whose set is exactly `[0, count)`; whether it was.
    pub fn forget(&mut self, origin: &Origin, count: u64) -> bool {
        let is_whole = self.0.get(origin).is_some_and(|set| set.is_dense() && set.end() == count);
        is_whole && self.0.remove(origin).is_some()
    }

    pub fn union(&mut self, other: &Sets) {
        for (origin, set) in &other.0 {
            self.0.entry(origin.clone()).or_default().union(set);
        }
    }

    pub fn encode(&self) -> Vec<OriginSet> {
        let one =
            |(origin, set): (&Origin, &IntervalSet)| OriginSet { origin: origin.to_string(), intervals: set.encode() };
        self.0.iter().map(one).collect()
    }

    /// Reads what [`Sets::encode`] wrote; `None` where a set is not one.
    pub fn decode(sets: &[OriginSet]) -> Option<Sets> {
        let one = |set: &OriginSet| Some((Origin::new(&set.origin), IntervalSet::decode(&set.intervals)?));
        sets.iter().map(one).collect::<Option<_>>().map(Sets)
    }

    /// Adds `[start, end)` and gives what of it was missing.
    fn take(&mut self, origin: &Origin, start: u64, end: u64, rules: Rules) -> Vec<(u64, u64)> {
        let set = self.0.entry(origin.clone()).or_default();
        if !rules.keeps(Rule::IntervalSet) {
            let from = start.max(set.end());
            set.insert(0, end);
            return if from < end { vec![(from, end)] } else { Vec::new() };
        }
        let missing = set.missing(start, end);
        set.insert(start, end);
        missing
    }
}

/// A clean record, read.
#[derive(Clone, Debug)]
pub enum Understood {
    Clean {
        origin: Origin,
        record: CleanRecord,
    },
    /// Not a record of ours, or not of an origin that any dedup chain has registered; `origin` says which.
    Foreign {
        origin: Origin,
        bytes: Bytes,
        reason: String,
    },
}

impl Understood {
    /// When the gateway received its events; `None` where nobody can say.
    pub(crate) fn received_at(&self) -> Option<i64> {
        match self {
            Understood::Clean { record, .. } => Some(record.received_at),
            Understood::Foreign { .. } => None,
        }
    }

    /// Traces of requests that its events came with.
    pub(crate) fn sampled(&self) -> impl Iterator<Item = TraceContext> + '_ {
        let carried = match self {
            Understood::Clean { record, .. } => &record.trace_context[..],
            Understood::Foreign { .. } => &[],
        };
        traces::carried(carried)
    }
}

/// Reads a clean record's header.
///
/// # Errors
/// A record of a newer format: this release must not guess.
pub fn understand(shard: &ShardId, record: &Record) -> Result<Understood, Halt> {
    match record::decode_clean(record.bytes.clone()) {
        Ok(clean) => Ok(Understood::Clean { origin: Origin::new(&clean.origin), record: clean }),
        Err(error @ RecordError::Version(_)) => {
            Err(Halt(format!("clean record at {}: {error}; upgrade the writer", record.position)))
        }
        Err(reason) => Ok(Understood::Foreign {
            origin: unregistered(shard.as_str()),
            bytes: record.bytes.clone(),
            reason: reason.to_string(),
        }),
    }
}

/// What taking a record came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub rows: u64,
    pub redelivered: u64,
    pub tombstones: u64,
}

/// Takes rows out of clean records.
#[derive(Debug, Default)]
pub struct Taker {
    opener: BodyOpener,
}

impl Taker {
    /// Deals out the rows of a record whose ordinals are not taken yet, and takes them.
    pub fn take(
        &mut self,
        understood: &Understood,
        arrived_at: i64,
        sets: &mut Sets,
        deal: &mut Deal,
        rules: Rules,
    ) -> Taken {
        match understood {
            Understood::Foreign { origin, bytes, reason } => {
                let place = RowPlace { origin, ordinal: 0, id: EventId(0), received_at: arrived_at };
                deal.quarantined(&place, &unreadable(bytes, reason));
                Taken::default()
            }
            Understood::Clean { origin, record } => self.take_clean(origin, record, sets, deal, rules),
        }
    }

    fn take_clean(
        &mut self,
        origin: &Origin,
        record: &CleanRecord,
        sets: &mut Sets,
        deal: &mut Deal,
        rules: Rules,
    ) -> Taken {
        let count = record::count(&record.ids) as u64;
        let end = record.first_ordinal.saturating_add(count);
        let missing = sets.take(origin, record.first_ordinal, end, rules);
        let new: u64 = missing.iter().map(|(start, end)| end - start).sum();
        if record.tombstone {
            return Taken { rows: 0, tombstones: new, redelivered: count - new };
        }
        if new > 0 {
            self.deal_rows(origin, record, &missing, deal);
        }
        Taken { rows: new, redelivered: count - new, tombstones: 0 }
    }

    /// Rows of the ordinals in `missing`.
    fn deal_rows(&mut self, origin: &Origin, record: &CleanRecord, missing: &[(u64, u64)], deal: &mut Deal) {
        let wanted = |k: usize| {
            let ordinal = record.first_ordinal + k as u64;
            missing.iter().any(|&(start, end)| start <= ordinal && ordinal < end)
        };
        let ids: Vec<EventId> = record::ids(&record.ids).collect();
        let place = |k: usize| RowPlace {
            origin,
            ordinal: record.first_ordinal + k as u64,
            id: ids[k],
            received_at: record.received_at,
        };
        let body = record.body.clone().unwrap_or_default();
        let mut dealt = 0;
        let outcome = self.opener.open(&body).and_then(|plain| {
            for_each_carried(&body, &plain, |k, message| {
                if k < ids.len() && wanted(k) {
                    deal_message(deal, &place(k), record.kind, message);
                }
                dealt = k + 1;
                Ok(())
            })
        });
        let reason =
            outcome.map_or_else(|error| error.to_string(), |_| "the body has fewer events than its header".into());
        for k in (dealt..ids.len()).filter(|&k| wanted(k)) {
            deal.quarantined(&place(k), &unreadable(&body.bytes, &reason));
        }
    }
}

fn deal_message(deal: &mut Deal, place: &RowPlace<'_>, kind: i32, message: &[u8]) {
    let outcome = if kind == Kind::Events as i32 {
        StoredEvent::decode(message).map(|event| deal.event(place, &event))
    } else {
        StoredQuarantine::decode(message).map(|item| deal.quarantined(place, &item))
    };
    if let Err(error) = outcome {
        deal.quarantined(place, &unreadable(message, &error.to_string()));
    }
}

/// What rows are given for an origin where no dedup chain has registered one (PROTOCOL rule 21).
pub fn unregistered(origin: &str) -> Origin {
    Origin::new(format!("{UNREGISTERED}{origin}"))
}

fn unreadable<'a>(bytes: &'a [u8], message: &'a str) -> StoredQuarantine<'a> {
    StoredQuarantine { original: bytes, reason: UNDECODABLE, message, stage: STAGE, ..StoredQuarantine::default() }
}

/// A place in the clean shard, read from an entry.
pub fn position(text: &str, chain: &schema::ChainId) -> Result<Position, Halt> {
    Position::parse(text).ok_or_else(|| Halt(format!("chain {chain} names position `{text}`, which is none")))
}
