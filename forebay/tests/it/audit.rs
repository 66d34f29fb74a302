//! The audit fails where it must: a check that can't fail is worth nothing.

use crate::pipeline::{Pipeline, files};
use bytes::Bytes;
use forebay::embedded::{self, CLEAN, Embedded, Places, RAW};
use ledger::Ledger;
use ledger::embedded::EmbeddedLedger;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use schema::ChainId;
use schema::columns::{EVENT_ID, PROPERTIES};
use service::Env;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, ReadLimit, Stream};

/// A drained pipeline with live objects of several entries.
pub(crate) fn drained() -> Pipeline {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--shards", "2", "--flush-rows", "300"]);
    pipeline.generate_all("1200", &["--duplicates", "5%", "--invalid", "2%", "--seed", "11"]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    pipeline.audit_acked(&[]).assert_clean();
    pipeline
}

fn objects(pipeline: &Pipeline, folder: &str) -> Vec<PathBuf> {
    let objects = files(&pipeline.lake().join(folder));
    assert!(objects.len() > 1, "{folder} has {} objects", objects.len());
    objects
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a plain name")
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).expect("an object");
    bytes[place] ^= 0xff;
    fs::write(path, bytes).expect("an object");
}

#[test]
fn whatever_is_done_to_live_objects_is_found() {
    let whole = drained();

    let case = whole.copy();
    let gone = &objects(&case, "live/events")[0];
    fs::remove_file(gone).expect("an object");
    let audit = case.audit(&[]);
    audit.assert_finds(&["missing object: 1", name(gone), "entry ", "ordinal "]);
    assert!(audit.figure("missing") > 0, "{}", audit.text);
    case.audit_acked(&[]).assert_finds(&["acknowledged, not there"]);

    let case = whole.copy();
    let pair = objects(&case, "live/events");
    fs::copy(&pair[0], &pair[1]).expect("objects");
    let audit = case.audit(&[]);
    audit.assert_finds(&["foreign object: 1", name(&pair[1]), "twice: ", "missing: "]);
    assert!(audit.figure("twice") > 0 && audit.figure("missing") > 0, "{}", audit.text);

    let case = whole.copy();
    let one = &objects(&case, "live/events")[0];
    let more = one.with_file_name(name(one).replace("-0000.parquet", "-0777.parquet"));
    fs::copy(one, &more).expect("an object");
    let audit = case.audit(&[]);
    audit.assert_finds(&["stray object: 1", name(&more), "twice: "]);
    assert!(audit.figure("twice") > 0, "{}", audit.text);

    for place in [|_: &Path| 9, |path: &Path| byte_of(path, EVENT_ID)] {
        let case = whole.copy();
        let hurt = &objects(&case, "live/events")[0];
        flip(hurt, place(hurt));
        // Ids that are others now, and ids still, are known by their sum: only a deep audit says where they are.
        case.audit(&[]).assert_finds(&["NOT clean"]);
        case.audit(&["--deep"]).assert_finds(&[name(hurt), "NOT clean"]);
    }

    let case = whole.copy();
    let cut = &objects(&case, "live/events")[0];
    fs::write(cut, b"PAR1").expect("an object");
    case.audit(&[]).assert_finds(&["damaged object: 1", name(cut)]);

    whole.audit_acked(&[]).assert_clean();
}

#[test]
fn an_acknowledged_id_that_is_not_there_is_found() {
    let whole = drained();
    let nobody = "00000000-0000-4000-8000-000000000001";
    for mark in ["a", "q"] {
        let case = whole.copy();
        let acked = fs::read_to_string(case.acked()).expect("the ledger file");
        let reason = if mark == "q" { " bad_uuid" } else { "" };
        fs::write(case.acked(), format!("{acked}{mark} {nobody}{reason}\n")).expect("the ledger file");
        let audit = case.audit_acked(&[]);
        audit.assert_finds(&["acknowledged, not there: 1", nobody, "never decided"]);
        assert_eq!(audit.figure("missing"), 1, "{}", audit.text);
        case.audit(&[]).assert_clean();
    }
}

#[test]
fn whatever_is_done_to_final_objects_is_found() {
    let whole = drained();
    assert!(whole.run("compact", &["--all"]).status.success());
    let compacted = whole.audit_acked(&[]);
    compacted.assert_clean();
    assert_eq!(compacted.figure("live"), 0, "{}", compacted.text);

    let case = whole.copy();
    objects(&case, "live/events").iter().for_each(|covered| fs::remove_file(covered).expect("an object"));
    case.audit_acked(&[]).assert_clean();

    let case = whole.copy();
    let gone = &objects(&case, "final/events")[0];
    fs::remove_file(gone).expect("an object");
    case.audit_acked(&[]).assert_finds(&[
        "missing object: 1",
        name(gone),
        "plan 0",
        "missing: ",
        "acknowledged, not there",
    ]);

    let case = whole.copy();
    let one = &objects(&case, "final/events")[0];
    fs::copy(one, one.with_file_name("000000-0777.parquet")).expect("an object");
    case.audit(&[]).assert_finds(&["stray object: 1", "twice: "]);

    let case = whole.copy();
    let pair = objects(&case, "final/events");
    fs::copy(&pair[0], &pair[1]).expect("objects");
    case.audit(&[]).assert_finds(&["unbalanced plan: 1", "twice: ", "missing: "]);
}

#[test]
fn what_is_in_flight_is_not_missing_and_waiting_for_nobody_fails() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--flush-interval", "600s", "--flush-rows", "1000000"]);
    pipeline.generate_all("500", &[]);
    up.kill();
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert!(audit.text.contains("something is on its way:"), "{}", audit.text);
    let waited = pipeline.audit_acked(&["--wait", "300ms"]);
    assert_ne!(waited.code, Some(0), "{}", waited.text);
    assert!(waited.text.contains("not settled within 300ms: "), "{}", waited.text);
}

