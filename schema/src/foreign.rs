//! Records on the raw stream that no gateway of ours wrote.
//!
//! A JSON event, an array of them or one a line is read as a gateway would read it, also where the Kinesis Producer
//! Library has joined several of them; anything else is kept in quarantine, whole. The same bytes give the same records,
//! however often they are read: time is that of the record's arrival.

mod kpl;

use crate::body::BodyPacker;
use crate::json::batch::{Item, Layout, Measure, for_each_item};
use crate::json::event::EventReader;
use crate::record::{RECORD_EVENTS_MAX, fits, raw};
use crate::stored::StoredQuarantine;
use crate::v1::RawRecord;
use crate::validate::{ORIGINAL_BYTES_MAX, Rules, Valid, quarantine_id};
use crate::{EventId, Kind};
use bytes::Bytes;

/// Who is written down as having found an item invalid.
const STAGE: &str = "dedup";

/// What a foreign producer's events may be: its clock may be as far ahead as a gateway's default allows.
const RULES: Rules = Rules { event_bytes_max: 256 << 10, ahead_micros_max: 300_000_000, age_micros_max: None };

/// Gathers items of one kind into raw records.
struct Gathered {
    kind: Kind,
    plain: Vec<u8>,
    ids: Vec<u8>,
    records: Vec<RawRecord>,
    received_at: i64,
}

impl Gathered {
    fn new(kind: Kind, received_at: i64) -> Gathered {
        Gathered { kind, plain: Vec::new(), ids: Vec::new(), records: Vec::new(), received_at }
    }

    /// Takes an item of `bytes` stored bytes, which `put` appends.
    fn add(&mut self, id: EventId, bytes: usize, put: impl FnOnce(&mut Vec<u8>)) {
        // The length before a message takes some bytes of its own.
        const DELIMITER_BYTES: usize = 5;
        let together = self.plain.len() + self.ids.len() + bytes + EventId::BYTES + DELIMITER_BYTES;
        if !fits(together, self.count() + 1) {
            self.close();
        }
        put(&mut self.plain);
        self.ids.extend_from_slice(&id.to_bytes());
    }

    fn count(&self) -> usize {
        self.ids.len() / EventId::BYTES
    }

    fn close(&mut self) {
        if !self.ids.is_empty() {
            let body = BodyPacker::default().pack(&self.plain, self.count() as u32);
            self.records.push(raw(self.kind, std::mem::take(&mut self.ids), self.received_at, body));
            self.plain.clear();
        }
    }

    fn finish(mut self) -> Vec<RawRecord> {
        self.close();
        self.records
    }
}

/// Understands bytes that are no record of ours, as records that a gateway might have written at `arrived_at`.
pub fn translate(bytes: &[u8], arrived_at: i64) -> Vec<RawRecord> {
    let understood = match kpl::user_records(bytes) {
        Some(user_records) => joined(&user_records, arrived_at),
        None => understand(bytes, arrived_at),
    };
    understood.unwrap_or_else(|| pieces(bytes)).gather(arrived_at)
}

/// Items in the order in which they were found, as they are stored.
#[derive(Default)]
struct Items {
    /// Kind, id, bytes without the length before them, and where they end in `plain`.
    items: Vec<(Kind, EventId, usize, usize)>,
    plain: Vec<u8>,
}

impl Items {
    fn add(&mut self, kind: Kind, id: EventId, bytes: usize, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.plain);
        self.items.push((kind, id, bytes, self.plain.len()));
    }

    fn take(&mut self, item: &Item<'_>) {
        match &item.outcome {
            Ok(Valid { id, event }) => {
                self.add(Kind::Events, *id, event.encoded_len(), |plain| event.encode_delimited(plain));
            }
            Err(rejection) => {
                let stored = StoredQuarantine { stage: STAGE, ..rejection.stored(item.original, None) };
                self.quarantine(item.original, &stored);
            }
        }
    }

    fn quarantine(&mut self, original: &[u8], stored: &StoredQuarantine<'_>) {
        let id = quarantine_id(None, original);
        self.add(Kind::Quarantine, id, stored.encoded_len(), |plain| stored.encode_delimited(plain));
    }

    fn append(&mut self, other: Items) {
        let shift = self.plain.len();
        self.plain.extend(other.plain);
        self.items.extend(other.items.into_iter().map(|(kind, id, bytes, end)| (kind, id, bytes, end + shift)));
    }

    fn gather(self, arrived_at: i64) -> Vec<RawRecord> {
        let mut events = Gathered::new(Kind::Events, arrived_at);
        let mut invalid = Gathered::new(Kind::Quarantine, arrived_at);
        let mut start = 0;
        for (kind, id, bytes, end) in self.items {
            let gathered = if kind == Kind::Events { &mut events } else { &mut invalid };
            gathered.add(id, bytes, |plain| plain.extend_from_slice(&self.plain[start..end]));
            start = end;
        }
        events.finish().into_iter().chain(invalid.finish()).collect()
    }
}

