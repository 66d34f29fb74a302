//! Sending: messages into calls, and again what a call did not take.

use super::{MESSAGES_MAX, SqsQueue, body, error};
use crate::{MESSAGE_BYTES_MAX, QueueError};
use aws::Failure;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Most bytes of text of all messages of one call. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-batch-api-actions.html>
const CALL_BYTES_MAX: usize = 1 << 20;

/// Calls under way for one [`crate::Queue::send`]: each may carry a mebibyte.
const CALLS_AT_ONCE: usize = 4;

type Sent = Result<(), QueueError>;

/// Sends messages; the result at place `k` is that of message `k`.
pub(super) async fn send(queue: &SqsQueue, messages: &[Bytes]) -> Vec<Sent> {
    let too_large = |message: &Bytes| match message.len() {
        bytes if bytes > MESSAGE_BYTES_MAX => Err(QueueError::TooLarge { bytes }),
        _ => Ok(()),
    };
    let mut results: Vec<Sent> = messages.iter().map(too_large).collect();
    let fitting: Vec<usize> = (0..messages.len()).filter(|&place| results[place].is_ok()).collect();
    let calls = cut(&fitting, |place| body::encoded_bytes(&messages[place]));
    let calls = calls.into_iter().map(|places| Box::pin(Call::new(queue, messages, places).carry_out()));
    let sent: Vec<Vec<(usize, Sent)>> = stream::iter(calls).buffer_unordered(CALLS_AT_ONCE).collect().await;
    for (place, result) in sent.into_iter().flatten() {
        results[place] = result;
    }
    results
}

/// Deals places out to calls, in order, as many to each as it takes.
fn cut(places: &[usize], bytes_of: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut calls: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for &place in places {
        bytes += bytes_of(place);
        match calls.last_mut() {
            Some(call) if call.len() < MESSAGES_MAX && bytes <= CALL_BYTES_MAX => call.push(place),
            _ => {
                calls.push(vec![place]);
                bytes = bytes_of(place);
            }
        }
    }
    calls
}

/// Messages that are sent together until each has its result.
#[derive(Debug)]
struct Call<'a> {
    queue: &'a SqsQueue,
    messages: &'a [Bytes],
    places: Vec<usize>,
    /// By place; what is not in it has neither been taken nor been refused.
    decided: Mutex<BTreeMap<usize, Sent>>,
}

impl<'a> Call<'a> {
    fn new(queue: &'a SqsQueue, messages: &'a [Bytes], places: Vec<usize>) -> Call<'a> {
        Call { queue, messages, places, decided: Mutex::default() }
    }

    async fn carry_out(self) -> Vec<(usize, Sent)> {
        let undecided = match self.queue.calls.repeat(|| self.send_once()).await {
            // Nothing is undecided then.
            Ok(()) => QueueError::Unavailable(String::new()),
            Err(failure) => error(&self.queue.url, &failure),
        };
        let decided = self.decided.into_inner().expect("no holder panics");
        let result = |place: usize| decided.get(&place).cloned().unwrap_or_else(|| Err(undecided.clone()));
        self.places.into_iter().map(|place| (place, result(place))).collect()
    }

    fn left(&self) -> Vec<usize> {
        let decided = self.decided.lock().expect("no holder panics");
        self.places.iter().copied().filter(|place| !decided.contains_key(place)).collect()
    }

    /// Sends what is left, and fails if some of it is left still.
    async fn send_once(&self) -> Result<(), Failure> {
        let left = self.left();
        let bodies: Vec<String> = left.iter().map(|&place| body::encode(&self.messages[place])).collect();
        self.queue.billing.count("SendMessageBatch", bodies.iter().map(String::len).sum());
        let entries = left.iter().zip(bodies).map(|(place, body)| {
            let entry = SendMessageBatchRequestEntry::builder().id(place.to_string()).message_body(body);
            entry.build().expect("it has an id and a body")
        });
        let send = self.queue.client.send_message_batch().queue_url(&self.queue.url);
        let sent = send.set_entries(Some(entries.collect())).send().await.map_err(|error| Failure::of(&error))?;
        let taken = sent.successful.iter().map(|entry| (entry.id.as_str(), Ok(())));
        let failed: Vec<Failure> = sent.failed.iter().map(failure).collect();
        let refused = sent.failed.iter().zip(&failed).filter(|(_, failure)| !failure.passes());
        self.decide(
            taken.chain(refused.map(|(entry, failure)| (entry.id.as_str(), Err(error(&self.queue.url, failure))))),
        );
        if self.left().is_empty() {
            return Ok(());
        }
        let passing = failed.into_iter().find(Failure::passes);
        Err(passing.unwrap_or_else(|| Failure::Unavailable("some messages were left without a result".to_string())))
    }

    fn decide<'b>(&self, results: impl Iterator<Item = (&'b str, Sent)>) {
        let places = results.filter_map(|(id, sent)| Some((id.parse().ok()?, sent)));
        self.decided.lock().expect("no holder panics").extend(places);
    }
}

/// What the failure of one entry means.
fn failure(entry: &BatchResultErrorEntry) -> Failure {
    let text = format!("{}: {}", entry.code, entry.message().unwrap_or("no reason given"));
    match Failure::of_code(&entry.code, &text) {
        Some(passes) => passes,
        None if entry.sender_fault => Failure::Refused(text),
        None => Failure::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_cut_at_ten_messages_and_at_a_mebibyte() {
        let places: Vec<usize> = (0..12).collect();
        let cut = |bytes: [usize; 12]| super::cut(&places, |place| bytes[place]);
        assert_eq!(cut([1; 12]), [(0..10).collect::<Vec<_>>(), vec![10, 11]]);
        let mut bytes = [CALL_BYTES_MAX / 2; 12];
        (bytes[2], bytes[3]) = (CALL_BYTES_MAX, 1);
        let lengths: Vec<usize> = cut(bytes).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 2, 2, 2, 2, 1]);
        assert_eq!(super::cut(&[], |_| 0), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_failed_entry_is_sent_again_unless_it_is_to_blame() {
        let entry = |code: &str, sender_fault| {
            let entry = BatchResultErrorEntry::builder().id("0").code(code).sender_fault(sender_fault);
            failure(&entry.build().expect("an id, a code and a fault"))
        };
        assert!(matches!(entry("RequestThrottled", true), Failure::Throttled(_)));
        assert!(matches!(entry("InternalError", false), Failure::Unavailable(_)));
        assert!(matches!(entry("InvalidMessageContents", true), Failure::Refused(_)));
    }
}
