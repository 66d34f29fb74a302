//! The packer: joins what waits into records, one for each shard and kind, and keeps a few flushes going.
//!
//! A flush starts at once where none is under way and few requests come. Otherwise requests gather until it is done, or until
//! there are as many as the pace wants, so that under load records grow by themselves and a sync serves many: while one flush
//! is synced, the next one is made ready. A slow stream gets several at a time. `linger` is for those who want fewer, larger
//! records still.

use crate::Config;
use crate::crowd::Crowd;
use crate::flush::{Arrival, Draft, Flushed, Flusher, Sealed, Waiter};
use crate::pace::Pace;
use crate::parcel::Fragment;
use crate::shards::Routes;
use anyhow::Context;
use schema::body::BodyPacker;
use schema::record::PACK_BYTES_MAX;
use service::{Part, Stop};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests that may wait for the packer; their bytes are bounded by the budget.
pub(crate) const INBOX_MAX: usize = 8192;

/// Bytes of drafts after which nothing is added to a flush. Source: one PutRecords call takes 10 MiB,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const FLUSH_BYTES_MAX: usize = 8 << 20;

/// Records of one flush, most. Source: as [`FLUSH_BYTES_MAX`].
const FLUSH_RECORDS_MAX: usize = 500;

/// How long requests gather while a flush is under way, however few they are: longer than a quick stream takes for one, and
/// short for one that takes tens of milliseconds.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// The events of one request.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) routes: Arc<Routes>,
    pub(crate) arrival: Arrival,
    pub(crate) fragments: Vec<(Fragment, Waiter)>,
}

/// What waits for the next flush.
#[derive(Debug, Default)]
struct Drafts {
    records: Vec<Draft>,
    requests: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Drafts {
    fn take(&mut self, submission: Submission) {
        let Submission { routes, arrival, fragments } = submission;
        self.since.get_or_insert(arrival.at);
        self.requests += 1;
        for (fragment, waiter) in fragments {
            self.bytes += fragment.bytes();
            match self.records.iter_mut().rev().find(|draft| draft.fits(&routes, &fragment)) {
                Some(draft) => draft.join(&fragment, arrival, waiter),
                None => self.records.push(Draft::start(routes.clone(), fragment, arrival, waiter)),
            }
        }
    }

    fn are_full(&self) -> bool {
        self.bytes >= FLUSH_BYTES_MAX || self.records.len() >= FLUSH_RECORDS_MAX
    }
}

/// The one task through which all events go.
#[derive(Debug)]
pub(crate) struct Packer {
    inbox: mpsc::Receiver<Submission>,
    crowd: Arc<Crowd>,
    /// No more submissions come.
    is_closed: bool,
    flusher: Flusher,
    linger: Duration,
    part: Part,
    is_well: bool,
    drafts: Drafts,
    /// Records that failed, each with its pause.
    again: Vec<Sealed>,
    /// One for each flush that may start.
    idle: Vec<BodyPacker>,
    flushing: JoinSet<Flushed>,
    /// When the last flush started.
    flushed_at: Option<Instant>,
    pace: Pace,
}

impl Packer {
    /// `crowd` is told of whatever comes through `inbox`.
    pub(crate) fn new(
        inbox: mpsc::Receiver<Submission>,
        crowd: Arc<Crowd>,
        flusher: Flusher,
        config: &Config,
        part: Part,
    ) -> Packer {
        let Config { flushes_max, linger, record_level, .. } = *config;
        let idle = (0..flushes_max).map(|_| BodyPacker::new(record_level)).collect();
        part.ready();
        Packer {
            inbox,
            crowd,
            is_closed: false,
            flusher,
            linger,
            part,
            is_well: true,
            drafts: Drafts::default(),
            again: Vec::new(),
            idle,
            flushing: JoinSet::new(),
            flushed_at: None,
            pace: Pace::default(),
        }
    }

    /// Runs until `closing`, and until everything that came through the inbox before has its outcome.
    pub(crate) async fn run(mut self, closing: Stop) -> anyhow::Result<()> {
        let (mut closed, crowd) = (pin!(closing.cancelled_owned()), self.crowd.clone());
        loop {
            let now = Instant::now();
            let gathers_until = self.gathers_until(now);
            if gathers_until.is_none() {
                self.receive_what_waits();
            }
            let due = gathers_until.or_else(|| self.due());
            if due.is_some_and(|due| due <= now) {
                self.start_flush(now);
                continue;
            }
            let may_receive = gathers_until.is_none() && !self.is_closed && !self.drafts.are_full();
            tokio::select! {
                Some(flushed) = self.flushing.join_next() => {
                    let flushed = flushed.context("a flush panicked")?;
                    self.finish_flush(flushed);
                }
                submission = self.inbox.recv(), if may_receive => self.receive(submission),
                () = crowd.came(), if gathers_until.is_some() => {}
                () = &mut closed, if !self.inbox.is_closed() => self.inbox.close(),
                () = tokio::time::sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                else => return Ok(()),
            }
        }
    }

    fn receive(&mut self, submission: Option<Submission>) {
        match submission {
            Some(submission) => self.drafts.take(submission),
            None => self.is_closed = true,
        }
    }

    fn receive_what_waits(&mut self) {
        while !self.drafts.are_full() {
            match self.inbox.try_recv() {
                Ok(submission) => self.drafts.take(submission),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }

    /// Until when requests are left in the inbox, because a flush is under way: nobody is woken for each of them, but for as
    /// many as another flush is worth.
    fn gathers_until(&self, now: Instant) -> Option<Instant> {
        let until = self.flushed_at? + GATHER_MAX;
        let gathers = !self.flushing.is_empty() && now < until && !self.is_crowded();
        gathers.then_some(until)
    }

    /// Whether enough wait for another flush, and one may start.
    fn is_crowded(&self) -> bool {
        let Some(wanted) = self.pace.wanted().filter(|_| !self.idle.is_empty()) else { return false };
        self.crowd.expect(wanted);
        self.inbox.len() >= wanted
    }

    /// When the next flush starts; `None` while nothing waits or no slot is free.
    fn due(&self) -> Option<Instant> {
        self.idle.last()?;
        let hurry = self.is_closed || self.drafts.bytes >= PACK_BYTES_MAX;
        let linger = if hurry { Duration::ZERO } else { self.linger };
        let hold_until = if hurry { None } else { self.pace.hold_until(self.drafts.requests) };
        let fresh = self.drafts.since.map(|since| hold_until.map_or(since + linger, |until| until.max(since + linger)));
        let again = self.again.iter().map(|record| record.not_before).min();
        fresh.into_iter().chain(again).min()
    }

    fn start_flush(&mut self, now: Instant) {
        let packer = self.idle.pop().expect("a flush is due only while a slot is free");
        self.flushed_at = Some(now);
        let room = FLUSH_RECORDS_MAX.saturating_sub(self.drafts.records.len()).max(1);
        let again: Vec<Sealed> = self.again.extract_if(.., |record| record.not_before <= now).take(room).collect();
        let drafts = std::mem::take(&mut self.drafts);
        self.pace.flush_starts(drafts.requests, now);
        self.flushing.spawn(self.flusher.clone().flush(packer, drafts.records, again));
    }

    fn finish_flush(&mut self, flushed: Flushed) {
        let Flushed { packer, again, unwell } = flushed;
        self.pace.flush_ended(Instant::now());
        self.idle.push(packer);
        self.again.extend(again);
        match &unwell {
            Some(reason) => self.part.not_ready(reason),
            None if !self.is_well => self.part.ready(),
            None => {}
        }
        self.is_well = unwell.is_none();
    }
}
