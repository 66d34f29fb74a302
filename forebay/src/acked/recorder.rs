//! Appends to the file of what was acknowledged, one sync for all who wait.

use super::{LINE_BYTES_MAX, Lines, TORN};
use anyhow::{Context, anyhow};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Most answers that wait for one sync; each connection waits with at most one.
const WAITING_MAX: usize = 1024;

/// Most bytes of one write. What is beyond waits for the next sync.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// The file took no more. What was recorded before is safe; the run must end.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("the ledger file was not written: {0}")]
pub struct RecorderError(String);

#[derive(Debug)]
struct Waiting {
    lines: Lines,
    synced: oneshot::Sender<Result<(), RecorderError>>,
}

/// Appends lines; shared by all connections.
#[derive(Debug)]
pub struct Recorder {
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens a file to go on, or makes it. Nobody else can open it meanwhile.
    pub fn open(path: &Path) -> anyhow::Result<Recorder> {
        let file = open_locked(path).with_context(|| format!("open the ledger file {}", path.display()))?;
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("acked".to_string())
            .spawn(move || append_in_groups(file, waiting))
            .context("start the thread that syncs the ledger file")?;
        Ok(Recorder { queue: Some(queue), thread: Some(thread) })
    }

    /// Appends lines; done once they are on disk.
    pub async fn record(&self, lines: Lines) -> Result<(), RecorderError> {
        let (synced, wait) = oneshot::channel();
        let queue = self.queue.as_ref().expect("only dropping takes the queue away");
        queue.send(Waiting { lines, synced }).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }

    /// As [`Recorder::record`], for code outside the runtime.
    pub fn record_blocking(&self, lines: Lines) -> Result<(), RecorderError> {
        let (synced, wait) = oneshot::channel();
        let queue = self.queue.as_ref().expect("only dropping takes the queue away");
        queue.blocking_send(Waiting { lines, synced }).map_err(|_| gone())?;
        wait.blocking_recv().map_err(|_| gone())?
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gone() -> RecorderError {
    RecorderError("its thread has ended".to_string())
}

/// Opens, locks, marks a torn last line, and makes the file's own name durable.
fn open_locked(path: &Path) -> anyhow::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(anyhow!("another run writes it")),
        Err(TryLockError::Error(error)) => return Err(error).context("lock it"),
    }
    if is_torn(&mut file).context("look at its end")? {
        file.write_all(&[TORN, b'\n']).context("mark its torn last line")?;
    }
    file.sync_all().context("sync it")?;
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(PathBuf::from("."), PathBuf::from);
    File::open(directory).and_then(|directory| directory.sync_all()).context("sync its directory")?;
    Ok(file)
}

fn is_torn(file: &mut File) -> anyhow::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Runs until the last sender is gone. A failed write or sync is final: what is on disk is no longer known.
fn append_in_groups(mut file: File, mut waiting: mpsc::Receiver<Waiting>) {
    let mut failed: Option<RecorderError> = None;
    let (mut bytes, mut group) = (Vec::new(), Vec::new());
    while let Some(first) = waiting.blocking_recv() {
        bytes.clear();
        join(first, &mut bytes, &mut group);
        while bytes.len() < GROUP_BYTES_MAX
            && let Ok(next) = waiting.try_recv()
        {
            join(next, &mut bytes, &mut group);
        }
        if failed.is_none() {
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            failed = written.err().map(|error| RecorderError(error.to_string()));
        }
        for synced in group.drain(..) {
            // Who no longer waits has given up its batch.
            let _ = synced.send(failed.clone().map_or(Ok(()), Err));
        }
    }
}

fn join(waiting: Waiting, bytes: &mut Vec<u8>, group: &mut Vec<oneshot::Sender<Result<(), RecorderError>>>) {
    debug_assert!(waiting.lines.0.split(|&byte| byte == b'\n').all(|line| line.len() < LINE_BYTES_MAX));
    bytes.extend_from_slice(&waiting.lines.0);
    group.push(waiting.synced);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acked;
    use schema::EventId;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_was_recorded_is_in_the_file_when_record_returns() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("acked");
        let recorder = Arc::new(Recorder::open(&path).expect("a new file"));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (recorder, path) = (recorder.clone(), path.clone());
            tasks.spawn(async move {
                let mut lines = Lines::default();
                lines.accepted(EventId(number));
                recorder.record(lines).await.expect("appends");
                let ledger = acked::read(&path).expect("own lines");
                assert!(ledger.accepted.contains(&EventId(number)));
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.expect("no task panics");
        }
        assert_eq!(acked::read(&path).expect("own lines").accepted.len(), 50);
    }

    #[test]
    fn a_second_run_on_the_same_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("acked");
        let first = Recorder::open(&path).expect("a new file");
        let error = format!("{:#}", Recorder::open(&path).expect_err("locked"));
        assert!(error.contains("another run writes it"), "{error}");
        drop(first);
        Recorder::open(&path).expect("free again");
    }
}
