//! The embedded queue, behind a door that can be shut.

use async_trait::async_trait;
use bytes::Bytes;
use queue::embedded::{EmbeddedQueue, QueueBounds};
use queue::{Delivery, Queue, QueueError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use store::{Options, Store};
use tempfile::TempDir;

const BOUNDS: QueueBounds = QueueBounds { messages_max: 10_000, bytes_max: 64 << 20 };

#[derive(Debug)]
struct Home {
    store: Arc<Store>,
    _dir: TempDir,
}

pub(crate) struct FaultyQueue {
    home: Arc<Home>,
    queue: EmbeddedQueue,
    takes_nothing: AtomicBool,
    loses_acks: AtomicBool,
    taken: AtomicUsize,
}

impl std::fmt::Debug for FaultyQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.queue.fmt(f)
    }
}

impl FaultyQueue {
    pub(crate) fn open() -> Arc<FaultyQueue> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap();
        FaultyQueue::in_home(Arc::new(Home { store: Arc::new(store), _dir: dir }))
    }

    fn in_home(home: Arc<Home>) -> Arc<FaultyQueue> {
        let queue = EmbeddedQueue::open(home.store.clone(), "overflow", BOUNDS);
        let (takes_nothing, loses_acks, taken) = Default::default();
        Arc::new(FaultyQueue { home, queue, takes_nothing, loses_acks, taken })
    }

    /// The same queue once the visibility of all messages has run out.
    pub(crate) fn once_nobody_holds_anything(&self) -> Arc<FaultyQueue> {
        FaultyQueue::in_home(self.home.clone())
    }

    pub(crate) fn take_nothing(&self, nothing: bool) {
        self.takes_nothing.store(nothing, Ordering::Relaxed);
    }

    pub(crate) fn lose_acks(&self) {
        self.loses_acks.store(true, Ordering::Relaxed);
    }

    /// Messages that it has taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) async fn wait_for_depth(&self, depth: u64) {
        while self.depth().await != Ok(depth) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn lost() -> QueueError {
    QueueError::Unavailable("black hole".into())
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn send(&self, messages: Vec<Bytes>) -> Vec<Result<(), QueueError>> {
        if self.takes_nothing.load(Ordering::Relaxed) {
            return messages.iter().map(|_| Err(lost())).collect();
        }
        let results = self.queue.send(messages).await;
        let taken = results.iter().filter(|result| result.is_ok()).count();
        self.taken.fetch_add(taken, Ordering::Relaxed);
        results
    }

    async fn receive(&self, count: usize, hide: Duration, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.queue.receive(count, hide, wait).await
    }

    async fn ack(&self, receipt: &str) -> Result<(), QueueError> {
        if self.loses_acks.load(Ordering::Relaxed) {
            return Err(lost());
        }
        self.queue.ack(receipt).await
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), QueueError> {
        self.queue.extend(receipt, visibility).await
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        self.queue.depth().await
    }
}
