//! Records on the streams.
//!
//! A **raw record** is a header with ids and a compressed body. A **clean record** is the same body under a new header:
//! which ordinals it carries and which places of the body it leaves out. Neither is decoded to make the other.

use crate::v1::{Body, CleanRecord, RawRecord};
use crate::{EventId, Kind, Origin};
use bytes::{Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

/// The one format version there is.
pub const VERSION: u32 = 1;

/// Most bytes of a record on a stream. Source: Kinesis' default record size limit,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// What a header may take of a record next to ids and body: names, numbers, trace context.
pub const HEADER_BYTES_MAX: usize = 1024;

/// Most bytes of ids and plain body that are packed into one record, so that it fits however badly it compresses.
pub const PACK_BYTES_MAX: usize = RECORD_BYTES_MAX - HEADER_BYTES_MAX - 4096;

/// Most events of one record, so that a decision about it fits one ledger entry at 16 bytes an id.
pub const RECORD_EVENTS_MAX: usize = 10_000;

/// Whether one record may carry this much: ids and plain messages in bytes, and the number of events.
pub const fn fits(bytes: usize, events: usize) -> bool {
    bytes <= PACK_BYTES_MAX && events <= RECORD_EVENTS_MAX
}

/// Bytes on a stream that are not a record of ours.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum RecordError {
    #[error("not a Forebay record")]
    Foreign,
    #[error("record format {0}, while this version reads {VERSION}")]
    Version(u32),
    #[error("the header is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// Whether bytes start as records of any format version do.
pub fn looks_like_a_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x08)
}

/// Reads a raw record; the body stays as it is.
///
/// # Errors
/// [`RecordError::Version`]: a newer gateway wrote it; stop and upgrade. The others: somebody else's bytes.
pub fn decode_raw(bytes: Bytes) -> Result<RawRecord, RecordError> {
    if !looks_like_a_record(&bytes) {
        return Err(RecordError::Foreign);
    }
    let record = RawRecord::decode(bytes).map_err(|_| RecordError::Foreign)?;
    check_version(record.version)?;
    let body = record.body.as_ref().ok_or(RecordError::Inconsistent("no body"))?;
    check_header(record.kind, &record.ids, body)?;
    Ok(record)
}

/// Reads a clean record; the body stays as it is.
pub fn decode_clean(bytes: Bytes) -> Result<CleanRecord, RecordError> {
    if !looks_like_a_record(&bytes) {
        return Err(RecordError::Foreign);
    }
    let record = CleanRecord::decode(bytes).map_err(|_| RecordError::Foreign)?;
    check_version(record.version)?;
    if record.tombstone {
        check_ids(&record.ids)?;
    } else {
        let body = record.body.as_ref().ok_or(RecordError::Inconsistent("no body"))?;
        check_header(record.kind, &record.ids, body)?;
    }
    Ok(record)
}

pub fn encode(record: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(record.encoded_len());
    record.encode(&mut bytes).expect("BytesMut grows");
    bytes.freeze()
}

fn check_version(version: u32) -> Result<(), RecordError> {
    match version {
        VERSION => Ok(()),
        other => Err(RecordError::Version(other)),
    }
}

fn check_ids(ids: &Bytes) -> Result<(), RecordError> {
    if !ids.len().is_multiple_of(EventId::BYTES) {
        return Err(RecordError::Inconsistent("ids are not 16 bytes each"));
    }
    Ok(())
}

fn check_header(kind: i32, ids: &Bytes, body: &Body) -> Result<(), RecordError> {
    check_ids(ids)?;
    if Kind::try_from(kind).is_err() {
        return Err(RecordError::Inconsistent("unknown kind"));
    }
    if body.count as usize > RECORD_EVENTS_MAX {
        return Err(RecordError::Inconsistent("more events than a record may carry"));
    }
    if ids.len() / EventId::BYTES + body.dropped.len() != body.count as usize {
        return Err(RecordError::Inconsistent("ids and dropped places do not add up to the body's count"));
    }
    let ascending = body.dropped.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || body.dropped.last().is_some_and(|&place| place >= body.count) {
        return Err(RecordError::Inconsistent("dropped places are not ascending within the body"));
    }
    Ok(())
}

