//! A stream for tests of owners that can't go on.

use async_trait::async_trait;
use schema::{Position, ShardId};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::embedded::EmbeddedStream;
use stream::{AppendError, Description, NewRecord, Page, Placed, ReadError, ReadLimit, Shard, Stream, Tip};

/// Longest wait for something to come about, in turns of ten milliseconds by a clock that does not wait.
const TURNS_MAX: u32 = 100_000;

/// How long an aging stream keeps its records at first.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A stream that removes what is old, and takes no records while it is closed to them.
#[derive(Debug)]
pub(crate) struct Aging {
    stream: EmbeddedStream,
    pub(crate) kept_for: Mutex<Duration>,
    pub(crate) is_closed: AtomicBool,
    /// What it was told last of a position that nothing followed.
    pub(crate) recalled: Mutex<Option<(Position, Tip)>>,
}

impl Aging {
    pub(crate) fn new(stream: EmbeddedStream) -> Arc<Aging> {
        let (kept_for, is_closed, recalled) = (Mutex::new(DAY), AtomicBool::new(false), Mutex::default());
        Arc::new(Aging { stream, kept_for, is_closed, recalled })
    }
}

#[async_trait]
impl Stream for Aging {
    fn name(&self) -> &str {
        self.stream.name()
    }

    fn incarnation(&self) -> &str {
        self.stream.incarnation()
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        match self.is_closed.load(SeqCst) {
            true => vec![Err(AppendError::Unavailable("access is denied".to_owned())); records.len()],
            false => self.stream.append(records).await,
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        self.stream.shards().await
    }

    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        self.stream.read(shard, after, limit).await
    }

    async fn consumed(&self, shard: &ShardId, through: &Position) {
        self.stream.consumed(shard, through).await;
    }

    fn recall_tip(&self, _shard: &ShardId, after: &Position, tip: Tip) {
        *self.recalled.lock().unwrap() = Some((after.clone(), tip));
    }

    async fn describe(&self) -> Result<Option<Description>, ReadError> {
        let retention = *self.kept_for.lock().unwrap();
        Ok(Some(Description { capacity_mode: "ON_DEMAND".to_owned(), retention }))
    }

    fn kept_for(&self) -> Option<Duration> {
        Some(*self.kept_for.lock().unwrap())
    }

    async fn keep_longer(&self, now: Duration) -> Result<Duration, ReadError> {
        *self.kept_for.lock().unwrap() = 2 * now;
        Ok(2 * now)
    }
}

pub(crate) async fn until(came: impl Fn() -> bool) {
    for _ in 0..TURNS_MAX {
        if came() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came about");
}
