//! What a stream was when it was opened, and what it is now.

use crate::house::{DAY, READS_MAX, WAITING, append, aws, make, open, options, read};
use aws::Aws;
use schema::Position;
use std::num::NonZeroU32;
use std::time::Duration;
use stream::kinesis::{Capacity, KinesisError, KinesisOptions, KinesisStream, create};
use stream::{ReadError, Stream};

const ONE: Capacity = Capacity::Provisioned { shards: NonZeroU32::MIN };

/// Deletes a stream and makes another one of its name.
async fn make_again(aws: &Aws, name: &str) {
    let client = aws_sdk_kinesis::Client::new(&aws.config);
    client.delete_stream().stream_name(name).send().await.expect("a stream that is there");
    while client.describe_stream_summary().stream_name(name).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
    create(aws, name, ONE, DAY).await.expect("a name that is free again");
}

#[tokio::test]
async fn a_stream_that_was_made_again_is_another_one() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    assert_eq!(open(&aws, &name).await.incarnation(), stream.incarnation());
    let placed = append(&stream, &["old"]).await.remove(0);
    make_again(&aws, &name).await;
    assert_ne!(open(&aws, &name).await.incarnation(), stream.incarnation());
    assert!(matches!(stream.check().await, Err(KinesisError::MadeAgain { .. })));
    let from_start = stream.read(&placed.shard, &Position::start(), WAITING).await;
    assert!(matches!(from_start, Err(ReadError::MadeAgain { .. })), "{from_start:?}");
    let from_old = stream.read(&placed.shard, &placed.position, WAITING).await;
    assert!(matches!(from_old, Err(ReadError::MadeAgain { .. })), "{from_old:?}");
}

#[tokio::test]
async fn a_reader_at_the_tip_takes_nothing_from_a_stream_that_was_made_again() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    let placed = append(&stream, &["old"]).await.remove(0);
    read(&stream, &placed.shard, &Position::start(), 1).await;
    make_again(&aws, &name).await;
    while append(&stream, &["new"]).await[0].position <= placed.position {
        // The stand-in counts from the second in which a stream was made.
        make_again(&aws, &name).await;
    }
    // The first read may end at an iterator that the old stream gave.
    let mut reads = Vec::new();
    while !matches!(reads.last(), Some(Err(ReadError::MadeAgain { .. }))) {
        assert!(reads.len() < READS_MAX, "{reads:?}");
        reads.push(stream.read(&placed.shard, &placed.position, WAITING).await.map(|page| page.records));
        assert!(!matches!(reads.last(), Some(Ok(records)) if !records.is_empty()), "{reads:?}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_said_so() {
    let aws = aws().await;
    let name = standins::fresh_name("nothing");
    let missing = KinesisStream::open(&aws, options(&name)).await;
    assert_eq!(missing.unwrap_err(), KinesisError::NoStream { stream: name });
}

#[tokio::test]
async fn a_shorter_retention_is_noticed_and_a_longer_one_taken_over() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    stream.raise_retention(2 * DAY).await.unwrap();
    assert_eq!((stream.retention(), stream.check().await), (2 * DAY, Ok(())));
    let client = aws_sdk_kinesis::Client::new(&aws.config);
    client.decrease_stream_retention_period().stream_name(&name).retention_period_hours(24).send().await.unwrap();
    assert!(matches!(stream.check().await, Err(KinesisError::Changed { what: "retention", .. })));
}

#[tokio::test]
async fn retention_is_raised_once_however_many_ask_and_never_beyond_its_bound() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    assert_eq!(open(&aws, &name).await.keep_longer(DAY).await, Ok(DAY), "nobody allowed it");
    let options = KinesisOptions { retention_max: 3 * DAY, ..options(&name) };
    let stream = KinesisStream::open(&aws, options).await.unwrap();
    let (one, other) = tokio::join!(stream.keep_longer(DAY), stream.keep_longer(DAY));
    assert_eq!((one, other, stream.kept_for()), (Ok(2 * DAY), Ok(2 * DAY), Some(2 * DAY)));
    assert_eq!(stream.keep_longer(2 * DAY).await, Ok(3 * DAY));
    assert_eq!(stream.keep_longer(3 * DAY).await, Ok(3 * DAY));
}

#[tokio::test]
async fn a_watch_ends_when_the_stream_is_another_one() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let options = KinesisOptions { watch_every: Duration::from_millis(20), ..options(&name) };
    let stream = KinesisStream::open(&aws, options).await.unwrap();
    let (watched, ()) = tokio::join!(stream.watch(std::future::pending()), make_again(&aws, &name));
    assert!(matches!(watched, Err(KinesisError::MadeAgain { .. } | KinesisError::NoStream { .. })), "{watched:?}");
}

#[tokio::test]
async fn a_watch_ends_when_it_is_told_to() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    assert_eq!(open(&aws, &name).await.watch(async {}).await, Ok(()));
}

#[tokio::test]
async fn making_a_stream_twice_is_making_it_once() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let before = open(&aws, &name).await;
    let more = Capacity::Provisioned { shards: NonZeroU32::new(3).unwrap() };
    create(&aws, &name, more, Duration::from_secs(30 * 3600)).await.unwrap();
    let after = open(&aws, &name).await;
    assert_eq!(after.incarnation(), before.incarnation());
    assert_eq!((after.shards().await.unwrap().len(), after.retention().as_secs() / 3600), (1, 30));
}

#[tokio::test]
async fn an_on_demand_stream_is_a_stream() {
    let aws = aws().await;
    let name = standins::fresh_name("on-demand");
    create(&aws, &name, Capacity::OnDemand, DAY).await.unwrap();
    let stream = open(&aws, &name).await;
    append(&stream, &["a"]).await;
    assert!(!stream.shards().await.unwrap().is_empty());
}