/// Ids of a header, in order.
pub fn ids(bytes: &[u8]) -> impl ExactSizeIterator<Item = EventId> + '_ {
    let (ids, _) = bytes.as_chunks::<{ EventId::BYTES }>();
    ids.iter().map(|id| EventId::from_bytes(*id))
}

pub fn count(ids: &[u8]) -> usize {
    ids.len() / EventId::BYTES
}

/// Makes a raw record as a gateway does.
///
/// # Panics
/// If there are more events than a record may carry: readers would refuse it.
pub fn raw(kind: Kind, ids: impl Into<Bytes>, received_at: i64, body: Body) -> RawRecord {
    let ids = ids.into();
    assert!(count(&ids) <= RECORD_EVENTS_MAX, "a record of {} events", count(&ids));
    RawRecord {
        version: VERSION,
        kind: kind.into(),
        ids,
        received_at,
        hops: 0,
        body: Some(body),
        trace_context: Bytes::new(),
    }
}

/// The carried events at `places`, ascending, as a raw record of their own; everything else of the header stays.
pub fn select_raw(record: &RawRecord, places: &[usize]) -> RawRecord {
    let (ids, body) = select(&record.ids, record.body.as_ref(), places);
    RawRecord { ids, body: Some(body), ..record.clone() }
}

/// The carried events at `places`, ascending, as a clean record that starts at `first_ordinal` of `origin`.
pub fn clean_of(record: &RawRecord, places: &[usize], origin: &Origin, first_ordinal: u64) -> CleanRecord {
    let (ids, body) = select(&record.ids, record.body.as_ref(), places);
    CleanRecord {
        version: VERSION,
        kind: record.kind,
        origin: origin.to_string(),
        first_ordinal,
        ids,
        received_at: record.received_at,
        body: Some(body),
        tombstone: false,
        trace_context: record.trace_context.clone(),
    }
}

/// A record that takes ordinals and gives no rows.
pub fn tombstone(origin: &Origin, first_ordinal: u64, ids: Bytes) -> CleanRecord {
    CleanRecord {
        version: VERSION,
        kind: origin.kind().into(),
        origin: origin.to_string(),
        first_ordinal,
        ids,
        tombstone: true,
        ..CleanRecord::default()
    }
}