/// What stands in JSON; `None` for bytes that are nothing we know.
fn understand(bytes: &[u8], arrived_at: i64) -> Option<Items> {
    let measure = Measure { rules: RULES, now: arrived_at, items_max: RECORD_EVENTS_MAX };
    if !bytes.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'[')) {
        return None;
    }
    let mut items = Items::default();
    let walked = for_each_item(&mut EventReader::default(), bytes, Layout::Unknown, &measure, |item| items.take(&item));
    walked.is_ok().then_some(items)
}

/// The items of user records, each of which stands for itself; `None` where they are none, or more than a record may have.
fn joined(user_records: &[Bytes], arrived_at: i64) -> Option<Items> {
    let mut items = Items::default();
    for bytes in user_records {
        items.append(understand(bytes, arrived_at).unwrap_or_else(|| pieces(bytes)));
    }
    (1..=RECORD_EVENTS_MAX).contains(&items.items.len()).then_some(items)
}

/// Quarantine for bytes that are nothing we know; more than one item keeps what is longer than an item may be.
fn pieces(bytes: &[u8]) -> Items {
    let mut items = Items::default();
    let pieces = bytes.len().div_ceil(ORIGINAL_BYTES_MAX).max(1);
    for k in 0..pieces {
        let end = bytes.len().min((k + 1) * ORIGINAL_BYTES_MAX);
        let original = &bytes[k * ORIGINAL_BYTES_MAX..end];
        let message = format!("neither a Forebay record nor JSON events; piece {} of {pieces}", k + 1);
        let (reason, stage) = ("undecodable", STAGE);
        let stored = StoredQuarantine { original, reason, message: &message, stage, ..StoredQuarantine::default() };
        items.quarantine(original, &stored);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{count, decode_raw, encode};
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000_000_000;
    const EVENT: &str =
        r#"{"event_id":"0192f0c1-7b6d-7e1a-8a3b-1234567890ab","event_name":"a:b","created_at":1700000000}"#;

    fn kinds(bytes: &[u8]) -> Vec<(Kind, usize)> {
        let shape = |record: RawRecord| (Kind::try_from(record.kind).expect("own kind"), count(&record.ids));
        translate(bytes, NOW).into_iter().map(shape).collect()
    }

    #[test]
    fn json_events_are_understood_one_by_one_or_together() {
        assert_eq!(kinds(EVENT.as_bytes()), [(Kind::Events, 1)]);
        assert_eq!(kinds(format!("[{EVENT},{EVENT}]").as_bytes()), [(Kind::Events, 2)]);
        assert_eq!(kinds(format!("{EVENT}\n{{}}\n").as_bytes()), [(Kind::Events, 1), (Kind::Quarantine, 1)]);
    }

    #[test]
    fn what_is_no_json_is_quarantined_whole() {
        for bytes in [&b"\x08\x01rubbish"[..], b"", b"[{", b"hello"] {
            assert_eq!(kinds(bytes), [(Kind::Quarantine, 1)], "{bytes:?}");
        }
    }

    #[test]
    fn joined_records_are_understood_one_by_one_in_their_order() {
        let other = EVENT.replace("7890ab", "7890ac");
        let array = format!("[{EVENT},{other}]");
        let parts: [&[u8]; 4] = [other.as_bytes(), b"[{", b"\x08\x01rubbish", array.as_bytes()];
        let bytes = kpl::aggregate(&parts);
        assert_eq!(kinds(&bytes), [(Kind::Events, 3), (Kind::Quarantine, 2)]);
        let ids: Vec<String> = crate::record::ids(&translate(&bytes, NOW)[0].ids).map(|id| id.to_string()).collect();
        let ends: Vec<&str> = ids.iter().map(|id| &id[id.len() - 1..]).collect();
        assert_eq!(ends, ["c", "b", "c"]);
    }

    #[test]
    fn joined_records_that_carry_nothing_or_too_much_are_kept_whole() {
        let many = format!("[{}]", vec!["{}"; RECORD_EVENTS_MAX / 2].join(","));
        let parts = [many.as_bytes(), many.as_bytes(), b"{}"];
        assert_eq!(kinds(&kpl::aggregate(&parts)), [(Kind::Quarantine, 1)]);
        let kept: usize = kinds(&kpl::aggregate(&parts[..2])).iter().map(|(_, count)| count).sum();
        assert_eq!(kept, RECORD_EVENTS_MAX);
        assert_eq!(kinds(&kpl::aggregate(&[b"[]"])), [(Kind::Quarantine, 1)]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_sound_records_and_always_the_same(bytes: Vec<u8>) {
            let records = translate(&bytes, NOW);
            prop_assert_eq!(&records, &translate(&bytes, NOW));
            for record in records {
                prop_assert!(decode_raw(encode(&record)).is_ok());
            }
        }
    }
}
