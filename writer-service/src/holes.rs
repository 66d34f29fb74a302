//! Ordinals that are missing below taken ones.
//!
//! A hole is normal for as long as its record is in flight. One that stays means that something was never forwarded: it
//! can be forwarded again at any time (PROTOCOL rule 25).

use crate::write::Sets;
use schema::Origin;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const WARN_AFTER: Duration = Duration::from_secs(60);
const ALARM_AFTER: Duration = Duration::from_secs(300);

/// More intervals than this in one set mean that far too much is in flight, or lost.
const INTERVALS_ALARM: usize = 1000;

/// Least time between two looks: each says anew what is open, and a quiet shard's owner turns several times a second.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The first hole of each origin, and since when it has been there.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    first: BTreeMap<Origin, (u64, Instant)>,
    looked_at: Option<Instant>,
}

/// What is said of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// Nothing: its record is on its way.
    Normal,
    Warning,
    /// Somebody has to mend it.
    Alarm,
}

impl Urgency {
    fn of(age: Duration, intervals: usize) -> Urgency {
        match age {
            _ if age >= ALARM_AFTER || intervals >= INTERVALS_ALARM => Urgency::Alarm,
            _ if age >= WARN_AFTER => Urgency::Warning,
            _ => Urgency::Normal,
        }
    }
}

impl Holes {
    /// Looks for holes and says which ones stay; how many origins have had one for a minute. `None` where the last look was
    /// just now.
    pub(crate) fn look(&mut self, sets: &Sets) -> Option<u32> {
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        let mut old = 0;
        for (origin, set) in sets.iter() {
            if set.is_dense() {
                self.first.remove(origin);
                continue;
            }
            let (ordinal, intervals) = (first_hole(set), set.intervals().len());
            let age = self.age(origin, ordinal);
            match Urgency::of(age, intervals) {
                Urgency::Normal => {}
                Urgency::Warning => tracing::warn!(%origin, ordinal, intervals, ?age, "a hole stays open"),
                Urgency::Alarm => {
                    tracing::error!(%origin, ordinal, intervals, ?age, "a hole stays open: forward it again");
                }
            }
            old += u32::from(age >= WARN_AFTER);
        }
        Some(old)
    }

    /// How long this has been the first hole of an origin.
    fn age(&mut self, origin: &Origin, hole: u64) -> Duration {
        let (at, since) = self.first.entry(origin.clone()).or_insert_with(|| (hole, Instant::now()));
        if *at != hole {
            (*at, *since) = (hole, Instant::now());
        }
        since.elapsed()
    }
}

fn first_hole(set: &schema::IntervalSet) -> u64 {
    match set.intervals().first() {
        Some(&(0, end)) => end,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::v1::OriginSet;
    use schema::{ChainId, IntervalSet, Kind, ShardId};

    fn taken(ranges: &[(u64, u64)]) -> Sets {
        let mut set = IntervalSet::default();
        ranges.iter().for_each(|&(start, end)| set.insert(start, end));
        let origin = Origin::of(&ChainId::dedup("r1", &ShardId::new("raw-0000"), 0), Kind::Events);
        Sets::decode(&[OriginSet { origin: origin.to_string(), intervals: set.encode() }]).expect("a set just encoded")
    }

    /// The look that is due after so many seconds.
    async fn after(holes: &mut Holes, seconds: u64, sets: &Sets) -> u32 {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        holes.look(sets).expect("the last look is long ago")
    }

    #[test]
    fn a_hole_is_a_warning_after_a_minute_and_an_alarm_after_five_or_in_a_thousand_pieces() {
        let of = |seconds, intervals| Urgency::of(Duration::from_secs(seconds), intervals);
        assert_eq!([of(59, 2), of(60, 2), of(299, 2)], [Urgency::Normal, Urgency::Warning, Urgency::Warning]);
        assert_eq!([of(300, 2), of(0, INTERVALS_ALARM)], [Urgency::Alarm, Urgency::Alarm]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hole_is_old_after_a_minute_of_which_nothing_else_comes() {
        let (mut holes, sets) = (Holes::default(), taken(&[(0, 3), (5, 6)]));
        assert_eq!(after(&mut holes, 0, &sets).await, 0);
        assert_eq!(after(&mut holes, 59, &sets).await, 0);
        assert_eq!(after(&mut holes, 10, &sets).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hole_stays_the_same_while_ordinals_come_above_it_and_ends_when_it_closes() {
        let mut holes = Holes::default();
        for k in 0..6 {
            assert_eq!(after(&mut holes, 10, &taken(&[(0, 3), (5, 6 + k)])).await, 0);
        }
        assert_eq!(after(&mut holes, 10, &taken(&[(0, 3), (5, 20)])).await, 1);
        assert_eq!(after(&mut holes, 10, &taken(&[(0, 20)])).await, 0);
        assert_eq!(after(&mut holes, 10, &taken(&[(0, 20), (21, 22)])).await, 0, "another hole is a young one");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_looks_twice_within_a_moment() {
        let (mut holes, sets) = (Holes::default(), taken(&[(0, 3), (5, 6)]));
        after(&mut holes, 0, &sets).await;
        assert_eq!(holes.look(&sets), None);
    }
}
