//! `.ci/fuzz 60 entry`

#![no_main]

#[path = "../checks/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    entry::check(bytes);
});
