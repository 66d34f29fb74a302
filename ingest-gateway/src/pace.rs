//! When the next flush may start, while many requests come.
//!
//! A flush costs about as much for one request as for thirty. A quick disk is done before many have come, so under load it
//! would be flushed for a few at a time, and the processor would spend its time on that. The pace lets as many gather as come
//! in [`INTERVAL`]. Where few come, nobody waits.

use std::time::Duration;
use tokio::time::Instant;

/// What a flush should gather while many come: about one sync of a quick disk, so that the disk and the processor take turns
/// with two flushes. Twice of it had 64 clients wait for one disk all together, and the processor with them.
const INTERVAL: Duration = Duration::from_micros(350);

/// Fewer than these in an interval are flushed at once: there is nothing to save.
const REQUESTS_MIN: f64 = 8.0;

/// How long a flush may be held back after the one before: load that has just ended must not keep the last requests waiting.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// Flushes over which the rate is smoothed.
const SMOOTHING: f64 = 16.0;

/// The shortest time between two flushes that a rate is taken from.
const SPAN_MIN: Duration = Duration::from_micros(10);

#[derive(Debug, Default)]
pub(crate) struct Pace {
    flushed_at: Option<Instant>,
    /// Set while no flush is under way.
    ended_at: Option<Instant>,
    requests_per_second: f64,
}

impl Pace {
    /// A flush of `requests` starts.
    pub(crate) fn flush_starts(&mut self, requests: usize, now: Instant) {
        if let Some(before) = self.flushed_at {
            let span = now.saturating_duration_since(before).max(SPAN_MIN);
            let rate = requests as f64 / span.as_secs_f64();
            self.requests_per_second += (rate - self.requests_per_second) / SMOOTHING;
        }
        (self.flushed_at, self.ended_at) = (Some(now), None);
    }

    pub(crate) fn flush_ended(&mut self, now: Instant) {
        self.ended_at = Some(now);
    }

    /// Requests that a flush should have; `None` where few come.
    pub(crate) fn wanted(&self) -> Option<usize> {
        let wanted = self.requests_per_second * INTERVAL.as_secs_f64();
        (wanted >= REQUESTS_MIN).then_some(wanted as usize)
    }

    /// Until when a flush of `requests` should be held back.
    pub(crate) fn hold_until(&self, requests: usize) -> Option<Instant> {
        let is_held = self.wanted().is_some_and(|wanted| requests < wanted);
        self.ended_at.filter(|_| is_held).map(|ended_at| ended_at + WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after many flushes of `requests` each, one every `every`.
    fn after_flushes(requests: usize, every: Duration) -> (Pace, Instant) {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..200 {
            now += every;
            pace.flush_starts(requests, now);
            pace.flush_ended(now + every / 2);
        }
        (pace, now + every / 2)
    }

    #[test]
    fn where_few_come_nobody_waits() {
        assert_eq!(Pace::default().hold_until(1), None);
        let (pace, _) = after_flushes(1, Duration::from_micros(350));
        assert_eq!((pace.hold_until(1), pace.wanted()), (None, None));
    }

    #[test]
    fn where_many_come_a_flush_gathers_what_comes_in_an_interval() {
        // A little more than 28 in an interval.
        let (pace, ended_at) = after_flushes(14, Duration::from_micros(174));
        assert_eq!(pace.wanted(), Some(28));
        assert_eq!(pace.hold_until(27), Some(ended_at + WAIT_MAX));
        assert_eq!(pace.hold_until(28), None);
    }

    #[test]
    fn a_load_that_has_ended_is_forgotten() {
        let (mut pace, mut now) = after_flushes(14, Duration::from_micros(350));
        for _ in 0..100 {
            now += Duration::from_millis(2);
            pace.flush_starts(1, now);
            pace.flush_ended(now);
        }
        assert_eq!(pace.hold_until(1), None);
    }

    #[test]
    fn nothing_is_held_back_while_a_flush_is_under_way() {
        let (mut pace, now) = after_flushes(14, Duration::from_micros(350));
        pace.flush_starts(14, now + Duration::from_micros(350));
        assert_eq!(pace.hold_until(1), None);
    }
}
