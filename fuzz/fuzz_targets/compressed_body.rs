//! Any bytes decompress within their bound or are refused, whatever encoding they are said to have.
//!
//! `.ci/fuzz 60 compressed_body`

#![no_main]

use axum::http::{HeaderMap, HeaderValue, header};
use inflate::{Encoding, InflateError};

/// The gateway's own, which is no part of what that crate shows.
#[path = "../../ingest-gateway/src/inflate.rs"]
mod inflate;

/// Small, as most of the time of larger ones would go into copying.
const BYTES_MAX: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for name in ["identity", "gzip", "deflate", "zstd", "br"] {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(name))]);
        let encoding = Encoding::of(&headers).expect("one that is known");
        match encoding.inflate(body, BYTES_MAX) {
            Ok(plain) => check_bounds(encoding, body, &plain),
            Err(InflateError::TooLarge) => {}
            Err(InflateError::Broken(error)) => assert!(!error.to_string().is_empty(), "nothing to tell the producer"),
        }
    }
});

/// The bound is met to the byte.
fn check_bounds(encoding: Encoding, body: &[u8], plain: &[u8]) {
    assert!(plain.len() <= BYTES_MAX);
    assert!(encoding.inflate(body, plain.len()).is_ok_and(|again| again == plain));
    if let Some(less) = plain.len().checked_sub(1) {
        assert!(matches!(encoding.inflate(body, less), Err(InflateError::TooLarge)));
    }
}
