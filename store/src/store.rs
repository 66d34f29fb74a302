//! The store as the writing process holds it.

use crate::commit::{Committer, Counters};
use crate::damage::Damage;
use crate::draft::{Append, Refusal, Work};
use crate::frame::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::index::Index;
use crate::intake::{COMMIT_BYTES_MAX, Intake};
use crate::lock::Lock;
use crate::recover::{Recovered, recover, set_aside};
use crate::segment::{self, SEGMENT_BYTES, Segment};
use crate::{Stats, StoreError, View};
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Gives Unix time in microseconds: stamps records and ages segments, orders nothing.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How long records stay after they were consumed, unless told otherwise.
const RETAIN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes above which consumed segments go before their time, unless told otherwise.
const LOG_BYTES_MAX: u64 = 20 << 30;

/// Longest wait for room in the queue, unless told otherwise.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Quiet time before a marker, unless told otherwise: until then, damage to the last commit passes for a torn tail.
const MARK_AFTER: Duration = Duration::from_millis(200);

/// How a data directory is opened.
#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    /// Who opens it, for whoever is refused meanwhile: the program and since when.
    pub holder: String,
    /// Opens in spite of damage. What is damaged is copied to `damaged/` and stays where it is, so that it is reported at
    /// each open until retention drops its segment. Reading a log passes over damaged records. A damaged slot stays an
    /// error, and so does the next slot of a chain that was not written to since bytes of unknown content were lost. A
    /// chain of which nothing is left is as if it had never been.
    pub set_aside_damaged: bool,
    pub retain_for: Duration,
    pub log_bytes_max: u64,
    /// Longest wait for room in the queue before [`StoreError::Full`].
    pub wait_max: Duration,
    /// Quiet time after which a marker is written that tells damage to what comes before it from a torn tail.
    pub mark_after: Duration,
    /// Bytes at which a segment is full; at most [`SEGMENT_BYTES`].
    pub segment_bytes: u32,
}

