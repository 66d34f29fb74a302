//! Any bytes on the raw stream are understood: as sound records, and as the same ones each time.

use schema::body::{BodyOpener, for_each_carried};
use schema::record::{count, decode_raw, encode};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::{Kind, foreign};

const ARRIVED_AT: i64 = 1_795_163_400_000_000;

/// How many events were understood.
pub(crate) fn check(bytes: &[u8]) -> usize {
    let records = foreign::translate(bytes, ARRIVED_AT);
    assert!(!records.is_empty() || is_empty_json(bytes), "bytes vanished");
    assert_eq!(records, foreign::translate(bytes, ARRIVED_AT));
    let mut events = 0;
    for record in records {
        let record = decode_raw(encode(&record)).expect("a gateway may have written it");
        let body = record.body.as_ref().expect("decoding refuses records without a body");
        let plain = BodyOpener::default().open(body).expect("own body");
        let carried = for_each_carried(body, &plain, |_, message| match record.kind == Kind::Events as i32 {
            true => StoredEvent::decode(message).map(drop),
            false => StoredQuarantine::decode(message).map(drop),
        });
        assert_eq!(carried.expect("own messages"), count(&record.ids));
        events += if record.kind == Kind::Events as i32 { count(&record.ids) } else { 0 };
    }
    events
}

/// `[]` carries nothing to keep.
fn is_empty_json(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, b'[' | b']'))
}
