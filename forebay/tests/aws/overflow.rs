//! What is no record of ours and lies in the overflow queue.

use crate::fleet::{Fleet, eventually};
use crate::metrics;
use bytes::Bytes;
use queue::Queue;
use queue::sqs::{SqsQueue, dead_letters_of};
use std::time::{Duration, Instant};

/// Longest wait for the gateway to receive a message once more: three times as long as it hides one.
const PATIENCE: Duration = Duration::from_secs(180);

const FOREIGN: &[u8] = b"no record of ours";

async fn opened(name: &str) -> SqsQueue {
    SqsQueue::open(&standins::connect(&standins::queue().await), name).await.unwrap()
}

/// Receives a message until one more time is all that its queue lets pass.
async fn wear_out(queue: &SqsQueue) {
    for _ in 1..queue.dead_letters().unwrap().receives_max {
        let received = queue.receive(1, Duration::ZERO, Duration::from_secs(20)).await.unwrap();
        assert_eq!(received[0].bytes, FOREIGN);
    }
}

async fn received(queue: &SqsQueue) -> Bytes {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(message) = queue.receive(1, PATIENCE, Duration::from_secs(20)).await.unwrap().pop() {
            return message.bytes;
        }
    }
    panic!("nothing came within {PATIENCE:?}");
}

/// The gateway leaves it where it is, as it may be somebody's; the queue gives it up.
#[tokio::test]
async fn a_foreign_message_in_the_overflow_queue_ends_among_its_dead_letters() {
    let mut fleet = Fleet::set_up("foreign").await;
    let overflow = opened(fleet.name_of("OVERFLOW_QUEUE")).await;
    let dead = opened(&dead_letters_of(fleet.name_of("OVERFLOW_QUEUE"))).await;
    overflow.send(vec![Bytes::from_static(FOREIGN)]).await.remove(0).unwrap();
    wear_out(&overflow).await;
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    let foreign = || metrics::total(gateway, "forebay_gateway_overflow_foreign_total");
    eventually("the gateway finds it", || foreign() == 1.0).await;
    assert_eq!(received(&dead).await, FOREIGN);
    assert_eq!(overflow.depth().await.unwrap(), 0);
    fleet.stop_all();
}
