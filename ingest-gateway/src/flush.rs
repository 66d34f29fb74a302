//! One flush: records are compressed, appended together, and their requests answered.
//!
//! **Draft**: events of several requests for one shard, not yet compressed. **Sealed record**: bytes ready for the stream,
//! and who waits for them.

use crate::budget::Charge;
use crate::metrics::METRICS;
use crate::parcel::Fragment;
use crate::shards::{Routes, ShardMap};
use bytes::Bytes;
use queue::Queue;
use schema::body::BodyPacker;
use schema::record;
use schema::{HashKey, Kind, ShardId};
use service::Env;
use std::sync::Arc;
use std::time::Duration;
use stream::{AppendError, NewRecord, Placed, Stream};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long the stream may take for one append before its outcome counts as unknown.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// First and longest pause before a record is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The events could not be made durable; they may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotDurable(pub(crate) String);

/// A request, or part of one, that waits for a record.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) done: oneshot::Sender<Result<(), NotDurable>>,
    /// Held until the outcome is known, whether or not the client still waits.
    pub(crate) charge: Charge,
}

impl Waiter {
    fn tell(self, outcome: Result<(), NotDurable>) {
        let Waiter { done, charge } = self;
        drop(charge);
        // A client that went away needs no answer; its events are durable all the same.
        let _ = done.send(outcome);
    }
}

/// Events for one shard, not yet compressed.
#[derive(Debug)]
pub(crate) struct Draft {
    routes: Arc<Routes>,
    events: Fragment,
    received_at: i64,
    /// When the oldest request came.
    since: Instant,
    waiters: Vec<Waiter>,
}

/// When a request came: by the wall clock, for its events, and by the monotonic one, for its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) received_at: i64,
    pub(crate) at: Instant,
}

impl Draft {
    pub(crate) fn start(routes: Arc<Routes>, events: Fragment, arrival: Arrival, waiter: Waiter) -> Draft {
        Draft { routes, events, received_at: arrival.received_at, since: arrival.at, waiters: vec![waiter] }
    }

    /// Whether `other` may join: same shard by the same routes, same kind, and room.
    pub(crate) fn fits(&self, routes: &Arc<Routes>, other: &Fragment) -> bool {
        self.events.shard == other.shard
            && self.events.kind == other.kind
            && Arc::ptr_eq(&self.routes, routes)
            && record::fits(self.events.bytes() + other.bytes(), self.events.events() + other.events())
    }

    pub(crate) fn join(&mut self, other: &Fragment, arrival: Arrival, waiter: Waiter) {
        self.events.ids.extend_from_slice(&other.ids);
        self.events.plain.extend_from_slice(&other.plain);
        self.received_at = self.received_at.min(arrival.received_at);
        self.since = self.since.min(arrival.at);
        self.waiters.push(waiter);
    }

    fn seal(self, packer: &mut BodyPacker, resend_for: Duration) -> Sealed {
        let Draft { routes, events, received_at, since, waiters } = self;
        let Fragment { shard, kind, point, ids, plain } = events;
        let body = packer.pack(&plain, record::count(&ids) as u32);
        let bytes = record::encode(&record::raw(kind, ids, received_at, body));
        let expected = routes.shard(shard).clone();
        Sealed { point, kind, bytes, expected, waiters, deadline: since + resend_for, attempts: 0, not_before: since }
    }
}

/// A record ready for the stream.
#[derive(Debug)]
pub(crate) struct Sealed {
    point: HashKey,
    kind: Kind,
    bytes: Bytes,
    expected: ShardId,
    waiters: Vec<Waiter>,
    /// A failure after it is final.
    deadline: Instant,
    attempts: u32,
    /// When it may be sent again.
    pub(crate) not_before: Instant,
}

impl Sealed {
    fn tell(self, outcome: &Result<(), NotDurable>) {
        for waiter in self.waiters {
            waiter.tell(outcome.clone());
        }
    }

