//! `.ci/fuzz 60 foreign_record`

#![no_main]

#[path = "../checks/foreign_record.rs"]
mod foreign_record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    foreign_record::check(bytes);
});
