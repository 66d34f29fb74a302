//! What events take where nothing was measured: units by rate and settings. Pure.
//!
//! At a low rate time decides: so many flushes, decisions and objects a second, however few events each has. At a high
//! rate events do: each unit is full. **Cycle**: the mean time from one flush, decision or object to the next. **Begun**:
//! pieces that a bill counts whole.
//!
//! Not in it: duplicates, events in quarantine, strays, refused and repeated calls, restarts, audits.

use super::sizes::Sizes;
use super::units::{MILLION, Used};
use schema::record::PACK_BYTES_MAX;
use std::time::Duration;

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    pub events_per_second: f64,
    /// Events of a request.
    pub batch_events: f64,
}

/// What the services do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub linger: Duration,
    pub flushes_max: usize,
    pub dedup_linger: Duration,
    pub dedup_settle_after: Duration,
    pub writer_linger: Duration,
    pub writer_settle_after: Duration,
    pub flush_interval: Duration,
    pub flush_bytes_max: usize,
    pub flush_rows_max: u64,
    pub object_bytes: usize,
    /// Of each stream, at least; more where the load needs them.
    pub shards: u64,
}

/// Units for a million events, and the shards that each stream needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Modelled {
    pub used: Vec<Used>,
    pub shards: u64,
}

/// How long PutRecords takes: an assumption, tens of milliseconds in one region.
const PUT_SECONDS: f64 = 0.020;

/// Events per second that a gateway is given; a third of what one takes from large requests on two processors.
const GATEWAY_EVENTS_PER_SECOND: f64 = 30_000.0;

/// Processes of each service at least: one may go.
const REPLICAS_MIN: f64 = 2.0;

/// Shards that a process of the dedup or the writer stage works on.
const SHARDS_PER_WORKER: f64 = 8.0;

/// Pause between two looks at a shard: it answers five a second.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const POLL_SECONDS: f64 = 0.220;

/// What a shard takes. Source: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const SHARD_KB_PER_SECOND: f64 = 1024.0;
const SHARD_RECORDS_PER_SECOND: f64 = 1000.0;

/// Share of a shard that the mean load may take: peaks and catching up need the rest.
const SHARD_SHARE: f64 = 0.5;

/// Most shards of a stream in the model: more than any account has without asking.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const SHARDS_MAX: u64 = 20_000;

/// More shards may mean more records, and those more shards: how often that is followed.
const GROWTHS_MAX: u32 = 16;

/// A decision: its fixed part (names, two positions of 56 digits, sums), each id, and the time of each record. A test
/// holds them against an entry.
const DECISION_BYTES: f64 = 480.0;
const ID_BYTES: f64 = 16.0;
const RECEIVED_BYTES: f64 = 14.0;

/// Most ids of a decision.
const DECISION_IDS_MAX: f64 = 20_000.0;

/// An announcement without objects (names, positions, a set or two), and each object in it.
const ANNOUNCEMENT_BYTES: f64 = 600.0;
const OBJECT_NAME_BYTES: f64 = 180.0;

/// Live objects of an announcement: today's, and as often as not one of another day or table.
const OBJECTS_PER_ANNOUNCEMENT: f64 = 1.5;

/// A row as plain columns, and in an object: as measured with made-up events of 407 bytes of JSON.
const ROW_BYTES: f64 = 250.0;
pub(super) const LAKE_BYTES_PER_EVENT: f64 = 64.0;

/// Final objects of a day at least: one for each event type.
const EVENT_TYPES: f64 = 20.0;
const DAY_SECONDS: f64 = 86_400.0;

/// Bytes of a part of a large object, and the calls that begin and complete it. As the S3 lake has them.
const PART_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
const CALLS_AROUND_PARTS: f64 = 2.0;

/// Looks before a final object is made and after: is it there, is its plan complete.
const HEADS_PER_FINAL_OBJECT: f64 = 2.0;

