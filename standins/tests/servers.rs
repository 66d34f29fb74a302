//! Each stand-in through the real SDK: what the backends lean on most.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{ShardIteratorType, StreamStatus};
use aws_sdk_s3::primitives::ByteStream;
use standins::{Endpoint, fresh_name};

/// A stream is there within a fraction of a second.
const LOOKS_MAX: usize = 200;

/// More than SeaweedFS has volumes by default.
const BUCKETS: usize = 60;

async fn records_come_back_from(endpoint: Endpoint) {
    let client = aws_sdk_kinesis::Client::new(&standins::connect(&endpoint).config);
    let stream = fresh_name("stream");
    client.create_stream().stream_name(&stream).shard_count(1).send().await.unwrap();
    for _ in 0..LOOKS_MAX {
        let summary = client.describe_stream_summary().stream_name(&stream).send().await.unwrap();
        if summary.stream_description_summary.unwrap().stream_status == StreamStatus::Active {
            break;
        }
        tokio::task::yield_now().await;
    }
    let put = client.put_record().stream_name(&stream).partition_key("k").data(Blob::new("one")).send().await.unwrap();
    let iterator = client.get_shard_iterator().stream_name(&stream).shard_id(put.shard_id);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let got = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.unwrap();
    assert_eq!(got.records.iter().map(|record| record.data.as_ref()).collect::<Vec<_>>(), [b"one"]);
    client.delete_stream().stream_name(&stream).send().await.unwrap();
}

#[tokio::test]
async fn kinesis_gives_back_what_was_put() {
    records_come_back_from(standins::kinesis().await).await;
}

#[tokio::test]
async fn fast_kinesis_gives_back_what_was_put() {
    records_come_back_from(standins::kinesis_fast().await).await;
}

#[tokio::test]
async fn dynamodb_puts_on_a_condition() {
    let client = aws_sdk_dynamodb::Client::new(&standins::connect(&standins::dynamodb().await).config);
    let table = fresh_name("table");
    let key = KeySchemaElement::builder().attribute_name("key").key_type(KeyType::Hash).build().unwrap();
    let attribute = AttributeDefinition::builder().attribute_name("key").attribute_type(ScalarAttributeType::S);
    let create = client.create_table().table_name(&table).key_schema(key).billing_mode(BillingMode::PayPerRequest);
    create.attribute_definitions(attribute.build().unwrap()).send().await.unwrap();
    let put = || {
        let item = client.put_item().table_name(&table).item("key", AttributeValue::S("slot".into()));
        item.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", "key").send()
    };
    put().await.unwrap();
    assert_eq!(aws::code(&put().await.unwrap_err()), "ConditionalCheckFailedException");
}

async fn s3() -> aws_sdk_s3::Client {
    let config = standins::connect(&standins::s3().await).config;
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build())
}

#[tokio::test]
async fn s3_creates_an_object_once() {
    let (client, bucket) = (s3().await, fresh_name("bucket"));
    client.create_bucket().bucket(&bucket).send().await.unwrap();
    let put = |body: &'static str| {
        client
            .put_object()
            .bucket(&bucket)
            .key("k")
            .body(ByteStream::from_static(body.as_bytes()))
            .if_none_match("*")
            .send()
    };
    put("first").await.unwrap();
    assert_eq!(put("second").await.unwrap_err().raw_response().unwrap().status().as_u16(), 412);
    let stored = client.get_object().bucket(&bucket).key("k").send().await.unwrap();
    assert_eq!(stored.body.collect().await.unwrap().into_bytes().as_ref(), b"first");
}

#[tokio::test]
async fn s3_has_room_for_a_bucket_of_each_test() {
    let client = s3().await;
    for _ in 0..BUCKETS {
        let bucket = fresh_name("bucket");
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        client.put_object().bucket(&bucket).key("k").body(ByteStream::from_static(&[7; 4096])).send().await.unwrap();
    }
}

#[tokio::test]
async fn the_queue_hands_out_what_was_sent() {
    let client = aws_sdk_sqs::Client::new(&standins::connect(&standins::queue().await).config);
    let queue = client.create_queue().queue_name(fresh_name("queue")).send().await.unwrap().queue_url.unwrap();
    client.send_message().queue_url(&queue).message_body("one").send().await.unwrap();
    let received =
        client.receive_message().queue_url(&queue).wait_time_seconds(5).send().await.unwrap().messages.unwrap();
    assert_eq!(received.iter().map(|message| message.body().unwrap()).collect::<Vec<_>>(), ["one"]);
}

#[tokio::test]
async fn a_child_process_finds_all_four() {
    let environment = standins::environment().await;
    for name in ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS"]
    {
        assert!(environment.iter().any(|(key, url)| key == name && url.starts_with("http://127.0.0.1:")), "{name}");
    }
}
