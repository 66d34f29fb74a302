//! The seeds of the fuzz target, walked in every layout with each test run.

use schema::json::batch::{Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::validate::Rules;
use serde_json::{Map, Value};
use std::fs;

const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };
const MEASURE: Measure = Measure { rules: RULES, now: 1_795_163_400_000_000, items_max: 1000 };

#[test]
fn every_seed_is_walked_or_refused_and_what_is_valid_is_json() {
    let mut valid_events = 0;
    let seeds = fs::read_dir("../fuzz/corpus/json_event").expect("the corpus is part of the repository");
    for seed in seeds {
        let body = fs::read(seed.expect("a readable directory").path()).expect("a readable seed");
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
