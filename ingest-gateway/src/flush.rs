//! One flush: records are compressed, appended together, and their requests answered.
//!
//! **Draft**: events of several requests for one shard, not yet compressed. **Sealed record**: bytes ready for the stream,
//! and who waits for them. **Ripe**: a record that the stream did not take in time, and that the overflow queue may have.

use crate::breaker::{PROBE_INTERVAL, Way};
use crate::budget::Charge;
use crate::metrics::METRICS;
use crate::overflow::{self, Detour};
use crate::parcel::{Fragment, may_share};
use crate::shards::{Routes, ShardMap};
use bytes::Bytes;
use schema::body::BodyPacker;
use schema::record::{self, HEADER_BYTES_MAX};
use schema::v1::RawRecord;
use schema::{HashKey, Kind, ShardId};
use service::traces::{self, Attribute, SpanKind, Spans, TraceContext};
use service::{Env, Traces};
use std::sync::Arc;
use std::time::Duration;
use stream::{AppendError, NewRecord, Placed, Stream};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long the stream may take for one append before its outcome counts as unknown.
pub(crate) const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than its records may wait for the stream an append may take: a stream that repeats by itself has about
/// the same deadline, and only its answer says which records landed.
const APPEND_SLACK: Duration = Duration::from_millis(250);

/// As [`APPEND_TIMEOUT`], for a probe: done before the next one, so that probes alone never hold all flushes.
pub(crate) const PROBE_TIMEOUT: Duration = PROBE_INTERVAL;

/// First and longest pause before a record is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Contexts leave most of a header to what it has otherwise.
const _: () = assert!(traces::CARRIED_BYTES_MAX * 4 <= HEADER_BYTES_MAX);

/// The events could not be made durable; they may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotDurable(pub(crate) String);

/// A request, or part of one, that waits for a record.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) done: oneshot::Sender<Result<(), NotDurable>>,
    /// Held until the outcome is known, whether or not the client still waits.
    pub(crate) charge: Charge,
    /// Span of the request, where it is sampled.
    pub(crate) trace: Option<TraceContext>,
}

impl Waiter {
    fn tell(self, outcome: Result<(), NotDurable>) {
        let Waiter { done, charge, .. } = self;
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
            && may_share(self.events.bytes() + other.bytes(), self.events.events() + other.events())
    }

    pub(crate) fn join(&mut self, other: &Fragment, arrival: Arrival, waiter: Waiter) {
        self.events.ids.extend_from_slice(&other.ids);
        self.events.plain.extend_from_slice(&other.plain);
        self.received_at = self.received_at.min(arrival.received_at);
        self.since = self.since.min(arrival.at);
        self.waiters.push(waiter);
    }

    /// Spans of the append begin here: the record carries their contexts.
    fn seal(self, packer: &mut BodyPacker, patience: Patience, traces: &Traces) -> Sealed {
        let Draft { routes, events, received_at, since, waiters } = self;
        let Fragment { shard, kind, point, ids, plain } = events;
        let body = packer.pack(&plain, record::count(&ids) as u32);
        let sampled = waiters.iter().filter_map(|waiter| waiter.trace);
        let spans = traces.step("append", &SpanKind::Producer, sampled.take(traces::CARRIED_MAX));
        let raw = record::raw(kind, ids, received_at, body);
        let bytes = record::encode(&RawRecord { trace_context: traces::encode(spans.contexts()).into(), ..raw });
        let expected = routes.shard(shard).clone();
        let (ripe_at, deadline) = (since + patience.overflow_after, since + patience.resend_for);
        Sealed { point, kind, bytes, expected, waiters, spans, ripe_at, deadline, attempts: 0, not_before: since }
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
    spans: Spans,
    /// A failure after it sends the record to the overflow queue.
    ripe_at: Instant,
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
        let turn = if now < self.ripe_at { self.ripe_at } else { self.deadline };
        self.not_before = (now + pause).min(turn.max(now + PAUSE_MIN));
    }
}

