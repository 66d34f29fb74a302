//! What every queue does, whatever stands behind it: functions that panic where a backend does otherwise.
//!
//! Each takes a queue that is empty and that nobody else uses. Queues keep no order and may hand a message out more than
//! once; nothing here relies on either.

use crate::{Delivery, MESSAGE_BYTES_MAX, Queue, QueueError};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// Names the checks that take a queue alone to a macro of the caller's, which makes tests of them: no backend can miss one.
#[macro_export]
macro_rules! contract_checks {
    ($tests:ident) => {
        $tests! {
            what_was_sent_is_handed_out,
            bytes_come_back_as_they_were,
            each_message_gets_a_result_of_its_own,
            a_message_that_was_handed_out_is_hidden,
            a_message_comes_again_when_its_visibility_has_run_out,
            an_acked_message_is_gone,
            an_extended_message_stays_hidden_and_one_given_back_is_there_at_once,
            a_waiting_receive_wakes_when_a_message_arrives,
            an_empty_queue_answers_after_the_wait,
            a_receipt_that_never_was_is_refused,
        }
    };
}

/// Long enough for the slowest backend to show a message.
const WAIT: Duration = Duration::from_secs(10);

/// Longer than any of these functions takes.
const LONG: Duration = Duration::from_secs(600);

/// The shortest that every backend knows.
const SHORT: Duration = Duration::from_secs(1);

/// Receives before a message that should be there is given up.
const RECEIVES_MAX: usize = 100;

async fn send(queue: &dyn Queue, messages: &[&str]) {
    let sent = queue.send(messages.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()).await;
    assert!(sent.len() == messages.len() && sent.iter().all(Result::is_ok), "{sent:?}");
}

async fn receive_one(queue: &dyn Queue, visibility: Duration) -> Delivery {
    let mut received = queue.receive(1, visibility, WAIT).await.expect("the queue answers");
    assert_eq!(received.len(), 1);
    received.remove(0)
}

async fn is_empty(queue: &dyn Queue) -> bool {
    queue.receive(10, LONG, Duration::ZERO).await.expect("the queue answers").is_empty()
}

pub async fn what_was_sent_is_handed_out(queue: &dyn Queue) {
    let sent: BTreeSet<String> = (0..25).map(|k| format!("message {k}")).collect();
    send(queue, &sent.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut received = BTreeSet::new();
    for _ in 0..RECEIVES_MAX {
        if received.len() == sent.len() {
            break;
        }
        let page = queue.receive(10, LONG, WAIT).await.expect("the queue answers");
        assert!(page.len() <= 10);
        received.extend(page.into_iter().map(|delivery| String::from_utf8_lossy(&delivery.bytes).into_owned()));
    }
    assert_eq!(received, sent);
}

pub async fn bytes_come_back_as_they_were(queue: &dyn Queue) {
    let message: Bytes = (0..MESSAGE_BYTES_MAX).map(|k| (k % 251) as u8).collect();
    queue.send(vec![message.clone()]).await.remove(0).expect("the largest message fits");
    assert_eq!(receive_one(queue, LONG).await.bytes, message);
}

pub async fn each_message_gets_a_result_of_its_own(queue: &dyn Queue) {
    let too_large = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let sent = queue.send(vec![Bytes::from("a"), too_large, Bytes::from("b")]).await;
    assert_eq!(sent, [Ok(()), Err(QueueError::TooLarge { bytes: MESSAGE_BYTES_MAX + 1 }), Ok(())]);
}

pub async fn a_message_that_was_handed_out_is_hidden(queue: &dyn Queue) {
    send(queue, &["only"]).await;
    let delivery = receive_one(queue, LONG).await;
    assert_eq!(delivery.deliveries, 1);
    assert!(is_empty(queue).await);
}

pub async fn a_message_comes_again_when_its_visibility_has_run_out(queue: &dyn Queue) {
    send(queue, &["only"]).await;
    let first = receive_one(queue, SHORT).await;
    let second = receive_one(queue, LONG).await;
    assert_eq!((first.bytes, second.deliveries), (second.bytes.clone(), 2));
    queue.ack(&second.receipt).await.expect("the second receipt holds");
    assert!(is_empty(queue).await);
}

pub async fn an_acked_message_is_gone(queue: &dyn Queue) {
    send(queue, &["only"]).await;
    let delivery = receive_one(queue, SHORT).await;
    queue.ack(&delivery.receipt).await.expect("it is held");
    let again = queue.receive(1, SHORT, SHORT + SHORT / 2).await.expect("the queue answers");
    assert!(again.is_empty(), "{again:?}");
}

pub async fn an_extended_message_stays_hidden_and_one_given_back_is_there_at_once(queue: &dyn Queue) {
    send(queue, &["only"]).await;
    let delivery = receive_one(queue, SHORT).await;
    queue.extend(&delivery.receipt, LONG).await.expect("it is held");
    let hidden = queue.receive(1, SHORT, SHORT + SHORT / 2).await.expect("the queue answers");
    assert!(hidden.is_empty(), "{hidden:?}");
    queue.extend(&delivery.receipt, Duration::ZERO).await.expect("it is still held");
    assert_eq!(receive_one(queue, LONG).await.bytes, "only");
}

pub async fn a_waiting_receive_wakes_when_a_message_arrives(queue: &dyn Queue) {
    let (received, ()) = tokio::join!(receive_one(queue, LONG), send(queue, &["woken"]));
    assert_eq!(received.bytes, "woken");
}

pub async fn an_empty_queue_answers_after_the_wait(queue: &dyn Queue) {
    for wait in [Duration::ZERO, SHORT] {
        assert!(queue.receive(10, LONG, wait).await.expect("the queue answers").is_empty());
    }
}

pub async fn a_receipt_that_never_was_is_refused(queue: &dyn Queue) {
    assert!(queue.ack("no receipt").await.is_err());
    assert!(queue.extend("no receipt", LONG).await.is_err());
}