/// A lease is renewed three times in its term of 30 s; each worker looks at all of its stage every 5 s, and a read unit
/// shows it about 20.
const RENEWAL_SECONDS: f64 = 10.0;
const LOOK_SECONDS: f64 = 5.0;
const LEASES_PER_READ_UNIT: f64 = 20.0;

/// Longest wait of a receive. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const RECEIVE_SECONDS: f64 = 20.0;

/// Send, receive and delete of a compaction task.
const CALLS_PER_TASK: f64 = 3.0;

const KB: f64 = 1024.0;
const PAYLOAD_UNIT_BYTES: f64 = 25.0 * KB;

/// Records on their way through the raw stream, all per second.
#[derive(Clone, Copy, Debug)]
struct Flow {
    events: f64,
    gateways: f64,
    records: f64,
    /// Of all shards together.
    shards: f64,
}

/// The units that a million events take at this rate.
///
/// # Panics
/// If there is no rate, or no event in a request.
pub fn modelled(workload: &Workload, settings: &Settings, sizes: &Sizes) -> Modelled {
    assert!(workload.events_per_second > 0.0 && workload.batch_events >= 1.0, "{workload:?}");
    let flow = flow(workload, settings, sizes);
    let mut used = in_kinesis(&flow, sizes);
    used.extend(in_dynamodb(&flow, settings));
    used.extend(in_s3(&flow, settings));
    used.extend(in_sqs(&flow, settings));
    for used in &mut used {
        used.per_million *= MILLION / workload.events_per_second;
    }
    Modelled { used, shards: flow.shards as u64 }
}

/// Shards that a stream needs for so much.
pub(super) fn shards_for(kb_per_second: f64, records_per_second: f64) -> u64 {
    let share = (kb_per_second / SHARD_KB_PER_SECOND).max(records_per_second / SHARD_RECORDS_PER_SECOND);
    ((share / SHARD_SHARE).ceil() as u64).clamp(1, SHARDS_MAX)
}

/// Finds as many shards as take the records that they cause.
fn flow(workload: &Workload, settings: &Settings, sizes: &Sizes) -> Flow {
    let mut flow = flow_over(workload, settings, sizes, settings.shards.max(1));
    for _ in 0..GROWTHS_MAX {
        let needed = shards_for(flow.records * begun(flow.clean_bytes(sizes), KB), flow.records);
        if needed as f64 <= flow.shards {
            break;
        }
        flow = flow_over(workload, settings, sizes, needed);
    }
    flow
}

fn flow_over(workload: &Workload, settings: &Settings, sizes: &Sizes, shards: u64) -> Flow {
    let Workload { events_per_second: events, batch_events } = *workload;
    let (shards, gateways) = (shards as f64, (events / GATEWAY_EVENTS_PER_SECOND).ceil().max(REPLICAS_MIN));
    let requests = events / batch_events / gateways;
    let cycle = flush_cycle(settings, requests);
    let events_per_flush = requests * cycle * batch_events;
    let by_shard = touched(shards, events_per_flush);
    let by_bytes = events_per_flush * sizes.plain_bytes_per_event / PACK_BYTES_MAX as f64;
    Flow { events, gateways, records: gateways * by_shard.max(by_bytes) / cycle, shards }
}

/// A flush starts with the first request, or waits for company behind it; there are no more than calls side by side.
fn flush_cycle(settings: &Settings, requests_per_second: f64) -> f64 {
    let busy = cycle(PUT_SECONDS / settings.flushes_max.max(1) as f64, requests_per_second);
    match settings.linger.as_secs_f64() {
        0.0 => busy,
        linger => busy.max(linger + 1.0 / requests_per_second),
    }
}

/// Mean time between two turns that take whatever came within `interval`, and wait for the first where nothing did;
/// arrivals by chance.
fn cycle(interval: f64, arrivals_per_second: f64) -> f64 {
    interval + none_within(interval, arrivals_per_second) / arrivals_per_second
}

