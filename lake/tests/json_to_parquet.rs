//! An event on its whole way: JSON as a producer sends it, the stored event, a record on the raw stream, the part of it that
//! goes on to the clean stream, rows, Arrow, Parquet, and rows again.

use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use lake::parquet_file::{Columns, batches_of, encode};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use schema::body::{BodyOpener, BodyPacker, for_each_carried};
use schema::columns::{self, places, text, times};
use schema::json::event::EventReader;
use schema::rows::{RowPlace, Rows};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::timestamp::YEAR_2000_MICROS;
use schema::validate::{Rules, quarantine_id};
use schema::{ChainId, EventId, Kind, Origin, ShardId, Table, record};
use serde_json::{Map, Value, json};

const NOW: i64 = 1_795_163_400_000_000;
const RULES: Rules = Rules { event_bytes_max: 262_144, ahead_micros_max: 300_000_000, age_micros_max: None };
const RECEIVED_AT: i64 = NOW + 1;
const FIRST_ORDINAL: u64 = 5;
const KEY: &str = "an object of a test";

/// An event as its producer means it.
#[derive(Clone, Debug)]
struct Meant {
    id: EventId,
    event_name: String,
    event_type: Option<String>,
    created_at: i64,
    /// Source, user and session.
    who: [Option<String>; 3],
    properties: Map<String, Value>,
    /// Whether they stand beside the fields of the contract instead of in an object of their own.
    are_extras: bool,
}

/// What the lake says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    origin: String,
    ordinal: u64,
    id: EventId,
    name: String,
    event_type: String,
    subtype: String,
    times: [i64; 2],
    who: [Option<String>; 3],
    properties: Value,
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), btree_map(".{0,4}", inner, 0..4).prop_map(object)]
    })
}

fn object(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(fields.into_iter().collect())
}

prop_compose! {
    fn meant()(
        id in 1u128..u128::MAX, event_type in option::of(".{1,9}"),
        (head, tail) in ("[^:]{1,12}", ".{1,30}"), created_at in YEAR_2000_MICROS..NOW,
        who in [option::of(any::<String>()), option::of(".{0,9}"), option::of(".{0,9}")],
        properties in btree_map("x.{0,8}", value(), 0..5), are_extras: bool,
    ) -> Meant {
        let properties = properties.into_iter().collect();
        Meant { id: EventId(id), event_name: format!("{head}:{tail}"), event_type, created_at, who, properties, are_extras }
    }
}

impl Meant {
    fn json(&self) -> String {
        let [source, user, session] = &self.who;
        let mut event = json!({
            "event_id": self.id.to_string(), "event_name": self.event_name, "event_type": self.event_type,
            "created_at": self.created_at, "source": source, "user_id": user, "session_id": session,
        });
        if self.are_extras {
            self.properties.iter().for_each(|(key, value)| event[key] = value.clone());
        } else {
            event["properties"] = Value::Object(self.properties.clone());
        }
        event.to_string()
    }

    fn row(&self, ordinal: u64) -> Row {
        let (head, tail) = self.event_name.split_once(':').expect("a name has two parts");
        Row {
            origin: origin(Kind::Events).to_string(),
            ordinal,
            id: self.id,
            name: self.event_name.clone(),
            event_type: self.event_type.clone().unwrap_or_else(|| head.to_string()),
            subtype: tail.to_string(),
            times: [self.created_at, RECEIVED_AT],
            who: self.who.clone(),
            properties: Value::Object(self.properties.clone()),
        }
    }
}

fn origin(kind: Kind) -> Origin {
    Origin::of(&ChainId::dedup("a1", &ShardId::new("raw-0000"), 0), kind)
}

/// A raw record as a gateway makes it of what producers sent.
fn raw_record(events: &[Meant]) -> Bytes {
    let (mut plain, mut ids, mut reader) = (Vec::new(), Vec::new(), EventReader::default());
    for event in events {
        let json = event.json();
        let valid = reader.read(json.as_bytes(), &RULES, NOW).expect("JSON");
        let valid = valid.unwrap_or_else(|rejection| panic!("{json}: {rejection:?}"));
        valid.event.encode_delimited(&mut plain);
        ids.extend(valid.id.to_bytes());
    }
    let body = BodyPacker::default().pack(&plain, events.len() as u32);
    record::encode(&record::raw(Kind::Events, ids, RECEIVED_AT, body))
}

/// The clean record of what is `accepted` of a raw one, by places.
fn clean_record(raw: Bytes, accepted: &[usize], kind: Kind) -> Bytes {
    let raw = record::decode_raw(raw).expect("own record");
    record::encode(&record::clean_of(&raw, accepted, &origin(kind), FIRST_ORDINAL))
}

