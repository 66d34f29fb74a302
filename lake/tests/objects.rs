//! Objects from rows to Parquet and back, whole and damaged.

use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use lake::local::LocalLake;
use lake::parquet_file::{
    Columns, Identity, ObjectError, ObjectReader, ObjectWriter, batches_of, create_exactly, create_exactly_from_file,
    encode, identity, verify,
};
use lake::{Created, Lake, LakeError};
use proptest::prelude::*;
use schema::columns::{self, places, text, times};
use schema::rows::{RowPlace, Rows};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::{ChainId, EventId, Kind, Origin, ShardId, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

const KEY: &str = "live/events/event_date=2026-11-22/w-0000000001-0000.parquet";

fn lake() -> (TempDir, LocalLake) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = LocalLake::open(folder.path()).expect("an empty folder");
    (folder, lake)
}

fn origin(kind: Kind) -> Origin {
    Origin::of(&ChainId::dedup("a1", &ShardId::new("raw-0000"), 0), kind)
}

/// Rows of events that differ in everything; each has about `padding` bytes of properties.
fn events(count: u64, padding: usize) -> Rows {
    let (mut rows, origin) = (Rows::new(Table::Events), origin(Kind::Events));
    for k in 0..count {
        let name = format!("type{}:view:{k}", k % 3);
        let user = format!("user{}", k % 10);
        let properties = format!("{{\"n\":{k},\"padding\":\"{}\"}}", noise(k, padding));
        let event = StoredEvent {
            event_name: &name,
            created_at: 1_795_000_000_000_000 + (k as i64 * 7919 % 1000),
            user_id: (k % 4 != 0).then_some(&user),
            properties: &properties,
            ..StoredEvent::default()
        };
        let id = EventId(u128::from(k) << 64 | 7);
        rows.push_event(&RowPlace { origin: &origin, ordinal: k, id, received_at: k as i64 }, &event);
    }
    rows
}

/// Text that does not compress well.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(|_| next()).collect()
}

async fn read_all(lake: &dyn Lake, columns: Columns<'_>) -> Result<Vec<RecordBatch>, ObjectError> {
    let mut reader = ObjectReader::open(lake, Table::Events, KEY, columns).await?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch(lake).await? {
        batches.push(batch);
    }
    Ok(batches)
}

fn joined(batches: &[RecordBatch]) -> RecordBatch {
    arrow_select::concat::concat_batches(&batches[0].schema(), batches).expect("batches of one schema")
}

#[tokio::test]
async fn an_object_reads_back_through_ranges_as_it_was_encoded() {
    let (_folder, lake) = lake();
    let expected = joined(&events(20_000, 400).into_batches().collect::<Vec<_>>());
    let (bytes, identity) = encode(events(20_000, 400));
    create_exactly(&lake, KEY, bytes.clone(), &identity).await.expect("a free key");
    let read = read_all(&lake, Columns::All).await.expect("an own object");
    assert!(joined(&read) == expected);
    let in_memory = batches_of(Table::Events, KEY, &bytes, Columns::All).expect("an own object");
    assert!(joined(&in_memory) == expected);
}

