//! How fast records are fed: gateways use the same stream.

use service::settings::bytes;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a record counts as at least: a provisioned shard takes 1,000 records or 1 MB a second, whichever is reached first.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const RECORD_BYTES_MIN: u64 = 1 << 10;

/// Bytes a second at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace(u64);

/// Reads a rate: `512KiB` a second.
pub(super) fn rate(text: &str) -> Result<Pace, String> {
    match bytes(text)? {
        0 => Err("nothing would ever be fed".to_string()),
        bytes => Ok(Pace(bytes as u64)),
    }
}

/// Gives turns to whoever feeds.
#[derive(Debug)]
pub(super) struct Turns {
    pace: Pace,
    next: Mutex<Instant>,
}

impl Turns {
    pub(super) fn new(pace: Pace) -> Turns {
        Turns { pace, next: Mutex::new(Instant::now()) }
    }

    /// Waits until records of these sizes may be put.
    pub(super) async fn wait(&self, sizes: impl Iterator<Item = usize>) {
        sleep_until(self.turn(sizes)).await;
    }

    fn turn(&self, sizes: impl Iterator<Item = usize>) -> Instant {
        let bytes: u64 = sizes.map(|size| (size as u64).max(RECORD_BYTES_MIN)).sum();
        let takes = Duration::from_secs_f64(bytes as f64 / self.pace.0 as f64);
        let mut next = self.next.lock().expect("nobody panics while holding it");
        let turn = Instant::now().max(*next);
        *next = turn + takes;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour and more apart, so that no turn is over before the next one is asked for.
    #[test]
    fn records_wait_for_those_before_them_and_small_ones_count_as_a_kibibyte() {
        let turns = Turns::new(rate("10").unwrap());
        let first = turns.turn([1; 200].into_iter());
        let second = turns.turn([100 << 10].into_iter());
        let third = turns.turn([1].into_iter());
        assert_eq!((second - first, third - second), (Duration::from_secs(20_480), Duration::from_secs(10_240)));
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(rate("0").is_err() && rate("fast").is_err());
    }
}
