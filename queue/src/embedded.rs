//! A queue in the store of a data directory.
//!
//! Messages and acks are durable; who holds a message, and how often it was handed out, is in memory: after a restart every
//! message that was not acked is **ready** again. A message that was handed out is **held** until its visibility runs out.

mod desk;

use crate::{Delivery, MESSAGE_BYTES_MAX, Queue, QueueError};
use async_trait::async_trait;
use bytes::Bytes;
use desk::{Desk, Receipt};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use store::{Append, FetchError, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How much a queue takes before it is full.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    pub messages_max: usize,
    pub bytes_max: usize,
}

/// A queue that is embedded in this process. Clones share who holds what: a process opens one and clones it.
#[derive(Clone)]
pub struct EmbeddedQueue {
    name: Arc<str>,
    store: Arc<Store>,
    bounds: QueueBounds,
    desk: Arc<Mutex<Desk>>,
    arrivals: Arc<Notify>,
}

impl fmt::Debug for EmbeddedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedQueue").field("name", &self.name).finish_non_exhaustive()
    }
}

impl EmbeddedQueue {
    /// Opens queue `name`, with whatever waits in it.
    pub fn open(store: Arc<Store>, name: &str, bounds: QueueBounds) -> EmbeddedQueue {
        let desk = Desk::new(store.view().messages(name));
        let desk = Arc::new(Mutex::new(desk));
        EmbeddedQueue { name: Arc::from(name), store, bounds, desk, arrivals: Arc::default() }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nobody panics while holding it")
    }

    /// Reads messages that were taken off the desk; those that can't be read are reported, and stay held.
    async fn deliver(&self, held: Vec<Receipt>) -> Result<Vec<Delivery>, QueueError> {
        let numbers: Vec<u64> = held.iter().map(|receipt| receipt.number).collect();
        let fetched = self.store.view().message_bodies(&self.name, &numbers).load().await;
        if let (Some(error), true) = (&fetched.stopped, fetched.frames.is_empty()) {
            return Err(unreadable(&self.name, error));
        }
        let deliveries = fetched.frames.into_iter().filter_map(|frame| {
            let receipt = held.iter().find(|receipt| receipt.number == frame.number)?;
            Some(Delivery { receipt: receipt.to_string(), bytes: frame.bytes, deliveries: receipt.delivery })
        });
        Ok(deliveries.collect())
    }

    async fn append(&self, messages: Vec<Bytes>) -> Vec<Result<(), QueueError>> {
        let lengths: Vec<usize> = messages.iter().map(Bytes::len).collect();
        let appends = messages.into_iter().map(|bytes| Append::Message { queue: self.name.clone(), bytes });
        let answers = match self.store.append(appends.collect()).await {
            Ok(answers) => answers,
            Err(error) => {
                self.desk().give_up(&lengths);
                return lengths.iter().map(|_| Err(send_error(&error))).collect();
            }
        };
        let mut desk = self.desk();
        let mut sent = Vec::with_capacity(answers.len());
        for (answer, bytes) in answers.into_iter().zip(lengths) {
            sent.push(match answer {
                Ok(number) => {
                    desk.arrive(number, bytes);
                    Ok(())
                }
                Err(refusal) => {
                    desk.give_up(&[bytes]);
                    Err(QueueError::Unavailable(format!("{refusal:?}")))
                }
            });
        }
        sent
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn send(&self, messages: Vec<Bytes>) -> Vec<Result<(), QueueError>> {
        let (mut results, mut accepted, mut places) = (Vec::with_capacity(messages.len()), Vec::new(), Vec::new());
        for (place, message) in messages.into_iter().enumerate() {
            let bytes = message.len();
            results.push(if bytes > MESSAGE_BYTES_MAX {
                Err(QueueError::TooLarge { bytes })
            } else if !self.desk().reserve(bytes, self.bounds) {
                Err(QueueError::Full(format!("{:?} are reached", self.bounds)))
            } else {
                accepted.push(message);
                places.push(place);
                Ok(())
            });
        }
        if accepted.is_empty() {
            return results;
        }
        // Goes on whatever becomes of the caller, so that what is written is also handed out.
        let queue = self.clone();
        let count = accepted.len();
        let appended = tokio::spawn(async move { queue.append(accepted).await }).await;
        let appended = appended.unwrap_or_else(|error| vec![Err(QueueError::Unavailable(error.to_string())); count]);
        for (place, result) in places.into_iter().zip(appended) {
            results[place] = result;
        }
        self.arrivals.notify_waiters();
        results
    }

    async fn receive(
        &self,
        count_max: usize,
        visibility: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let deadline = Instant::now() + wait;
        loop {
            // Listens before it looks, so that nothing arrives unheard in between.
            let mut arrival = std::pin::pin!(self.arrivals.notified());
            arrival.as_mut().enable();
            let now = Instant::now();
            let (held, next) = self.desk().hand_out(count_max, now, visibility);
            if !held.is_empty() {
                return self.deliver(held).await;
            }
            if now >= deadline {
                return Ok(Vec::new());
            }
            // It is looked at again either way.
            let _ = tokio::time::timeout_at(next.map_or(deadline, |next| next.min(deadline)), arrival).await;
        }
    }

    async fn ack(&self, receipt: &str) -> Result<(), QueueError> {
        let held = Receipt::parse(receipt).filter(|held| self.desk().holds(*held, Instant::now()));
        let held = held.ok_or_else(|| QueueError::Expired(receipt.to_owned()))?;
        let ack = Append::Ack { queue: self.name.clone(), number: held.number };
        self.store.append(vec![ack]).await.map_err(|error| send_error(&error))?;
        self.desk().remove(held.number);
        Ok(())
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        let held = Receipt::parse(receipt);
        let extended = held.is_some_and(|held| self.desk().extend(held, Instant::now(), visibility));
        self.arrivals.notify_waiters();
        if extended { Ok(()) } else { Err(QueueError::Expired(receipt.to_owned())) }
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(self.desk().depth() as u64)
    }
}

fn send_error(error: &StoreError) -> QueueError {
    match error {
        StoreError::Full => QueueError::Full(error.to_string()),
        _ => QueueError::Unavailable(error.to_string()),
    }
}

fn unreadable(name: &str, error: &FetchError) -> QueueError {
    QueueError::Unavailable(format!("a message of queue {name} can't be read: {error}"))
}