impl Options {
    pub fn new(clock: Clock, holder: impl Into<String>) -> Options {
        Options {
            clock,
            holder: holder.into(),
            set_aside_damaged: false,
            retain_for: RETAIN_FOR,
            log_bytes_max: LOG_BYTES_MAX,
            wait_max: WAIT_MAX,
            mark_after: MARK_AFTER,
            segment_bytes: SEGMENT_BYTES,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// A data directory that this process writes. Closed when dropped.
#[derive(Debug)]
pub struct Store {
    view: Arc<View>,
    intake: Arc<Intake>,
    counters: Arc<Counters>,
    committer: Mutex<Option<JoinHandle<()>>>,
    lock: Lock,
    damages: Vec<Damage>,
    options: Options,
}

impl Store {
    /// Opens `data_dir`, or makes it; blocks while it reads the whole log.
    ///
    /// # Errors
    /// [`StoreError::Held`] names the other process. [`StoreError::Damaged`] lists what can't be read.
    pub fn open(data_dir: &Path, options: Options) -> Result<Store, StoreError> {
        let context = || format!("open the log in {}", data_dir.display());
        make_dirs(data_dir).map_err(StoreError::io(context()))?;
        let lock = Lock::take(data_dir, &options.holder)?;
        let Recovered { mut index, damages } = recover(data_dir).map_err(StoreError::io(context()))?;
        if !damages.is_empty() {
            if !options.set_aside_damaged {
                return Err(StoreError::Damaged(damages));
            }
            damages.iter().for_each(|damage| tracing::warn!(%damage, "set aside"));
            set_aside(data_dir, &damages).map_err(StoreError::io("set damaged bytes aside"))?;
        }
        let tail = tail(&mut index, data_dir).map_err(StoreError::io(context()))?;
        let view = Arc::new(View::new(index, options.set_aside_damaged));
        let (intake, counters) = (Arc::<Intake>::default(), Arc::<Counters>::default());
        let committer = Committer {
            data_dir: PathBuf::from(data_dir),
            view: view.clone(),
            intake: intake.clone(),
            counters: counters.clone(),
            clock: options.clock.clone(),
            segment_bytes: options.segment_bytes.min(SEGMENT_BYTES),
            mark_after: options.mark_after,
            synced_through: tail.end,
            length: tail.end,
            unmarked: tail.end > 0,
            tail,
            closed: HashSet::new(),
            buffer: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("committer".to_owned());
        let committer = thread.spawn(|| committer.run()).map_err(StoreError::io("start the committer"))?;
        Ok(Store { view, intake, counters, committer: Mutex::new(Some(committer)), lock, damages, options })
    }

    /// What can be read: durable appends only.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What was damaged at open and has been set aside.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// Appends in order, durably; answers each in its place. Readers see them before the answer.
    ///
    /// Not all or nothing: where a power cut hits, the first ones may be there and the others not.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was written; wait and repeat. [`StoreError::Stopped`], [`StoreError::Partly`]:
    /// undecided.
    pub async fn append(&self, appends: Vec<Append>) -> Result<Vec<Result<u64, Refusal>>, StoreError> {
        let mut bytes = 0;
        for append in &appends {
            check(append)?;
            bytes += append.frame_bytes();
        }
        if bytes <= COMMIT_BYTES_MAX {
            return self.submit(Work::Appends(appends), bytes).await;
        }
        let mut answers = Vec::with_capacity(appends.len());
        for (some, bytes) in split(appends) {
            match self.submit(Work::Appends(some), bytes).await {
                Ok(more) => answers.extend(more),
                Err(error) if answers.is_empty() => return Err(error),
                Err(error) => return Err(StoreError::Partly(Box::new(error))),
            }
        }
        Ok(answers)
    }

    /// Waits until the store takes nothing more, and says why: a write or a sync failed, or it was closed.
    pub async fn stopped(&self) -> StoreError {
        self.intake.stopped().await
    }

    /// Tells whoever finds the directory in use more about its holder, such as its address.
    pub fn describe_holder(&self, more: &str) -> Result<(), StoreError> {
        self.lock.describe(more).map_err(StoreError::io("describe the holder in the lock file"))
    }

    pub fn stats(&self) -> Stats {
        let (log_bytes, segments) = self.view.log_size();
        let pending_bytes = self.intake.waiting_bytes();
        Stats { pending_bytes, log_bytes, segments: segments as u64, ..self.counters.stats() }
    }

    /// Writes what waits, and lets the directory go. Takes nothing more; blocks for the last sync.
    pub fn close(&self) {
        self.intake.close();
        let committer = self.committer.lock().expect("nobody panics while holding it").take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!("the committer panicked");
        }
        self.lock.release();
    }

    pub(crate) async fn submit(&self, work: Work, bytes: usize) -> Result<Vec<Result<u64, Refusal>>, StoreError> {
        self.intake.submit(work, bytes, self.options.wait_max).await
    }

    pub(crate) fn retention(&self) -> (Duration, u64) {
        (self.options.retain_for, self.options.log_bytes_max)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// Makes the directories so that a power cut does not take them away again.
fn make_dirs(data_dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(segment::dir(data_dir))?;
    segment::sync_dir(data_dir)?;
    let parent = data_dir.canonicalize()?;
    parent.parent().map_or(Ok(()), segment::sync_dir)
}

/// The segment to write to.
fn tail(index: &mut Index, data_dir: &Path) -> std::io::Result<Segment> {
    let number = match index.segments.values().last() {
        Some(last) if last.sealed_at.is_none() => return Ok(last.clone()),
        Some(last) => last.number + 1,
        None => index.first_segment,
    };
    // A segment that was lost is never made anew, so that it stays known as lost.
    let number = if index.damaged_segments.contains(&number) { number + 1 } else { number };
    let segment = segment::create(data_dir, number)?;
    index.segments.insert(number, segment.clone());
    Ok(segment)
}

fn check(append: &Append) -> Result<(), StoreError> {
    let (name, payload) = (append.name_bytes(), append.payload_bytes());
    if name > NAME_BYTES_MAX {
        return Err(StoreError::NameTooLong { bytes: name });
    }
    if payload > PAYLOAD_BYTES_MAX {
        return Err(StoreError::PayloadTooLarge { bytes: payload });
    }
    Ok(())
}

/// Cuts appends into units that fit one commit each.
fn split(appends: Vec<Append>) -> Vec<(Vec<Append>, usize)> {
    let mut units: Vec<(Vec<Append>, usize)> = Vec::new();
    for append in appends {
        let bytes = append.frame_bytes();
        match units.last_mut() {
            Some((unit, held)) if *held + bytes <= COMMIT_BYTES_MAX => {
                unit.push(append);
                *held += bytes;
            }
            _ => units.push((vec![append], bytes)),
        }
    }
    units
}