/// An object's key in the lake.
fn key(pipeline: &Pipeline, path: &Path) -> String {
    path.strip_prefix(pipeline.lake()).expect("it is in the lake").display().to_string()
}

fn footer(path: &Path) -> ParquetMetaData {
    let file = File::open(path).expect("an object");
    ParquetMetaDataReader::new().parse_and_finish(&file).expect("a footer")
}

/// A byte amid the pages of a column.
fn byte_of(path: &Path, column: &str) -> usize {
    let footer = footer(path);
    let columns = footer.row_group(0).columns();
    let column = columns.iter().find(|chunk| chunk.column_path().string() == column).expect("the column is there");
    let (start, bytes) = column.byte_range();
    (start + bytes / 2) as usize
}

/// Writes an object anew with other properties, under a footer that says what it said before.
fn forge(path: &Path) {
    let footer = footer(path);
    let claims = footer.file_metadata().key_value_metadata().expect("an identity").iter();
    let claims = claims.filter(|pair| pair.key.starts_with("forebay.")).cloned().collect();
    let bytes = Bytes::from(fs::read(path).expect("an object"));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("an object");
    let schema = reader.schema().clone();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(claims)).build();
    let out = File::create(path).expect("an object");
    let mut writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).expect("a schema of ours");
    for batch in reader.build().expect("an object").map(|batch| batch.expect("rows")) {
        let mut columns = batch.columns().to_vec();
        let forged = vec![r#"{"price":0}"#; batch.num_rows()];
        columns[schema.index_of(PROPERTIES).expect("a column")] = Arc::new(arrow_array::StringArray::from(forged));
        writer.write(&arrow_array::RecordBatch::try_new(schema.clone(), columns).expect("a batch")).expect("a file");
    }
    writer.close().expect("a file");
}

#[test]
fn what_is_wrong_in_other_columns_is_found_by_a_deep_audit_alone() {
    let whole = drained();
    assert!(whole.run("compact", &["--all"]).status.success());
    let deep = whole.audit_acked(&["--deep"]);
    deep.assert_clean();
    assert!(deep.text.contains("\ndeep: every column of every object was read\n"), "{}", deep.text);

    let hurts: [fn(&Path); 2] = [|path| flip(path, byte_of(path, PROPERTIES)), forge];
    for (folder, hurt) in
        ["live/events", "final/events"].into_iter().flat_map(|folder| hurts.map(|hurt| (folder, hurt)))
    {
        let case = whole.copy();
        let one = &objects(&case, folder)[0];
        hurt(one);
        case.audit(&["--deep"]).assert_finds(&["damaged object: 1", &key(&case, one), "NOT clean", "\ndeep: "]);
        let plain = case.audit_acked(&[]);
        plain.assert_clean();
        assert!(plain.text.contains("\nnot deep: "), "{}", plain.text);
    }
}

/// A copy whose log was written anew, without one chain.
async fn without(whole: &Pipeline, lost: &ChainId) -> Pipeline {
    rewritten(whole, |chain| chain != lost, |_, _| true).await
}

/// A copy whose log was written anew: with these chains, and with these records of streams, by their place in a shard.
pub(crate) async fn rewritten(
    whole: &Pipeline,
    keeps_chain: impl Fn(&ChainId) -> bool,
    keeps_record: impl Fn(&schema::ShardId, usize) -> bool,
) -> Pipeline {
    let (case, env) = (whole.copy(), Env::system());
    let places = |pipeline: &Pipeline| Places { data_dir: pipeline.data_dir(), lake: None };
    fs::remove_dir_all(case.data_dir().join("log")).expect("a log");
    let (old, _reader) = embedded::open_read_only(&places(whole)).expect("a data directory");
    let store = embedded::take(&case.data_dir(), embedded::options("a test", &env)).await.expect("a free directory");
    for (name, from) in [(RAW, &old.raw), (CLEAN, &old.clean)] {
        let shards = from.shards().await.expect("shards");
        let count = NonZeroU32::try_from(shards.len() as u32).expect("shards");
        let to = EmbeddedStream::open(&store, name, count, from.incarnation()).await.expect("a new stream");
        let limit = ReadLimit { records_max: 100_000, bytes_max: 1 << 30, wait: Duration::ZERO };
        for shard in shards {
            let page = from.read(&shard.id, &schema::Position::start(), limit).await.expect("records");
            let record = |record: stream::Record| NewRecord { point: shard.range.low, bytes: record.bytes };
            let kept = page.records.into_iter().enumerate().filter(|(place, _)| keeps_record(&shard.id, *place));
            to.append(kept.map(|(_, kept)| record(kept)).collect()).await;
        }
    }
    let ledger = EmbeddedLedger::new(store.clone());
    for chain in old.ledger.chains("").await.expect("chains").iter().filter(|chain| keeps_chain(chain)) {
        for slot in old.ledger.load(chain, 0, 100_000).await.expect("slots") {
            ledger.append(chain, slot.number, slot.entry).await.expect("a free slot");
        }
    }
    store.close();
    case
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_chain_that_the_ledger_has_lost_is_found() {
    let whole = drained();
    let places = Places { data_dir: whole.data_dir(), lake: None };
    let (Embedded { ledger, .. }, _reader) = embedded::open_read_only(&places).expect("a data directory");
    let lost = &ledger.chains("dedup/").await.expect("chains")[0];

    without(&whole, &ChainId::new("no such chain")).await.audit_acked(&[]).assert_clean();
    let audit = without(&whole, lost).await.audit(&[]);
    audit.assert_finds(&["lost chain: 1", &format!("{lost} is not in the ledger, while chain writer/"), "NOT clean"]);
}
