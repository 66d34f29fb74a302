//! `.ci/fuzz 60 protobuf_body`

#![no_main]

#[path = "../checks/protobuf_body.rs"]
mod protobuf_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    protobuf_body::check(bytes);
});
