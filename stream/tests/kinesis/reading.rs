//! Reading beyond the contract: what is gone, what is pushed, what many read.

use crate::house::{DAY, WAITING, append, aws, fresh, make, open, options, read, texts};
use aws::Aws;
use aws_smithy_async::time::TimeSource;
use schema::Position;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::{Duration, SystemTime};
use stream::kinesis::{KinesisOptions, KinesisStream};
use stream::{ReadError, ReadLimit, Stream, Tip, read_range};

#[tokio::test]
async fn a_position_whose_record_is_gone_is_refused() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    let shard = append(&stream, &["oldest"]).await.remove(0).shard;
    append(&stream, &["newest"]).await;
    let kept = read(&stream, &shard, &Position::start(), 2).await;
    let gone = follower(&kept[0].position);
    assert!(kept[0].position < gone && gone < kept[1].position);
    let read = stream.read(&shard, &gone, WAITING).await;
    assert_eq!(read.unwrap_err(), ReadError::Trimmed { shard: shard.clone(), after: gone.clone() });
    let range = read_range(&stream, &shard, &gone, &kept[1].position).await;
    assert!(matches!(range, Err(ReadError::Trimmed { .. })), "{range:?}");
    let accepting = KinesisOptions { accept_trimmed: vec![(shard.clone(), gone.clone())], ..options(&name) };
    let accepting = KinesisStream::open(&aws, accepting).await.unwrap();
    assert_eq!(accepting.read(&shard, &gone, WAITING).await.unwrap().records, kept[1..]);
}

/// The number that comes next. The stand-in's are all even.
fn follower(position: &Position) -> Position {
    let (digits, last) = position.as_str().split_at(position.as_str().len() - 1);
    let last: u8 = last.parse().expect("a digit");
    Position::parse(&format!("{digits}{}", last + 1)).expect("digits")
}

/// After the last record of a shard that was quiet since: what retention has removed is nothing that anybody missed.
#[tokio::test]
async fn a_position_whose_record_is_gone_is_read_on_from_where_its_tip_was_seen_and_written_down() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let writing = open(&aws, &name).await;
    let shard = append(&writing, &["oldest"]).await.remove(0).shard;
    let last = read(&writing, &shard, &Position::start(), 1).await.remove(0).position;
    let nothing = ReadLimit { wait: Duration::from_millis(50), ..WAITING };
    while !writing.read(&shard, &last, nothing).await.unwrap().lag.is_zero() {}
    let ago = writing.at_tip(&shard, &last).expect("it was just seen");
    append(&writing, &["newest"]).await;
    // Retention removes the record at the position.
    let faults = Faults::none().with("GetShardIterator", Fault::Trim, 1.0);
    let proxy = FaultProxy::start(&standins::kinesis().await, faults, 1).await;
    let aws = standins::connect(&proxy.endpoint());
    for (ago, is_read) in [(ago, true), (DAY / 4, true), (DAY / 2, false)] {
        let later = open(&aws, &name).await;
        later.recall_tip(&shard, &last, Tip { ago, kept_for: DAY });
        let page = later.read(&shard, &last, WAITING).await;
        assert_eq!(
            page.as_ref().is_ok_and(|page| texts(&page.records) == ["newest"]),
            is_read,
            "{ago:?} ago: {page:?}"
        );
    }
}

/// Readers that begin at the start of a shard; others go on where they were.
#[tokio::test]
async fn a_reader_may_begin_with_what_arrived_at_a_time() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let writing = open(&aws, &name).await;
    let shard = append(&writing, &["old"]).await.remove(0).shard;
    let mut records = read(&writing, &shard, &Position::start(), 1).await;
    let first = records[0].clone();
    // Records may arrive in the same millisecond.
    while records[records.len() - 1].arrived_at == first.arrived_at {
        append(&writing, &["new"]).await;
        records = read(&writing, &shard, &Position::start(), records.len() + 1).await;
    }
    let newest = &records[records.len() - 1];
    let since = Some(newest.arrived_at);
    let reading = KinesisStream::open(&aws, KinesisOptions { since, ..options(&name) }).await.unwrap();
    assert_eq!(reading.read(&shard, &Position::start(), WAITING).await.unwrap().records[0], *newest);
    assert_eq!(reading.read(&shard, &first.position, WAITING).await.unwrap().records[0], records[1]);
}

#[tokio::test]
async fn only_who_waits_for_records_registers_a_consumer() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let pushed = KinesisOptions { fan_out: Some("pushed".into()), ..options(&name) };
    let stream = KinesisStream::open(&aws, pushed).await.unwrap();
    let registered =
        || aws.meter.counts().iter().any(|count| count.operation == "RegisterStreamConsumer" && count.total > 0);
    let shard = append(&stream, &["a"]).await.remove(0).shard;
    assert!(!registered());
    read(&stream, &shard, &Position::start(), 1).await;
    assert!(registered());
}