/// How likely it is that nothing comes for so long.
fn none_within(seconds: f64, arrivals_per_second: f64) -> f64 {
    (-seconds * arrivals_per_second).exp()
}

/// Shards that get at least one of so many events.
fn touched(shards: f64, events: f64) -> f64 {
    shards * (1.0 - (1.0 - 1.0 / shards).powf(events))
}

/// Pieces that something of about this size takes: half of the last one is empty in the mean, and one is the least.
fn begun(bytes: f64, piece: f64) -> f64 {
    (bytes / piece + 0.5).max(1.0)
}

impl Flow {
    fn events_per_record(&self) -> f64 {
        self.events / self.records
    }

    fn raw_bytes(&self, sizes: &Sizes) -> f64 {
        sizes.raw(self.events_per_record())
    }

    fn clean_bytes(&self, sizes: &Sizes) -> f64 {
        sizes.clean(self.events_per_record())
    }

    fn records_per_shard(&self) -> f64 {
        self.records / self.shards
    }
}

/// Every record is written to and read from both streams, once each.
fn in_kinesis(flow: &Flow, sizes: &Sizes) -> Vec<Used> {
    let both = |piece| flow.records * (begun(flow.raw_bytes(sizes), piece) + begun(flow.clean_bytes(sizes), piece));
    vec![
        Used::new("kinesis", "PutRecords", "records", 2.0 * flow.records),
        Used::new("kinesis", "PutRecords", "ingested_kb", both(KB)),
        Used::new("kinesis", "PutRecords", "payload_units_25kb", both(PAYLOAD_UNIT_BYTES)),
        Used::new("kinesis", "GetRecords", "retrieved_kb", both(KB)),
    ]
}

/// Decisions and announcements are written once, and deleted once at the same price; leases are renewed and looked at.
fn in_dynamodb(flow: &Flow, settings: &Settings) -> Vec<Used> {
    let entries = flow.shards * (decision_units(flow, settings) + announcement_units(flow, settings));
    let workers = (flow.shards / SHARDS_PER_WORKER).ceil().max(REPLICAS_MIN);
    let renewals = 2.0 * flow.shards / RENEWAL_SECONDS;
    let looks = 2.0 * workers / LOOK_SECONDS * (flow.shards / LEASES_PER_READ_UNIT).ceil();
    vec![
        Used::new("dynamodb", "PutItem", "write_units", entries),
        Used::new("dynamodb", "PutItem/lease", "write_units", renewals),
        Used::new("dynamodb", "BatchWriteItem", "write_units", entries),
        Used::new("dynamodb", "Query", "read_units", looks),
    ]
}

/// Write units per second of one raw shard.
fn decision_units(flow: &Flow, settings: &Settings) -> f64 {
    let arrivals = flow.records_per_shard();
    let events = flow.events / flow.shards;
    let interval = settings.dedup_linger.as_secs_f64().max(POLL_SECONDS);
    let decisions = (1.0 / cycle(interval, arrivals)).max(events / DECISION_IDS_MAX);
    let bytes = DECISION_BYTES + ID_BYTES * events / decisions + RECEIVED_BYTES * arrivals / decisions;
    decisions * (begun(bytes, KB) + none_within(interval + settings.dedup_settle_after.as_secs_f64(), arrivals))
}

/// Write units per second of one clean shard.
fn announcement_units(flow: &Flow, settings: &Settings) -> f64 {
    let bytes = ANNOUNCEMENT_BYTES + OBJECTS_PER_ANNOUNCEMENT * OBJECT_NAME_BYTES;
    let quiet = settings.writer_linger.as_secs_f64().max(POLL_SECONDS) + settings.writer_settle_after.as_secs_f64();
    (begun(bytes, KB) + none_within(quiet, flow.records_per_shard())) / announcement_cycle(flow, settings)
}

