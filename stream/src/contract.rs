//! What every stream does, whatever stands behind it: functions that panic where a backend does otherwise.
//!
//! Each takes a stream that nobody else uses; records that are there already do no harm.

use crate::{AppendError, NewRecord, Page, Placed, ReadError, ReadLimit, Record, Stream, read_range};
use bytes::Bytes;
use schema::{HashKey, Position, ShardId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Names the checks that take a stream alone to a macro of the caller's, which makes tests of them: no backend can miss one.
#[macro_export]
macro_rules! contract_checks {
    ($tests:ident) => {
        $tests! {
            each_record_gets_a_result_of_its_own,
            an_append_of_nothing_is_nothing,
            a_record_lands_in_the_open_shard_that_covers_its_point,
            what_was_appended_is_read_back_byte_for_byte,
            positions_ascend_and_reading_goes_on_after_each,
            a_shard_is_read_from_its_start,
            the_same_range_reads_the_same_again,
            a_page_keeps_its_limits,
            a_read_at_the_tip_is_empty_and_waits_no_longer_than_told,
            a_waiting_read_wakes_when_a_record_arrives,
            an_unknown_shard_is_refused,
        }
    };
}

/// Long enough for the slowest backend to show a record.
const WAIT: Duration = Duration::from_secs(10);

/// Reads of one shard before a record that should be there is given up.
const READS_MAX: usize = 1_000;

/// Bytes of the largest record that anybody packs. What a backend takes beyond that is its own affair.
const LARGEST: usize = schema::record::PACK_BYTES_MAX + schema::record::HEADER_BYTES_MAX;

const LIMIT: ReadLimit = ReadLimit { records_max: 1_000, bytes_max: 4 << 20, wait: WAIT };

fn record(point: u128, bytes: impl Into<Bytes>) -> NewRecord {
    NewRecord { point: HashKey(point), bytes: bytes.into() }
}

async fn append(stream: &dyn Stream, records: Vec<NewRecord>) -> Vec<Placed> {
    let results = stream.append(records).await;
    results.into_iter().map(|result| result.expect("a small record is taken")).collect()
}

/// Where a record stands that was appended just now: what is read after it was not there before.
async fn fence(stream: &dyn Stream) -> Placed {
    append(stream, vec![record(0, "fence")]).await.remove(0)
}

/// Reads `count` records after `after`.
async fn read(stream: &dyn Stream, shard: &ShardId, after: &Position, count: usize) -> Vec<Record> {
    let (mut records, mut at) = (Vec::new(), after.clone());
    for _ in 0..READS_MAX {
        if records.len() >= count {
            return records;
        }
        let page = stream.read(shard, &at, LIMIT).await.expect("a shard that was just written to");
        at = page.records.last().map_or(at, |record| record.position.clone());
        records.extend(page.records);
    }
    panic!("{} of {count} records were read", records.len());
}

/// Numbered records for one shard.
fn numbered(count: usize) -> Vec<NewRecord> {
    (0..count).map(|k| record(0, format!("record {k}"))).collect()
}

pub async fn each_record_gets_a_result_of_its_own(stream: &dyn Stream) {
    let too_large = vec![b'x'; schema::record::RECORD_BYTES_MAX + 1];
    let results = stream.append(vec![record(0, "a"), record(0, too_large), record(u128::MAX, "b")]).await;
    assert!(matches!(results.as_slice(), [Ok(_), Err(AppendError::TooLarge { .. }), Ok(_)]), "{results:?}");
}

pub async fn an_append_of_nothing_is_nothing(stream: &dyn Stream) {
    assert!(stream.append(Vec::new()).await.is_empty());
}

pub async fn a_record_lands_in_the_open_shard_that_covers_its_point(stream: &dyn Stream) {
    let points: Vec<u128> = (0..=16).map(|k| u128::MAX / 16 * k).collect();
    let placed = append(stream, points.iter().map(|&point| record(point, "x")).collect()).await;
    let shards = stream.shards().await.expect("shards are listed");
    for (point, placed) in points.into_iter().zip(placed) {
        let shard = shards.iter().find(|shard| shard.id == placed.shard).expect("a listed shard");
        assert!(!shard.closed && shard.range.covers(HashKey(point)), "{point:x} in {shard:?}");
    }
}

pub async fn what_was_appended_is_read_back_byte_for_byte(stream: &dyn Stream) {
    let fence = fence(stream).await;
    let bodies: Vec<Bytes> =
        [1, 100, 70_000, LARGEST].map(|length| (0..length).map(|k| (k * 7 + length) as u8).collect()).into();
    let placed = append(stream, bodies.iter().map(|bytes| record(0, bytes.clone())).collect()).await;
    let records = read(stream, &fence.shard, &fence.position, bodies.len()).await;
    for (bytes, placed) in bodies.iter().zip(placed) {
        let record = records.iter().find(|record| record.position == placed.position).expect("it is where it was put");
        assert_eq!(record.bytes, bytes);
    }
}

pub async fn positions_ascend_and_reading_goes_on_after_each(stream: &dyn Stream) {
    let fence = fence(stream).await;
    append(stream, numbered(50)).await;
    let records = read(stream, &fence.shard, &fence.position, 50).await;
    assert!(fence.position < records[0].position);
    assert!(records.windows(2).all(|pair| pair[0].position < pair[1].position));
    let middle = read(stream, &fence.shard, &records[30].position, 19).await;
    assert_eq!(middle, records[31..]);
}

pub async fn a_shard_is_read_from_its_start(stream: &dyn Stream) {
    let fence = fence(stream).await;
    let page = stream.read(&fence.shard, &Position::start(), LIMIT).await.expect("nothing is trimmed yet");
    assert!(!page.records.is_empty() && page.records[0].position <= fence.position);
}

pub async fn the_same_range_reads_the_same_again(stream: &dyn Stream) {
    let fence = fence(stream).await;
    append(stream, numbered(40)).await;
    let records = read(stream, &fence.shard, &fence.position, 40).await;
    for _ in 0..2 {
        let again = read_range(stream, &fence.shard, &records[4].position, &records[29].position).await;
        assert_eq!(again.expect("nothing is trimmed yet"), records[5..30]);
    }
}

pub async fn a_page_keeps_its_limits(stream: &dyn Stream) {
    let fence = fence(stream).await;
    append(stream, (0..8).map(|_| record(0, vec![7; 10_000])).collect()).await;
    read(stream, &fence.shard, &fence.position, 8).await;
    let page = async |limit| stream.read(&fence.shard, &fence.position, limit).await.expect("they were read just now");
    let records = async |limit| -> usize { page(limit).await.records.len() };
    assert_eq!(records(ReadLimit { records_max: 3, ..LIMIT }).await, 3);
    assert!((1..=4).contains(&records(ReadLimit { bytes_max: 30_000, ..LIMIT }).await));
    assert_eq!(records(ReadLimit { bytes_max: 1, ..LIMIT }).await, 1, "the first record comes whatever its size");
}

pub async fn a_read_at_the_tip_is_empty_and_waits_no_longer_than_told(stream: &dyn Stream) {
    let fence = fence(stream).await;
    read(stream, &fence.shard, &Position::start(), 1).await;
    for wait in [Duration::ZERO, Duration::from_millis(20)] {
        let limit = ReadLimit { wait, ..LIMIT };
        let Page { records, end_of_shard, children, lag } =
            stream.read(&fence.shard, &fence.position, limit).await.expect("an open shard");
        assert!(records.is_empty() && !end_of_shard && children.is_empty() && lag.is_zero());
    }
}

pub async fn a_waiting_read_wakes_when_a_record_arrives(stream: &dyn Stream) {
    let fence = fence(stream).await;
    let waiting = read(stream, &fence.shard, &fence.position, 1);
    let (records, _) = tokio::join!(waiting, append(stream, vec![record(0, "woken")]));
    assert_eq!(records[0].bytes, "woken");
}

pub async fn what_many_append_at_once_is_there_once_each(stream: Arc<dyn Stream>) {
    const WRITERS: usize = 20;
    let fence = fence(stream.as_ref()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let stream = stream.clone();
        writers.spawn(async move {
            append(stream.as_ref(), (0..10).map(|k| record(0, format!("{writer} {k}"))).collect()).await
        });
    }
    let placed: BTreeSet<Position> =
        writers.join_all().await.into_iter().flatten().map(|placed| placed.position).collect();
    assert_eq!(placed.len(), WRITERS * 10);
    let records = read(stream.as_ref(), &fence.shard, &fence.position, WRITERS * 10).await;
    assert!(records.iter().map(|record| &record.position).eq(&placed));
    let bodies: BTreeSet<Bytes> = records.into_iter().map(|record| record.bytes).collect();
    assert_eq!(bodies.len(), WRITERS * 10);
}

pub async fn an_unknown_shard_is_refused(stream: &dyn Stream) {
    let unknown = ShardId::new("nobody-knows-it");
    let read = stream.read(&unknown, &Position::start(), LIMIT).await;
    assert_eq!(read.expect_err("it does not exist"), ReadError::UnknownShard(unknown));
}

/// `reshard` closes the shard that covers point 0, and comes back when its children take records.
pub async fn a_closed_shard_ends_with_its_children_and_they_go_on(stream: &dyn Stream, reshard: impl AsyncFnOnce()) {
    let fence = fence(stream).await;
    append(stream, numbered(3)).await;
    reshard().await;
    let records = read(stream, &fence.shard, &fence.position, 3).await;
    let last = records.last().expect("three were read").position.clone();
    let end = stream.read(&fence.shard, &last, LIMIT).await.expect("a closed shard is read all the same");
    assert!(end.end_of_shard && end.records.is_empty());
    let shards = stream.shards().await.expect("shards are listed");
    let of = |id: &ShardId| shards.iter().find(|shard| shard.id == *id).expect("a listed shard");
    assert!(of(&fence.shard).closed);
    assert!(!end.children.is_empty());
    assert!(end.children.iter().all(|child| of(child).parents.contains(&fence.shard)));
    let next = append(stream, vec![record(0, "after")]).await.remove(0);
    assert!(end.children.contains(&next.shard) && of(&next.shard).range.covers(HashKey(0)));
}
