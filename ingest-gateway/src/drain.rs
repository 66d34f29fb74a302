//! The drainer: puts what overflowed into the stream, once that takes records again.
//!
//! A message is **held** from when it is received until the stream has its record: it stays hidden from other drainers and
//! is not received again, so that a long outage does not look like a message that nobody can handle. It is acked only
//! after that, so a drainer that dies in between makes a copy, which the dedup stage drops.

use crate::breaker::Way;
use crate::flush::{APPEND_TIMEOUT, PROBE_TIMEOUT};
use crate::metrics::METRICS;
use crate::overflow::{Detour, QUEUE_TIMEOUT};
use futures::future::join_all;
use queue::{Delivery, QueueError};
use schema::HashKey;
use schema::record::{self, RecordError, decode_raw};
use service::{Part, Stop};
use std::sync::Arc;
use std::time::Duration;
use stream::{AppendError, NewRecord, Placed, Stream};
use thiserror::Error;
use tokio::time::Instant;

/// Messages held at a time. Source: one ReceiveMessage gives at most ten,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>
const HELD_MAX: usize = 10;

/// How long a message is hidden from other drainers, and how much of it may pass before it is hidden anew. Longer than an
/// append, its acks and a pause together.
const VISIBILITY: Duration = Duration::from_secs(60);
const HIDE_AFTER: Duration = Duration::from_secs(20);

/// How long an empty queue is listened to: fewest requests. Source: the longest that SQS waits,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const LISTEN_FOR: Duration = Duration::from_secs(20);

/// First and longest pause after the stream or the queue refused: new records go first.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a message can't be put into the stream.
#[derive(Debug, Error, PartialEq, Eq)]
enum Undrainable {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the record has no events")]
    Empty,
}

/// Where the record of a message goes: the hash of its first event, as a gateway packs it.
fn point_of(message: &Delivery) -> Result<HashKey, Undrainable> {
    let raw = decode_raw(message.bytes.clone())?;
    let first = record::ids(&raw.ids).next();
    first.map(|id| id.hash()).ok_or(Undrainable::Empty)
}

/// A message, and where its record goes.
#[derive(Debug)]
struct Held {
    message: Delivery,
    point: HashKey,
}

/// Empties the overflow queue.
#[derive(Debug)]
pub(crate) struct Drainer {
    stream: Arc<dyn Stream>,
    detour: Arc<Detour>,
    part: Part,
    /// At most [`HELD_MAX`].
    held: Vec<Held>,
    hidden_at: Instant,
    pause: Duration,
    not_before: Instant,
}

impl Drainer {
    pub(crate) fn new(stream: Arc<dyn Stream>, detour: Arc<Detour>, part: Part) -> Drainer {
        let now = Instant::now();
        Drainer { stream, detour, part, held: Vec::new(), hidden_at: now, pause: PAUSE_MIN, not_before: now }
    }

    /// Runs until `stop`, and shows meanwhile how much waits; then gives back what it holds.
    pub(crate) async fn run(self, stop: Stop) {
        let detour = self.detour.clone();
        tokio::join!(self.empty(stop.clone()), detour.watch(stop));
    }