/// Whatever comes first: the interval behind the first row, the rows, or their bytes.
fn announcement_cycle(flow: &Flow, settings: &Settings) -> f64 {
    let rows = flow.events / flow.shards;
    let by_time = settings.flush_interval.as_secs_f64() + 1.0 / flow.records_per_shard();
    let by_rows = settings.flush_rows_max as f64 / rows;
    by_time.min(by_rows).min(settings.flush_bytes_max as f64 / (rows * ROW_BYTES))
}

/// Live objects are written and, by the compactor, read once; final ones are written in parts. Deleting is free.
fn in_s3(flow: &Flow, settings: &Settings) -> Vec<Used> {
    let live = flow.shards * OBJECTS_PER_ANNOUNCEMENT / announcement_cycle(flow, settings);
    let finals = final_objects(flow, settings);
    let parts = flow.events * LAKE_BYTES_PER_EVENT / PART_BYTES;
    vec![
        Used::new("s3", "PutObject", "put_requests", live),
        Used::new("s3", "UploadPart", "put_requests", parts + finals * (1.0 + CALLS_AROUND_PARTS)),
        Used::new("s3", "GetObject", "get_requests", live),
        Used::new("s3", "HeadObject", "get_requests", finals * HEADS_PER_FINAL_OBJECT),
    ]
}

fn final_objects(flow: &Flow, settings: &Settings) -> f64 {
    (flow.events * LAKE_BYTES_PER_EVENT / settings.object_bytes as f64).max(EVENT_TYPES / DAY_SECONDS)
}

