//! The committer: one thread that writes what waits, syncs it once, makes it visible and answers.
//!
//! There is no pause to gather more: while one commit is being synced, the next one gathers by itself. **Room**: zeros
//! written ahead of the frames. A frame that overwrites them changes neither the file's length nor its blocks, so that a
//! sync has data to write and nothing else.

use crate::draft::{Draft, Spot, Written};
use crate::frame::Kind;
use crate::index::Index;
use crate::intake::{Intake, Taken, Unit};
use crate::segment::{self, Segment};
use crate::store::Clock;
use crate::{StoreError, View};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Room that a seal takes at the end of a segment.
const SEAL_BYTES: u32 = 64;

/// Room that is made at a time: enough for many small commits, little to write and to read over.
const ROOM_BYTES: u32 = 1 << 20;

/// What room is made of.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Memory that the write buffer keeps between commits.
const BUFFER_BYTES_KEPT: usize = 2 << 20;

/// What the committer has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits, one sync each.
    pub commits: u64,
    /// Frames written, and their bytes.
    pub frames: u64,
    pub bytes: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    pub segments: u64,
}

impl Counters {
    pub(crate) fn stats(&self) -> Stats {
        let [commits, frames, bytes] =
            [&self.commits, &self.frames, &self.bytes].map(|counter| counter.load(Ordering::Relaxed));
        Stats { commits, frames, bytes, ..Stats::default() }
    }

    fn count(&self, frames: usize, bytes: usize) {
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

pub(crate) struct Committer {
    pub(crate) data_dir: PathBuf,
    pub(crate) view: Arc<View>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) segment_bytes: u32,
    pub(crate) mark_after: Duration,
    /// The segment that is written, and how much of it is durable.
    pub(crate) tail: Segment,
    pub(crate) synced_through: u32,
    /// Bytes of the file: frames, and room after them.
    pub(crate) length: u32,
    /// Something was written since the last marker.
    pub(crate) unmarked: bool,
    pub(crate) closed: HashSet<Arc<str>>,
    pub(crate) buffer: Vec<u8>,
}

/// A commit that is decided and encoded, but not written.
struct Commit {
    written: Vec<Written>,
    dropped: Vec<u32>,
    ended: Vec<Arc<str>>,
}

impl Committer {
    /// Runs until the intake is closed and empty, or a write fails. Whoever still waits then is told.
    pub(crate) fn run(mut self) {
        let intake = self.intake.clone();
        let stop = StopOnExit(&intake);
        if let Err(error) = self.work() {
            let reason = self.reason(&error);
            tracing::error!(reason, "the store stops: what was being written is undecided");
            intake.stop(&reason);
        }
        drop(stop);
    }

    /// Why nothing more is written, for people.
    fn reason(&self, error: &io::Error) -> String {
        format!("writing {} failed: {error}", segment::path(&self.data_dir, self.tail.number).display())
    }

    fn work(&mut self) -> io::Result<()> {
        loop {
            match self.intake.take(self.mark_after) {
                Taken::Units(units) => self.commit(units)?,
                Taken::Idle => self.mark()?,
                Taken::Closed => {
                    self.mark()?;
                    return self.seal_file();
                }
            }
        }
    }

    fn commit(&mut self, units: Vec<Unit>) -> io::Result<()> {
        let bytes: usize = units.iter().map(|unit| unit.bytes).sum();
        self.make_room(bytes)?;
        let (consumed, now) = (self.view.take_consumed(), (self.clock)());
        let (mut answers, mut works) = (Vec::with_capacity(units.len()), Vec::with_capacity(units.len()));
        for Unit { work, answer, _room, .. } in units {
            works.push(work);
            answers.push((answer, _room));
        }
        let mut outcomes = Vec::with_capacity(works.len());
        let commit = self.draft(now, |draft| {
            outcomes.extend(works.into_iter().map(|work| draft.decide(work)));
            draft.marks(&consumed);
        });
        let written = self.write(&commit).and_then(|()| self.sync());
        if let Err(error) = written {
            let reason = self.reason(&error);
            for (answer, _room) in answers {
                // Whoever waited may be gone.
                let _ = answer.send(Err(StoreError::Stopped(reason.clone())));
            }
            return Err(error);
        }
        self.publish(commit)?;
        for ((answer, _room), outcome) in answers.into_iter().zip(outcomes) {
            let _ = answer.send(Ok(outcome));
        }
        Ok(())
    }

