//! Raw records as the dedup stage sees them: headers with ids; bodies stay closed.
//!
//! **Unit**: one record of the raw shard, understood. It has several **parts** where somebody else's producer wrote it:
//! its valid events and its invalid ones. Events of a range are counted **flattened**: over units, parts, places.

use schema::v1::RawRecord;
use schema::{Kind, Position, foreign, record};
use service::Halt;
use stream::Record;

/// A raw record, understood.
#[derive(Clone, Debug)]
pub struct Unit {
    pub position: Position,
    pub parts: Vec<RawRecord>,
}

impl Unit {
    pub fn events(&self) -> usize {
        self.parts.iter().map(|part| record::count(&part.ids)).sum()
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
    Ok(Unit { position: record.position.clone(), parts })
}

/// One part's place in a range.
#[derive(Debug)]
pub(crate) struct PartAt<'a> {
    pub(crate) part: &'a RawRecord,
    /// Flattened place of its first event.
    pub(crate) first: u32,
}

/// Walks the parts of a range with their flattened places.
pub(crate) fn parts(units: &[Unit]) -> impl Iterator<Item = PartAt<'_>> {
    let mut first = 0;
    units.iter().flat_map(|unit| &unit.parts).map(move |part| {
        let at = PartAt { part, first };
        first += record::count(&part.ids) as u32;
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