/// The rows of a clean record, as a writer makes them.
fn rows_of(clean: Bytes, table: Table, push: impl Fn(&mut Rows, &RowPlace<'_>, &[u8])) -> Rows {
    let clean = record::decode_clean(clean).expect("own record");
    let (mut rows, origin) = (Rows::new(table), Origin::new(&clean.origin));
    let body = clean.body.as_ref().expect("a record of events has a body");
    let plain = BodyOpener::default().open(body).expect("own body");
    let ids: Vec<EventId> = record::ids(&clean.ids).collect();
    for_each_carried(body, &plain, |k, message| {
        let (id, ordinal) = (ids[k], clean.first_ordinal + k as u64);
        push(&mut rows, &RowPlace { origin: &origin, ordinal, id, received_at: clean.received_at }, message);
        Ok(())
    })
    .expect("own messages");
    rows
}

fn read_back(rows: Rows) -> Vec<RecordBatch> {
    let (table, (bytes, _)) = (rows.table(), encode(rows));
    batches_of(table, KEY, &bytes, Columns::All).expect("own object")
}

/// The rows of a batch, as any reader sees them.
fn shown(batch: &RecordBatch) -> Vec<Row> {
    let cell = |name, row| {
        let column = text(batch, name).expect("a column of text");
        column.is_valid(row).then(|| column.value(row).to_string())
    };
    let present = |name, row| cell(name, row).expect("a column without nulls");
    let time = |name, row| times(batch, name).expect("a column of times").value(row);
    let places = places(Table::Events, batch).expect("the columns of who a row is").enumerate();
    let shown = places.map(|(row, place)| {
        let place = place.expect("an id and an ordinal");
        Row {
            origin: place.origin.to_string(),
            ordinal: place.ordinal,
            id: place.id,
            name: present(columns::EVENT_NAME, row),
            event_type: present(columns::EVENT_TYPE, row),
            subtype: present(columns::EVENT_SUBTYPE, row),
            times: [time(columns::CREATED_AT, row), time(columns::RECEIVED_AT, row)],
            who: [columns::SOURCE, columns::USER_ID, columns::SESSION_ID].map(|name| cell(name, row)),
            properties: serde_json::from_str(&present(columns::PROPERTIES, row)).expect("properties are JSON"),
        }
    });
    shown.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_producers_send_as_json_is_what_readers_find_in_parquet(
        events in vec((meant(), any::<bool>()), 1..12),
    ) {
        let accepted: Vec<usize> = (0..events.len()).filter(|&k| events[k].1).collect();
        let events: Vec<Meant> = events.into_iter().map(|(event, _)| event).collect();
        let clean = clean_record(raw_record(&events), &accepted, Kind::Events);
        let rows = rows_of(clean, Table::Events, |rows, place, message| {
            rows.push_event(place, &StoredEvent::decode(message).expect("own message"));
        });
        let mut found: Vec<Row> = read_back(rows).iter().flat_map(shown).collect();
        found.sort_by_key(|row| row.ordinal);
        let expected: Vec<Row> = (FIRST_ORDINAL..).zip(&accepted).map(|(ordinal, &k)| events[k].row(ordinal)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_event_is_found_in_quarantine_byte_for_byte(sent in any::<String>(), id: u128) {
        let sent = json!({ "event_id": EventId(id).to_string(), "what else": sent }).to_string();
        let mut reader = EventReader::default();
        let outcome = reader.read(sent.as_bytes(), &RULES, NOW).expect("JSON");
        let rejection = outcome.expect_err("it has no name");
        let (id, mut plain) = (quarantine_id(None, sent.as_bytes()), Vec::new());
        rejection.stored(sent.as_bytes(), None).encode_delimited(&mut plain);
        let raw = record::raw(Kind::Quarantine, id.to_bytes().to_vec(), RECEIVED_AT, BodyPacker::default().pack(&plain, 1));
        let clean = clean_record(record::encode(&raw), &[0], Kind::Quarantine);
        let rows = rows_of(clean, Table::Quarantine, |rows, place, message| {
            rows.push_quarantined(place, &StoredQuarantine::decode(message).expect("own message"));
        });
        let batches = read_back(rows);
        prop_assert_eq!(columns::binary(&batches[0], columns::ORIGINAL).expect("bytes").value(0), sent.as_bytes());
        let reasons = text(&batches[0], columns::REASON).expect("text");
        prop_assert_eq!(reasons.value(0), rejection.reason.as_str());
        let place = places(Table::Quarantine, &batches[0]).expect("the columns of who a row is").next();
        let place = place.expect("one row").expect("an id and an ordinal");
        prop_assert_eq!((place.id, place.ordinal), (id, FIRST_ORDINAL));
    }
}
