//! What this process knows of shards beyond its cursors: when it may look at one again, and up to where it has seen all.
//!
//! **Sure**: what nobody has seen yet can't be old enough for retention to have removed it.

use crate::Tip;
use schema::{Position, ShardId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Most shards that something is known of; with more, all is forgotten, which costs calls and nothing else.
const TRACKS_MAX: usize = 10_000;

/// How far behind its tip a shard was, and when that was said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse {
    pub(super) at: Instant,
    pub(super) behind: Duration,
    /// For how long records are kept that came since.
    pub(super) kept_for: Duration,
}

impl Glimpse {
    /// Longest time for which something that was not seen can have been there.
    fn age(&self) -> Duration {
        self.at.elapsed() + self.behind
    }

    /// Whether what follows is younger than half of what was kept since: records that were not seen then are no older than
    /// this. `retention` is what is kept now.
    pub(super) fn is_sure(&self, retention: Duration) -> bool {
        self.age() < self.kept_for.min(retention) / 2
    }

    /// Whether nobody has looked for so long that something may have come and gone.
    pub(super) fn is_stale(&self, retention: Duration) -> bool {
        self.at.elapsed() >= self.kept_for.min(retention) / 2
    }
}

/// One shard, for all who read it.
#[derive(Debug)]
pub(super) struct Track {
    look_at: Mutex<Instant>,
    seen: Mutex<Seen>,
    begins_anyway: AtomicBool,
}

/// What was seen of a shard.
#[derive(Debug, Default)]
struct Seen {
    /// After its start: ranges from there are read again long after others have read on.
    start: Option<Glimpse>,
    /// After what was given last.
    last: Option<(Position, Glimpse)>,
}

impl Track {
    fn new() -> Track {
        Track { look_at: Mutex::new(Instant::now()), seen: Mutex::default(), begins_anyway: AtomicBool::new(false) }
    }

    /// Waits for its turn: looks of this process are at least `apart`.
    pub(super) async fn turn(&self, apart: Duration) {
        let turn = {
            let mut look_at = self.look_at.lock().expect("nobody panics while holding it");
            let turn = Instant::now().max(*look_at);
            *look_at = turn + apart;
            turn
        };
        sleep_until(turn).await;
    }

    /// Notes that everything up to `after` was given, and how far that was from the tip, unless more is known.
    pub(super) fn note(&self, after: &Position, glimpse: Glimpse) {
        let mut seen = self.seen.lock().expect("nobody panics while holding it");
        let is_known = |(position, known): &(Position, Glimpse)| position == after && known.age() < glimpse.age();
        if after.is_start() {
            seen.note_start(glimpse);
        } else if !seen.last.as_ref().is_some_and(is_known) {
            seen.last = Some((after.clone(), glimpse));
        }
    }

    /// Notes that readers want whatever the shard still has.
    pub(super) fn begin_anyway(&self) {
        self.begins_anyway.store(true, Ordering::Relaxed);
    }

    pub(super) fn begins_anyway(&self) -> bool {
        self.begins_anyway.load(Ordering::Relaxed)
    }

    /// Notes when nothing followed `after`, unless more is known.
    pub(super) fn recall_tip(&self, after: &Position, tip: Tip) {
        let Tip { ago, kept_for } = tip;
        let Some(at) = Instant::now().checked_sub(ago) else { return };
        let recalled = Glimpse { at, behind: Duration::ZERO, kept_for };
        let mut seen = self.seen.lock().expect("nobody panics while holding it");
        let is_news = |(position, glimpse): &(Position, Glimpse)| {
            position < after || (position == after && glimpse.age() > recalled.age())
        };
        if after.is_start() {
            seen.note_start(recalled);
        } else if seen.last.as_ref().is_none_or(is_news) {
            seen.last = Some((after.clone(), recalled));
        }
    }

    /// When and how far from the tip `after` was given last, where nothing else was since, or it is the start.
    pub(super) fn seen(&self, after: &Position) -> Option<Glimpse> {
        let seen = self.seen.lock().expect("nobody panics while holding it");
        match after.is_start() {
            true => seen.start,
            false => seen.last.as_ref().filter(|(position, _)| position == after).map(|(_, glimpse)| *glimpse),
        }
    }
}

impl Seen {
    fn note_start(&mut self, glimpse: Glimpse) {
        if self.start.is_none_or(|known| known.age() > glimpse.age()) {
            self.start = Some(glimpse);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Tracks {
    shards: Mutex<HashMap<ShardId, Arc<Track>>>,
}

impl Tracks {
    pub(super) fn of(&self, shard: &ShardId) -> Arc<Track> {
        let mut shards = self.shards.lock().expect("nobody panics while holding it");
        if let Some(track) = shards.get(shard) {
            return track.clone();
        }
        if shards.len() == TRACKS_MAX {
            shards.clear();
        }
        shards.entry(shard.clone()).or_insert_with(|| Arc::new(Track::new())).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[tokio::test(start_paused = true)]
    async fn looks_are_apart_whoever_makes_them() {
        let track = Track::new();
        let started = Instant::now();
        let turn = || track.turn(Duration::from_millis(200));
        tokio::join!(turn(), turn(), turn());
        assert_eq!(started.elapsed(), Duration::from_millis(400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_glimpse_of_the_tip_is_sure_for_half_the_retention() {
        let glimpse = |behind| Glimpse { at: Instant::now(), behind, kept_for: DAY };
        let tip = glimpse(Duration::ZERO);
        assert!(tip.is_sure(DAY) && !glimpse(DAY / 2).is_sure(DAY));
        tokio::time::advance(DAY / 2).await;
        assert!(!tip.is_sure(DAY));
        assert!(!tip.is_sure(7 * DAY), "a retention that was raised meanwhile brings nothing back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tip_that_was_written_down_counts_unless_more_is_known() {
        let (track, position) = (Track::new(), Position::from_number(2));
        let age = |track: &Track| track.seen(&position).map(|glimpse| glimpse.age());
        let tip = |ago| Tip { ago, kept_for: 7 * DAY };
        track.recall_tip(&position, tip(DAY));
        assert_eq!(age(&track), Some(DAY));
        track.recall_tip(&position, tip(DAY / 4));
        tokio::time::advance(DAY / 4).await;
        track.recall_tip(&position, tip(DAY));
        assert_eq!(age(&track), Some(DAY / 2));
        track.recall_tip(&Position::from_number(1), tip(DAY));
        assert_eq!(age(&track), Some(DAY / 2), "somebody has read on since");
    }

    #[tokio::test]
    async fn only_the_last_position_is_known_as_seen() {
        let track = Track::new();
        let glimpse = Glimpse { at: Instant::now(), behind: Duration::ZERO, kept_for: DAY };
        track.note(&Position::from_number(1), glimpse);
        track.note(&Position::from_number(2), glimpse);
        assert!(track.seen(&Position::from_number(1)).is_none() && track.seen(&Position::from_number(2)).is_some());
    }
}
