//! The seeds of the fuzz targets, checked with each test run.

use schema::json::batch::{Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::validate::Rules;
use serde_json::{Map, Value};
use std::fs;

#[path = "../../fuzz/checks/aggregate.rs"]
mod aggregate;
#[path = "../../fuzz/checks/entry.rs"]
mod entry;
#[path = "../../fuzz/checks/foreign_record.rs"]
mod foreign_record;
#[path = "../../fuzz/checks/protobuf_body.rs"]
mod protobuf_body;
#[path = "../../fuzz/checks/record.rs"]
mod record;

const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };
const MEASURE: Measure = Measure { rules: RULES, now: 1_795_163_400_000_000, items_max: 1000 };

/// What the seeds of a target hold.
fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
    let folder = format!("../fuzz/corpus/{target}");
    let seeds = fs::read_dir(folder).expect("the corpus is part of the repository");
    seeds.map(|seed| fs::read(seed.expect("a readable directory").path()).expect("a readable seed"))
}

#[test]
fn every_seed_is_walked_or_refused_and_what_is_valid_is_json() {
    let mut valid_events = 0;
    for body in seeds("json_event") {
        for layout in [Layout::Json, Layout::Lines, Layout::Unknown] {
            let _ = for_each_item(&mut EventReader::default(), &body, layout, &MEASURE, |item| {
                if let Ok(valid) = item.outcome {
                    serde_json::from_slice::<Map<String, Value>>(item.original).expect("a JSON object");
                    let properties = valid.event.properties;
                    assert!(properties.is_empty() || serde_json::from_str::<Map<String, Value>>(properties).is_ok());
                    valid_events += 1;
                }
            });
        }
    }
    assert!(valid_events > 10, "{valid_events} valid events among the seeds");
}

#[test]
fn every_seed_on_the_raw_stream_is_understood() {
    let events: usize = seeds("foreign_record").map(|bytes| foreign_record::check(&bytes)).sum();
    assert!(events > 5, "{events} events among the seeds");
}

#[test]
fn every_seed_is_a_record_or_refused() {
    let read: Vec<usize> = seeds("record").map(|bytes| record::check(&bytes)).collect();
    assert!(read.iter().filter(|&&kinds| kinds > 0).count() > 5, "{read:?}");
    assert!(read.contains(&0), "no seed is refused");
}

#[test]
fn every_seed_of_joined_records_is_understood() {
    let events: usize = seeds("aggregate").map(|message| aggregate::check(&message)).sum();
    assert!(events > 5, "{events} events among the seeds");
}

#[test]
fn every_seed_is_a_protobuf_batch_or_refused() {
    let accepted: usize = seeds("protobuf_body").map(|body| protobuf_body::check(&body)).sum();
    assert!(accepted > 5, "{accepted} events among the seeds");
}

#[test]
fn every_seed_is_an_entry_of_a_chain_or_refused() {
    let read: Vec<usize> = seeds("entry").map(|bytes| entry::check(&bytes)).collect();
    assert!(read.iter().filter(|&&kinds| kinds > 0).count() > 8, "{read:?}");
    assert!(read.contains(&0), "no seed is refused");
}
