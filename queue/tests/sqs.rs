//! The queue in SQS keeps the contract of queues, and what it promises beyond it.

use aws::{Aws, Calls};
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use bytes::Bytes;
use queue::sqs::{SqsQueue, SqsSetup, setup};
use queue::{MESSAGE_BYTES_MAX, Queue, QueueError, contract};
use standins::Endpoint;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const LONG: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

/// Receives before a message that should be there is given up.
const RECEIVES_MAX: usize = 20;

/// How long answers are waited for: the stand-in shares its processors with all other tests, and a call that is repeated
/// because its answer is late may send a message twice.
const PATIENCE: Duration = Duration::from_secs(120);

async fn aws() -> Aws {
    patient(&standins::queue().await)
}

fn patient(endpoint: &Endpoint) -> Aws {
    let mut aws = standins::connect(endpoint);
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
    (aws.config, aws.calls) = (aws.config.to_builder().timeout_config(timeouts).build(), Calls::new(PATIENCE, 0));
    aws
}

fn settings() -> SqsSetup {
    SqsSetup { name: standins::fresh_name("queue"), retention: DAY, receives_max: None }
}

async fn open(aws: &Aws) -> SqsQueue {
    let url = setup(aws, &settings()).await.expect("a free name");
    SqsQueue::open(aws, &url).await.expect("the queue that was just created")
}

/// Calls of an operation that were counted.
fn counted(aws: &Aws, operation: &str, unit: &str) -> u64 {
    let of = |count: &&aws::Count| count.operation == operation && count.unit == unit;
    aws.meter.counts().iter().find(of).map_or(0, |count| count.total)
}

/// Puts a text in as another program would.
async fn send_raw(aws: &Aws, queue: &SqsQueue, body: &str) {
    let client = aws_sdk_sqs::Client::new(&aws.config);
    client.send_message().queue_url(queue.url()).message_body(body).send().await.expect("the queue takes any text");
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                contract::$name(&open(&aws().await).await).await;
            }
        )*
    };
}

queue::contract_checks!(keeps_the_contract);

#[tokio::test]
async fn a_queue_that_is_not_there_is_refused_by_name() {
    let refused = SqsQueue::open(&aws().await, "no-such-queue").await.expect_err("no queue");
    assert!(matches!(&refused, QueueError::Refused(why) if why.contains("no-such-queue")), "{refused:?}");
}

#[tokio::test]
async fn a_queue_says_how_long_it_keeps_messages_and_where_bad_ones_go() {
    let (aws, mut settings) = (aws().await, settings());
    setup(&aws, &settings).await.expect("a free name");
    let queue = SqsQueue::open(&aws, &settings.name).await.expect("a queue");
    assert_eq!((queue.retention(), queue.dead_letters()), (DAY, None));
    (settings.retention, settings.receives_max) = (2 * DAY, NonZeroU32::new(4));
    setup(&aws, &settings).await.expect("it is changed");
    setup(&aws, &settings).await.expect("it is as it shall be");
    let queue = SqsQueue::open(&aws, &settings.name).await.expect("a queue");
    let dead = queue.dead_letters().expect("a redrive policy");
    assert_eq!((queue.retention(), dead.receives_max), (2 * DAY, 4));
    assert!(dead.queue.ends_with(&format!("{}-dead", settings.name)), "{}", dead.queue);
}

#[tokio::test]
async fn a_queue_for_smaller_messages_is_refused() {
    let (aws, settings) = (aws().await, settings());
    let url = setup(&aws, &settings).await.expect("a free name");
    let client = aws_sdk_sqs::Client::new(&aws.config);
    let small = client.set_queue_attributes().queue_url(url);
    let small = small.attributes(aws_sdk_sqs::types::QueueAttributeName::MaximumMessageSize, "262144");
    small.send().await.expect("SQS takes it");
    let refused = SqsQueue::open(&aws, &settings.name).await.expect_err("too small");
    assert!(refused.to_string().contains("MaximumMessageSize"), "{refused}");
}

#[tokio::test]
async fn a_message_that_is_given_back_too_often_goes_to_the_dead_letters() {
    let (aws, settings) = (aws().await, SqsSetup { receives_max: NonZeroU32::new(2), ..settings() });
    setup(&aws, &settings).await.expect("a free name");
    let queue = SqsQueue::open(&aws, &settings.name).await.expect("a queue");
    let dead = SqsQueue::open(&aws, &format!("{}-dead", settings.name)).await.expect("its dead letters");
    queue.send(vec![Bytes::from("poison")]).await.remove(0).expect("it is taken");
    for deliveries in 1..=2 {
        let received = queue.receive(1, LONG, SECOND).await.expect("an answer").remove(0);
        assert_eq!(received.deliveries, deliveries);
        queue.extend(&received.receipt, Duration::ZERO).await.expect("it is held");
    }
    assert_eq!(queue.receive(1, LONG, SECOND).await, Ok(Vec::new()));
    let received = dead.receive(1, LONG, 10 * SECOND).await.expect("an answer");
    assert_eq!(received[0].bytes, "poison");
}