    /// Sets the pause before the next attempt: doubled each time, half of it by chance.
    fn pause(&mut self, now: Instant, env: &Env) {
        let longest = PAUSE_MIN.saturating_mul(1 << self.attempts.min(16)).min(PAUSE_MAX);
        let share = (env.nonce() as u32) as f64 / f64::from(u32::MAX);
        let pause = longest.mul_f64(0.5 + share / 2.0);
        self.attempts += 1;
        self.not_before = (now + pause).min(self.deadline.max(now + PAUSE_MIN));
    }
}

/// What every flush needs.
#[derive(Clone, Debug)]
pub(crate) struct Flusher {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) overflow: Option<Arc<dyn Queue>>,
    pub(crate) shards: Arc<ShardMap>,
    pub(crate) env: Env,
    pub(crate) resend_for: Duration,
}

/// What a flush leaves behind.
#[derive(Debug)]
pub(crate) struct Flushed {
    pub(crate) packer: BodyPacker,
    /// To be sent again, each after its pause.
    pub(crate) again: Vec<Sealed>,
    /// Why records failed, if none was appended.
    pub(crate) unwell: Option<String>,
}

impl Flusher {
    /// Appends drafts, and records from earlier flushes, in one call.
    pub(crate) async fn flush(self, mut packer: BodyPacker, drafts: Vec<Draft>, again: Vec<Sealed>) -> Flushed {
        METRICS.resent.inc_by(again.len() as u64);
        let mut records = again;
        records.extend(drafts.into_iter().map(|draft| draft.seal(&mut packer, self.resend_for)));
        let outcomes = self.append(&records).await;
        let (mut again, mut final_failures, mut unwell, mut any_landed) = (Vec::new(), Vec::new(), None, false);
        let now = Instant::now();
        for (mut record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Ok(placed) => {
                    any_landed = true;
                    self.landed(record, &placed);
                }
                Err(error) => {
                    unwell = Some(error.to_string());
                    if matches!(error, AppendError::TooLarge { .. }) || now >= record.deadline {
                        final_failures.push((record, error));
                    } else {
                        record.pause(now, &self.env);
                        again.push(record);
                    }
                }
            }
        }
        self.give_up(final_failures).await;
        Flushed { packer, again, unwell: unwell.filter(|_| !any_landed) }
    }

    /// One result for each record.
    async fn append(&self, records: &[Sealed]) -> Vec<Result<Placed, AppendError>> {
        METRICS.flushes.inc();
        let batch = records.iter().map(|record| NewRecord { point: record.point, bytes: record.bytes.clone() });
        let append = self.stream.append(batch.collect());
        let unanswered = |detail: String| vec![Err(AppendError::Unavailable(detail)); records.len()];
        match tokio::time::timeout(APPEND_TIMEOUT, append).await {
            Ok(outcomes) if outcomes.len() == records.len() => outcomes,
            Ok(outcomes) => unanswered(format!("{} results for {} records", outcomes.len(), records.len())),
            Err(_) => unanswered(format!("no answer within {APPEND_TIMEOUT:?}")),
        }
    }

    fn landed(&self, record: Sealed, placed: &Placed) {
        METRICS.records.inc();
        METRICS.record_bytes.inc_by(record.bytes.len() as u64);
        if placed.shard != record.expected {
            METRICS.strayed.inc();
            self.shards.mark_stale();
        }
        record.tell(&Ok(()));
    }

    /// Sends records to the overflow queue, where there is one and it takes them; the others have failed.
    async fn give_up(&self, failures: Vec<(Sealed, AppendError)>) {
        if failures.is_empty() {
            return;
        }
        let overflowed = match &self.overflow {
            Some(queue) => {
                let messages = failures.iter().map(|(record, _)| record.bytes.clone()).collect();
                tokio::time::timeout(APPEND_TIMEOUT, queue.send(messages)).await.unwrap_or_default()
            }
            None => Vec::new(),
        };
        let mut overflowed = overflowed.into_iter();
        for (record, error) in failures {
            if matches!(overflowed.next(), Some(Ok(()))) {
                METRICS.overflowed.inc();
                record.tell(&Ok(()));
            } else {
                METRICS.refused_records.inc();
                tracing::warn!(%error, shard = %record.expected, kind = ?record.kind, attempts = record.attempts, "giving up on a record");
                record.tell(&Err(NotDurable(error.to_string())));
            }
        }
    }
}
