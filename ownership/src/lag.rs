//! Readers that fall behind towards what retention removes (PROTOCOL rule 17).
//!
//! **Share**: the lag of a reader as a part of the retention. At 1, what it has not read begins to go.

use std::time::Duration;
use stream::{ReadError, Stream};
use tokio::time::{Instant, timeout};

/// Shares beyond which a person is told, and beyond which retention is raised.
const ALARMS_ABOVE: f64 = 0.5;
const RAISES_ABOVE: f64 = 0.8;

/// Pause between two attempts to raise retention: what is left of the shortest one, a day, is hours.
const RAISE_PAUSE: Duration = Duration::from_secs(60);

/// Longest wait for a raise: the reader has its backlog to read.
const RAISE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a record has been there that arrived at a time of the stream's clock; approximate, as that is.
pub fn age(arrived_at: i64, now: i64) -> Duration {
    Duration::from_micros(u64::try_from(now.saturating_sub(arrived_at)).unwrap_or(0))
}

/// The lag of one reader of a shard.
#[derive(Debug, Default)]
pub struct Lag {
    is_alarming: bool,
    raised_at: Option<Instant>,
}

/// What a lag asks for. Each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asks {
    Nothing,
    Warning,
    Raise,
}

impl Lag {
    /// Warns once for each time the lag comes near to what `stream` keeps, and has it keep records for longer where it is
    /// nearer still. Gives the share; 0 where a stream keeps what nobody has read.
    pub async fn note(&mut self, stream: &dyn Stream, lag: Duration) -> f64 {
        let Some(retention) = stream.kept_for() else { return 0.0 };
        let share = lag.as_secs_f64() / retention.as_secs_f64();
        let asks = self.judge(share, Instant::now());
        if asks >= Asks::Warning {
            tracing::warn!(?lag, ?retention, "reading is far behind: add workers before records go unread");
        }
        if asks == Asks::Raise {
            raise(stream, retention).await;
        }
        share
    }

    fn judge(&mut self, share: f64, now: Instant) -> Asks {
        let was_alarming = std::mem::replace(&mut self.is_alarming, share > ALARMS_ABOVE);
        let may_raise = self.raised_at.is_none_or(|at| now - at >= RAISE_PAUSE);
        if share > RAISES_ABOVE && may_raise {
            self.raised_at = Some(now);
            Asks::Raise
        } else if self.is_alarming && !was_alarming {
            Asks::Warning
        } else {
            Asks::Nothing
        }
    }
}

async fn raise(stream: &dyn Stream, retention: Duration) {
    let late = |_| Err(ReadError::Unavailable(format!("no answer within {RAISE_TIMEOUT:?}")));
    match timeout(RAISE_TIMEOUT, stream.keep_longer(retention)).await.unwrap_or_else(late) {
        Ok(raised) if raised > retention => tracing::warn!(?retention, ?raised, "retention was raised"),
        Ok(_) => tracing::error!(?retention, "--raise-retention allows no more: raise it by hand"),
        Err(error) => tracing::error!(%error, "retention can't be raised, trying again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lag_is_warned_of_once_for_each_time_it_passes_half_of_the_retention() {
        let (mut lag, now) = (Lag::default(), Instant::now());
        let asked = [0.5, 0.6, 0.7, 0.4, 0.51].map(|share| lag.judge(share, now));
        assert_eq!(asked, [Asks::Nothing, Asks::Warning, Asks::Nothing, Asks::Nothing, Asks::Warning]);
    }

    #[tokio::test(start_paused = true)]
    async fn retention_is_raised_above_four_fifths_and_again_after_a_pause() {
        let (mut lag, now) = (Lag::default(), Instant::now());
        assert_eq!(lag.judge(0.8, now), Asks::Warning);
        assert_eq!(lag.judge(0.81, now), Asks::Raise);
        assert_eq!(lag.judge(0.81, now), Asks::Nothing);
        assert_eq!(lag.judge(0.81, now + RAISE_PAUSE), Asks::Raise);
    }
}
