//! How large records are: made-up events, packed as the gateway packs them.

use crate::generate::events::{Factory, Mix, Timeline};
use crate::generate::rate::Rate;
use schema::body::BodyPacker;
use schema::json::event::EventReader;
use schema::validate::{ORIGINAL_BYTES_MAX, Rules};
use schema::{ChainId, Kind, Origin, ShardId, record};
use std::time::Duration;

/// Numbers of events that records are made of; between them, sizes are drawn as straight lines.
const EVENTS: [usize; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/// Records of each number that are made: their mean is taken.
const RECORDS_OF_EACH: usize = 4;

/// The events are those of `generate` with this seed, and of no clock.
const SEED: u64 = 1;
const START_MS: i64 = 1_767_225_600_000;
const MIX: Mix = Mix { duplicates: 0.0, invalid: 0.0, late: 0.0, event_types: 20 };

/// As long as what Kinesis gives: a stream's time of creation, and a shard's id.
const INCARNATION: &str = "1767225600000";
const SHARD: &str = "shardId-000000000000";

/// Bytes of records by how many events they carry.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Events, bytes as a raw record, bytes as a clean one.
    points: Vec<(f64, f64, f64)>,
    pub(super) plain_bytes_per_event: f64,
}

/// An event as records carry it.
struct Packed {
    id: [u8; 16],
    plain: Vec<u8>,
}

impl Sizes {
    /// Packs events at a zstd level.
    pub fn at_level(level: i32) -> Sizes {
        let events = events();
        let mut packer = BodyPacker::new(level);
        let points = EVENTS.map(|count| {
            let made: Vec<_> = events
                .chunks_exact(count)
                .take(RECORDS_OF_EACH)
                .map(|chunk| record_bytes(&mut packer, chunk))
                .collect();
            let mean = |of: fn(&(usize, usize)) -> usize| made.iter().map(of).sum::<usize>() as f64 / made.len() as f64;
            (count as f64, mean(|bytes| bytes.0), mean(|bytes| bytes.1))
        });
        let plain_bytes: usize = events.iter().map(|event| event.plain.len()).sum();
        Sizes { points: points.to_vec(), plain_bytes_per_event: plain_bytes as f64 / events.len() as f64 }
    }

    /// Bytes of a raw record of so many events.
    pub fn raw(&self, events: f64) -> f64 {
        self.between(events, |point| point.1)
    }

    /// Bytes of the clean record that a raw one becomes.
    pub fn clean(&self, events: f64) -> f64 {
        self.between(events, |point| point.2)
    }

    fn between(&self, events: f64, of: impl Fn(&(f64, f64, f64)) -> f64) -> f64 {
        let above = self.points.iter().position(|point| point.0 >= events).unwrap_or(self.points.len() - 1).max(1);
        let (low, high) = (self.points[above - 1], self.points[above]);
        let slope = (of(&high) - of(&low)) / (high.0 - low.0);
        of(&low) + slope * (events.max(1.0) - low.0)
    }
}

fn events() -> Vec<Packed> {
    let factory =
        Factory::new(SEED, &MIX, Timeline { start_ms: START_MS, rate: Rate::new(300, Duration::from_secs(1)) });
    let rules = Rules { event_bytes_max: ORIGINAL_BYTES_MAX, ahead_micros_max: i64::MAX / 2, age_micros_max: None };
    let mut reader = EventReader::default();
    let most = EVENTS[EVENTS.len() - 1] * RECORDS_OF_EACH;
    let mut json = Vec::new();
    let mut made = |number| {
        json.clear();
        factory.write_event(&mut json, number);
        let read = reader.read(&json, &rules, START_MS * 1000).expect("the generator writes JSON");
        let valid = read.expect("the generator was asked for valid events");
        let mut plain = Vec::new();
        valid.event.encode_delimited(&mut plain);
        Packed { id: valid.id.to_bytes(), plain }
    };
    (0..most as u64).map(&mut made).collect()
}

/// Bytes as a raw record, and as a clean one.
fn record_bytes(packer: &mut BodyPacker, events: &[Packed]) -> (usize, usize) {
    let ids: Vec<u8> = events.iter().flat_map(|event| event.id).collect();
    let plain: Vec<u8> = events.iter().flat_map(|event| event.plain.iter().copied()).collect();
    let body = packer.pack(&plain, u32::try_from(events.len()).expect("it is bounded"));
    let raw = record::raw(Kind::Events, ids, START_MS * 1000, body);
    let origin = Origin::of(&ChainId::dedup(INCARNATION, &ShardId::new(SHARD), 0), Kind::Events);
    let places: Vec<usize> = (0..events.len()).collect();
    let clean = record::clean_of(&raw, &places, &origin, START_MS as u64);
    (record::encode(&raw).len(), record::encode(&clean).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_larger_records_take_fewer_bytes() {
        let sizes = Sizes::at_level(1);
        let each = [1.0, 10.0, 100.0, 1000.0].map(|events| sizes.raw(events) / events);
        assert!(each.is_sorted_by(|fewer, more| fewer > more), "{each:?}");
        assert!(each[3] > 16.0, "an id alone has 16 bytes: {each:?}");
    }

    #[test]
    fn a_clean_record_is_a_raw_one_under_another_header() {
        let sizes = Sizes::at_level(1);
        for events in [1.0, 100.0, 2048.0] {
            let header = sizes.clean(events) - sizes.raw(events);
            assert!((0.0..200.0).contains(&header), "{header} bytes at {events} events");
        }
    }

    #[test]
    fn sizes_between_and_beyond_what_was_made_lie_on_the_line() {
        let sizes = Sizes::at_level(1);
        assert_eq!(sizes.raw(3.0) * 2.0, sizes.raw(2.0) + sizes.raw(4.0));
        assert!(sizes.raw(4096.0) > 1.9 * sizes.raw(2048.0));
    }
}
