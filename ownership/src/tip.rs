//! Shards that are quiet for longer than their stream keeps records.
//!
//! A position is the place of a record, and once that is gone, a shard where nothing came looks like one whose records were
//! lost. So entries say when nothing followed their position yet, and where nothing comes an entry says so anew. What came
//! later than that is younger than what retention removes.

use schema::{Position, ShardId};
use std::time::Duration;
use stream::Stream;

/// An entry says it anew when this part of the retention has passed: readers trust it for half.
const SAID_ANEW_EACH: u32 = 4;

/// When nothing followed `after`, by the wall clock in microseconds, for an entry to say; 0 where that is not known.
pub fn tip_at(stream: &dyn Stream, shard: &ShardId, after: &Position, now: i64) -> i64 {
    stream.at_tip(shard, after).map_or(0, |ago| now.saturating_sub(micros(ago)))
}

/// Tells `stream` what an entry says that ends at `after`.
pub fn recall_tip(stream: &dyn Stream, shard: &ShardId, after: &Position, tip_at: i64, now: i64) {
    if tip_at > 0 {
        stream.recall_tip(shard, after, Duration::from_micros(u64::try_from(now.saturating_sub(tip_at)).unwrap_or(0)));
    }
}

/// Whether an entry should say anew that nothing follows `after`, where the last one was appended at `said_at`.
pub fn should_say_anew(stream: &dyn Stream, shard: &ShardId, after: &Position, said_at: i64, now: i64) -> bool {
    let Some(retention) = stream.kept_for() else { return false };
    let is_old = now.saturating_sub(said_at) > micros(retention / SAID_ANEW_EACH);
    is_old && stream.at_tip(shard, after).is_some_and(|ago| ago < retention / SAID_ANEW_EACH)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