#[tokio::test]
async fn messages_that_fill_several_calls_all_arrive() {
    let (aws, bytes) = (aws().await, MESSAGE_BYTES_MAX / 2 - 100);
    let queue = open(&aws).await;
    let messages: Vec<Bytes> = (0..5u8).map(|k| Bytes::from(vec![k; bytes])).collect();
    assert!(queue.send(messages).await.iter().all(Result::is_ok));
    assert_eq!(counted(&aws, "SendMessageBatch", "requests"), 3);
    assert_eq!(counted(&aws, "SendMessageBatch", "billed_requests"), 16 + 16 + 8);
    let mut seen = [0; 5];
    for _ in 0..RECEIVES_MAX {
        for delivery in queue.receive(10, LONG, Duration::ZERO).await.expect("an answer") {
            assert_eq!(delivery.bytes.len(), bytes);
            seen[usize::from(delivery.bytes[0])] += 1;
        }
    }
    assert_eq!(seen, [1; 5]);
}

#[tokio::test]
async fn a_foreign_message_is_handed_out_as_it_is_and_stands_in_nobodys_way() {
    let aws = aws().await;
    let queue = open(&aws).await;
    send_raw(&aws, &queue, "not {base64} at all").await;
    queue.send(vec![Bytes::from("own")]).await.remove(0).expect("it is taken");
    let mut received = Vec::new();
    for _ in 0..RECEIVES_MAX {
        received.extend(queue.receive(10, LONG, Duration::ZERO).await.expect("an answer"));
    }
    let mut texts: Vec<&[u8]> = received.iter().map(|delivery| delivery.bytes.as_ref()).collect();
    texts.sort_unstable();
    assert_eq!(texts, [&b"not {base64} at all"[..], b"own"]);
    for delivery in &received {
        queue.ack(&delivery.receipt).await.expect("it is held");
    }
    assert_eq!(queue.depth().await, Ok(0));
}

#[tokio::test]
async fn depth_counts_what_waits_and_what_is_held() {
    let queue = open(&aws().await).await;
    queue.send(["one", "two", "three"].map(Bytes::from).to_vec()).await;
    queue.receive(1, LONG, Duration::ZERO).await.expect("an answer");
    assert_eq!(queue.depth().await, Ok(3));
}

#[tokio::test]
async fn a_receipt_whose_message_is_gone_no_longer_holds() {
    let queue = open(&aws().await).await;
    queue.send(vec![Bytes::from("only")]).await.remove(0).expect("it is taken");
    let receipt = queue.receive(1, LONG, SECOND).await.expect("an answer").remove(0).receipt;
    queue.ack(&receipt).await.expect("it is held");
    assert_eq!(queue.extend(&receipt, LONG).await, Err(QueueError::Expired(receipt)));
}

#[tokio::test]
async fn an_empty_receive_is_billed_and_a_long_poll_outlasts_the_wait_for_other_answers() {
    let aws = standins::connect(&standins::queue().await);
    let queue = open(&aws).await;
    assert_eq!(queue.receive(1, LONG, 7 * SECOND).await, Ok(Vec::new()));
    assert_eq!(counted(&aws, "ReceiveMessage", "billed_requests"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_arrives_though_calls_fail_or_are_not_heard() {
    for fault in [Fault::DropAnswer, Fault::Throttle, Fault::Twice] {
        let url = setup(&aws().await, &settings()).await.expect("a free name");
        let faults = Faults::none().next(1, "SendMessageBatch", fault);
        let proxy = FaultProxy::start(&standins::queue().await, faults, 1).await;
        let queue = SqsQueue::open(&patient(&proxy.endpoint()), &url).await.expect("a queue");
        let sent: BTreeSet<Bytes> = (0..8).map(|k| Bytes::from(format!("message {k}"))).collect();
        assert!(queue.send(sent.iter().cloned().collect()).await.iter().all(Result::is_ok), "{fault:?}");
        assert_eq!(proxy.counts().of("SendMessageBatch", fault), 1);
        let mut received = BTreeSet::new();
        for _ in 0..RECEIVES_MAX {
            let page = queue.receive(10, LONG, Duration::ZERO).await.expect("an answer");
            received.extend(page.into_iter().map(|delivery| delivery.bytes));
        }
        assert_eq!(received, sent, "{fault:?}");
    }
}
