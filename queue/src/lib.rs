//! The queue port: messages that are handed out at least once, in no order.
//!
//! **Visibility**: how long a received message is hidden from other receivers. **Ack**: the message is done with and goes.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

pub mod contract;
pub mod embedded;
pub mod sqs;

/// Most bytes of a message, before the base64 that SQS wants: 1 MiB of text. Source:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const MESSAGE_BYTES_MAX: usize = (1 << 20) / 4 * 3;

/// A message that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names this delivery, for [`Queue::ack`] and [`Queue::extend`].
    pub receipt: String,
    pub bytes: Bytes,
    /// How often it has been handed out, this time included; approximate.
    pub deliveries: u32,
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum QueueError {
    /// Undecided: a message may have been taken. Repeat.
    #[error("the queue did not answer: {0}")]
    Unavailable(String),
    #[error("the queue is full: {0}")]
    Full(String),
    /// Repeating won't help: access denied, a queue that is not there.
    #[error("the queue refuses: {0}")]
    Refused(String),
    #[error("a message of {bytes} bytes; the queue takes at most {MESSAGE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    /// The visibility has run out, and another receiver may hold the message by now.
    #[error("receipt {0} is no longer valid")]
    Expired(String),
}

/// A durable queue.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// Puts messages in, each on its own: the result at place `k` is that of message `k`. A success means durable.
    async fn send(&self, messages: Vec<Bytes>) -> Vec<Result<(), QueueError>>;

    /// Hands out up to `count_max` messages and hides them for `visibility`; waits up to `wait` for a first one.
    async fn receive(
        &self,
        count_max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError>;

    /// Removes a message that was handed out.
    async fn ack(&self, receipt: &str) -> Result<(), QueueError>;

    /// Hides it for `visibility` from now on; zero gives it back.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError>;

    /// Messages that wait or are hidden; approximate.
    async fn depth(&self) -> Result<u64, QueueError>;
}
