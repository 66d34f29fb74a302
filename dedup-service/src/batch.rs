//! Raw records as the dedup stage sees them: headers with ids; bodies stay closed.
//!
//! **Unit**: one record of the raw shard, understood. It has several **parts** where somebody else's producer wrote it:
//! its valid events and its invalid ones. Events of a range are counted **flattened**: over units, parts, places.

use schema::id::hash_all;
use schema::v1::RawRecord;
use schema::{EventId, HashKey, Kind, Position, foreign, record};
use service::Halt;
use stream::Record;

/// A raw record, understood.
#[derive(Clone, Debug)]
pub struct Unit {
    pub position: Position,
    /// When the stream took it, by the stream's clock.
    pub arrived_at: i64,
    pub parts: Vec<RawRecord>,
    /// Where each of its events belongs.
    hashes: Vec<HashKey>,
}

impl Unit {
    pub fn events(&self) -> usize {
        self.hashes.len()
    }

    fn parts_with_hashes(&self) -> impl Iterator<Item = (&RawRecord, &[HashKey])> {
        let mut rest = self.hashes.as_slice();
        self.parts.iter().map(move |part| {
            let (hashes, others) = rest.split_at(record::count(&part.ids));
            rest = others;
            (part, hashes)
        })
    }

    pub fn bytes(&self) -> usize {
        self.parts.iter().filter_map(|part| part.body.as_ref()).map(|body| body.bytes.len()).sum()
    }

    /// Oldest `received_at` of its parts.
    pub fn received_at(&self) -> Option<i64> {
        self.parts.iter().map(|part| part.received_at).min()
    }
}

/// Understands one record. The same bytes give the same unit, however often they are read.
///
/// # Errors
/// A record of a newer format: this release must not guess.
pub fn unit_of(record: &Record) -> Result<Unit, Halt> {
    let parts = match record::decode_raw(record.bytes.clone()) {
        Ok(raw) => vec![raw],
        Err(error @ record::RecordError::Version(_)) => {
            return Err(Halt(format!("raw record at {}: {error}; upgrade the dedup service", record.position)));
        }
        Err(_) => foreign::translate(&record.bytes, record.arrived_at),
    };
    let ids: Vec<EventId> = parts.iter().flat_map(|part| record::ids(&part.ids)).collect();
    let mut hashes = Vec::new();
    hash_all(&ids, &mut hashes);
    Ok(Unit { position: record.position.clone(), arrived_at: record.arrived_at, parts, hashes })
}

/// One part's place in a range.
#[derive(Debug)]
pub(crate) struct PartAt<'a> {
    pub(crate) part: &'a RawRecord,
    /// When its unit arrived.
    pub(crate) arrived_at: i64,
    /// Flattened place of its first event.
    pub(crate) first: u32,
    pub(crate) hashes: &'a [HashKey],
}

impl PartAt<'_> {
    /// Its events with their hashes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (EventId, HashKey)> {
        record::ids(&self.part.ids).zip(self.hashes.iter().copied())
    }
}

/// Walks the parts of a range with their flattened places.
pub(crate) fn parts(units: &[Unit]) -> impl Iterator<Item = PartAt<'_>> {
    let mut first = 0;
    let all = units.iter().flat_map(|unit| unit.parts_with_hashes().map(|part| (unit.arrived_at, part)));
    all.map(move |(arrived_at, (part, hashes))| {
        let at = PartAt { part, arrived_at, first, hashes };
        first += hashes.len() as u32;
        at
    })
}

pub(crate) fn kind_of(part: &RawRecord) -> Kind {
    Kind::try_from(part.kind).expect("decoding refuses unknown kinds")
}

/// Index of a kind in arrays with one element for each.
pub(crate) fn lane_of(kind: Kind) -> usize {
    match kind {
        Kind::Events => 0,
        Kind::Quarantine => 1,
    }
}

pub(crate) const LANES: [Kind; 2] = [Kind::Events, Kind::Quarantine];
