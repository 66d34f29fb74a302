//! What rows cost on their way into Parquet and back: processor time and bytes per event.
//!
//! `cargo run --release -p lake --example column_costs [EVENTS]`; the time is this thread's, as Linux counts it.

use bytes::Bytes;
use lake::parquet_file::{Columns, ObjectWriter, batches_of, encode};
use schema::columns;
use schema::rows::{RowPlace, Rows};
use schema::stored::StoredEvent;
use schema::{ChainId, EventId, Kind, Origin, ShardId, Table};
use std::hint::black_box;

const EVENTS: u64 = 200_000;
const ROUNDS: usize = 5;

/// Events of one record: they have their origin and `received_at` in common.
const RECORD_EVENTS: u64 = 100;

struct Sample {
    id: EventId,
    name: String,
    created_at: i64,
    received_at: i64,
    user: String,
    session: String,
    properties: String,
}

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let samples = samples(count);
    let origins: Vec<Origin> = (0..4).map(origin).collect();
    println!("{count} events, median of {ROUNDS}, microseconds of processor time an event");
    report("rows: push", count, || rows(&samples, &origins));
    report("rows: push, sort, columns", count, || {
        rows(&samples, &origins).into_batches().map(|b| b.num_rows()).sum::<usize>()
    });
    report("rows: push, sort, columns, Parquet", count, || encode(rows(&samples, &origins)));
    let (bytes, _) = encode(rows(&samples, &origins));
    println!("{:44} {:6.1} bytes an event", "", bytes.len() as f64 / count as f64);
    columns_of(&bytes);
    report("read: all columns", count, || read(&bytes, Columns::All));
    let who = [columns::EVENT_ID, columns::ORIGIN, columns::ORDINAL];
    report("read: id, origin, ordinal", count, || read(&bytes, Columns::Only(&who)));
    let batches = read(&bytes, Columns::All);
    report("hash of columns", count, || {
        batches.iter().map(|batch| columns::rows_hash(Table::Events, batch).expect("own columns")).collect::<Vec<_>>()
    });
    report("columns to Parquet, with hash", count, || {
        let mut writer = ObjectWriter::new(Table::Events, Vec::new(), 32 << 20).expect("memory");
        for batch in &batches {
            writer.write(batch).expect("memory");
        }
        writer.finish().expect("memory")
    });
}

fn read(bytes: &Bytes, columns: Columns<'_>) -> Vec<arrow_array::RecordBatch> {
    batches_of(Table::Events, "sample", bytes, columns).expect("an own object")
}

/// Compressed bytes of each column, per event.
fn columns_of(bytes: &Bytes) {
    let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(bytes).expect("an own object");
    let rows = footer.file_metadata().num_rows() as f64;
    for column in 0..footer.row_group(0).num_columns() {
        let chunks = || footer.row_groups().iter().map(|group| group.column(column));
        let size: i64 = chunks().map(|chunk| chunk.compressed_size()).sum();
        let name = footer.row_group(0).column(column).column_path().string();
        println!("{name:>44} {:6.2}", size as f64 / rows);
    }
}

fn report<T>(what: &str, count: u64, mut work: impl FnMut() -> T) {
    let mut spent: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let start = processor_nanos();
            black_box(work());
            processor_nanos() - start
        })
        .collect();
    spent.sort_unstable();
    println!("{what:44} {:6.3}", spent[ROUNDS / 2] as f64 / count as f64 / 1000.0);
}

fn processor_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with scheduler statistics");
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds come first")
}

fn origin(shard: u32) -> Origin {
    Origin::of(&ChainId::dedup("5f0c21aa", &ShardId::new(format!("raw-{shard:04}")), 0), Kind::Events)
}

fn rows(samples: &[Sample], origins: &[Origin]) -> Rows {
    let mut rows = Rows::new(Table::Events);
    for (k, sample) in samples.iter().enumerate() {
        let record = k as u64 / RECORD_EVENTS;
        let event = StoredEvent {
            event_name: &sample.name,
            event_type: None,
            created_at: sample.created_at,
            source: Some("web"),
            user_id: Some(&sample.user),
            session_id: Some(&sample.session),
            properties: &sample.properties,
        };
        let place = RowPlace {
            origin: &origins[record as usize % origins.len()],
            ordinal: record / origins.len() as u64 * RECORD_EVENTS + k as u64 % RECORD_EVENTS,
            id: sample.id,
            received_at: sample.received_at,
        };
        rows.push_event(&place, &event);
    }
    rows
}

fn samples(count: u64) -> Vec<Sample> {
    const NAMES: [&str; 13] = [
        "page:view",
        "page:leave",
        "cart:add",
        "cart:remove",
        "order:placed",
        "order:paid",
        "user:login",
        "user:logout",
        "search:query",
        "search:click",
        "video:play",
        "video:pause",
        "ad:impression",
    ];
    let mut random = Random(42);
    (0..count)
        .map(|k| {
            let user = random.below(50_000);
            let received_at = 1_795_000_000_000_000 + (k / RECORD_EVENTS * RECORD_EVENTS) as i64 * 3333;
            let (page, price, width) = (random.below(5000), random.below(100_000), random.below(20) * 64 + 640);
            let (country, browser) = (["de", "fr", "us", "jp"][random.below(4) as usize], random.below(30) + 90);
            Sample {
                id: EventId(u128::from(random.next()) << 64 | u128::from(random.next())),
                name: NAMES[random.below(13) as usize].to_string(),
                created_at: received_at - (random.below(5_000) * 1000) as i64,
                received_at,
                user: format!("user-{user:06}"),
                session: format!("{:016x}", random.next()),
                properties: format!(
                    "{{\"url\":\"https://shop.example.com/p/{page}\",\"price\":{}.{:02},\"screen\":{{\"w\":{width},\"h\":800}},\"country\":\"{country}\",\"browser\":\"Chrome {browser}\",\"ab\":[\"x{}\",\"y{}\"]}}",
                    price / 100, price % 100, random.below(8), random.below(8)
                ),
            }
        })
        .collect()
}

/// xorshift64*: the same events in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
