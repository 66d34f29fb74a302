//! The overflow queue: takes the records that the stream does not take in time.
//!
//! **Detour**: the way of records by the queue instead of the stream, as long as the [breaker](crate::breaker) is open.

use crate::Config;
use crate::breaker::{Breaker, Way};
use crate::metrics::METRICS;
use anyhow::ensure;
use bytes::Bytes;
use queue::{MESSAGE_BYTES_MAX, Queue, QueueError};
use service::Stop;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How long the queue may take for one answer before it counts as lost.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at how much waits in the queue: each is a request that is billed.
const DEPTH_PAUSE: Duration = Duration::from_secs(60);

/// A queue for what the stream does not take, and how long it keeps messages; `None` where it keeps them for ever.
#[derive(Clone, Debug)]
pub struct Overflow {
    pub queue: Arc<dyn Queue>,
    pub retention: Option<Duration>,
}

impl Overflow {
    /// A record may come out of the queue as late as its retention, and a copy of it may have gone by the stream: the
    /// dedup stage has to remember that one still.
    ///
    /// # Errors
    /// The queue keeps records for as long as the dedup window, or longer.
    pub(crate) fn check(&self, dedup_window: Duration) -> anyhow::Result<()> {
        let Some(retention) = self.retention else {
            return Ok(());
        };
        ensure!(
            retention < dedup_window,
            "the overflow queue keeps messages for {retention:?} (FOREBAY_OVERFLOW_RETENTION, set on the queue), which is \
             not less than --dedup-window {dedup_window:?} (FOREBAY_WINDOW): copies that come out of it later would not \
             be recognised"
        );
        Ok(())
    }
}

/// Whether the queue takes a record of this size.
pub(crate) fn takes(record: &Bytes) -> bool {
    record.len() <= MESSAGE_BYTES_MAX
}

/// The queue, and whether records go there at once.
#[derive(Debug)]
pub(crate) struct Detour {
    pub(crate) queue: Arc<dyn Queue>,
    breaker: Mutex<Breaker>,
}

impl Detour {
    pub(crate) fn new(overflow: Overflow, config: &Config) -> Arc<Detour> {
        let breaker = Mutex::new(Breaker::new(config.overflow_after));
        Arc::new(Detour { queue: overflow.queue, breaker })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().expect("no holder panics")
    }

    pub(crate) fn way(&self, now: Instant) -> Way {
        self.breaker().way(now)
    }

    /// When the stream is tried next; `None` while records go there anyway.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.breaker().probe_at()
    }

    /// Records went to the queue because the stream did not take them.
    pub(crate) fn overflowed(&self, now: Instant) {
        if self.breaker().overflowed(now) {
            METRICS.overflow_open.set(1);
            tracing::warn!("the raw stream takes nothing: records go straight to the overflow queue until it does");
        }
    }

    pub(crate) fn stream_took_some(&self, now: Instant) {
        if self.breaker().landed(now) {
            METRICS.overflow_open.set(0);
            tracing::info!("the raw stream takes records again");
        }
    }

    /// Shows how much waits in the queue, until `stop`.
    pub(crate) async fn watch(&self, stop: Stop) {
        while !stop.is_cancelled() {
            match tokio::time::timeout(QUEUE_TIMEOUT, self.queue.depth()).await {
                Ok(Ok(messages)) => METRICS.overflow_messages.set(i64::try_from(messages).unwrap_or(i64::MAX)),
                Ok(Err(error)) => tracing::debug!(%error, "can't tell how much waits in the overflow queue"),
                Err(_) => tracing::debug!("the overflow queue does not say how much waits in it"),
            }
            stop.run_until_cancelled(tokio::time::sleep(DEPTH_PAUSE)).await;
        }
    }

    /// Sends records; one result for each.
    pub(crate) async fn send(&self, records: Vec<Bytes>) -> Vec<Result<(), QueueError>> {
        let count = records.len();
        let unanswered = |detail: String| vec![Err(QueueError::Unavailable(detail)); count];
        let results = match tokio::time::timeout(QUEUE_TIMEOUT, self.queue.send(records)).await {
            Ok(results) if results.len() == count => results,
            Ok(results) => unanswered(format!("{} results for {count} messages", results.len())),
            Err(_) => unanswered(format!("no answer within {QUEUE_TIMEOUT:?}")),
        };
        let taken = results.iter().filter(|result| result.is_ok()).count();
        METRICS.overflowed.inc_by(taken as u64);
        METRICS.overflow_refused.inc_by((count - taken) as u64);
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue::embedded::{EmbeddedQueue, QueueBounds};
    use store::{Options, Store};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_queue_that_keeps_records_beyond_the_dedup_window_is_refused_by_both_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).expect("a sound directory");
        let bounds = QueueBounds { messages_max: 1, bytes_max: 1 };
        let queue: Arc<dyn Queue> = Arc::new(EmbeddedQueue::open(Arc::new(store), "overflow", bounds));
        let kept = |retention| Overflow { queue: queue.clone(), retention };
        assert!(kept(None).check(HOUR).is_ok());
        assert!(kept(Some(HOUR - Duration::from_secs(1))).check(HOUR).is_ok());
        let error = kept(Some(HOUR)).check(HOUR).expect_err("as long as the window").to_string();
        for setting in ["--dedup-window", "FOREBAY_WINDOW", "FOREBAY_OVERFLOW_RETENTION"] {
            assert!(error.contains(setting), "{error}");
        }
    }
}
