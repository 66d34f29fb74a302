//! Each fault between the real SDK and a real server: what the client is told, what was applied, what is counted.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValue, ScalarAttributeType,
};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use standins::proxy::{Fault, FaultProxy, Faults};
use standins::{Endpoint, fresh_name};
use std::time::Duration;

/// Looks before something that should come is given up.
const LOOKS_MAX: usize = 300;

const LOOK_PAUSE: Duration = Duration::from_millis(50);

const SEED: u64 = 7;

/// Larger than what an SDK sends in one piece.
const LARGE_BYTES: usize = 6 << 20;

/// All of them, in rounds.
const CALLS: u64 = 320;

const CALLS_AT_ONCE: u64 = 16;

async fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if holds() {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    panic!("never happens");
}

async fn in_front_of(upstream: &Endpoint) -> FaultProxy {
    FaultProxy::start(upstream, Faults::none(), SEED).await
}

/// A number in DynamoDB that each applied call raises by one.
struct Counter {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl Counter {
    async fn behind(endpoint: &Endpoint) -> Counter {
        let client = aws_sdk_dynamodb::Client::new(&standins::connect(endpoint).config);
        let table = fresh_name("counter");
        let key = KeySchemaElement::builder().attribute_name("key").key_type(KeyType::Hash).build().unwrap();
        let attribute = AttributeDefinition::builder().attribute_name("key").attribute_type(ScalarAttributeType::S);
        let create = client.create_table().table_name(&table).key_schema(key).billing_mode(BillingMode::PayPerRequest);
        create.attribute_definitions(attribute.build().unwrap()).send().await.unwrap();
        Counter { client, table }
    }

    fn key() -> AttributeValue {
        AttributeValue::S("only".into())
    }

    /// The number after this call; or the code of the refusal, which is empty where there was no answer.
    async fn raise(&self) -> Result<String, String> {
        let update = self.client.update_item().table_name(&self.table).key("key", Counter::key());
        let update = update.update_expression("ADD raised :one").return_values(ReturnValue::UpdatedNew);
        let sent = update.expression_attribute_values(":one", AttributeValue::N("1".into())).send().await;
        let number =
            |values: std::collections::HashMap<String, AttributeValue>| values["raised"].as_n().unwrap().clone();
        sent.map(|output| number(output.attributes.unwrap())).map_err(|error| aws::code(&error).to_string())
    }

