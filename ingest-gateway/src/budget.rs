//! A bound on the bytes that requests hold in memory, from the first byte read to the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

/// Bytes that are held; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Nothing is left of the budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), bytes_max })
    }

    /// Starts a charge of nothing.
    pub(crate) fn open(self: &Arc<Budget>) -> Charge {
        Charge { budget: self.clone(), bytes: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Charge {
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let Budget { used, bytes_max } = &*self.budget;
        if used.fetch_add(bytes, Ordering::Relaxed) + bytes > *bytes_max {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Exhausted);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Charges `bytes` in place of what was charged.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.budget.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        self.bytes = bytes;
        Ok(())
    }

    /// Passes on up to `bytes` of the charge.
    pub(crate) fn split(&mut self, bytes: usize) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_given_back_once() {
        let budget = Budget::new(100);
        let mut first = budget.open();
        assert_eq!(first.grow(60), Ok(()));
        assert_eq!(budget.open().grow(41), Err(Exhausted));
        let part = first.split(25);
        assert_eq!(first.resize(10), Ok(()));
        assert_eq!(budget.used(), 35);
        drop((first, part));
        assert_eq!(budget.used(), 0);
    }
}
