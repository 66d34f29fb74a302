//! Where appends wait for the committer: a queue with a bound on its bytes.

use crate::StoreError;
use crate::draft::{Refusal, Work};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Most bytes that wait to be written: about a second of a slow disk.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Most bytes of one commit: enough to make the sync cheap, few enough for a short wait.
pub(crate) const COMMIT_BYTES_MAX: usize = 8 << 20;

/// What a waiting append gets back, for each of its parts.
pub(crate) type Answer = Result<Vec<Result<u64, Refusal>>, StoreError>;

/// The appends of one call: written together, answered together.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) work: Work,
    /// What it weighs against the bounds.
    pub(crate) bytes: usize,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Room in the queue, given back when the unit is answered.
    pub(crate) _room: OwnedSemaphorePermit,
}

/// What the committer finds.
#[derive(Debug)]
pub(crate) enum Taken {
    Units(Vec<Unit>),
    /// Nothing came for a while.
    Idle,
    /// Closed, and nothing is left.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    units: VecDeque<Unit>,
    closed: bool,
    stopped: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Intake {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Arc<Semaphore>,
    /// Never has a permit; closed when nothing will be written any more.
    stopped: Semaphore,
}

impl Default for Intake {
    fn default() -> Intake {
        Intake {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            stopped: Semaphore::new(0),
        }
    }
}

impl Intake {
    /// Waits at most `wait_max` for room in the queue, and then for the commit.
    ///
    /// Cancel-safe in that nothing is put in halfway: a call that is dropped while it waits for the commit is written.
    pub(crate) async fn submit(&self, work: Work, bytes: usize, wait_max: Duration) -> Answer {
        let room = self.room(bytes, wait_max).await?;
        let (answer, answered) = oneshot::channel();
        self.put(Unit { work, bytes, answer, _room: room })?;
        answered.await.unwrap_or_else(|_| Err(self.stop_error()))
    }

    async fn room(&self, bytes: usize, wait_max: Duration) -> Result<OwnedSemaphorePermit, StoreError> {
        let wanted = bytes.clamp(1, WAITING_BYTES_MAX) as u32;
        if let Ok(room) = self.room.clone().try_acquire_many_owned(wanted) {
            return Ok(room);
        }
        let room = tokio::time::timeout(wait_max, self.room.clone().acquire_many_owned(wanted));
        match room.await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(self.stop_error()),
            Err(_) => Err(StoreError::Full),
        }
    }

    fn put(&self, unit: Unit) -> Result<(), StoreError> {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.stopped.is_some() {
            drop(waiting);
            return Err(self.stop_error());
        }
        waiting.units.push_back(unit);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes what waits, up to the bytes of a commit; waits up to `idle` for a first unit.
    pub(crate) fn take(&self, idle: Duration) -> Taken {
        let waiting = self.waiting();
        let (mut waiting, _) = self
            .arrived
            .wait_timeout_while(waiting, idle, |waiting| waiting.units.is_empty() && !waiting.closed)
            .expect("nobody panics while holding it");
        if waiting.units.is_empty() {
            return if waiting.closed { Taken::Closed } else { Taken::Idle };
        }
        let (mut units, mut bytes) = (Vec::new(), 0);
        while let Some(unit) = waiting.units.pop_front_if(|unit| bytes == 0 || bytes + unit.bytes <= COMMIT_BYTES_MAX) {
            bytes += unit.bytes;
            units.push(unit);
        }
        Taken::Units(units)
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        self.waiting().closed = true;
        self.room.close();
        self.arrived.notify_all();
    }

    /// Nothing will be written any more: everyone who waits or comes is told why.
    pub(crate) fn stop(&self, reason: &str) {
        let mut waiting = self.waiting();
        waiting.stopped.get_or_insert_with(|| reason.to_owned());
        let units = std::mem::take(&mut waiting.units);
        drop(waiting);
        self.room.close();
        self.stopped.close();
        for unit in units {
            // Whoever waited may be gone.
            let _ = unit.answer.send(Err(StoreError::Stopped(reason.to_owned())));
        }
    }

    /// Waits until nothing will be written any more, and says why.
    pub(crate) async fn stopped(&self) -> StoreError {
        // It only ever ends by being closed.
        let _ = self.stopped.acquire().await;
        self.stop_error()
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        (WAITING_BYTES_MAX - self.room.available_permits().min(WAITING_BYTES_MAX)) as u64
    }

    fn stop_error(&self) -> StoreError {
        let reason = self.waiting().stopped.clone();
        StoreError::Stopped(reason.unwrap_or_else(|| "it was closed".to_owned()))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding it")
    }
}
