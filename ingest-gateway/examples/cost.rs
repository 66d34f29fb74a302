//! What the parts of the hot path cost, without sockets: `cargo run --release -p ingest-gateway --example cost`.

use schema::body::BodyPacker;
use schema::json::batch::{Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::record::{self, PACK_BYTES_MAX};
use schema::validate::Rules;
use schema::{HashRange, Kind};
use std::hint::black_box;
use std::time::Instant;

const EVENTS: u32 = 200_000;
const BATCH: usize = 100;
const NOW: i64 = 1_795_163_400_000_000;
const ROUNDS: usize = 5;

/// An analytics event of about 410 bytes.
fn event(k: u32) -> String {
    let mixed = u128::from(k).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let id = schema::EventId(mixed);
    format!(
        r#"{{"event_id":"{id}","event_name":"page:view","created_at":"2026-11-20T08:{:02}:{:02}.{:03}Z","source":"web","user_id":"user-{}","session_id":"{:032x}","properties":{{"path":"/products/{}","referrer":"https://www.example.com/search?q={}","viewport":{{"width":1440,"height":{}}},"price":{}.{:02},"tags":["spring","sale"],"logged_in":{}}}}}"#,
        k % 30,
        k % 60,
        k % 1000,
        k % 50_000,
        mixed.rotate_left(64),
        k % 997,
        k % 131,
        800 + k % 200,
        k % 300,
        k % 100,
        k.is_multiple_of(3),
    )
}

fn main() {
    let bodies: Vec<String> =
        (1..=EVENTS).map(|k| event(k) + "\n").collect::<Vec<_>>().chunks(BATCH).map(<[String]>::concat).collect();
    let bytes: usize = bodies.iter().map(String::len).sum();
    println!("{EVENTS} events, {} bytes each", bytes / EVENTS as usize);
    let rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 0, age_micros_max: None };
    let measure = Measure { rules, now: NOW, items_max: BATCH };
    let ranges = HashRange::even(4);
    for _ in 0..ROUNDS {
        let mut reader = EventReader::default();
        let parse = microseconds(|| {
            for body in &bodies {
                let walked = for_each_item(&mut reader, body.as_bytes(), Layout::Lines, &measure, |item| {
                    black_box(item.outcome.expect("valid events"));
                });
                black_box(walked.expect("lines"));
            }
        });
        let mut shards = vec![(Vec::new(), Vec::new()); ranges.len()];
        let mut packer = BodyPacker::default();
        let mut record_bytes = 0;
        let all = microseconds(|| {
            for body in &bodies {
                let walked = for_each_item(&mut reader, body.as_bytes(), Layout::Lines, &measure, |item| {
                    let valid = item.outcome.expect("valid events");
                    let point = valid.id.hash();
                    let place = ranges.iter().position(|range| range.covers(point)).expect("ranges cover the space");
                    let (ids, plain): &mut (Vec<u8>, Vec<u8>) = &mut shards[place];
                    valid.event.encode_delimited(plain);
                    ids.extend_from_slice(&valid.id.to_bytes());
                });
                black_box(walked.expect("lines"));
                for (ids, plain) in shards.iter_mut().filter(|(_, plain)| plain.len() > PACK_BYTES_MAX / 8) {
                    let packed = packer.pack(plain, record::count(ids) as u32);
                    record_bytes += record::encode(&record::raw(Kind::Events, ids.clone(), NOW, packed)).len();
                    ids.clear();
                    plain.clear();
                }
            }
        });
        println!(
            "parse and check {parse:.2} µs an event; with hash, encode, zstd {all:.2} µs; {:.0} bytes an event in records",
            record_bytes as f64 / f64::from(EVENTS)
        );
    }
}

fn microseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e6 / f64::from(EVENTS)
}
