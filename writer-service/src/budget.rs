//! The memory that all shards of a process share.

use service::metrics::Level;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on memory, and how much of it is in use.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
    encoders: Arc<Semaphore>,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Budget {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Budget { used: Arc::default(), bytes_max, encoders: Arc::new(Semaphore::new(processors)) }
    }

    /// One user's share, nothing at first.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Waits for leave to encode: one for each processor, since an encoder needs memory beside its rows and more of them at a
    /// time are no faster.
    pub(crate) async fn encoder(&self) -> OwnedSemaphorePermit {
        self.encoders.clone().acquire_owned().await.expect("nobody closes the semaphore")
    }

    pub(crate) fn level(&self) -> Level {
        Level { used: self.used.load(Ordering::Relaxed) as f64, limit: self.bytes_max as f64 }
    }

    pub fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.bytes_max
    }
}

/// What one user holds; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Says how much this user holds by now.
    pub fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    pub fn is_exceeded(&self) -> bool {
        self.budget.is_exceeded()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        a.set(60);
        b.set(50);
        assert!(budget.is_exceeded());
        a.set(40);
        assert!(!budget.is_exceeded());
        b.set(70);
        drop(b);
        assert!(!budget.is_exceeded());
    }
}