/// Each gateway looks for what overflowed, two compactors for tasks.
fn in_sqs(flow: &Flow, settings: &Settings) -> Vec<Used> {
    let receives = (flow.gateways + REPLICAS_MIN) / RECEIVE_SECONDS;
    let tasks = CALLS_PER_TASK * final_objects(flow, settings);
    vec![
        Used::new("sqs", "ReceiveMessage", "billed_requests", receives),
        Used::new("sqs", "SendMessageBatch", "billed_requests", tasks),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use schema::v1::{Decision, Lane, ReceivedRun};

    const SETTINGS: Settings = Settings {
        linger: Duration::ZERO,
        flushes_max: 2,
        dedup_linger: Duration::from_millis(100),
        dedup_settle_after: Duration::from_millis(500),
        writer_linger: Duration::from_millis(100),
        writer_settle_after: Duration::from_millis(500),
        flush_interval: Duration::from_secs(10),
        flush_bytes_max: 64 << 20,
        flush_rows_max: 1_000_000,
        object_bytes: 256 << 20,
        shards: 4,
    };

    fn model(events_per_second: f64, batch_events: f64, settings: &Settings) -> Modelled {
        modelled(&Workload { events_per_second, batch_events }, settings, &Sizes::at_level(1))
    }

    fn of(modelled: &Modelled, operation: &str, unit: &str) -> f64 {
        super::super::units::sum(&modelled.used, |used| used.operation == operation && used.unit == unit)
    }

    fn near(left: f64, right: f64, share: f64) -> bool {
        (left - right).abs() <= share * right
    }

    #[test]
    fn at_a_low_rate_the_interval_decides_how_many_objects_there_are() {
        let slow = model(300.0, 100.0, &SETTINGS);
        let patient = model(300.0, 100.0, &Settings { flush_interval: Duration::from_secs(100), ..SETTINGS });
        let ratio = of(&slow, "PutObject", "put_requests") / of(&patient, "PutObject", "put_requests");
        assert!((9.0..10.0).contains(&ratio), "{ratio}");
        // Four shards, an announcement in ten seconds and a little, and a million events in 3,333 s.
        assert!(near(of(&slow, "PutObject", "put_requests"), 1.5 * 4.0 * 333.3, 0.05), "{slow:?}");
    }

    #[test]
    fn a_single_event_is_a_record_of_its_own_unless_it_waits_for_company() {
        let hasty = model(300.0, 1.0, &SETTINGS);
        assert!(of(&hasty, "PutRecords", "records") > 1.4e6, "{hasty:?}");
        let patient = model(300.0, 1.0, &Settings { linger: Duration::from_secs(1), ..SETTINGS });
        assert!(near(of(&patient, "PutRecords", "records"), 2.0 * 2.0 * 4.0 * 3333.0, 0.05), "{patient:?}");
    }

    #[test]
    fn at_a_high_rate_a_decision_is_about_the_ids_in_it() {
        let settings =
            Settings { linger: Duration::from_millis(200), dedup_linger: Duration::from_secs(2), ..SETTINGS };
        let fast = model(300_000.0, 100.0, &settings);
        let units = of(&fast, "PutItem", "write_units");
        assert!((1e6 * ID_BYTES / KB..1.3e6 * ID_BYTES / KB).contains(&units), "{units}");
    }

    #[test]
    fn what_is_decided_is_deleted_at_the_same_price_and_leases_are_not() {
        let modelled = model(300.0, 100.0, &SETTINGS);
        let [put, deleted, leases] =
            ["PutItem", "BatchWriteItem", "PutItem/lease"].map(|operation| of(&modelled, operation, "write_units"));
        assert_eq!(put, deleted);
        assert!(near(leases, 2.0 * 4.0 * 333.3, 0.01), "{leases}");
    }

    #[test]
    fn shards_grow_with_the_load_until_they_take_it() {
        let settings = Settings { linger: Duration::from_millis(200), ..SETTINGS };
        assert_eq!(model(300.0, 100.0, &settings).shards, 4);
        let fast = model(300_000.0, 100.0, &settings);
        let kb_per_second = of(&fast, "PutRecords", "ingested_kb") * 0.3 / 2.0;
        let share = kb_per_second / (fast.shards as f64 * SHARD_KB_PER_SECOND);
        assert!((0.3..=SHARD_SHARE).contains(&share), "{share} of {} shards", fast.shards);
    }

    #[test]
    fn units_for_a_million_events_fall_with_the_rate() {
        let settings = Settings { linger: Duration::from_millis(200), ..SETTINGS };
        let [slow, fast] = [30.0, 30_000.0].map(|rate| model(rate, 10.0, &settings));
        for (slow, fast) in slow.used.iter().zip(&fast.used) {
            assert!(fast.per_million <= slow.per_million, "{slow:?} {fast:?}");
        }
    }

    #[test]
    fn a_decision_has_the_bytes_that_the_model_says() {
        const POSITION: &str = "49590338271490256608559692538361571095921575989136588898";
        for (records, ids) in [(1u32, 25u32), (20, 200), (100, 5000)] {
            let run = ReceivedRun { count: ids / records, received_at: 1_767_225_600_000_000 };
            let lane = Lane {
                first_ordinal: 1 << 40,
                count: ids,
                ids: vec![7; 16 * ids as usize].into(),
                received: vec![run; records as usize],
                sum_through: vec![7; 16].into(),
                ..Lane::default()
            };
            let entry = Decision {
                from: POSITION.to_owned(),
                to: POSITION.to_owned(),
                records,
                met: ids,
                events: Some(lane),
                window_seconds: 86_400,
                newest_through: 1 << 50,
                appended_at: 1 << 50,
                ..Decision::default()
            };
            // Names of the item, its keys and what DynamoDB adds.
            let item_bytes = 250.0;
            let bytes = entry.encoded_len() as f64 + item_bytes;
            let said = DECISION_BYTES + ID_BYTES * f64::from(ids) + RECEIVED_BYTES * f64::from(records);
            assert!(near(said, bytes, 0.1), "{said} for {bytes}");
        }
    }

    #[test]
    fn what_is_begun_is_billed_whole() {
        assert_eq!([begun(10.0, KB), begun(2.0 * KB, KB), begun(100.0 * KB, KB)], [1.0, 2.5, 100.5]);
    }
}
