//! The memory that all shards of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on memory, and how much of it is in use.
#[derive(Clone, Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Budget {
        Budget { used: Arc::default(), bytes_max }
    }

    /// One user's share, nothing at first.
    pub fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
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
