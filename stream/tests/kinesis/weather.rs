//! What Kinesis does on a bad day.

use crate::scripted::{Reply, SILENCE, Scripted, error, quiet, records, shard};
use schema::{HashKey, Position, ShardId};
use serde_json::{Value, json};
use std::time::Duration;
use stream::kinesis::{KinesisError, KinesisOptions, KinesisStream};
use stream::{AppendError, NewRecord, Page, ReadError, ReadLimit, Stream};

const NOW: ReadLimit = ReadLimit { records_max: 10, bytes_max: 1000, wait: Duration::ZERO };

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

fn options() -> KinesisOptions {
    KinesisOptions {
        append_deadline: Duration::from_millis(500),
        poll_min: Duration::from_millis(1),
        poll_max: Duration::from_millis(1),
        ..KinesisOptions::new("raw")
    }
}

async fn open(scripted: &Scripted) -> KinesisStream {
    KinesisStream::open(&scripted.aws, options()).await.expect("a scripted stream")
}

fn new_records(count: usize) -> Vec<NewRecord> {
    (0..count).map(|k| NewRecord { point: HashKey(k as u128), bytes: "x".into() }).collect()
}

async fn read(stream: &KinesisStream, after: &str) -> Result<Page, ReadError> {
    stream.read(&ShardId::new("shard"), &Position::parse(after).expect("digits"), NOW).await
}

fn positions(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| record.position.as_str()).collect()
}

/// Answers of PutRecords: a sequence number, or the code of an error.
fn put(answers: &[Result<u64, &str>]) -> Reply {
    let entry = |answer: &Result<u64, &str>| match answer {
        Ok(position) => json!({"ShardId": "shard", "SequenceNumber": position.to_string()}),
        Err(code) => json!({"ErrorCode": code, "ErrorMessage": "as scripted"}),
    };
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    let entries: Vec<Value> = answers.iter().map(entry).collect();
    (200, json!({"FailedRecordCount": failed, "Records": entries}))
}

/// Answers the calls of `operation` one after the other, and the rest as usual.
fn in_turn(operation: &'static str, replies: Vec<Reply>) -> impl FnMut(&str, &Value) -> Option<Reply> + Send {
    let mut replies = replies.into_iter();
    move |asked, _| (asked == operation).then(|| replies.next()).flatten()
}

#[tokio::test]
async fn only_what_failed_is_sent_again() {
    const SLOW: &str = "ProvisionedThroughputExceededException";
    let replies = vec![put(&[Ok(5), Err(SLOW), Err("InternalFailure")]), put(&[Err(SLOW), Ok(6)]), put(&[Ok(7)])];
    let scripted = Scripted::start(in_turn("PutRecords", replies)).await;
    let results = open(&scripted).await.append(new_records(3)).await;
    let placed: Vec<&str> = results.iter().map(|result| result.as_ref().unwrap().position.as_str()).collect();
    assert_eq!(placed, ["5", "7", "6"]);
    let key = |entry: &Value| entry["ExplicitHashKey"].as_str().unwrap().to_owned();
    let sent = scripted.asked("PutRecords");
    let sent: Vec<Vec<String>> =
        sent.iter().map(|body| body["Records"].as_array().unwrap().iter().map(key).collect()).collect();
    assert_eq!(sent, [vec!["0", "1", "2"], vec!["1", "2"], vec!["1"]]);
}

#[tokio::test]
async fn a_call_that_is_refused_as_a_whole_is_made_again() {
    for code in ["ProvisionedThroughputExceededException", "InternalFailure", "KMSThrottlingException"] {
        let scripted = Scripted::start(in_turn("PutRecords", vec![error(code), put(&[Ok(1), Ok(2)])])).await;
        let results = open(&scripted).await.append(new_records(2)).await;
        assert!(results.iter().all(Result::is_ok), "{code}: {results:?}");
    }
}

