//! Streams on the stand-in, one for each test.

use aws::Aws;
use schema::{HashKey, Position, ShardId};
use std::num::NonZeroU32;
use std::time::Duration;
use stream::kinesis::{Capacity, KinesisOptions, KinesisStream, create};
use stream::{NewRecord, Placed, ReadLimit, Record, Stream};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads that ask again and again come to an end.
pub(crate) const READS_MAX: usize = 200;

pub(crate) const WAITING: ReadLimit = ReadLimit { records_max: 1000, bytes_max: 4 << 20, wait: Duration::from_secs(2) };

pub(crate) async fn aws() -> Aws {
    standins::connect(&standins::kinesis().await)
}

/// The stand-in is slow to put and quick to ask.
pub(crate) fn options(name: &str) -> KinesisOptions {
    KinesisOptions {
        append_deadline: Duration::from_secs(60),
        lineage_age_max: Duration::ZERO,
        poll_min: Duration::from_millis(20),
        poll_max: Duration::from_millis(100),
        ..KinesisOptions::new(name)
    }
}

/// Makes a stream of nobody else's; gives its name.
pub(crate) async fn make(aws: &Aws, shards: u32) -> String {
    let name = standins::fresh_name("stream");
    let shards = NonZeroU32::new(shards).expect("not zero");
    create(aws, &name, Capacity::Provisioned { shards }, DAY).await.expect("a free name");
    name
}

pub(crate) async fn open(aws: &Aws, name: &str) -> KinesisStream {
    KinesisStream::open(aws, options(name)).await.expect("a stream that was just made")
}

pub(crate) async fn fresh(shards: u32) -> KinesisStream {
    let aws = aws().await;
    let name = make(&aws, shards).await;
    open(&aws, &name).await
}

pub(crate) async fn append(stream: &KinesisStream, texts: &[&str]) -> Vec<Placed> {
    let record = |text: &&str| NewRecord { point: HashKey(0), bytes: text.to_string().into() };
    let results = stream.append(texts.iter().map(record).collect()).await;
    results.into_iter().map(|result| result.expect("a small record")).collect()
}

/// Reads on until `count` records are there.
pub(crate) async fn read(stream: &KinesisStream, shard: &ShardId, after: &Position, count: usize) -> Vec<Record> {
    let (mut records, mut at) = (Vec::new(), after.clone());
    for _ in 0..READS_MAX {
        if records.len() >= count {
            return records;
        }
        let page = stream.read(shard, &at, WAITING).await.expect("a shard that can be read");
        at = page.records.last().map_or(at, |record: &Record| record.position.clone());
        records.extend(page.records);
    }
    panic!("{} of {count} records were read", records.len());
}

pub(crate) fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| std::str::from_utf8(&record.bytes).expect("text")).collect()
}
