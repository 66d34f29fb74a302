//! The window of a lane: ids that were accepted lately, in memory.
//!
//! Times are kept in whole minutes, which is 21 bytes an id and as exact as a window of hours needs.

use hashbrown::HashTable;
use schema::EventId;
use std::collections::BTreeMap;

const MICROS_A_MINUTE: i64 = 60_000_000;

/// The minute that holds a time.
pub fn minute_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(MICROS_A_MINUTE)).unwrap_or(if micros < 0 { i32::MIN } else { i32::MAX })
}

/// One id. 20 bytes without padding.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: [u8; 16],
    minute: i32,
}

/// Tables of uneven share, so that they double at different times: memory grows in small steps, about 34 bytes an id on
/// average instead of 24 right before and 48 right after a doubling of all.
const TABLES: usize = 16;

/// Ids, each with the minute that it was accepted in.
#[derive(Debug)]
pub struct Window {
    tables: [HashTable<Known>; TABLES],
    /// Table of each value of a hash's top byte.
    table_of: [u8; 256],
    /// Ids per minute, for evicting the oldest first.
    minutes: BTreeMap<i32, u64>,
    len: usize,
    seed: u128,
    /// Table that the next call of [`Window::prune`] looks at.
    next_pruned: usize,
}

impl Window {
    /// An empty window; `seed` keeps others from choosing ids that collide.
    pub fn new(seed: u128) -> Window {
        Window {
            tables: std::array::from_fn(|_| HashTable::new()),
            table_of: uneven_shares(),
            minutes: BTreeMap::new(),
            len: 0,
            seed,
            next_pruned: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many ids there are of each minute, the oldest first.
    pub(crate) fn minutes(&self) -> impl Iterator<Item = (i32, usize)> {
        self.minutes.iter().map(|(&minute, &count)| (minute, count as usize))
    }

    pub fn contains(&self, id: EventId) -> bool {
        let (hash, bytes) = (self.hash(id), id.to_bytes());
        self.table(hash).find(hash, |known| known.id == bytes).is_some()
    }

    /// Adds an id; false if it is known already.
    pub fn insert(&mut self, id: EventId, minute: i32) -> bool {
        let (hash, bytes, seed) = (self.hash(id), id.to_bytes(), self.seed);
        let table = &mut self.tables[usize::from(self.table_of[(hash >> 56) as usize])];
        let entry = table.entry(hash, |known| known.id == bytes, |known| hash_of(EventId::from_bytes(known.id), seed));
        match entry {
            hashbrown::hash_table::Entry::Occupied(_) => false,
            hashbrown::hash_table::Entry::Vacant(slot) => {
                slot.insert(Known { id: bytes, minute });
                self.len += 1;
                *self.minutes.entry(minute).or_default() += 1;
                true
            }
        }
    }

    /// Adds an id that was accepted in `minute`; one that was accepted more than once stays as long as the last time wants.
    pub fn learn(&mut self, id: EventId, minute: i32) {
        if self.insert(id, minute) {
            return;
        }
        let (hash, bytes) = (self.hash(id), id.to_bytes());
        let table = &mut self.tables[usize::from(self.table_of[(hash >> 56) as usize])];
        let known = table.find_mut(hash, |known| known.id == bytes).expect("an id that is not new is there");
        if known.minute < minute {
            let before = std::mem::replace(&mut known.minute, minute);
            forget_minute(&mut self.minutes, before, 1);
            *self.minutes.entry(minute).or_default() += 1;
        }
    }

    /// Takes an id out again.
    pub fn remove(&mut self, id: EventId) {
        let (hash, bytes) = (self.hash(id), id.to_bytes());
        let table = &mut self.tables[usize::from(self.table_of[(hash >> 56) as usize])];
        if let Ok(entry) = table.find_entry(hash, |known| known.id == bytes) {
            let minute = entry.remove().0.minute;
            self.forget(minute, 1);
        }
    }

    /// Frees some of what was accepted before `minute`: a part of the work at each call.
    pub fn prune(&mut self, minute: i32) {
        if self.minutes.first_key_value().is_some_and(|(&oldest, _)| oldest < minute) {
            self.retain(self.next_pruned, |accepted| accepted >= minute);
            self.next_pruned = (self.next_pruned + 1) % TABLES;
        }
    }

    /// Frees what was accepted before `minute`, but for `spared` of the ids of the minute before it.
    pub(crate) fn evict(&mut self, minute: i32, spared: &mut usize) {
        for table in 0..TABLES {
            self.retain(table, |accepted| {
                let is_spared = accepted < minute && accepted + 1 == minute && *spared > 0;
                *spared -= usize::from(is_spared);
                accepted >= minute || is_spared
            });
        }
    }

    fn retain(&mut self, table: usize, mut stays: impl FnMut(i32) -> bool) {
        let minutes = &mut self.minutes;
        let before = self.tables[table].len();
        self.tables[table].retain(|known| {
            let stays = stays(known.minute);
            if !stays {
                forget_minute(minutes, known.minute, 1);
            }
            stays
        });
        self.len -= before - self.tables[table].len();
        let seed = self.seed;
        let table = &mut self.tables[table];
        if table.capacity() > 4 * table.len().max(64) {
            table.shrink_to(table.len() * 2, |known| hash_of(EventId::from_bytes(known.id), seed));
        }
    }

    fn forget(&mut self, minute: i32, count: u64) {
        self.len -= count as usize;
        forget_minute(&mut self.minutes, minute, count);
    }

    fn hash(&self, id: EventId) -> u64 {
        hash_of(id, self.seed)
    }

    fn table(&self, hash: u64) -> &HashTable<Known> {
        &self.tables[usize::from(self.table_of[(hash >> 56) as usize])]
    }
}

fn forget_minute(minutes: &mut BTreeMap<i32, u64>, minute: i32, count: u64) {
    if let Some(left) = minutes.get_mut(&minute) {
        *left -= count;
        if *left == 0 {
            minutes.remove(&minute);
        }
    }
}

/// Folds a seeded 64 × 64 bit product: cheap, and not to be steered without the seed.
fn hash_of(id: EventId, seed: u128) -> u64 {
    let mixed = id.0 ^ seed;
    let product = u128::from(mixed as u64) * u128::from((mixed >> 64) as u64 | 1);
    let folded = (product as u64) ^ (product >> 64) as u64;
    let again = u128::from(folded).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (again >> 64) as u64 ^ again as u64
}

/// Deals the 256 values of a byte to the tables in shares that grow from 1 to 2.
fn uneven_shares() -> [u8; 256] {
    let share = |k: usize| 2f64.powf(k as f64 / TABLES as f64);
    let total: f64 = (0..TABLES).map(share).sum();
    let (mut table_of, mut table, mut filled) = ([0; 256], 0, share(0));
    for (value, slot) in table_of.iter_mut().enumerate() {
        while (value as f64 + 0.5) / 256.0 > filled / total && table + 1 < TABLES {
            table += 1;
            filled += share(table);
        }
        *slot = table as u8;
    }
    table_of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let mut window = Window::new(7);
        assert!(window.insert(EventId(5), 10));
        assert!(!window.insert(EventId(5), 99));
        window.remove(EventId(5));
        assert!(!window.contains(EventId(5)) && window.is_empty());
    }

    #[test]
    fn an_id_that_was_accepted_twice_stays_as_long_as_the_last_time_wants() {
        let mut window = Window::new(7);
        for minute in [10, 70, 40] {
            window.learn(EventId(5), minute);
        }
        (0..TABLES).for_each(|_| window.prune(70));
        assert!(window.contains(EventId(5)));
        (0..TABLES).for_each(|_| window.prune(71));
        assert!(window.is_empty());
    }

    #[test]
    fn pruning_frees_what_is_older_and_nothing_else() {
        let mut window = Window::new(7);
        for k in 0..10_000 {
            window.insert(EventId(k << 60 | k), (k % 100) as i32);
        }
        for _ in 0..TABLES {
            window.prune(40);
        }
        assert_eq!(window.len(), 6_000);
        assert!((0..10_000).all(|k| window.contains(EventId(k << 60 | k)) == (k % 100 >= 40)));
    }

    #[test]
    fn an_id_takes_at_most_about_forty_bytes() {
        let mut window = Window::new(7);
        for k in 0..300_000u128 {
            window.insert(EventId(k.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)), 0);
            if k > 100_000 && k % 10_000 == 0 {
                let bytes: usize = window.tables.iter().map(HashTable::allocation_size).sum();
                assert!(bytes / window.len() <= 40, "{} bytes an id at {k}", bytes / window.len());
            }
        }
    }
}
