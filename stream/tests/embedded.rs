//! The embedded stream keeps the contract of streams, and what it promises beyond it.

use schema::{HashKey, Position, ShardId};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store, StoreReader};
use stream::embedded::{EmbeddedError, EmbeddedStream};
use stream::{NewRecord, ReadError, ReadLimit, Record, Stream, contract};
use tempfile::tempdir;

const NOW: ReadLimit = ReadLimit { records_max: 1000, bytes_max: 1 << 20, wait: Duration::ZERO };

fn options() -> Options {
    Options::new(Arc::new(|| 1_700_000_000_000_000), "a test")
}

fn store(dir: &Path) -> Arc<Store> {
    Arc::new(Store::open(dir, options()).expect("a sound directory"))
}

async fn open(store: &Arc<Store>, shards: u32) -> EmbeddedStream {
    let shards = NonZeroU32::new(shards).expect("not zero");
    EmbeddedStream::open(store, "raw", shards, "a1b2").await.expect("a sound stream")
}

async fn append(stream: &EmbeddedStream, point: u128, text: &str) {
    let record = NewRecord { point: HashKey(point), bytes: text.to_owned().into() };
    stream.append(vec![record]).await.remove(0).expect("a small record");
}

async fn all(stream: &EmbeddedStream, shard: &str) -> Vec<Record> {
    stream.read(&ShardId::new(shard), &Position::start(), NOW).await.expect("a known shard").records
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let dir = tempdir().unwrap();
                contract::$name(&open(&store(dir.path()), 4).await).await;
            }
        )*
    };
}

stream::contract_checks!(keeps_the_contract);

#[tokio::test]
async fn what_many_append_at_once_is_there_once_each() {
    let dir = tempdir().unwrap();
    contract::what_many_append_at_once_is_there_once_each(Arc::new(open(&store(dir.path()), 4).await)).await;
}

#[tokio::test]
async fn a_closed_shard_ends_with_its_children_and_they_go_on() {
    for way in 0..3 {
        let dir = tempdir().unwrap();
        let stream = open(&store(dir.path()), 4).await;
        let [first, second] = ["raw-0000", "raw-0001"].map(ShardId::new);
        let reshard = async || match way {
            0 => stream.reshard(NonZeroU32::new(3).unwrap()).await.unwrap(),
            1 => stream.split(&first, HashKey(99)).await.unwrap(),
            _ => stream.merge(&second, &first).await.unwrap(),
        };
        contract::a_closed_shard_ends_with_its_children_and_they_go_on(&stream, reshard).await;
    }
}

#[tokio::test]
async fn a_stream_is_the_same_after_a_reopen() {
    let dir = tempdir().unwrap();
    let opened = store(dir.path());
    let stream = open(&opened, 4).await;
    append(&stream, 0, "kept").await;
    let (records, shards) = (all(&stream, "raw-0000").await, stream.shards().await);
    opened.close();
    let shards_again = NonZeroU32::new(4).unwrap();
    let again = EmbeddedStream::open(&store(dir.path()), "raw", shards_again, "other").await.unwrap();
    assert_eq!(again.incarnation(), "a1b2");
    assert_eq!(all(&again, "raw-0000").await, records);
    assert_eq!(again.shards().await, shards);
}

#[tokio::test]
async fn another_number_of_shards_at_a_reopen_is_a_reshard_with_lineage() {
    let dir = tempdir().unwrap();
    let opened = store(dir.path());
    append(&open(&opened, 2).await, 0, "before").await;
    opened.close();
    let stream = open(&store(dir.path()), 3).await;
    let shards = stream.shards().await.unwrap();
    assert_eq!(shards.iter().filter(|shard| shard.closed).count(), 2);
    assert_eq!(shards[3].parents, [ShardId::new("raw-0000"), ShardId::new("raw-0001")]);
    let page = stream.read(&ShardId::new("raw-0000"), &Position::start(), NOW).await.unwrap();
    assert!(page.end_of_shard && page.records.len() == 1, "{page:?}");
    assert_eq!(page.children, [ShardId::new("raw-0002"), ShardId::new("raw-0003")]);
    append(&stream, 0, "after").await;
    assert_eq!(all(&stream, "raw-0002").await.len(), 1);
}