    async fn empty(mut self, stop: Stop) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.wait_for_work() => {}
            }
            self.drain().await;
        }
        let given_back = self.held.iter().map(|held| self.hide(&held.message, Duration::ZERO));
        // What can't be given back shows up again by itself.
        join_all(given_back).await;
    }

    /// Waits until something is held and the stream may be tried. May be dropped while it waits.
    async fn wait_for_work(&mut self) {
        let probe_at = self.detour.probe_at().filter(|_| !self.held.is_empty());
        tokio::time::sleep_until(probe_at.map_or(self.not_before, |at| at.max(self.not_before))).await;
        if self.held.is_empty() {
            self.receive().await;
        } else if self.hidden_at.elapsed() >= HIDE_AFTER {
            self.stay_hidden().await;
        }
    }

    async fn receive(&mut self) {
        let received = self.detour.queue.receive(HELD_MAX, VISIBILITY, LISTEN_FOR);
        match tokio::time::timeout(LISTEN_FOR + QUEUE_TIMEOUT, received).await {
            Ok(Ok(messages)) => {
                self.hidden_at = Instant::now();
                self.held = messages.into_iter().filter_map(ours).collect();
            }
            Ok(Err(error)) => self.slow_down(&error.to_string()),
            Err(_) => self.slow_down("the overflow queue does not answer"),
        }
    }

    /// Hides what is held for longer, and lets go of what somebody else may hold by now.
    async fn stay_hidden(&mut self) {
        let hidden = join_all(self.held.iter().map(|held| self.hide(&held.message, VISIBILITY))).await;
        let mut hidden = hidden.into_iter();
        self.held.retain(|_| !matches!(hidden.next(), Some(Err(QueueError::Expired(_)))));
        self.hidden_at = Instant::now();
    }

    async fn hide(&self, message: &Delivery, visibility: Duration) -> Result<(), QueueError> {
        in_time(self.detour.queue.extend(&message.receipt, visibility)).await
    }

    /// Puts what is held into the stream and acks what landed; the rest stays held.
    async fn drain(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (count, patience) = match self.detour.way(Instant::now()) {
            Way::Stream => (self.held.len(), APPEND_TIMEOUT),
            Way::Probe => (1, PROBE_TIMEOUT),
            Way::Queue => return,
        };
        let tried = self.held.drain(..count).collect();
        let Tried { landed, refused, reason } = self.put(tried, patience).await;
        if !landed.is_empty() {
            self.detour.stream_took_some(Instant::now());
            self.part.ready();
            self.pause = PAUSE_MIN;
            METRICS.overflow_drained.inc_by(landed.len() as u64);
        }
        self.held.extend(refused);
        if let Some(reason) = reason {
            self.slow_down(&reason);
        }
        join_all(landed.iter().map(|held| self.ack(&held.message))).await;
    }

    async fn put(&self, tried: Vec<Held>, patience: Duration) -> Tried {
        let record = |held: &Held| NewRecord { point: held.point, bytes: held.message.bytes.clone() };
        let append = self.stream.append(tried.iter().map(record).collect());
        let outcomes = tokio::time::timeout(patience, append).await.unwrap_or_default();
        let mut outcomes = outcomes.into_iter();
        let mut sorted = Tried::default();
        for held in tried {
            let unanswered = || Err(AppendError::Unavailable(format!("no answer within {patience:?}")));
            sorted.add(held, outcomes.next().unwrap_or_else(unanswered));
        }
        sorted
    }

    /// A failure costs a copy that the dedup stage drops.
    async fn ack(&self, message: &Delivery) {
        if let Err(error) = in_time(self.detour.queue.ack(&message.receipt)).await {
            tracing::debug!(%error, "a record that was drained from the overflow queue may come again");
        }
    }

    fn slow_down(&mut self, reason: &str) {
        tracing::debug!(reason, pause = ?self.pause, "draining the overflow queue pauses");
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// What became of messages whose records were put into the stream.
#[derive(Debug, Default)]
struct Tried {
    landed: Vec<Held>,
    refused: Vec<Held>,
    /// Why, of the last one.
    reason: Option<String>,
}

impl Tried {
    fn add(&mut self, held: Held, outcome: Result<Placed, AppendError>) {
        match outcome {
            Ok(_) => self.landed.push(held),
            Err(error) => {
                self.reason = Some(error.to_string());
                self.refused.push(held);
            }
        }
    }
}

/// Takes a message that carries one of our records. Any other stays in the queue, unacked, for its dead-letter queue or for
/// a newer version.
fn ours(message: Delivery) -> Option<Held> {
    match point_of(&message) {
        Ok(point) => Some(Held { message, point }),
        Err(reason) => {
            METRICS.overflow_foreign.inc();
            let (bytes, deliveries) = (message.bytes.len(), message.deliveries);
            tracing::warn!(%reason, bytes, deliveries, "leaving a message in the overflow queue");
            None
        }
    }
}

async fn in_time(answer: impl Future<Output = Result<(), QueueError>>) -> Result<(), QueueError> {
    let unanswered = |_| Err(QueueError::Unavailable(format!("no answer within {QUEUE_TIMEOUT:?}")));
    tokio::time::timeout(QUEUE_TIMEOUT, answer).await.unwrap_or_else(unanswered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schema::body::BodyPacker;
    use schema::{EventId, Kind};

    fn message(bytes: Bytes) -> Delivery {
        Delivery { receipt: "1".into(), bytes, deliveries: 1 }
    }

    fn record_of(ids: &[EventId]) -> Bytes {
        let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_bytes()).collect();
        let count = record::count(&ids) as u32;
        let plain: Vec<u8> = (0..count).map(|_| 0).collect();
        record::encode(&record::raw(Kind::Events, ids, 7, BodyPacker::new(1).pack(&plain, count)))
    }

    #[test]
    fn a_record_goes_where_its_first_event_belongs() {
        let ids = [EventId(5), EventId(6)];
        assert_eq!(point_of(&message(record_of(&ids))), Ok(EventId(5).hash()));
    }

    #[test]
    fn what_is_no_record_with_events_is_left_in_the_queue() {
        assert!(ours(message(Bytes::from_static(b"{\"event_id\":1}"))).is_none());
        assert_eq!(point_of(&message(record_of(&[]))), Err(Undrainable::Empty));
    }
}
