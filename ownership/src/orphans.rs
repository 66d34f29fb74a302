//! Shards that wait for a parent which nobody can finish.
//!
//! **Orphan**: its parent's chain has no END, and the stream no longer lists the parent, so nobody will read it. That comes of
//! a stream that was resharded before anything of ours read it, and of a stage that was down for longer than retention.

use crate::metrics;
use schema::ShardId;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Tells a person about orphans.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    warned_at: Mutex<Option<Instant>>,
}

impl Orphans {
    /// Takes all orphans that there are, each with its parent; whether it warned.
    pub(crate) fn note(&self, orphans: &BTreeSet<(ShardId, ShardId)>) -> bool {
        metrics::WITHOUT_PARENT.set(i64::try_from(orphans.len()).unwrap_or(i64::MAX));
        let mut warned_at = self.warned_at.lock().expect("nobody panics while holding it");
        if orphans.is_empty() || warned_at.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return false;
        }
        *warned_at = Some(Instant::now());
        for (shard, parent) in orphans {
            tracing::warn!(
                %shard,
                %parent,
                "the shard waits for its parent, which the stream no longer lists and whose chain has not ended: what nobody \
                 has read of the parent is lost; `forebay audit` says what is missing, and --accept-gone {parent} goes on \
                 without it"
            );
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_waits_in_vain_is_warned_of_once_a_minute() {
        let (orphans, none) = (Orphans::default(), BTreeSet::new());
        let one =
            BTreeSet::from([("child", "parent")].map(|(child, parent)| (ShardId::new(child), ShardId::new(parent))));
        assert!(!orphans.note(&none));
        assert!(orphans.note(&one) && !orphans.note(&one));
        tokio::time::advance(WARN_EVERY).await;
        assert!(orphans.note(&one));
    }
}
