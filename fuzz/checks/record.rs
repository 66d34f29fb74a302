//! Any bytes are a raw record, a clean record or refused; what is read is written the same way again.

use bytes::Bytes;
use schema::body::{BodyOpener, for_each_carried};
use schema::record::{clean_of, count, decode_clean, decode_raw, encode, ids, select_raw};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::v1::{Body, RawRecord};
use schema::{ChainId, Kind, Origin, ShardId};

/// As how many kinds of record the bytes are read.
pub(crate) fn check(bytes: &[u8]) -> usize {
    let raw = decode_raw(Bytes::copy_from_slice(bytes));
    let clean = decode_clean(Bytes::copy_from_slice(bytes));
    if let Ok(record) = &raw {
        assert_eq!(decode_raw(encode(record)).as_ref(), Ok(record));
        open(record.body.as_ref());
        divide(record);
    }
    if let Ok(record) = &clean {
        assert_eq!(decode_clean(encode(record)).as_ref(), Ok(record));
        open(record.body.as_ref());
    }
    usize::from(raw.is_ok()) + usize::from(clean.is_ok())
}

/// Whatever a body holds, its messages are read or refused.
fn open(body: Option<&Body>) {
    let Some(body) = body else { return };
    let Ok(plain) = BodyOpener::default().open(body) else { return };
    assert_eq!(plain.len(), body.plain_bytes as usize);
    let _ = for_each_carried(body, &plain, |_, message| {
        let _ = StoredQuarantine::decode(message);
        StoredEvent::decode(message).map(drop)
    });
}

/// Every other event goes on, as a stray and as a clean record.
fn divide(record: &RawRecord) {
    let places: Vec<usize> = (0..count(&record.ids)).step_by(2).collect();
    let stray = decode_raw(encode(&select_raw(record, &places))).expect("a part of a record is one");
    let origin = Origin::of(&ChainId::dedup("i", &ShardId::new("s"), 0), Kind::Events);
    let clean = decode_clean(encode(&clean_of(record, &places, &origin, 7))).expect("a part of a record goes on");
    let wanted: Vec<_> = ids(&record.ids).step_by(2).collect();
    assert_eq!(ids(&stray.ids).collect::<Vec<_>>(), wanted);
    assert_eq!(ids(&clean.ids).collect::<Vec<_>>(), wanted);
}
