//! Event types by number, counted.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// The event types met so far.
#[derive(Default, Debug)]
pub(super) struct Types {
    /// Numbers by the hash of the name.
    numbers: HashTable<u32>,
    met: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    name: Box<str>,
    rows: u64,
}

impl Types {
    /// Counts one more row of a type and gives the type's number.
    pub(super) fn count(&mut self, name: &str) -> u32 {
        let hash = xxh3_64(name.as_bytes());
        let number = match self.numbers.find(hash, |&number| *self.met[number as usize].name == *name) {
            Some(&number) => number,
            None => self.add(name, hash),
        };
        self.met[number as usize].rows += 1;
        number
    }

    fn add(&mut self, name: &str, hash: u64) -> u32 {
        let number = u32::try_from(self.met.len()).expect("an object has fewer than 2^32 rows");
        self.met.push(Counted { name: name.into(), rows: 0 });
        let met = &self.met;
        self.numbers.insert_unique(hash, number, |&number| xxh3_64(met[number as usize].name.as_bytes()));
        number
    }

    /// Rows of each type, ascending by name.
    pub(super) fn counts(&self) -> Vec<(&str, u64)> {
        let mut counts: Vec<(&str, u64)> = self.met.iter().map(|counted| (&*counted.name, counted.rows)).collect();
        counts.sort_unstable();
        counts
    }

    /// For each number, the place of its name in alphabetical order.
    pub(super) fn ranks(&self) -> Vec<u32> {
        ranks(self.met.iter().map(|counted| &*counted.name))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.met.iter().map(|counted| counted.name.len()).sum();
        names + self.met.capacity() * size_of::<Counted>() + self.numbers.allocation_size()
    }
}

/// For each name, its place in alphabetical order.
pub(super) fn ranks<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let mut sorted: Vec<(&str, usize)> = names.zip(0..).collect();
    sorted.sort_unstable();
    let mut ranks = vec![0; sorted.len()];
    for (rank, (_, number)) in (0..).zip(sorted) {
        ranks[number] = rank;
    }
    ranks
}
