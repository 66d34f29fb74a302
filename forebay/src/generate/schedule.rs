//! Which batch is next and when it is due.
//!
//! The schedule is **open**: batch `k` is due at its time whether or not earlier ones have been answered. When every
//! connection is busy a batch goes out late, and its latency counts from when it was **due**, so that a slow gateway can't
//! hide its slowness by being sent less.

use super::rate::Rate;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How the load is shaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// `None`: each batch as soon as a connection is free.
    pub(super) rate: Option<Rate>,
    pub(super) batch_events: u64,
    pub(super) total: Option<u64>,
    pub(super) duration: Option<Duration>,
}

/// A part of the events for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Number of its first event.
    pub(super) first: u64,
    pub(super) events: u64,
    pub(super) due: Instant,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events {} to {}", self.first, self.first + self.events - 1)
    }
}

/// Hands out batches in order, each once.
#[derive(Debug)]
pub(super) struct Schedule {
    load: Load,
    start: Instant,
    next: AtomicU64,
}

impl Schedule {
    pub(super) fn new(load: Load, start: Instant) -> Schedule {
        Schedule { load, start, next: AtomicU64::new(0) }
    }

    /// The next batch; `None` when all are handed out. One with a rate is due when its last event has happened.
    pub(super) fn next(&self, now: Instant) -> Option<Batch> {
        let Load { rate, batch_events, .. } = self.load;
        let first = self.next.fetch_add(1, Ordering::Relaxed).checked_mul(batch_events)?;
        let end = self.events().unwrap_or(u64::MAX).min(first.saturating_add(batch_events));
        let due = rate.map_or(now, |rate| self.start + rate.time_of(end));
        let over = self.load.duration.is_some_and(|duration| rate.is_none() && now >= self.start + duration);
        (first < end && !over).then(|| Batch { first, events: end - first, due })
    }

    /// How many events there will be; `None` while nobody can know.
    pub(super) fn events(&self) -> Option<u64> {
        let in_duration = self.load.rate.zip(self.load.duration).map(|(rate, duration)| rate.count_in(duration));
        [self.load.total, in_duration].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(batch_events: u64) -> Load {
        let rate = Some(Rate::new(100, Duration::from_secs(1)));
        Load { rate, batch_events, total: None, duration: None }
    }

    fn all(load: Load) -> (Instant, Vec<Batch>) {
        let start = Instant::now();
        let schedule = Schedule::new(load, start);
        (start, std::iter::from_fn(|| schedule.next(start)).collect())
    }

    #[test]
    fn batches_are_due_when_their_last_event_has_happened() {
        let (start, batches) = all(Load { total: Some(250), ..load(100) });
        let due = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(
            batches,
            [
                Batch { first: 0, events: 100, due: due(1000) },
                Batch { first: 100, events: 100, due: due(2000) },
                Batch { first: 200, events: 50, due: due(2500) },
            ]
        );
    }

    #[test]
    fn whichever_of_total_and_duration_comes_first_ends_the_schedule() {
        let events = |load| all(load).1.iter().map(|batch| batch.events).sum::<u64>();
        let duration = Some(Duration::from_secs(3));
        assert_eq!(events(Load { duration, ..load(7) }), 300);
        assert_eq!(events(Load { duration, total: Some(299), ..load(7) }), 299);
        assert_eq!(events(Load { duration, total: Some(301), ..load(7) }), 300);
        assert_eq!(events(Load { rate: None, total: Some(20), ..load(7) }), 20);
    }

    #[test]
    fn without_a_rate_the_duration_ends_the_schedule_on_the_clock() {
        let start = Instant::now();
        let duration = Duration::from_secs(3);
        let schedule = Schedule::new(Load { rate: None, duration: Some(duration), ..load(1) }, start);
        assert!(schedule.next(start).is_some());
        assert_eq!(schedule.next(start + duration), None);
    }
}