#[tokio::test]
async fn records_appended_during_reshards_are_all_there_and_none_follows_an_end() {
    let dir = tempdir().unwrap();
    let opened = store(dir.path());
    let (stream, other) = (open(&opened, 1).await, open(&opened, 1).await);
    let writer = tokio::spawn(async move {
        for k in 0..300u128 {
            append(&other, u128::MAX / 300 * k, &k.to_string()).await;
        }
    });
    let reader = stream.clone();
    let first = tokio::spawn(async move {
        let (mut at, mut count) = (Position::start(), 0);
        loop {
            let limit = ReadLimit { wait: Duration::from_secs(60), ..NOW };
            let page = reader.read(&ShardId::new("raw-0000"), &at, limit).await.unwrap();
            count += page.records.len();
            at = page.records.last().map_or(at, |record| record.position.clone());
            if page.end_of_shard {
                return count;
            }
        }
    });
    for count in [2, 3, 1, 4] {
        stream.reshard(NonZeroU32::new(count).unwrap()).await.unwrap();
    }
    writer.await.unwrap();
    let shards = stream.shards().await.unwrap();
    let mut found = Vec::new();
    for shard in &shards {
        found.push(all(&stream, shard.id.as_str()).await.len());
    }
    assert_eq!(first.await.unwrap(), found[0], "nothing came after the end that the reader saw");
    assert_eq!(found.iter().sum::<usize>(), 300);
}

#[tokio::test]
async fn reading_what_retention_removed_is_an_error() {
    let dir = tempdir().unwrap();
    let small = Options { segment_bytes: 1000, ..options() };
    let store = Arc::new(Store::open(dir.path(), small).unwrap());
    let stream = open(&store, 1).await;
    for k in 0..50 {
        append(&stream, 0, &k.to_string()).await;
    }
    let shard = ShardId::new("raw-0000");
    stream.consumed(&shard, &Position::from_number(39)).await;
    assert!(store.enforce_retention(i64::MAX).await.unwrap().segments_dropped > 0);
    let read = stream.read(&shard, &Position::start(), NOW).await;
    assert_eq!(read.unwrap_err(), ReadError::Trimmed { shard: shard.clone(), after: Position::start() });
    let page = stream.read(&shard, &Position::from_number(39), NOW).await.unwrap();
    assert_eq!(page.records.len(), 10);
}

#[tokio::test]
async fn a_position_beyond_the_end_is_an_error() {
    let dir = tempdir().unwrap();
    let stream = open(&store(dir.path()), 1).await;
    append(&stream, 0, "only").await;
    let read = stream.read(&ShardId::new("raw-0000"), &Position::from_number(7), NOW).await;
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
}

#[tokio::test]
async fn lag_is_the_time_between_the_last_record_read_and_the_tip() {
    let dir = tempdir().unwrap();
    let ticks = std::sync::atomic::AtomicI64::new(0);
    let clock = move || 1_000_000 * ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(clock), "a test")).unwrap());
    let stream = open(&store, 1).await;
    for k in 0..3 {
        append(&stream, 0, &k.to_string()).await;
    }
    let one = ReadLimit { records_max: 1, ..NOW };
    let page = stream.read(&ShardId::new("raw-0000"), &Position::start(), one).await.unwrap();
    assert!(page.lag >= Duration::from_secs(2), "{page:?}");
}

#[tokio::test]
async fn a_reader_beside_the_writer_reads_and_never_writes() {
    let dir = tempdir().unwrap();
    let opened = store(dir.path());
    let stream = open(&opened, 2).await;
    append(&stream, 0, "before").await;
    let reader = StoreReader::open(dir.path()).unwrap();
    let beside = EmbeddedStream::open_read_only(&reader, "raw").unwrap();
    assert_eq!(all(&beside, "raw-0000").await, all(&stream, "raw-0000").await);
    stream.reshard(NonZeroU32::new(1).unwrap()).await.unwrap();
    append(&stream, 0, "after").await;
    reader.refresh().unwrap();
    assert_eq!(beside.shards().await, stream.shards().await);
    assert_eq!(all(&beside, "raw-0002").await.len(), 1);
    let refused = beside.append(vec![NewRecord { point: HashKey(0), bytes: "x".into() }]).await;
    assert!(refused[0].as_ref().is_err_and(|error| error.to_string().contains("read-only")));
}

#[tokio::test]
async fn a_stream_whose_lineage_is_lost_is_not_begun_anew() {
    let dir = tempdir().unwrap();
    let opened = store(dir.path());
    append(&open(&opened, 1).await, 0, "record").await;
    opened.close();
    let path = dir.path().join("log/00000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let opened = Arc::new(Store::open(dir.path(), Options { set_aside_damaged: true, ..options() }).unwrap());
    let again = EmbeddedStream::open(&opened, "raw", NonZeroU32::MIN, "c3d4").await;
    assert!(matches!(again, Err(EmbeddedError::LineageLost { .. })), "{again:?}");
}
