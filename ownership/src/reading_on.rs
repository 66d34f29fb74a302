//! Owners that were asked to stop.

use service::Stop;
use std::time::Duration;
use tokio::time::Instant;

/// How long an owner that was asked to stop reads on to the tip, which a shard under load may never let it reach. Well
/// below the grace of a process: what was read must be finished as well.
const READ_ON_MAX: Duration = Duration::from_secs(5);

/// Since when an owner reads on although it was asked to stop.
#[derive(Debug, Default)]
pub struct ReadingOn {
    since: Option<Instant>,
}

impl ReadingOn {
    /// Whether it was asked to stop and has read on for long enough. Counts from the first time that it is asked.
    pub fn is_over(&mut self, stop: &Stop) -> bool {
        stop.is_cancelled() && self.since.get_or_insert_with(Instant::now).elapsed() > READ_ON_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_owner_reads_on_for_a_while_once_it_is_asked_to_stop() {
        let (mut reading_on, stop) = (ReadingOn::default(), Stop::new());
        assert!(!reading_on.is_over(&stop));
        tokio::time::advance(2 * READ_ON_MAX).await;
        stop.cancel();
        assert!(!reading_on.is_over(&stop));
        tokio::time::advance(READ_ON_MAX).await;
        assert!(!reading_on.is_over(&stop));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(reading_on.is_over(&stop));
    }
}
