//! The packer: joins what waits into records, one for each shard and kind, and keeps a few flushes going.
//!
//! A flush starts as soon as a slot is free. Under load requests gather while the slots are taken, so records grow by
//! themselves and no timer is needed; `linger` adds one for those who want fewer, larger records.

use crate::flush::{Arrival, Draft, Flushed, Flusher, Sealed, Waiter};
use crate::parcel::Fragment;
use crate::shards::Routes;
use anyhow::Context;
use schema::body::BodyPacker;
use schema::record::PACK_BYTES_MAX;
use service::{Part, Stop};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests that may wait for the packer; their bytes are bounded by the budget.
pub(crate) const INBOX_MAX: usize = 8192;

/// Bytes of drafts after which nothing is added to a flush. Source: one PutRecords call takes 10 MiB,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>
const FLUSH_BYTES_MAX: usize = 8 << 20;

/// Records of one flush, most. Source: as [`FLUSH_BYTES_MAX`].
const FLUSH_RECORDS_MAX: usize = 500;

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
    bytes: usize,
    since: Option<Instant>,
}

impl Drafts {
    fn take(&mut self, submission: Submission) {
        let Submission { routes, arrival, fragments } = submission;
        self.since.get_or_insert(arrival.at);
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
}

impl Packer {
    pub(crate) fn new(
        inbox: mpsc::Receiver<Submission>,
        flusher: Flusher,
        flushes_max: usize,
        linger: Duration,
        part: Part,
    ) -> Packer {
        let idle = (0..flushes_max).map(|_| BodyPacker::default()).collect();
        part.ready();
        Packer {
            inbox,
            is_closed: false,
            flusher,
            linger,
            part,
            is_well: true,
            drafts: Drafts::default(),
            again: Vec::new(),
            idle,
            flushing: JoinSet::new(),
        }
    }

    /// Runs until `closing`, and until everything that came through the inbox before has its outcome.
    pub(crate) async fn run(mut self, closing: Stop) -> anyhow::Result<()> {
        loop {
            let due = self.due();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.start_flush();
                continue;
            }
            tokio::select! {
                Some(flushed) = self.flushing.join_next() => {
                    let flushed = flushed.context("a flush panicked")?;
                    self.finish_flush(flushed);
                }
                submission = self.inbox.recv(), if !self.is_closed && !self.drafts.are_full() => self.receive(submission),
                () = closing.cancelled(), if !self.inbox.is_closed() => self.inbox.close(),
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                else => return Ok(()),
            }
        }
    }

    fn receive(&mut self, submission: Option<Submission>) {
        let Some(submission) = submission else {
            self.is_closed = true;
            return;
        };
        self.drafts.take(submission);
        while !self.drafts.are_full() {
            match self.inbox.try_recv() {
                Ok(submission) => self.drafts.take(submission),
                Err(_) => return,
            }
        }
    }

    /// When the next flush starts; `None` while nothing waits or no slot is free.
    fn due(&self) -> Option<Instant> {
        self.idle.last()?;
        let hurry = self.is_closed || self.drafts.bytes >= PACK_BYTES_MAX;
        let linger = if hurry { Duration::ZERO } else { self.linger };
        let fresh = self.drafts.since.map(|since| since + linger);
        let again = self.again.iter().map(|record| record.not_before).min();
        fresh.into_iter().chain(again).min()
    }

    fn start_flush(&mut self) {
        let packer = self.idle.pop().expect("a flush is due only while a slot is free");
        let now = Instant::now();
        let room = FLUSH_RECORDS_MAX.saturating_sub(self.drafts.records.len()).max(1);
        let again: Vec<Sealed> = self.again.extract_if(.., |record| record.not_before <= now).take(room).collect();
        let drafts = std::mem::take(&mut self.drafts).records;
        self.flushing.spawn(self.flusher.clone().flush(packer, drafts, again));
    }

    fn finish_flush(&mut self, flushed: Flushed) {
        let Flushed { packer, again, unwell } = flushed;
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
