//! Whether records still go to the stream first, or straight to the overflow queue.
//!
//! **Closed**: the stream takes records, and each may wait for it. **Open**: it took none for so long that records had to go
//! to the queue; further ones go there at once, instead of each waiting for itself. **Probe**: one try of the stream while
//! the breaker is open; a success closes it.

use std::time::Duration;
use tokio::time::Instant;

/// How often the stream is tried while the breaker is open: soon enough to be back within a second or two, and seldom
/// enough not to be a load on a stream that is recovering.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Where a record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Stream,
    /// To the stream, to see whether it is back.
    Probe,
    Queue,
}

/// Decides by what became of earlier records; asks nobody and reads no clock.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// For how long the stream has to take nothing.
    quiet_for: Duration,
    landed_at: Option<Instant>,
    /// When the stream is tried next; `None` while closed.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// A closed one, that opens when records overflow and the stream took nothing for `quiet_for`.
    pub(crate) fn new(quiet_for: Duration) -> Breaker {
        Breaker { quiet_for, landed_at: None, probe_at: None }
    }

    /// Where records go at `now`. A probe is given to one asker, who may forget about it: the next one comes by itself.
    pub(crate) fn way(&mut self, now: Instant) -> Way {
        match self.probe_at {
            None => Way::Stream,
            Some(at) if now < at => Way::Queue,
            Some(_) => {
                self.probe_at = Some(now + PROBE_INTERVAL);
                Way::Probe
            }
        }
    }

    /// When the stream is tried next; `None` while closed.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }

    /// The stream took a record. Whether this closes the breaker.
    pub(crate) fn landed(&mut self, now: Instant) -> bool {
        self.landed_at = Some(now);
        self.probe_at.take().is_some()
    }

    /// A record went to the queue. Whether this opens the breaker: not while the stream takes others, since then one
    /// shard is busy and not the stream away.
    pub(crate) fn overflowed(&mut self, now: Instant) -> bool {
        let is_quiet = self.landed_at.is_none_or(|at| now.saturating_duration_since(at) >= self.quiet_for);
        let opens = self.probe_at.is_none() && is_quiet;
        if opens {
            self.probe_at = Some(now + PROBE_INTERVAL);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(2);
    const A_MOMENT: Duration = Duration::from_millis(1);

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(QUIET);
        assert!(breaker.overflowed(now));
        breaker
    }

    #[test]
    fn a_closed_breaker_lets_everything_to_the_stream() {
        let (mut breaker, now) = (Breaker::new(QUIET), Instant::now());
        assert_eq!([breaker.way(now), breaker.way(now)], [Way::Stream; 2]);
        assert_eq!(breaker.probe_at(), None);
    }

    #[test]
    fn an_open_breaker_probes_once_an_interval() {
        let start = Instant::now();
        let mut breaker = open(start);
        assert_eq!(breaker.way(start), Way::Queue);
        let due = start + PROBE_INTERVAL;
        assert_eq!(
            [breaker.way(due - A_MOMENT), breaker.way(due), breaker.way(due)],
            [Way::Queue, Way::Probe, Way::Queue]
        );
        assert_eq!(breaker.probe_at(), Some(due + PROBE_INTERVAL));
        assert_eq!(breaker.way(due + PROBE_INTERVAL), Way::Probe);
    }

    #[test]
    fn a_record_that_lands_closes_it() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert!(breaker.landed(now));
        assert_eq!(breaker.way(now), Way::Stream);
        assert!(!breaker.landed(now), "it is closed already");
    }

    #[test]
    fn further_overflow_does_not_put_the_probe_off() {
        let start = Instant::now();
        let mut breaker = open(start);
        assert!(!breaker.overflowed(start + PROBE_INTERVAL / 2));
        assert_eq!(breaker.way(start + PROBE_INTERVAL), Way::Probe);
    }

    #[test]
    fn one_busy_shard_does_not_open_it_while_the_others_take_records() {
        let (mut breaker, start) = (Breaker::new(QUIET), Instant::now());
        breaker.landed(start);
        assert!(!breaker.overflowed(start + QUIET - A_MOMENT));
        assert_eq!(breaker.way(start + QUIET), Way::Stream);
        assert!(breaker.overflowed(start + QUIET));
    }
}
