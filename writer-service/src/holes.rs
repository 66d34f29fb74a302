//! Ordinals that are missing below taken ones.
//!
//! A hole is normal for as long as its record is in flight. One that stays means that something was never forwarded: it
//! can be forwarded again at any time (PROTOCOL rule 25).

use crate::metrics::METRICS;
use crate::write::Sets;
use schema::{Origin, ShardId};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const WARN_AFTER: Duration = Duration::from_secs(60);
const ALARM_AFTER: Duration = Duration::from_secs(300);

/// More intervals than this in one set mean that far too much is in flight, or lost.
const INTERVALS_ALARM: usize = 1000;

/// The first hole of each origin, and since when it has been there.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    first: BTreeMap<Origin, (u64, Instant)>,
}

impl Holes {
    pub(crate) fn look(&mut self, sets: &Sets, shard: &ShardId) {
        let mut old = 0u32;
        for (origin, set) in sets.iter() {
            let Some(hole) = (!set.is_dense()).then(|| first_hole(set)) else {
                self.first.remove(origin);
                continue;
            };
            let (at, since) = self.first.entry(origin.clone()).or_insert_with(|| (hole, Instant::now()));
            if *at != hole {
                (*at, *since) = (hole, Instant::now());
            }
            let age = since.elapsed();
            let intervals = set.intervals().len();
            if age >= ALARM_AFTER || intervals >= INTERVALS_ALARM {
                tracing::error!(%shard, %origin, ordinal = hole, intervals, ?age, "a hole stays open: forward it again");
            } else if age >= WARN_AFTER {
                tracing::warn!(%shard, %origin, ordinal = hole, intervals, ?age, "a hole stays open");
            }
            old += u32::from(age >= WARN_AFTER);
        }
        METRICS.holes.with_label_values(&[shard.as_str()]).set(i64::from(old));
    }
}

fn first_hole(set: &schema::IntervalSet) -> u64 {
    match set.intervals().first() {
        Some(&(0, end)) => end,
        _ => 0,
    }
}