/// How long a record may wait, from its oldest request on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the overflow queue may have it.
    pub(crate) overflow_after: Duration,
    /// Until its requests fail.
    pub(crate) resend_for: Duration,
}

/// What every flush needs.
#[derive(Clone, Debug)]
pub(crate) struct Flusher {
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) detour: Option<Arc<Detour>>,
    pub(crate) shards: Arc<ShardMap>,
    pub(crate) env: Env,
    pub(crate) patience: Patience,
}

/// What a flush leaves behind.
#[derive(Debug)]
pub(crate) struct Flushed {
    pub(crate) packer: BodyPacker,
    /// To be sent again, each after its pause.
    pub(crate) again: Vec<Sealed>,
    /// Why nothing became durable, if nothing did and nothing else is left to try.
    pub(crate) unwell: Option<String>,
}

/// A record that is not durable.
#[derive(Debug)]
struct Failure {
    record: Sealed,
    error: AppendError,
}

impl Failure {
    fn overflowed(mut self) {
        self.record.spans.describe(|| [Attribute::new("forebay.overflowed", true)]);
        self.record.tell(&Ok(()));
    }

    fn is_ripe(&self, way: Way, now: Instant) -> bool {
        let in_time = way == Way::Stream && now < self.record.ripe_at;
        !in_time && !self.is_hopeless() && overflow::takes(&self.record.bytes)
    }

    /// Neither the stream takes it ever, nor would the drainer get rid of it.
    fn is_hopeless(&self) -> bool {
        matches!(self.error, AppendError::TooLarge { .. })
    }
}

