//! When the compactor works by itself.

use crate::{Compactor, Selection};
use queue::Queue;
use schema::Day;
use service::{Halt, Stop};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Time after midnight UTC at which past days are compacted, or planned: most of yesterday's events have come by then.
const AFTER_MIDNIGHT: Duration = Duration::from_secs(10 * 60);

/// Time after the start at which past days are compacted, or planned, for nights in which nothing ran: not in the first
/// moments, when everything else begins.
const CATCH_UP_AFTER: Duration = Duration::from_secs(2 * 60);

const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// Time after which a compaction or planning that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Longest sleep, so that a clock that is set does no lasting harm.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// What is done with past days at night.
#[derive(Debug)]
pub(crate) enum Night {
    Compact,
    /// For workers who take tasks from this queue.
    Plan(Arc<dyn Queue>),
}

/// Compacts or plans, sweeps and trims when it is time, until it has to halt.
pub(crate) async fn run(compactor: &Compactor, night: &Night) -> anyhow::Result<()> {
    let mut now = compactor.parts.env.now();
    let (mut sweep_at, mut night_at) = (now, next_night(now).min(now + micros(CATCH_UP_AFTER)));
    loop {
        if now >= sweep_at {
            sweep(compactor).await?;
            trim(compactor).await?;
            sweep_at = now + micros(SWEEP_EVERY);
        }
        if now >= night_at {
            let is_done = night.pass(compactor).await?;
            night_at = if is_done { next_night(now) } else { now + micros(RETRY_AFTER) };
        }
        now = compactor.parts.env.now();
        let pause = u64::try_from(sweep_at.min(night_at) - now).unwrap_or(0);
        tokio::time::sleep(Duration::from_micros(pause).min(SLEEP_MAX)).await;
        now = compactor.parts.env.now();
    }
}

async fn sweep(compactor: &Compactor) -> anyhow::Result<()> {
    match compactor.sweep().await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "removed live objects whose rows are in final ones"),
        Err(error) => judge(error.into(), "sweep")?,
    }
    Ok(())
}

async fn trim(compactor: &Compactor) -> anyhow::Result<()> {
    match compactor.trim().await {
        Ok(0) => {}
        Ok(entries) => tracing::info!(entries, "removed old announcements from the ledger"),
        Err(error) => judge(error.into(), "trimming announcements")?,
    }
    Ok(())
}

impl Night {
    /// Whether it worked.
    async fn pass(&self, compactor: &Compactor) -> anyhow::Result<bool> {
        match self {
            Night::Compact => told(compactor.compact(Selection::Past).await, "compaction"),
            // It is dropped where it has to stop.
            Night::Plan(tasks) => told(compactor.plan(Selection::Past, &**tasks, &Stop::new()).await, "planning"),
        }
    }
}

/// Says what became of the night's work, and whether it worked.
fn told(done: anyhow::Result<impl fmt::Display>, what: &str) -> anyhow::Result<bool> {
    match done {
        Ok(done) => tracing::info!(%done, "{what} of past days is through"),
        Err(error) => {
            judge(error, what)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Passes on what only a person can put right.
pub(crate) fn judge(error: anyhow::Error, what: &str) -> anyhow::Result<()> {
    if error.chain().any(|cause| cause.is::<Halt>()) {
        return Err(error);
    }
    tracing::warn!(error = format!("{error:#}"), "{what} failed, trying again later");
    Ok(())
}

/// When the last night before `now` began, in Unix microseconds.
pub(crate) fn last(now: i64) -> i64 {
    let tonight = Day::of(now).start_micros() + micros(AFTER_MIDNIGHT);
    if now < tonight { Day(Day::of(now).0 - 1).start_micros() + micros(AFTER_MIDNIGHT) } else { tonight }
}

/// The first time to compact after `now`, in Unix microseconds.
fn next_night(now: i64) -> i64 {
    let tonight = Day::of(now).start_micros() + micros(AFTER_MIDNIGHT);
    if now < tonight { tonight } else { Day(Day::of(now).0 + 1).start_micros() + micros(AFTER_MIDNIGHT) }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("it is a constant of less than a day")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_night_begins_ten_minutes_after_midnight() {
        let (minute, day) = (60_000_000, 86_400_000_000);
        assert_eq!(next_night(0), 10 * minute);
        assert_eq!(next_night(10 * minute - 1), 10 * minute);
        assert_eq!(next_night(10 * minute), day + 10 * minute);
        assert_eq!(next_night(-1), 10 * minute);
    }
}
