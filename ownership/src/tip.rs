//! Shards that are quiet for longer than their stream keeps records.
//!
//! A position is the place of a record, and once that is gone, a shard where nothing came looks like one whose records were
//! lost. So entries say when nothing followed their position yet, and where nothing comes an entry says so anew. What came
//! later than that is younger than what retention removes.

use crate::OwnerError;
use crate::notes::History;
use ledger::Ledger;
use schema::{Position, ShardId};
use std::time::Duration;
use stream::{Stream, Tip};

/// An entry says it anew when this part of the retention has passed: readers trust it for half.
const SAID_ANEW_EACH: u32 = 4;

/// As long as any stream keeps records at least. What was said under a shorter retention than now is trusted for less than half
/// of what there is now, so that no entry waits for longer than a part of this.
/// Source: <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
const RETENTION_MIN: Duration = Duration::from_secs(24 * 3600);

/// When nothing followed `after`, by the wall clock in microseconds, for an entry to say; 0 where that is not known.
pub fn tip_at(stream: &dyn Stream, shard: &ShardId, after: &Position, now: i64) -> i64 {
    stream.at_tip(shard, after).map_or(0, |ago| now.saturating_sub(micros(ago)))
}

/// Tells `stream` what is known of the place that readers of `shard` go on from: what an entry says that ends at `after`, and of
/// the start of a shard, that nobody had read it before readers began. The notes of the stream are in chains whose names start
/// with `chains`.
///
/// # Errors
/// The notes can't be read.
pub async fn recall_tip(
    chains: &str,
    stream: &dyn Stream,
    ledger: &dyn Ledger,
    shard: &ShardId,
    after: &Position,
    tip_at: i64,
    now: i64,
) -> Result<(), OwnerError> {
    let Some(retention) = stream.kept_for() else { return Ok(()) };
    let history = History::read(chains, stream, ledger).await?;
    let tip = |at: i64| {
        let ago = Duration::from_micros(u64::try_from(now.saturating_sub(at)).unwrap_or(0));
        Tip { ago, kept_for: history.least_since(at).unwrap_or(retention).min(retention) }
    };
    if tip_at > 0 {
        stream.recall_tip(shard, after, tip(tip_at));
    }
    if after.is_start() {
        // Where nothing is noted they begin now.
        stream.recall_tip(shard, after, tip(history.began().unwrap_or(now)));
    }
    Ok(())
}

/// Whether an entry should say anew that nothing follows `after`, where the last one was appended at `said_at`.
pub fn should_say_anew(stream: &dyn Stream, shard: &ShardId, after: &Position, said_at: i64, now: i64) -> bool {
    let Some(retention) = stream.kept_for() else { return false };
    let each = retention.min(RETENTION_MIN) / SAID_ANEW_EACH;
    let is_old = now.saturating_sub(said_at) > micros(each);
    is_old && stream.at_tip(shard, after).is_some_and(|ago| ago < each)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
