//! The embedded queue keeps the contract of queues, and what it promises beyond it.

use bytes::Bytes;
use queue::embedded::{EmbeddedQueue, QueueBounds};
use queue::{Queue, QueueError, contract};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use tempfile::tempdir;

const BOUNDS: QueueBounds = QueueBounds { messages_max: 100, bytes_max: 4 << 20 };
const LONG: Duration = Duration::from_secs(600);

fn open(dir: &Path, bounds: QueueBounds) -> EmbeddedQueue {
    let options = Options::new(Arc::new(|| 0), "a test");
    let store = Store::open(dir, options).expect("a sound directory");
    EmbeddedQueue::open(Arc::new(store), "overflow", bounds)
}

fn texts(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let dir = tempdir().unwrap();
                contract::$name(&open(dir.path(), BOUNDS)).await;
            }
        )*
    };
}

queue::contract_checks!(keeps_the_contract);

#[tokio::test]
async fn what_was_not_acked_is_there_after_a_reopen() {
    let dir = tempdir().unwrap();
    let queue = open(dir.path(), BOUNDS);
    queue.send(texts(&["acked", "held", "ready"])).await;
    let held = queue.receive(2, LONG, Duration::ZERO).await.unwrap();
    queue.ack(&held[0].receipt).await.unwrap();
    drop(queue);
    let queue = open(dir.path(), BOUNDS);
    assert_eq!(queue.depth().await, Ok(2));
    let again = queue.receive(9, LONG, Duration::ZERO).await.unwrap();
    assert_eq!(again.into_iter().map(|delivery| delivery.bytes).collect::<Vec<_>>(), texts(&["held", "ready"]));
}

#[tokio::test]
async fn a_full_queue_refuses_until_there_is_room() {
    let dir = tempdir().unwrap();
    let queue = open(dir.path(), QueueBounds { messages_max: 2, bytes_max: 1000 });
    let sent = queue.send(texts(&["one", "two", "three"])).await;
    assert!(matches!(sent.as_slice(), [Ok(()), Ok(()), Err(QueueError::Full(_))]), "{sent:?}");
    let held = queue.receive(1, LONG, Duration::ZERO).await.unwrap();
    queue.ack(&held[0].receipt).await.unwrap();
    assert_eq!(queue.send(texts(&["three"])).await, [Ok(())]);
}

#[tokio::test]
async fn an_expired_receipt_is_refused() {
    let dir = tempdir().unwrap();
    let queue = open(dir.path(), BOUNDS);
    queue.send(texts(&["only"])).await;
    let receipt = queue.receive(1, Duration::ZERO, Duration::ZERO).await.unwrap().remove(0).receipt;
    assert_eq!(queue.ack(&receipt).await, Err(QueueError::Expired(receipt.clone())));
    assert_eq!(queue.extend(&receipt, LONG).await, Err(QueueError::Expired(receipt)));
}

#[tokio::test]
async fn a_message_outlives_the_segment_it_was_written_to() {
    let dir = tempdir().unwrap();
    let options = Options { segment_bytes: 300, ..Options::new(Arc::new(|| 0), "a test") };
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let queue = EmbeddedQueue::open(store.clone(), "overflow", BOUNDS);
    for text in ["one", "two", "three", "four", "five", "six", "seven"] {
        queue.send(texts(&[text])).await;
    }
    assert!(store.enforce_retention(i64::MAX).await.unwrap().segments_dropped > 0);
    let received = queue.receive(9, LONG, Duration::ZERO).await.unwrap();
    assert_eq!(received.len(), 7);
}