    async fn number(&self) -> u64 {
        let get = self.client.get_item().table_name(&self.table).key("key", Counter::key()).consistent_read(true);
        let item = get.send().await.unwrap().item;
        item.map_or(0, |item| item["raised"].as_n().unwrap().parse().unwrap())
    }
}

async fn counter() -> (FaultProxy, Counter) {
    let proxy = in_front_of(&standins::dynamodb().await).await;
    let counter = Counter::behind(&proxy.endpoint()).await;
    (proxy, counter)
}

const NO_ANSWER: &str = "";

#[tokio::test]
async fn what_is_not_passed_on_is_not_applied() {
    let (proxy, counter) = counter().await;
    for (fault, code) in [
        (Fault::Refuse, NO_ANSWER),
        (Fault::ServerError, "InternalServerError"),
        (Fault::Throttle, "ThrottlingException"),
    ] {
        proxy.set(Faults::none().next(1, "UpdateItem", fault));
        assert_eq!(counter.raise().await, Err(code.into()), "{fault:?}");
        assert_eq!((counter.number().await, proxy.counts().of("UpdateItem", fault)), (0, 1), "{fault:?}");
    }
    assert_eq!(counter.raise().await, Ok("1".into()));
}

#[tokio::test]
async fn what_is_applied_may_not_be_answered() {
    let (proxy, counter) = counter().await;
    proxy.set(Faults::none().next(1, "UpdateItem", Fault::DropAnswer));
    assert_eq!(counter.raise().await, Err(NO_ANSWER.into()));
    assert_eq!((counter.number().await, proxy.counts().of("UpdateItem", Fault::DropAnswer)), (1, 1));
}

#[tokio::test]
async fn what_is_sent_twice_is_applied_twice_and_answered_once() {
    let (proxy, counter) = counter().await;
    proxy.set(Faults::none().next(1, "UpdateItem", Fault::Twice));
    assert_eq!(counter.raise().await, Ok("2".into()));
    assert_eq!((counter.number().await, proxy.counts().of("UpdateItem", Fault::Twice)), (2, 1));
}

#[tokio::test]
async fn what_is_held_is_applied_when_nobody_waits_for_it_any_more() {
    let (proxy, counter) = counter().await;
    let (soon, never) = (Fault::Hold(Duration::from_millis(200)), Fault::Hold(Duration::from_secs(3600)));
    proxy.set(Faults::none().next(1, "UpdateItem", never).next(1, "UpdateItem", soon));
    assert_eq!(counter.raise().await, Err(NO_ANSWER.into()));
    assert_eq!(counter.raise().await, Err(NO_ANSWER.into()));
    wait_until(|| proxy.counts().delivered("UpdateItem") == 1).await;
    assert_eq!(
        (counter.number().await, proxy.counts().of_any(soon), proxy.counts().delivered("UpdateItem")),
        (1, 2, 1)
    );
}

#[tokio::test]
async fn what_is_held_is_applied_once_it_is_let_go() {
    let (proxy, counter) = counter().await;
    let never = Fault::Hold(Duration::MAX);
    proxy.set(Faults::none().next(2, "UpdateItem", never));
    assert_eq!(counter.raise().await, Err(NO_ANSWER.into()));
    proxy.deliver_held();
    wait_until(|| proxy.counts().delivered("UpdateItem") == 1).await;
    assert_eq!(counter.raise().await, Err(NO_ANSWER.into()));
    assert_eq!((counter.number().await, proxy.counts().delivered("UpdateItem")), (1, 1));
}

#[tokio::test]
async fn a_black_hole_answers_nobody_until_it_ends() {
    let (proxy, counter) = counter().await;
    proxy.pause();
    let waited = tokio::time::timeout(Duration::from_millis(500), counter.raise()).await;
    assert!(waited.is_err(), "{waited:?}");
    proxy.resume();
    assert_eq!(counter.raise().await, Ok("1".into()));
}

#[tokio::test]
async fn many_calls_at_once_are_applied_as_often_as_the_counts_say() {
    let (proxy, counter) = counter().await;
    let fates = [
        Fault::Refuse,
        Fault::ServerError,
        Fault::Throttle,
        Fault::DropAnswer,
        Fault::Twice,
        Fault::Hold(Duration::ZERO),
    ];
    proxy.set(fates.iter().fold(Faults::none(), |faults, fault| faults.with("UpdateItem", *fault, 0.1)));
    for _ in 0..CALLS / CALLS_AT_ONCE {
        futures::future::join_all((0..CALLS_AT_ONCE).map(|_| counter.raise())).await;
    }
    let of = |fault| proxy.counts().of("UpdateItem", fault);
    let held = of(Fault::Hold(Duration::ZERO));
    wait_until(|| proxy.counts().delivered("UpdateItem") == held).await;
    let lost = of(Fault::Refuse) + of(Fault::ServerError) + of(Fault::Throttle);
    assert_eq!(counter.number().await, CALLS - lost + of(Fault::Twice));
    assert!(fates.into_iter().all(|fault| of(fault) > 0), "{:?}", proxy.counts());
}

#[tokio::test]
async fn one_seed_makes_the_same_calls_fail() {
    let mut rows = Vec::new();
    for _ in 0..2 {
        let (proxy, counter) = counter().await;
        proxy.set(Faults::none().with("UpdateItem", Fault::Throttle, 0.3).with_any(Fault::Refuse, 0.1));
        let mut row = Vec::new();
        for _ in 0..40 {
            row.push(counter.raise().await.err());
        }
        let counts = proxy.counts();
        let failed = row.iter().flatten().count() as u64;
        assert_eq!(counts.of("UpdateItem", Fault::Throttle) + counts.of("UpdateItem", Fault::Refuse), failed);
        rows.push(row);
    }
    assert_eq!(rows[0], rows[1]);
    assert!(rows[0].contains(&None) && rows[0].contains(&Some(NO_ANSWER.into())), "{rows:?}");
}

struct Stream {
    proxy: FaultProxy,
    client: aws_sdk_kinesis::Client,
    name: String,
}

impl Stream {
    async fn create() -> Stream {
        let proxy = in_front_of(&standins::kinesis().await).await;
        let client = aws_sdk_kinesis::Client::new(&standins::connect(&proxy.endpoint()).config);
        let name = fresh_name("stream");
        client.create_stream().stream_name(&name).shard_count(1).send().await.unwrap();
        for _ in 0..LOOKS_MAX {
            let summary = client.describe_stream_summary().stream_name(&name).send().await.unwrap();
            if summary.stream_description_summary.unwrap().stream_status == StreamStatus::Active {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Stream { proxy, client, name }
    }

    async fn put(&self, records: &[String]) -> Result<PutRecordsOutput, String> {
        let entry = |text: &String| {
            PutRecordsRequestEntry::builder().data(Blob::new(text.as_str())).partition_key(text).build().unwrap()
        };
        let put = self.client.put_records().stream_name(&self.name);
        let put = put.set_records(Some(records.iter().map(entry).collect()));
        put.send().await.map_err(|error| aws::code(&error).to_string())
    }

    /// In the order of the alphabet.
    async fn records(&self) -> Vec<String> {
        let iterator = self.client.get_shard_iterator().stream_name(&self.name).shard_id("shardId-000000000000");
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let got = self.client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
        let text = |record: aws_sdk_kinesis::types::Record| String::from_utf8(record.data.into_inner()).unwrap();
        let mut records: Vec<String> = got.records.into_iter().map(text).collect();
        records.sort();
        records
    }
}

#[tokio::test]
async fn of_a_split_call_the_stream_has_what_the_answer_says() {
    let stream = Stream::create().await;
    stream.proxy.set(Faults::none().next(1, "PutRecords", Fault::Split));
    let sent: Vec<String> = (0..20).map(|k| format!("record {k:02}")).collect();
    let answer = stream.put(&sent).await.unwrap();
    let taken = sent.iter().zip(answer.records()).filter(|(_, result)| result.sequence_number().is_some());
    let taken: Vec<String> = taken.map(|(text, _)| text.clone()).collect();
    assert_eq!(stream.records().await, taken);
    assert_eq!(answer.failed_record_count(), Some((sent.len() - taken.len()) as i32));
    assert!(answer.records().iter().all(|result| result.sequence_number().is_some() != result.error_code().is_some()));
    assert!(!taken.is_empty() && taken.len() < sent.len(), "{taken:?}");
    assert_eq!(stream.proxy.counts().of("PutRecords", Fault::Split), 1);
}

#[tokio::test]
async fn a_split_call_of_one_record_arrives_not_at_all() {
    let stream = Stream::create().await;
    stream.proxy.set(Faults::none().next(1, "PutRecords", Fault::Split));
    assert_eq!(stream.put(&["one".into()]).await.unwrap().failed_record_count(), Some(1));
    assert_eq!(stream.records().await, Vec::<String>::new());
    assert_eq!(stream.put(&["one".into()]).await.unwrap().failed_record_count(), Some(0));
    assert_eq!(stream.records().await, ["one"]);
}

#[tokio::test]
async fn records_that_are_lost_are_said_to_be_taken() {
    let stream = Stream::create().await;
    stream.proxy.set(Faults::none().next(1, "PutRecords", Fault::Lose));
    let answer = stream.put(&["one".into(), "two".into()]).await.unwrap();
    assert!(answer.failed_record_count() == Some(0) && answer.records().len() == 2, "{answer:?}");
    assert!(answer.records().iter().all(|result| result.sequence_number().is_some()), "{answer:?}");
    assert_eq!((stream.records().await, stream.proxy.counts().of("PutRecords", Fault::Lose)), (vec![], 1));
}

#[tokio::test]
async fn kinesis_is_throttled_broken_and_doubled_in_its_own_words() {
    let stream = Stream::create().await;
    let faults = Faults::none().next(1, "PutRecords", Fault::Throttle).next(1, "PutRecords", Fault::ServerError);
    stream.proxy.set(faults.next(1, "PutRecords", Fault::Twice).next(1, "ListShards", Fault::Throttle));
    let put = || async { stream.put(&["one".into()]).await.map(|output| output.failed_record_count()) };
    assert_eq!(put().await, Err("ProvisionedThroughputExceededException".into()));
    assert_eq!(put().await, Err("InternalFailure".into()));
    assert_eq!(put().await, Ok(Some(0)));
    assert_eq!(stream.records().await, ["one", "one"]);
    let listed = stream.client.list_shards().stream_name(&stream.name).send().await.unwrap_err();
    assert_eq!(aws::code(&listed), "LimitExceededException");
    assert_eq!(stream.proxy.counts().iter().map(|(_, _, count)| count).sum::<u64>(), 4);
}

struct Bucket {
    proxy: FaultProxy,
    client: aws_sdk_s3::Client,
    name: String,
}

impl Bucket {
    async fn create() -> Bucket {
        let proxy = in_front_of(&standins::s3().await).await;
        let config = standins::connect(&proxy.endpoint()).config;
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let (client, name) = (aws_sdk_s3::Client::from_conf(config), fresh_name("bucket"));
        client.create_bucket().bucket(&name).send().await.unwrap();
        Bucket { proxy, client, name }
    }

    /// Creates `k`; or the status and code of the refusal, where there was an answer.
    async fn put(&self, body: &'static [u8]) -> Result<(), Option<(u16, String)>> {
        let put = self.client.put_object().bucket(&self.name).key("k").if_none_match("*");
        let sent = put.body(ByteStream::from_static(body)).send().await;
        sent.map(drop).map_err(|error| {
            let status = error.raw_response().map(|answer| answer.status().as_u16());
            status.map(|status| (status, aws::code(&error).to_string()))
        })
    }

    async fn object(&self) -> Option<Vec<u8>> {
        let got = self.client.get_object().bucket(&self.name).key("k").send().await.ok()?;
        Some(got.body.collect().await.unwrap().to_vec())
    }

    async fn put_under(&self, fault: Fault) -> Result<(), Option<(u16, String)>> {
        self.proxy.set(Faults::none().next(1, "PutObject", fault));
        let answer = self.put(b"small").await;
        assert_eq!(self.proxy.counts().of("PutObject", fault), 1, "{fault:?}");
        answer
    }
}

fn refused(status: u16, code: &str) -> Result<(), Option<(u16, String)>> {
    Err(Some((status, code.into())))
}

#[tokio::test]
async fn s3_refuses_in_its_own_words() {
    let bucket = Bucket::create().await;
    assert_eq!(bucket.put_under(Fault::Throttle).await, refused(503, "SlowDown"));
    assert_eq!(bucket.put_under(Fault::ServerError).await, refused(500, "InternalError"));
    assert_eq!(bucket.put_under(Fault::Conflict).await, refused(409, "ConditionalRequestConflict"));
    assert_eq!(bucket.put_under(Fault::Refuse).await, Err(None));
    assert_eq!(bucket.object().await, None);
}

#[tokio::test]
async fn a_conditional_put_that_landed_may_be_told_that_it_exists() {
    let bucket = Bucket::create().await;
    assert_eq!(bucket.put_under(Fault::ExistsAlready).await, refused(412, "PreconditionFailed"));
    assert_eq!(bucket.object().await.as_deref(), Some(&b"small"[..]));
}

#[tokio::test]
async fn a_create_that_is_sent_twice_finds_itself() {
    let bucket = Bucket::create().await;
    assert_eq!(bucket.put_under(Fault::Twice).await, refused(412, "PreconditionFailed"));
    assert_eq!(bucket.object().await.as_deref(), Some(&b"small"[..]));
}

#[tokio::test]
async fn signed_and_checked_bodies_arrive_as_they_were_sent() {
    let bucket = Bucket::create().await;
    let large: &'static [u8] = (0..LARGE_BYTES).map(|k| (k % 251) as u8).collect::<Vec<u8>>().leak();
    assert_eq!(bucket.put(large).await, Ok(()));
    assert!(bucket.object().await.as_deref() == Some(large));
    let head = bucket.client.head_object().bucket(&bucket.name).key("k").send().await.unwrap();
    assert_eq!(head.content_length(), Some(LARGE_BYTES as i64));
}

#[tokio::test]
async fn each_step_of_a_multipart_upload_is_an_operation_of_its_own() {
    let bucket = Bucket::create().await;
    let (client, name) = (&bucket.client, &bucket.name);
    let steps = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"];
    bucket.proxy.set(steps.iter().fold(Faults::none(), |faults, step| faults.next(1, step, Fault::ServerError)));
    let create = || client.create_multipart_upload().bucket(name).key("k").send();
    create().await.unwrap_err();
    let upload = create().await.unwrap().upload_id.unwrap();
    let part = || {
        let part = client.upload_part().bucket(name).key("k").upload_id(&upload).part_number(1);
        part.body(ByteStream::from_static(b"part")).send()
    };
    part().await.unwrap_err();
    let part = CompletedPart::builder().part_number(1).set_e_tag(part().await.unwrap().e_tag).build();
    let complete = || {
        let parts = CompletedMultipartUpload::builder().parts(part.clone()).build();
        client.complete_multipart_upload().bucket(name).key("k").upload_id(&upload).multipart_upload(parts).send()
    };
    complete().await.unwrap_err();
    complete().await.unwrap();
    assert_eq!(bucket.object().await.as_deref(), Some(&b"part"[..]));
    assert_eq!(steps.map(|step| bucket.proxy.counts().of(step, Fault::ServerError)), [1, 1, 1]);
}

#[tokio::test]
async fn reading_and_deleting_fail_as_well() {
    let bucket = Bucket::create().await;
    bucket.put(b"small").await.unwrap();
    let reads = ["GetObject", "HeadObject", "ListObjectsV2", "DeleteObject"];
    bucket.proxy.set(reads.iter().fold(Faults::none(), |faults, read| faults.next(1, read, Fault::Throttle)));
    let (client, name) = (&bucket.client, &bucket.name);
    assert!(client.get_object().bucket(name).key("k").send().await.is_err());
    assert!(client.head_object().bucket(name).key("k").send().await.is_err());
    assert!(client.list_objects_v2().bucket(name).send().await.is_err());
    assert!(client.delete_object().bucket(name).key("k").send().await.is_err());
    assert_eq!(bucket.object().await.as_deref(), Some(&b"small"[..]));
    assert_eq!(bucket.proxy.counts().of_any(Fault::Throttle), 4);
}

#[tokio::test]
async fn the_queue_is_throttled_and_doubled() {
    let proxy = in_front_of(&standins::queue().await).await;
    let client = aws_sdk_sqs::Client::new(&standins::connect(&proxy.endpoint()).config);
    let queue = client.create_queue().queue_name(fresh_name("queue")).send().await.unwrap().queue_url.unwrap();
    proxy.set(Faults::none().next(1, "SendMessage", Fault::Throttle).next(1, "SendMessage", Fault::Twice));
    let send = || client.send_message().queue_url(&queue).message_body("one").send();
    assert_eq!(aws::code(&send().await.unwrap_err()), "RequestThrottled");
    send().await.unwrap();
    let received = client.receive_message().queue_url(&queue).max_number_of_messages(10).wait_time_seconds(5);
    assert_eq!(received.send().await.unwrap().messages.unwrap().len(), 2);
    assert_eq!((proxy.counts().of_any(Fault::Throttle), proxy.counts().of_any(Fault::Twice)), (1, 1));
}
