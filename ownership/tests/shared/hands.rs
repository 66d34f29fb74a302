//! A clock for tests of owners.

use service::Clock;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Shows microseconds; stands still until it is moved.
#[derive(Debug, Default)]
pub(crate) struct Hands(pub(crate) AtomicI64);

impl Clock for Hands {
    fn now(&self) -> i64 {
        self.0.load(SeqCst)
    }
}
