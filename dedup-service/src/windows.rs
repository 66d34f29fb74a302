//! What the owner of a shard remembers: the windows of both lanes, which share the shard's room.
//!
//! **Floor**: every id that was accepted with a `received_at` at or after it is known. What is older than the floor may be
//! known. **Evicted**: ids that left for want of room. They stay away: whatever was received before the end of what was
//! evicted is judged by a shorter window, and entries say so.

use crate::batch::LANES;
use crate::window::Window;
use schema::EventId;
use std::collections::BTreeMap;

/// What of the room is made free when it is full: less often than at each batch, since all ids are looked at.
const FREED_OF_ROOM: usize = 16;

/// The ids that were accepted since the floor, by lane.
#[derive(Debug)]
pub struct Windows {
    lanes: [Window; LANES.len()],
    /// First minute from which on ids were loaded, and are not forgotten for their age.
    known_from: i32,
    /// First minute of which nothing was evicted.
    evicted_to: i32,
}

impl Windows {
    /// Empty windows of a shard that has accepted nothing; the seeds are the lanes'.
    pub fn new(seeds: [u128; LANES.len()]) -> Windows {
        Windows { lanes: seeds.map(Window::new), known_from: i32::MIN, evicted_to: i32::MIN }
    }

    /// Ids in all lanes.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(Window::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First minute from which on every accepted id is known.
    pub fn floor(&self) -> i32 {
        self.known_from.max(self.evicted_to)
    }

    /// From which minute on ids have to be loaded so that all since `minute` are known, as far as that can be; `None`
    /// where loading helps nothing.
    pub fn missing_from(&self, minute: i32) -> Option<i32> {
        let from = self.room_from(minute);
        (from < self.floor()).then_some(from)
    }

    /// `minute`, or the first one after it of which nothing was evicted: what is older has no room.
    pub fn room_from(&self, minute: i32) -> i32 {
        minute.max(self.evicted_to)
    }

    pub fn contains(&self, lane: usize, id: EventId) -> bool {
        self.lanes[lane].contains(id)
    }

    /// Adds an id that is accepted now; false if it is known already.
    pub fn insert(&mut self, lane: usize, id: EventId, minute: i32) -> bool {
        self.lanes[lane].insert(id, minute)
    }

    /// Adds an id that was accepted in `minute`, where there is room for it.
    pub fn learn(&mut self, lane: usize, id: EventId, minute: i32) {
        if minute >= self.evicted_to {
            self.lanes[lane].learn(id, minute);
        }
    }

    /// Takes an id out again.
    pub fn remove(&mut self, lane: usize, id: EventId) {
        self.lanes[lane].remove(id);
    }

    /// Says that everything since `minute` has been loaded.
    pub fn loaded_from(&mut self, minute: i32) {
        self.known_from = self.known_from.min(minute);
    }

    /// Forgets what was accepted before `minute`, and frees some of it: a part of the work at each call.
    pub fn prune(&mut self, minute: i32) {
        self.known_from = self.known_from.max(minute);
        self.lanes.iter_mut().for_each(|lane| lane.prune(minute));
    }

    /// Makes room where there are more than `ids_max` ids: the oldest leave, of both lanes. Gives how many left.
    pub fn evict_beyond(&mut self, ids_max: usize) -> usize {
        let before = self.len();
        if before > ids_max {
            let (minute, mut spared) = self.oldest_that_fit(ids_max - ids_max / FREED_OF_ROOM);
            self.evicted_to = self.evicted_to.max(minute);
            self.lanes.iter_mut().for_each(|lane| lane.evict(minute, &mut spared));
        }
        before - self.len()
    }

    /// First minute since which no more than `room` ids were accepted, and for how many more there is room.
    fn oldest_that_fit(&self, mut room: usize) -> (i32, usize) {
        let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
        for (minute, count) in self.lanes.iter().flat_map(Window::minutes) {
            *counts.entry(minute).or_default() += count;
        }
        for (minute, count) in counts.into_iter().rev() {
            match room.checked_sub(count) {
                Some(left) => room = left,
                None => return (minute.saturating_add(1), room),
            }
        }
        (i32::MIN, room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows with these ids in the minutes that `minute_of` says, every third in the second lane.
    fn windows(ids: std::ops::Range<u128>, minute_of: impl Fn(u128) -> i32) -> Windows {
        let mut windows = Windows::new([7, 8]);
        for id in ids {
            assert!(windows.insert(usize::from(id.is_multiple_of(3)), EventId(id), minute_of(id)));
        }
        windows
    }

    fn knows(windows: &Windows, id: u128) -> bool {
        windows.contains(usize::from(id.is_multiple_of(3)), EventId(id))
    }

    #[test]
    fn beyond_the_bound_the_oldest_of_both_lanes_leave_first() {
        let mut windows = windows(0..1_001, |id| (id / 100) as i32);
        assert_eq!(windows.evict_beyond(1_000), 1_001 - (1_000 - 1_000 / FREED_OF_ROOM));
        assert!((100..1_001).all(|id| knows(&windows, id)));
        assert_eq!((windows.floor(), windows.evict_beyond(1_000)), (1, 0));
    }

    #[test]
    fn a_minute_that_alone_is_too_much_leaves_in_part_and_nothing_of_it_is_sure() {
        let mut windows = windows(0..3_000, |_| 5);
        windows.evict_beyond(1_000);
        assert_eq!((windows.len(), windows.floor()), (1_000 - 1_000 / FREED_OF_ROOM, 6));
    }

    #[test]
    fn what_was_evicted_is_not_loaded_again() {
        let mut windows = windows(0..2_000, |id| (id / 100) as i32);
        windows.loaded_from(0);
        windows.evict_beyond(1_000);
        let floor = windows.floor();
        assert_eq!((windows.missing_from(3), windows.room_from(3)), (None, floor));
        windows.loaded_from(3);
        windows.learn(0, EventId(9_999), 3);
        assert!(windows.floor() == floor && !windows.contains(0, EventId(9_999)));
    }

    #[test]
    fn what_was_forgotten_for_its_age_is_loaded_as_far_as_nothing_was_evicted() {
        let mut windows = windows(0..2_000, |id| (id / 100) as i32);
        windows.evict_beyond(1_000);
        let evicted_to = windows.floor();
        windows.prune(15);
        assert_eq!(windows.missing_from(3), Some(evicted_to));
        windows.loaded_from(evicted_to);
        assert_eq!(windows.missing_from(3), None);
    }
}
