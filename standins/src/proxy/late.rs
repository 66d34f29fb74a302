//! Calls that are held, to be delivered when nobody expects them any more.

use super::call::Call;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Bodies that may be held at a time, and as many calls as fit the queue below.
const HELD_BYTES_MAX: usize = 256 << 20;

/// Held calls that nobody has taken up yet: taking one up needs no time to speak of.
const HELD_QUEUE_MAX: usize = 1024;

/// A call under way to the upstream, slowly.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) call: Call,
    pub(super) delay: Duration,
    /// Its share of what may be held.
    pub(super) room: OwnedSemaphorePermit,
    /// Changes when it is to go on at once.
    pub(super) released: watch::Receiver<()>,
}

/// Where calls are held.
#[derive(Debug)]
pub(super) struct Lates {
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Late>,
    released: watch::Sender<()>,
}

impl Lates {
    pub(super) fn new() -> (Lates, mpsc::Receiver<Late>) {
        let (queue, arrivals) = mpsc::channel(HELD_QUEUE_MAX);
        let (room, released) = (Arc::new(Semaphore::new(HELD_BYTES_MAX)), watch::Sender::new(()));
        (Lates { room, queue, released }, arrivals)
    }

    /// Whether there is room to hold a call; if not, it can't be held.
    pub(super) fn hold(&self, call: &Call, delay: Duration) -> bool {
        // Even a call without a body takes some.
        let bytes = u32::try_from(call.body.len() + 1024).expect("bodies are bounded");
        let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) else {
            return false;
        };
        let released = self.released.subscribe();
        self.queue.try_send(Late { call: call.clone(), delay, room, released }).is_ok()
    }

    /// Lets go of all calls that are held now.
    pub(super) fn release(&self) {
        self.released.send_replace(());
    }
}
