//! `.ci/fuzz 60 aggregate`

#![no_main]

#[path = "../checks/aggregate.rs"]
mod aggregate;
#[path = "../checks/foreign_record.rs"]
mod foreign_record;

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    aggregate::check(message);
});