#[tokio::test]
async fn two_readers_of_one_shard_do_not_disturb_each_other() {
    let stream = fresh(1).await;
    let texts_sent: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let placed = append(&stream, &texts_sent.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let shard = &placed[0].shard;
    let start = Position::start();
    let (a, b) = tokio::join!(read(&stream, shard, &start, 20), read(&stream, shard, &start, 20));
    assert_eq!(a, b);
    let one = ReadLimit { records_max: 1, ..WAITING };
    let mut at = Position::start();
    for record in &a {
        let page = stream.read(shard, &at, one).await.unwrap();
        assert_eq!(page.records, std::slice::from_ref(record));
        at = page.records[0].position.clone();
    }
}

#[tokio::test]
async fn fan_out_gives_what_polling_gives() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let polling = open(&aws, &name).await;
    let pushed = KinesisOptions { fan_out: Some("pushed".into()), ..options(&name) };
    let pushed = KinesisStream::open(&aws, pushed).await.unwrap();
    let shard = append(&polling, &["a", "b", "c"]).await.remove(0).shard;
    let start = Position::start();
    let reads = read(&pushed, &shard, &start, 6);
    let (given, _) = tokio::join!(reads, append(&polling, &["d", "e", "f"]));
    assert_eq!(given, read(&polling, &shard, &Position::start(), 6).await);
    let subscribed = aws.meter.counts().iter().any(|count| count.operation == "SubscribeToShard" && count.total > 0);
    assert!(subscribed, "nothing was pushed");
    let mut all = texts(&given);
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c", "d", "e", "f"]);
}

/// Nothing is pushed any more, and the connection does not end either.
#[tokio::test]
async fn a_subscription_that_falls_silent_is_given_up_and_its_records_are_read() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let writing = open(&aws, &name).await;
    let faults = Faults::none().with("SubscribeToShard", Fault::Mute, 1.0);
    let proxy = FaultProxy::start(&standins::kinesis().await, faults, 1).await;
    let pushed = KinesisOptions {
        fan_out: Some("pushed".into()),
        push_silence_max: Duration::from_millis(100),
        ..options(&name)
    };
    let pushed = KinesisStream::open(&standins::connect(&proxy.endpoint()), pushed).await.unwrap();
    let shard = append(&writing, &["a"]).await.remove(0).shard;
    read(&pushed, &shard, &Position::start(), 1).await;
    append(&writing, &["b"]).await;
    assert_eq!(texts(&read(&pushed, &shard, &Position::start(), 2).await), ["a", "b"]);
    assert!(proxy.counts().of("SubscribeToShard", Fault::Mute) > 0, "nothing was subscribed to");
}

/// The clock of somebody who comes years later.
#[derive(Debug)]
struct Later;

impl TimeSource for Later {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + 50_000 * DAY
    }
}

/// A stream that is older than what it keeps: its shards may have held records that nobody has read.
#[tokio::test]
async fn the_start_of_a_shard_is_refused_where_records_may_have_gone_before_it() {
    let now = aws().await;
    let name = make(&now, 1).await;
    let later = Aws { config: now.config.to_builder().time_source(Later).build(), ..now.clone() };
    let young = open(&now, &name).await;
    let shard = append(&young, &["oldest"]).await.remove(0).shard;
    let start = Position::start();
    assert_eq!(texts(&read(&young, &shard, &start, 1).await), ["oldest"]);
    let old = open(&later, &name).await;
    let trimmed = old.read(&shard, &start, WAITING).await;
    assert_eq!(trimmed.unwrap_err(), ReadError::Trimmed { shard: shard.clone(), after: start.clone() });
    let first = read(&young, &shard, &start, 1).await.remove(0);
    let again = open(&later, &name).await;
    assert_eq!(
        read_range(&again, &shard, &start, &first.position).await,
        Ok(vec![first]),
        "it is known what was there"
    );
    for (ago, is_read) in [(Duration::ZERO, true), (DAY / 2, false)] {
        let old = open(&later, &name).await;
        old.recall_tip(&shard, &start, Tip { ago, kept_for: DAY });
        assert_eq!(old.read(&shard, &start, WAITING).await.is_ok(), is_read, "nothing was there {ago:?} ago");
    }
    let accepting = KinesisOptions { accept_trimmed: vec![(shard.clone(), start.clone())], ..options(&name) };
    let accepting = KinesisStream::open(&later, accepting).await.unwrap();
    assert_eq!(texts(&read(&accepting, &shard, &start, 1).await), ["oldest"]);
}