impl Flusher {
    /// Appends drafts, and records from earlier flushes, in one call; what the stream does not take in time goes to the
    /// overflow queue, and while that is so most records go there at once.
    pub(crate) async fn flush(self, mut packer: BodyPacker, drafts: Vec<Draft>, again: Vec<Sealed>) -> Flushed {
        METRICS.resent.inc_by(again.len() as u64);
        let mut records = again;
        records.extend(drafts.into_iter().map(|draft| draft.seal(&mut packer, self.patience, &self.env.traces)));
        let count = records.len();
        let way = self.detour.as_ref().map_or(Way::Stream, |detour| detour.way(Instant::now()));
        let (direct, detoured) = deal(records, way);
        let (failures, refused) = tokio::join!(self.append(direct, way), self.overflow(detoured));
        let now = Instant::now();
        let (ripe, mut left): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| self.detour.is_some() && failure.is_ripe(way, now));
        let was_refused = !refused.is_empty();
        left.extend(refused);
        let refused = self.give_up_on_the_stream(ripe).await;
        let is_last_resort_gone = self.detour.is_none() || was_refused || !refused.is_empty();
        left.extend(refused);
        let unwell = left.last().map(|failure| failure.error.to_string());
        let unwell = unwell.filter(|_| left.len() == count && is_last_resort_gone);
        Flushed { packer, again: self.send_again_or_refuse(left), unwell }
    }

    /// Gives back what did not land; the others are answered.
    async fn append(&self, records: Vec<Sealed>, way: Way) -> Vec<Failure> {
        if records.is_empty() {
            return Vec::new();
        }
        let count = records.len();
        let outcomes = self.outcomes(&records, self.append_timeout(way)).await;
        let mut failures = Vec::new();
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Ok(placed) => self.landed(record, &placed),
                Err(error) => failures.push(Failure { record, error }),
            }
        }
        if let Some(detour) = self.detour.as_ref().filter(|_| failures.len() < count) {
            detour.stream_took_some(Instant::now());
        }
        failures
    }

    fn append_timeout(&self, way: Way) -> Duration {
        match way {
            _ if self.detour.is_none() => APPEND_TIMEOUT,
            Way::Probe => PROBE_TIMEOUT,
            Way::Stream | Way::Queue => (self.patience.overflow_after + APPEND_SLACK).min(APPEND_TIMEOUT),
        }
    }

    /// One result for each record.
    async fn outcomes(&self, records: &[Sealed], timeout: Duration) -> Vec<Result<Placed, AppendError>> {
        METRICS.flushes.inc();
        let batch = records.iter().map(|record| NewRecord { point: record.point, bytes: record.bytes.clone() });
        let append = self.stream.append(batch.collect());
        let unanswered = |detail: String| vec![Err(AppendError::Unavailable(detail)); records.len()];
        match tokio::time::timeout(timeout, append).await {
            Ok(outcomes) if outcomes.len() == records.len() => outcomes,
            Ok(outcomes) => unanswered(format!("{} results for {} records", outcomes.len(), records.len())),
            Err(_) => unanswered(format!("no answer within {timeout:?}")),
        }
    }

    fn landed(&self, mut record: Sealed, placed: &Placed) {
        let (requests, attempts) = (record.waiters.len() as i64, i64::from(record.attempts) + 1);
        record.spans.describe(|| {
            [
                Attribute::new("forebay.shard", placed.shard.to_string()),
                Attribute::new("forebay.requests", requests),
                Attribute::new("forebay.attempts", attempts),
            ]
        });
        METRICS.records.inc();
        METRICS.record_bytes.inc_by(record.bytes.len() as u64);
        if placed.shard != record.expected {
            METRICS.strayed.inc();
            self.shards.mark_stale();
        }
        record.tell(&Ok(()));
    }

    /// As [`Flusher::overflow`], for records that the stream was asked to take.
    async fn give_up_on_the_stream(&self, ripe: Vec<Failure>) -> Vec<Failure> {
        let count = ripe.len();
        let refused = self.overflow(ripe).await;
        if let Some(detour) = self.detour.as_ref().filter(|_| refused.len() < count) {
            detour.overflowed(Instant::now());
        }
        refused
    }

    /// Sends records to the overflow queue. Gives back what it does not take; the others are answered.
    async fn overflow(&self, ripe: Vec<Failure>) -> Vec<Failure> {
        let Some(detour) = self.detour.as_ref().filter(|_| !ripe.is_empty()) else {
            return ripe;
        };
        let results = detour.send(ripe.iter().map(|failure| failure.record.bytes.clone()).collect()).await;
        let mut refused = Vec::new();
        for (failure, result) in ripe.into_iter().zip(results) {
            match result {
                Ok(()) => failure.overflowed(),
                Err(error) => {
                    tracing::debug!(%error, "the overflow queue refuses a record");
                    refused.push(failure);
                }
            }
        }
        refused
    }

    /// Gives back what may be sent again; the requests of the others have failed.
    fn send_again_or_refuse(&self, failures: Vec<Failure>) -> Vec<Sealed> {
        let (now, mut again) = (Instant::now(), Vec::new());
        for failure in failures {
            let is_final = failure.is_hopeless() || now >= failure.record.deadline;
            let Failure { mut record, error } = failure;
            if is_final {
                METRICS.refused_records.inc();
                record.spans.fail(&error);
                tracing::warn!(%error, shard = %record.expected, kind = ?record.kind, attempts = record.attempts, "giving up on a record");
                record.tell(&Err(NotDurable(error.to_string())));
            } else {
                record.pause(now, &self.env);
                again.push(record);
            }
        }
        again
    }
}

/// Deals records out to the stream and, where the breaker is open, to the queue: all that it takes, but one for a probe.
fn deal(records: Vec<Sealed>, way: Way) -> (Vec<Sealed>, Vec<Failure>) {
    let mut probes = match way {
        Way::Stream => return (records, Vec::new()),
        Way::Probe => 1,
        Way::Queue => 0,
    };
    let (mut direct, mut detoured) = (Vec::new(), Vec::new());
    for record in records {
        if probes > 0 || !overflow::takes(&record.bytes) {
            probes = 0;
            direct.push(record);
        } else {
            let error = AppendError::Unavailable("it took nothing of late".into());
            detoured.push(Failure { record, error });
        }
    }
    (direct, detoured)
}