fn select(ids: &Bytes, body: Option<&Body>, places: &[usize]) -> (Bytes, Body) {
    let body = body.expect("decoding refuses records without a body");
    if places.len() == count(ids) {
        return (ids.clone(), body.clone());
    }
    let mut kept = Vec::with_capacity(places.len() * EventId::BYTES);
    let mut dropped = Vec::with_capacity(body.count as usize - places.len());
    let mut already = body.dropped.iter().copied().peekable();
    let mut wanted = places.iter().copied().peekable();
    let mut carried = 0;
    for place in 0..body.count {
        if already.next_if_eq(&place).is_some() {
            dropped.push(place);
            continue;
        }
        if wanted.next_if_eq(&carried).is_some() {
            let at = carried * EventId::BYTES;
            kept.extend_from_slice(&ids[at..at + EventId::BYTES]);
        } else {
            dropped.push(place);
        }
        carried += 1;
    }
    (Bytes::from(kept), Body { dropped, ..body.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{BodyOpener, BodyPacker, for_each_carried};
    use crate::stored::StoredEvent;
    use crate::{ChainId, ShardId};
    use proptest::prelude::*;

    fn record_of(count: u32) -> RawRecord {
        let (mut plain, mut ids) = (Vec::new(), Vec::new());
        for k in 0..count {
            let name = format!("page:view{k}");
            let event = StoredEvent { event_name: &name, created_at: 1, ..Default::default() };
            event.encode_delimited(&mut plain);
            ids.extend(EventId(u128::from(k)).to_bytes());
        }
        raw(Kind::Events, ids, 7, BodyPacker::default().pack(&plain, count))
    }

    fn names(body: &Body) -> Vec<String> {
        let plain = BodyOpener::default().open(body).expect("own body");
        let mut names = Vec::new();
        for_each_carried(body, &plain, |_, message| {
            names.push(StoredEvent::decode(message)?.event_name.to_string());
            Ok(())
        })
        .expect("own messages");
        names
    }

    proptest! {
        #[test]
        fn selecting_twice_carries_the_right_events(count in 0u32..40, first: u64, second: u64) {
            let record = decode_raw(encode(&record_of(count))).expect("own record");
            let once: Vec<usize> = (0..count as usize).filter(|k| first >> k & 1 == 1).collect();
            let stray = decode_raw(encode(&select_raw(&record, &once))).expect("own record");
            let twice: Vec<usize> = (0..once.len()).filter(|k| second >> k & 1 == 1).collect();
            let origin = Origin::of(&ChainId::dedup("i", &ShardId::new("s"), 0), Kind::Events);
            let clean = decode_clean(encode(&clean_of(&stray, &twice, &origin, 5))).expect("own record");
            let expected: Vec<usize> = twice.iter().map(|&k| once[k]).collect();
            prop_assert_eq!(names(clean.body.as_ref().expect("a body")), expected.iter().map(|k| format!("page:view{k}")).collect::<Vec<_>>());
            prop_assert_eq!(ids(&clean.ids).collect::<Vec<_>>(), expected.iter().map(|&k| EventId(k as u128)).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = decode_raw(Bytes::from(bytes.clone()));
            let _ = decode_clean(Bytes::from(bytes));
        }
    }

    #[test]
    fn a_record_of_a_newer_format_is_told_apart_from_garbage() {
        let newer = RawRecord { version: 2, ..record_of(1) };
        assert_eq!(decode_raw(encode(&newer)), Err(RecordError::Version(2)));
        assert_eq!(decode_raw(Bytes::from_static(b"{\"event_id\":1}")), Err(RecordError::Foreign));
    }

    fn origin() -> Origin {
        Origin::of(&ChainId::dedup("i", &ShardId::new("s"), 0), Kind::Events)
    }

    /// One event, as releases before traces wrote it.
    fn untraced() -> [Vec<u8>; 2] {
        let ids = [[0x1a, 0x10].as_slice(), &[0; 16]].concat();
        let body = b"\x10\x16\x18\x01\x2a\x16\x15\x0a\x0apage:view0\x19\x01\0\0\0\0\0\0\0";
        let raw = [&[8, 1], ids.as_slice(), &[0x21, 7, 0, 0, 0, 0, 0, 0, 0, 0x32, body.len() as u8], body].concat();
        let name = origin().to_string();
        let head = [&[8, 1, 0x1a, name.len() as u8], name.as_bytes(), &[0x20, 5, 0x2a, 0x10], &[0; 16]].concat();
        let clean = [head.as_slice(), &[0x31, 7, 0, 0, 0, 0, 0, 0, 0, 0x3a, body.len() as u8], body].concat();
        [raw, clean]
    }

    #[test]
    fn without_traces_records_are_the_bytes_that_they_were_before_there_were_any() {
        let raw = record_of(1);
        let clean = clean_of(&raw, &[0], &origin(), 5);
        let [raw_before, clean_before] = untraced();
        assert_eq!((encode(&raw), encode(&clean)), (raw_before.clone().into(), clean_before.clone().into()));
        assert_eq!(decode_raw(raw_before.into()), Ok(raw));
        assert_eq!(decode_clean(clean_before.into()), Ok(clean));
    }

    #[test]
    fn a_clean_record_carries_on_the_traces_of_the_raw_one() {
        let raw = RawRecord { trace_context: Bytes::from_static(&[7; 48]), ..record_of(2) };
        let raw = decode_raw(encode(&raw)).expect("own record");
        let stray = decode_raw(encode(&select_raw(&raw, &[1]))).expect("own record");
        let clean = decode_clean(encode(&clean_of(&stray, &[0], &origin(), 5))).expect("own record");
        assert_eq!((stray.trace_context, clean.trace_context), (raw.trace_context.clone(), raw.trace_context));
    }

    #[test]
    fn a_header_that_contradicts_its_body_is_refused() {
        let mut record = record_of(3);
        record.ids = record.ids.slice(..32);
        assert!(matches!(decode_raw(encode(&record)), Err(RecordError::Inconsistent(_))));
        record.body.as_mut().expect("a body").dropped = vec![3];
        assert!(matches!(decode_raw(encode(&record)), Err(RecordError::Inconsistent(_))));
    }
}