#[tokio::test]
async fn a_projection_reads_only_its_columns() {
    let (_folder, lake) = lake();
    let (bytes, identity) = encode(events(1000, 10));
    create_exactly(&lake, KEY, bytes, &identity).await.expect("a free key");
    let wanted = [columns::EVENT_ID, columns::ORIGIN, columns::ORDINAL];
    let read = joined(&read_all(&lake, Columns::Only(&wanted)).await.expect("an own object"));
    assert_eq!(read.num_columns(), 3);
    let places: Result<Vec<_>, _> = places(Table::Events, &read).expect("the columns").collect();
    let mut ordinals: Vec<u64> = places.expect("ids").iter().map(|place| place.ordinal).collect();
    ordinals.sort_unstable();
    assert_eq!(ordinals, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_footer_says_what_the_object_holds() {
    let (_folder, lake) = lake();
    let (bytes, written) = encode(events(7, 10));
    lake.create(KEY, bytes).await.expect("a free key");
    let types = BTreeMap::from([("type0".to_string(), 3), ("type1".to_string(), 2), ("type2".to_string(), 2)]);
    let expected = Identity { rows: 7, rows_hash: events(7, 10).rows_hash(), types };
    assert_eq!(written, expected);
    assert_eq!(identity(&lake, KEY).await, Ok(expected.clone()));
    assert_eq!(verify(&lake, Table::Events, KEY).await, Ok(expected));
}

#[tokio::test]
async fn a_footer_longer_than_the_first_guess_is_read() {
    let (_folder, lake) = lake();
    let (mut rows, origin) = (Rows::new(Table::Events), origin(Kind::Events));
    for k in 0..5000u64 {
        let name = format!("some.rather.long.type.{k}:view");
        let event = StoredEvent { event_name: &name, ..StoredEvent::default() };
        rows.push_event(&RowPlace { origin: &origin, ordinal: k, id: EventId(k.into()), received_at: 0 }, &event);
    }
    let (bytes, written) = encode(rows);
    lake.create(KEY, bytes).await.expect("a free key");
    assert_eq!(written.types.len(), 5000);
    assert_eq!(identity(&lake, KEY).await, Ok(written));
}

#[tokio::test]
async fn creating_the_same_rows_again_is_success_and_other_rows_are_told_apart() {
    let (_folder, lake) = lake();
    let (bytes, identity) = encode(events(5, 10));
    assert_eq!(create_exactly(&lake, KEY, bytes.clone(), &identity).await, Ok(Created::New));
    assert_eq!(create_exactly(&lake, KEY, bytes, &identity).await, Ok(Created::Exists));
    for other in [events(6, 10), events(5, 11)] {
        let (bytes, announced) = encode(other);
        let differs = ObjectError::Differs { key: KEY.into(), expected: announced.clone(), found: identity.clone() };
        assert_eq!(create_exactly(&lake, KEY, bytes, &announced).await, Err(differs));
    }
}

#[tokio::test]
async fn an_existing_object_that_is_no_parquet_file_halts_the_creation() {
    let (_folder, lake) = lake();
    lake.create(KEY, Bytes::from_static(b"somebody else's bytes, of no format we know")).await.expect("a free key");
    let (bytes, identity) = encode(events(5, 10));
    let outcome = create_exactly(&lake, KEY, bytes, &identity).await;
    assert!(matches!(&outcome, Err(ObjectError::Damaged { key, .. }) if key == KEY), "{outcome:?}");
}

#[tokio::test]
async fn an_object_written_batch_by_batch_to_a_file_has_the_rows_identity() {
    let (folder, lake) = lake();
    let expected = encode(events(20_000, 100)).1;
    let spool = folder.path().join("spool");
    let file = std::fs::File::create_new(&spool).expect("a file");
    let mut writer = ObjectWriter::new(Table::Events, file, 256 << 10).expect("a new file");
    for batch in events(20_000, 100).into_batches() {
        writer.write(&batch).expect("room");
    }
    assert!(writer.encoded_bytes() > 20_000 * 50);
    let (_, written) = writer.finish().expect("room");
    assert_eq!(written, expected);
    create_exactly_from_file(&lake, KEY, &spool, &written).await.expect("a free key");
    assert_eq!(verify(&lake, Table::Events, KEY).await, Ok(expected));
    let bytes = lake.get(KEY).await.expect("the object");
    let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&bytes).expect("a footer");
    assert!(footer.num_row_groups() > 4, "{} row groups", footer.num_row_groups());
}

#[tokio::test]
async fn quarantined_rows_read_back() {
    let (_folder, lake) = lake();
    let (mut rows, origin) = (Rows::new(Table::Quarantine), origin(Kind::Quarantine));
    let item = StoredQuarantine { original: b"\xff{", reason: "bad_uuid", stage: "gateway", ..Default::default() };
    rows.push_quarantined(&RowPlace { origin: &origin, ordinal: 0, id: EventId(9), received_at: 5 }, &item);
    let (bytes, identity) = encode(rows);
    lake.create(KEY, bytes.clone()).await.expect("a free key");
    assert_eq!(verify(&lake, Table::Quarantine, KEY).await, Ok(identity));
    let batches = batches_of(Table::Quarantine, KEY, &bytes, Columns::All).expect("an own object");
    assert_eq!(columns::binary(&batches[0], columns::ORIGINAL).expect("bytes").value(0), b"\xff{");
    assert!(text(&batches[0], columns::EVENT_ID).expect("text").is_null(0));
}

#[tokio::test]
async fn an_object_of_another_table_is_named() {
    let (_folder, lake) = lake();
    let (bytes, _) = encode(events(1, 1));
    lake.create(KEY, bytes).await.expect("a free key");
    let error = ObjectReader::open(&lake, Table::Quarantine, KEY, Columns::All).await.expect_err("another table");
    assert!(error.to_string().contains(KEY) && error.to_string().contains("quarantine"), "{error}");
}

/// Distance of the flipped bits: prime to 8, so that each bit of a byte has its turn.
const BITS_APART: usize = 23;

/// A lake with one object that was damaged after it was created.
#[derive(Debug)]
struct OneObject(Bytes);

#[async_trait::async_trait]
impl Lake for OneObject {
    async fn create(&self, _: &str, _: Bytes) -> Result<Created, LakeError> {
        Ok(Created::Exists)
    }

    async fn create_from_file(&self, _: &str, _: &std::path::Path) -> Result<Created, LakeError> {
        Ok(Created::Exists)
    }

    async fn get(&self, _: &str) -> Result<Bytes, LakeError> {
        Ok(self.0.clone())
    }

    async fn get_range(&self, _: &str, range: std::ops::Range<u64>) -> Result<Bytes, LakeError> {
        let length = self.0.len() as u64;
        Ok(self.0.slice(range.start.min(length) as usize..range.end.min(length) as usize))
    }

    async fn head(&self, key: &str) -> Result<lake::ObjectMeta, LakeError> {
        Ok(lake::ObjectMeta { key: key.to_string(), bytes: self.0.len() as u64, modified_at: 1 })
    }

    async fn list(&self, _: &str) -> Result<Vec<lake::ObjectMeta>, LakeError> {
        Ok(Vec::new())
    }

    async fn delete(&self, _: &str) -> Result<(), LakeError> {
        Ok(())
    }
}

/// What came of reading a damaged object: the object as it was, or an error that names it.
async fn found_out(damaged: Vec<u8>, intact: &[RecordBatch]) -> Result<(), String> {
    let lake = OneObject(Bytes::from(damaged));
    let by_name = |error: &ObjectError| error.to_string().contains(KEY);
    match verify(&lake, Table::Events, KEY).await {
        Err(error) if by_name(&error) => Ok(()),
        Err(error) => Err(format!("the error names no object: {error}")),
        // The flipped bit is in nothing that is read, such as padding, statistics or the page index; the event's
        // subtype follows from its name and is not hashed.
        Ok(_) => match read_all(&lake, Columns::All).await {
            Ok(read) => same_rows(&read, intact),
            Err(error) => Err(format!("read once and not twice: {error}")),
        },
    }
}

fn same_rows(read: &[RecordBatch], intact: &[RecordBatch]) -> Result<(), String> {
    let (read, intact) = (joined(read), joined(intact));
    let differs = |name: &&str| read.column_by_name(name) != intact.column_by_name(name);
    let names = intact.schema();
    let mut names = names.fields().iter().map(|field| field.name().as_str());
    match names.find(|name| differs(name) && *name != columns::EVENT_SUBTYPE) {
        None => Ok(()),
        Some(name) => Err(format!("column {name} differs, and nobody noticed")),
    }
}

#[tokio::test]
async fn a_truncated_object_is_named_wherever_it_was_cut() {
    let (bytes, _) = encode(events(50, 20));
    for length in 0..bytes.len() {
        let lake = OneObject(bytes.slice(..length));
        let error = verify(&lake, Table::Events, KEY).await.expect_err("cut off");
        assert!(error.to_string().contains(KEY), "{length}: {error}");
        let error = batches_of(Table::Events, KEY, &lake.0, Columns::All).expect_err("cut off");
        assert!(error.to_string().contains(KEY), "{length}: {error}");
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let intact: Vec<RecordBatch> = events(50, 20).into_batches().collect();
    let (bytes, _) = encode(events(50, 20));
    for bit in (0..bytes.len() * 8).step_by(BITS_APART) {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let outcome = found_out(damaged, &intact).await;
        assert_eq!(outcome, Ok(()), "bit {} of byte {} of {}", bit % 8, bit / 8, bytes.len());
    }
}

#[tokio::test]
async fn reading_on_after_damage_does_not_look_like_the_end() {
    let (bytes, _) = encode(events(20_000, 100));
    let mut damaged = bytes.to_vec();
    damaged[4..20].fill(0xAA);
    let lake = OneObject(Bytes::from(damaged));
    let mut reader = ObjectReader::open(&lake, Table::Events, KEY, Columns::All).await.expect("an intact footer");
    let first = loop {
        match reader.next_batch(&lake).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the damage went unnoticed"),
            Err(error) => break error,
        }
    };
    assert_eq!(reader.next_batch(&lake).await.expect_err("still damaged"), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_event_survives_rows_arrow_parquet_and_arrow(
        name in ".{0,30}",
        event_type in proptest::option::of(".{0,9}"),
        created_at: i64,
        received_at: i64,
        source in proptest::option::of(".{0,9}"),
        properties in ".{0,50}",
        (id, ordinal) in (any::<u128>(), 0u64..i64::MAX as u64),
    ) {
        let event = StoredEvent {
            event_name: &name,
            event_type: event_type.as_deref(),
            created_at,
            source: source.as_deref(),
            properties: &properties,
            ..StoredEvent::default()
        };
        let (mut rows, origin) = (Rows::new(Table::Events), origin(Kind::Events));
        rows.push_event(&RowPlace { origin: &origin, ordinal, id: EventId(id), received_at }, &event);
        let (bytes, identity) = encode(rows);
        let batches = batches_of(Table::Events, KEY, &bytes, Columns::All).expect("an own object");
        let read = &batches[0];
        let cell = |name| text(read, name).expect("text").value(0);
        prop_assert_eq!(cell(columns::EVENT_NAME), event.event_name);
        prop_assert_eq!(cell(columns::EVENT_TYPE), event.effective_type());
        prop_assert_eq!(cell(columns::EVENT_SUBTYPE), event.subtype());
        prop_assert_eq!(cell(columns::PROPERTIES), if properties.is_empty() { "{}" } else { &properties });
        prop_assert_eq!(cell(columns::EVENT_ID), EventId(id).to_string());
        prop_assert_eq!(times(read, columns::CREATED_AT).expect("times").value(0), created_at);
        prop_assert_eq!(times(read, columns::RECEIVED_AT).expect("times").value(0), received_at);
        let sources = text(read, columns::SOURCE).expect("text");
        prop_assert_eq!(sources.is_valid(0).then(|| sources.value(0)), source.as_deref());
        prop_assert_eq!(columns::rows_hash(Table::Events, read), Ok(identity.rows_hash));
    }
}

#[tokio::test]
async fn a_lake_is_held_as_a_shared_port() {
    let (_folder, lake) = lake();
    let lake: Arc<dyn Lake> = Arc::new(lake);
    let (bytes, identity) = encode(events(3, 3));
    create_exactly(&*lake, KEY, bytes, &identity).await.expect("a free key");
    assert_eq!(lake.list("live/").await.expect("a lake").len(), 1);
}
