//! What the queue in SQS makes of answers that no server gives when it is asked to.

use bytes::Bytes;
use queue::sqs::SqsQueue;
use queue::{Queue, QueueError};
use standins::scripted::{Answer, Scripted};
use std::time::Duration;

const URL: &str = "https://sqs.us-east-1.amazonaws.com/1/some-queue";

const ATTRIBUTES: &str = r#"{"Attributes": {"QueueArn": "arn:aws:sqs:us-east-1:1:some-queue",
    "MessageRetentionPeriod": "3600", "MaximumMessageSize": "1048576"}}"#;

fn taken(ids: &[u32]) -> String {
    let entries = ids.iter().map(|id| format!(r#"{{"Id": "{id}", "MessageId": "m", "MD5OfMessageBody": "d"}}"#));
    entries.collect::<Vec<_>>().join(",")
}

fn failed(id: u32, sender_fault: bool, code: &str) -> String {
    format!(r#"{{"Id": "{id}", "SenderFault": {sender_fault}, "Code": "{code}", "Message": "said the script"}}"#)
}

fn batch(taken: &str, failed: &str) -> Answer {
    Answer::says(200, format!(r#"{{"Successful": [{taken}], "Failed": [{failed}]}}"#))
}

fn error(status: u16, code: &str, message: &str) -> Answer {
    Answer::says(status, format!(r#"{{"__type": "com.amazonaws.sqs#{code}", "message": "{message}"}}"#))
}

async fn queue(answers: impl IntoIterator<Item = Answer>) -> (Scripted, SqsQueue) {
    let server = Scripted::start([Answer::says(200, ATTRIBUTES)]).await;
    let queue = SqsQueue::open(&standins::connect(server.endpoint()), URL).await.expect("the script's first answer");
    server.take_requests();
    server.then(answers);
    (server, queue)
}

async fn send_three(queue: &SqsQueue) -> Vec<Result<(), QueueError>> {
    queue.send(["zero", "one", "two"].map(Bytes::from).to_vec()).await
}

/// The ids of the entries of each call.
fn sent(server: &Scripted) -> Vec<Vec<u32>> {
    let ids = |body: &str| (0..3).filter(|id| body.contains(&format!("\"Id\":\"{id}\""))).collect();
    server.take_requests().iter().map(|request| ids(&request.body)).collect()
}

#[tokio::test]
async fn only_what_failed_is_sent_again_and_what_is_to_blame_is_not() {
    let failures = [failed(1, false, "InternalError"), failed(2, true, "InvalidMessageContents")].join(",");
    let (server, queue) = queue([batch(&taken(&[0]), &failures), batch(&taken(&[1]), "")]).await;
    let results = send_three(&queue).await;
    assert!(matches!(results.as_slice(), [Ok(()), Ok(()), Err(QueueError::Refused(_))]), "{results:?}");
    assert_eq!(sent(&server), [vec![0, 1, 2], vec![1]]);
}

#[tokio::test]
async fn a_message_of_which_the_answer_says_nothing_is_sent_again() {
    let (server, queue) = queue([batch(&taken(&[0, 2]), ""), batch(&taken(&[1]), "")]).await;
    assert_eq!(send_three(&queue).await, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(sent(&server), [vec![0, 1, 2], vec![1]]);
}

#[tokio::test]
async fn a_call_that_was_throttled_or_not_answered_is_made_again() {
    let throttled = error(400, "RequestThrottled", "slow down");
    let (server, queue) = queue([throttled, Answer::Nothing, batch(&taken(&[0, 1, 2]), "")]).await;
    assert_eq!(send_three(&queue).await, [Ok(()), Ok(()), Ok(())]);
    assert_eq!(sent(&server), [vec![0, 1, 2], vec![0, 1, 2], vec![0, 1, 2]]);
}

#[tokio::test]
async fn a_queue_that_is_gone_refuses_each_message_at_once_and_by_its_url() {
    let (server, queue) = queue([error(400, "QueueDoesNotExist", "no such queue")]).await;
    for refused in send_three(&queue).await {
        assert!(matches!(&refused, Err(QueueError::Refused(why)) if why.contains(URL)), "{refused:?}");
    }
    assert_eq!(sent(&server).len(), 1);
}

#[tokio::test]
async fn every_way_of_saying_that_a_receipt_is_void_is_understood() {
    let gone = "Value R for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.";
    let expired = Err(QueueError::Expired("R".to_string()));
    for (code, message) in
        [("MessageNotInflight", ""), ("ReceiptHandleIsInvalid", "bad handle"), ("InvalidParameterValue", gone)]
    {
        let (_server, queue) = queue([error(400, code, message), error(400, code, message)]).await;
        assert_eq!(queue.ack("R").await, expired, "{code}");
        assert_eq!(queue.extend("R", Duration::from_secs(1)).await, expired, "{code}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_wrong_by_itself_is_no_void_receipt() {
    let (_server, queue) =
        queue([error(400, "InvalidParameterValue", "Value 99 for parameter VisibilityTimeout")]).await;
    let refused = queue.extend("R", Duration::from_secs(99)).await;
    assert!(matches!(refused, Err(QueueError::Refused(_))), "{refused:?}");
}
