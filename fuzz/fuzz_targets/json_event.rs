//! Any body is walked or refused; what is accepted as an event is one to serde_json as well.
//!
//! `.ci/fuzz 60 json_event`

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::json::batch::{Layout, Measure, for_each_item};
use schema::json::event::EventReader;
use schema::validate::Rules;

const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };
const MEASURE: Measure = Measure { rules: RULES, now: 1_795_163_400_000_000, items_max: 1000 };

fuzz_target!(|body: &[u8]| {
    let mut reader = EventReader::default();
    for layout in [Layout::Json, Layout::Lines, Layout::Unknown] {
        let _ = for_each_item(&mut reader, body, layout, &MEASURE, |item| {
            let Ok(valid) = item.outcome else {
                return;
            };
            let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(item.original);
            assert!(read.is_ok_and(|fields| !fields.is_empty()) || out_of_range(item.original));
            let properties = valid.event.properties;
            assert!(properties.is_empty() || serde_json::from_str::<&serde_json::value::RawValue>(properties).is_ok());
        });
    }
});

/// Whether serde_json refuses a number that no `f64` holds; we keep its text.
fn out_of_range(original: &[u8]) -> bool {
    let read = serde_json::from_slice::<serde_json::Value>(original);
    read.is_err_and(|error| error.to_string().contains("out of range"))
}