#[tokio::test]
async fn records_that_stay_refused_are_given_back_with_their_reason() {
    let refuse = |operation: &str, body: &Value| {
        let count = body["Records"].as_array().map_or(0, Vec::len);
        let errors = vec![Err("ProvisionedThroughputExceededException"); count];
        (operation == "PutRecords").then(|| put(&errors))
    };
    let scripted = Scripted::start(refuse).await;
    let results = open(&scripted).await.append(new_records(2)).await;
    assert!(results.iter().all(|result| matches!(result, Err(AppendError::Throttled(_)))), "{results:?}");
    let calls = scripted.asked("PutRecords").len();
    assert!((2..100).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn records_that_nobody_answers_about_are_given_back_as_undecided() {
    let silence = |operation: &str, _: &Value| (operation == "PutRecords").then(|| (SILENCE, json!({})));
    let scripted = Scripted::start(silence).await;
    let results = open(&scripted).await.append(new_records(1)).await;
    assert!(matches!(results[0], Err(AppendError::Unavailable(_))), "{results:?}");
    assert_eq!(scripted.asked("PutRecords").len(), 1);
}

#[tokio::test]
async fn a_stream_that_may_not_be_looked_at_ends_its_watch() {
    let mut looks = 0;
    let script = move |operation: &str, _: &Value| {
        looks += usize::from(operation == "DescribeStreamSummary");
        (operation == "DescribeStreamSummary" && looks > 1).then(|| error("AccessDeniedException"))
    };
    let scripted = Scripted::start(script).await;
    let options = KinesisOptions { watch_every: Duration::from_millis(1), ..options() };
    let stream = KinesisStream::open(&scripted.aws, options).await.unwrap();
    let watched = stream.watch(std::future::pending()).await;
    assert!(matches!(watched, Err(KinesisError::Unwatched { looks: 10, .. })), "{watched:?}");
}

#[tokio::test]
async fn a_stream_that_does_not_answer_is_looked_at_until_it_does() {
    const LOOKS: usize = 13;
    let mut looks = 0;
    let script = move |operation: &str, _: &Value| {
        looks += usize::from(operation == "DescribeStreamSummary");
        match (operation, looks) {
            ("DescribeStreamSummary", 2..=LOOKS) => Some((500, json!({ "__type": "InternalFailureException" }))),
            ("DescribeStreamSummary", 1) => None,
            ("DescribeStreamSummary", _) => Some(error("AccessDeniedException")),
            _ => None,
        }
    };
    let scripted = Scripted::start(script).await;
    let options = KinesisOptions { watch_every: Duration::from_millis(1), ..options() };
    let stream = KinesisStream::open(&scripted.aws, options).await.unwrap();
    let watched = stream.watch(std::future::pending()).await;
    assert!(matches!(watched, Err(KinesisError::Unwatched { .. })), "{watched:?}");
    assert!(scripted.asked("DescribeStreamSummary").len() > LOOKS);
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again() {
    let scripted =
        Scripted::start(|operation, _| (operation == "PutRecords").then(|| error("AccessDeniedException"))).await;
    let results = open(&scripted).await.append(new_records(1)).await;
    assert!(matches!(&results[0], Err(AppendError::Unavailable(text)) if text.contains("AccessDenied")), "{results:?}");
    assert_eq!(scripted.asked("PutRecords").len(), 1);
}

#[tokio::test]
async fn an_answer_about_fewer_records_leaves_the_others_undecided() {
    let scripted = Scripted::start(in_turn("PutRecords", vec![put(&[Ok(1)]), put(&[Ok(2)])])).await;
    let results = open(&scripted).await.append(new_records(2)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(scripted.asked("PutRecords")[1]["Records"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_expired_iterator_is_replaced_at_the_same_place() {
    let replies = vec![
        (200, records(&[1, 2], "second", 0)),
        error("ExpiredIteratorException"),
        (200, records(&[3], "fourth", 0)),
    ];
    let scripted = Scripted::start(in_turn("GetRecords", replies)).await;
    let stream = open(&scripted).await;
    assert_eq!(positions(&read(&stream, "").await.unwrap()), ["1", "2"]);
    assert_eq!(positions(&read(&stream, "2").await.unwrap()), ["3"]);
    let iterators = scripted.asked("GetShardIterator");
    assert_eq!(iterators[1]["ShardIteratorType"], "AFTER_SEQUENCE_NUMBER");
    assert_eq!(iterators[1]["StartingSequenceNumber"], "2");
}

#[tokio::test]
async fn iterators_that_keep_expiring_end_the_read() {
    let expire = |operation: &str, _: &Value| (operation == "GetRecords").then(|| error("ExpiredIteratorException"));
    let scripted = Scripted::start(expire).await;
    assert!(matches!(read(&open(&scripted).await, "").await, Err(ReadError::Unavailable(_))));
    assert!(scripted.asked("GetRecords").len() < 10);
}

#[tokio::test]
async fn a_silent_jump_is_refused() {
    let scripted = Scripted::start(in_turn("GetRecords", vec![(200, records(&[9, 10], "next", 0))])).await;
    let read = read(&open(&scripted).await, "5").await;
    let (shard, after) = (ShardId::new("shard"), Position::from_number(5));
    assert_eq!(read.unwrap_err(), ReadError::Trimmed { shard, after });
    let asked = scripted.asked("GetShardIterator").remove(0);
    assert_eq!(
        (&asked["ShardIteratorType"], &asked["StartingSequenceNumber"]),
        (&json!("AT_SEQUENCE_NUMBER"), &json!("5"))
    );
}

/// Shards that were open already when what is kept began, and such that were not.
#[tokio::test]
async fn only_a_shard_that_was_opened_since_may_be_read_from_its_start() {
    for (open_then, is_read) in [("shard", false), ("parent", true)] {
        let script = move |operation: &str, asked: &Value| match operation {
            "DescribeStreamSummary" => {
                let mut old = quiet(operation);
                old["StreamDescriptionSummary"]["StreamCreationTimestamp"] = json!(1.0);
                Some((200, old))
            }
            "ListShards" if asked["ShardFilter"]["Type"] == "AT_TIMESTAMP" => {
                Some((200, json!({"Shards": [shard(open_then, &[])]})))
            }
            "GetRecords" => Some((200, records(&[9, 10], "next", 0))),
            _ => None,
        };
        let scripted = Scripted::start(script).await;
        let read = read(&open(&scripted).await, "").await;
        let trimmed = ReadError::Trimmed { shard: ShardId::new("shard"), after: Position::start() };
        match is_read {
            true => assert_eq!(positions(&read.unwrap()), ["9", "10"]),
            false => assert_eq!(read.unwrap_err(), trimmed),
        }
    }
}

#[tokio::test]
async fn an_iterator_that_stands_before_what_is_left_is_refused() {
    let scripted = Scripted::start(in_turn("GetRecords", vec![(200, records(&[], "next", DAY_MILLIS))])).await;
    assert!(matches!(read(&open(&scripted).await, "5").await, Err(ReadError::Trimmed { .. })));
}

#[tokio::test]
async fn a_loss_that_somebody_accepted_is_passed() {
    let scripted = Scripted::start(in_turn("GetRecords", vec![(200, records(&[9, 10], "next", 0))])).await;
    let accepted = vec![(ShardId::new("shard"), Position::from_number(5))];
    let options = KinesisOptions { accept_trimmed: accepted, ..options() };
    let stream = KinesisStream::open(&scripted.aws, options).await.unwrap();
    assert_eq!(positions(&read(&stream, "5").await.unwrap()), ["9", "10"]);
}

#[tokio::test]
async fn a_reader_far_behind_checks_before_each_look_that_nothing_is_going() {
    let replies = vec![
        (200, records(&[5, 6], "second", DAY_MILLIS * 3 / 4)),
        (200, records(&[6, 7], "third", DAY_MILLIS * 3 / 4)),
        (200, records(&[8], "fourth", DAY_MILLIS * 3 / 4)),
    ];
    let scripted = Scripted::start(in_turn("GetRecords", replies)).await;
    let stream = open(&scripted).await;
    assert_eq!(positions(&read(&stream, "5").await.unwrap()), ["6"]);
    assert_eq!(positions(&read(&stream, "6").await.unwrap()), ["7"]);
    assert!(matches!(read(&stream, "7").await, Err(ReadError::Trimmed { .. })), "7 is gone, and what followed it too");
}

#[tokio::test]
async fn empty_answers_far_from_the_tip_are_passed_over() {
    let replies = vec![
        (200, records(&[], "second", 60_000)),
        (200, records(&[], "third", 30_000)),
        (200, records(&[1], "fourth", 0)),
    ];
    let scripted = Scripted::start(in_turn("GetRecords", replies)).await;
    assert_eq!(positions(&read(&open(&scripted).await, "").await.unwrap()), ["1"]);
}

#[tokio::test]
async fn a_shard_that_stays_throttled_is_given_up_within_bounds() {
    let slow = |operation: &str, _: &Value| {
        (operation == "GetRecords").then(|| error("ProvisionedThroughputExceededException"))
    };
    let scripted = Scripted::start(slow).await;
    let read = read(&open(&scripted).await, "").await;
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");
    let calls = scripted.asked("GetRecords").len();
    assert!((2..50).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn an_end_without_named_children_finds_them_in_the_list() {
    let end = json!({"Records": [], "MillisBehindLatest": 0});
    let script = move |operation: &str, _: &Value| match operation {
        "GetRecords" => Some((200, end.clone())),
        "ListShards" => Some((200, json!({"Shards": [shard("child", &["shard"]), shard("shard", &[])]}))),
        _ => None,
    };
    let page = read(&open(&Scripted::start(script).await).await, "").await.unwrap();
    assert!(page.end_of_shard && page.children == [ShardId::new("child")], "{page:?}");
}

#[tokio::test]
async fn an_end_that_nobody_follows_is_not_believed() {
    let end = json!({"Records": [], "MillisBehindLatest": 0});
    let script = move |operation: &str, _: &Value| (operation == "GetRecords").then(|| (200, end.clone()));
    let read = read(&open(&Scripted::start(script).await).await, "").await;
    assert!(matches!(read, Err(ReadError::Unavailable(_))), "{read:?}");
}

#[tokio::test]
async fn a_list_of_shards_has_all_its_pages_even_where_a_token_expires() {
    let mut expired = false;
    let script = move |operation: &str, body: &Value| {
        let token = body["NextToken"].as_str();
        match (operation, token) {
            ("ListShards", None) => Some((200, json!({"Shards": [shard("a", &[])], "NextToken": "more"}))),
            ("ListShards", Some(_)) if !std::mem::replace(&mut expired, true) => {
                Some(error("ExpiredNextTokenException"))
            }
            ("ListShards", Some(_)) => Some((200, json!({"Shards": [shard("b", &["a"])]}))),
            _ => None,
        }
    };
    let scripted = Scripted::start(script).await;
    let shards = open(&scripted).await.shards().await.unwrap();
    let ids: Vec<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(
        scripted.asked("ListShards").iter().all(|body| body["NextToken"].is_null() || body["StreamName"].is_null())
    );
}

#[tokio::test]
async fn a_list_that_is_young_enough_is_not_asked_for_again_until_something_new_is_seen() {
    let put = in_turn("PutRecords", vec![(200, json!({"Records": [{"ShardId": "new", "SequenceNumber": "1"}]}))]);
    let scripted = Scripted::start(put).await;
    let stream =
        KinesisStream::open(&scripted.aws, KinesisOptions { lineage_age_max: Duration::from_secs(3600), ..options() });
    let stream = stream.await.unwrap();
    for _ in 0..3 {
        stream.shards().await.unwrap();
    }
    assert_eq!(scripted.asked("ListShards").len(), 1);
    assert!(stream.append(new_records(1)).await[0].is_ok());
    stream.shards().await.unwrap();
    assert_eq!(scripted.asked("ListShards").len(), 2);
}

#[tokio::test]
async fn a_stream_that_ignores_keys_is_not_opened() {
    let script = |operation: &str, _: &Value| {
        let mut described = quiet("DescribeStreamSummary");
        described["StreamDescriptionSummary"]["RecordDistributionStrategy"] = json!("AUTO");
        (operation == "DescribeStreamSummary").then_some((200, described))
    };
    let opened = KinesisStream::open(&Scripted::start(script).await.aws, options()).await;
    assert!(matches!(opened, Err(KinesisError::IgnoresKeys { .. })), "{opened:?}");
}