    /// Encodes what `decide` puts into a commit at the tail.
    fn draft(&mut self, now: i64, decide: impl FnOnce(&mut Draft<'_>)) -> Commit {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        let spot = Spot { segment: self.tail.number, offset: self.tail.end, synced_through: self.synced_through, now };
        let index = self.view.index();
        let mut draft = Draft::new(&index, &mut self.closed, &mut self.buffer, spot);
        decide(&mut draft);
        let Draft { written, dropped, ended, .. } = draft;
        Commit { written, dropped, ended }
    }

    fn write(&mut self, commit: &Commit) -> io::Result<()> {
        self.tail.file.write_all_at(&self.buffer, self.tail.end.into())?;
        self.tail.end += self.buffer.len() as u32;
        self.make_ahead();
        self.unmarked |= !commit.written.is_empty();
        self.counters.count(commit.written.len(), self.buffer.len());
        Ok(())
    }

    /// Makes room, where the frames have used up what there was.
    fn make_ahead(&mut self) {
        if self.tail.end < self.length {
            return;
        }
        self.length = self.tail.end;
        let end = self.tail.end.saturating_add(ROOM_BYTES).min(self.segment_bytes);
        while self.length < end {
            let zeros = &ZEROS[..ZEROS.len().min((end - self.length) as usize)];
            if self.tail.file.write_all_at(zeros, self.length.into()).is_err() {
                // It only makes syncs cheaper. Whether the disk is full, the next frame will say.
                return;
            }
            self.length += zeros.len() as u32;
        }
    }

    /// Gives back the room, and syncs all there is to sync.
    fn seal_file(&mut self) -> io::Result<()> {
        self.tail.file.set_len(self.tail.end.into())?;
        self.length = self.tail.end;
        self.tail.file.sync_all()
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.synced_through < self.tail.end {
            self.tail.file.sync_data()?;
            self.synced_through = self.tail.end;
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes a commit visible, and removes the segments that it gave up.
    fn publish(&mut self, commit: Commit) -> io::Result<()> {
        let mut arrivals: HashMap<Arc<str>, Arc<Notify>> = HashMap::new();
        let mut index = self.view.index_mut();
        for written in commit.written {
            index.apply(written.place, &written.body());
            let Written { kind, name, aux, payload, .. } = written;
            if kind == Kind::Record {
                if !arrivals.contains_key(&name) {
                    arrivals.insert(name.clone(), index.log(&name).arrivals.clone());
                }
                index.remember(&name, aux as i64, payload);
            }
        }
        for name in commit.ended {
            arrivals.insert(name.clone(), index.log(&name).arrivals.clone());
        }
        self.stretch_tail(&mut index);
        for segment in &commit.dropped {
            index.segments.remove(segment);
            index.damaged_segments.remove(segment);
        }
        drop(index);
        arrivals.into_values().for_each(|arrivals| arrivals.notify_waiters());
        commit.dropped.into_iter().try_for_each(|segment| segment::remove(&self.data_dir, segment))
    }

    fn stretch_tail(&self, index: &mut Index) {
        index.segments.get_mut(&self.tail.number).expect("the tail is never dropped").end = self.tail.end;
    }

    /// Says, while nothing else is to do, that all before it is durable. Not worth a sync: it takes effect when it gets there.
    fn mark(&mut self) -> io::Result<()> {
        let consumed = self.view.take_consumed();
        if !self.unmarked && consumed.is_empty() {
            return Ok(());
        }
        self.make_room(0)?;
        let now = (self.clock)();
        let commit = self.draft(now, |draft| {
            draft.marks(&consumed);
            draft.marker();
        });
        self.write(&commit)?;
        self.unmarked = false;
        self.publish(commit)
    }

    /// Seals the tail and begins the next segment, if `bytes` more do not fit.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = self.tail.end as usize + bytes + SEAL_BYTES as usize;
        if needed <= self.segment_bytes as usize || self.tail.end == 0 {
            return Ok(());
        }
        // The next one first: a sealed segment that none follows has lost it.
        let next = segment::create(&self.data_dir, self.tail.number + 1)?;
        let now = (self.clock)();
        let seal = self.draft(now, |draft| draft.seal());
        self.write(&seal)?;
        self.seal_file()?;
        self.publish(seal)?;
        self.tail = next;
        (self.synced_through, self.length) = (0, 0);
        self.view.index_mut().segments.insert(self.tail.number, self.tail.clone());
        Ok(())
    }
}

/// Tells whoever waits when the thread ends, whatever the reason.
struct StopOnExit<'a>(&'a Intake);

impl Drop for StopOnExit<'_> {
    fn drop(&mut self) {
        self.0.stop("it was closed");
    }
}
