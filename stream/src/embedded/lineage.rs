//! Which shards a stream has had, and which came from which.

use crate::Shard;
use schema::{HashKey, HashRange, ShardId};
use std::fmt::Write;
use std::num::NonZeroU32;

/// Most shards a stream ever has, closed ones included: the lineage is one small note.
const SHARDS_MAX: usize = 10_000;

const FORMAT: &str = "forebay-lineage 1";

/// All shards of a stream, parents before children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    pub(super) incarnation: String,
    pub(super) shards: Vec<Shard>,
}

impl Lineage {
    pub(super) fn new(name: &str, incarnation: &str, ranges: &[HashRange]) -> Lineage {
        let mut lineage = Lineage { incarnation: incarnation.to_owned(), shards: Vec::new() };
        for range in ranges {
            lineage.add(name, *range, Vec::new());
        }
        lineage
    }

    pub(super) fn reshard(&self, name: &str, count: NonZeroU32) -> Result<Lineage, &'static str> {
        let open: Vec<ShardId> =
            self.shards.iter().filter(|shard| !shard.closed).map(|shard| shard.id.clone()).collect();
        self.replace(name, &open, &HashRange::even(count.get()))
    }

    pub(super) fn split(&self, name: &str, id: &ShardId, at: HashKey) -> Result<Lineage, &'static str> {
        let range = self.open_range(id)?;
        if at <= range.low || at > range.high {
            return Err("the point leaves one of the halves empty");
        }
        let halves = [HashRange { low: range.low, high: HashKey(at.0 - 1) }, HashRange { low: at, high: range.high }];
        self.replace(name, std::slice::from_ref(id), &halves)
    }

    pub(super) fn merge(&self, name: &str, a: &ShardId, b: &ShardId) -> Result<Lineage, &'static str> {
        let (a_range, b_range) = (self.open_range(a)?, self.open_range(b)?);
        let (low, high) = if a_range.low < b_range.low { (a_range, b_range) } else { (b_range, a_range) };
        if low.high.0.checked_add(1) != Some(high.low.0) {
            return Err("the two shards are not neighbours");
        }
        self.replace(name, &[a.clone(), b.clone()], &[HashRange { low: low.low, high: high.high }])
    }

    /// Closes shards; new ones with `ranges` go on, each from those that it overlaps.
    fn replace(&self, name: &str, closing: &[ShardId], ranges: &[HashRange]) -> Result<Lineage, &'static str> {
        if self.shards.len() + ranges.len() > SHARDS_MAX {
            return Err("the stream has had too many shards");
        }
        let mut lineage = self.clone();
        for shard in lineage.shards.iter_mut().filter(|shard| closing.contains(&shard.id)) {
            shard.closed = true;
        }
        for range in ranges {
            let overlaps = |shard: &&Shard| closing.contains(&shard.id) && shard.range.overlaps(range);
            let parents = self.shards.iter().filter(overlaps).map(|shard| shard.id.clone()).collect();
            lineage.add(name, *range, parents);
        }
        Ok(lineage)
    }

    fn add(&mut self, name: &str, range: HashRange, parents: Vec<ShardId>) {
        let id = ShardId::new(format!("{name}-{:04}", self.shards.len()));
        self.shards.push(Shard { id, range, parents, closed: false });
    }

    fn open_range(&self, id: &ShardId) -> Result<HashRange, &'static str> {
        let shard = self.shards.iter().find(|shard| shard.id == *id && !shard.closed);
        shard.map(|shard| shard.range).ok_or("there is no such open shard")
    }

    /// Lines of text: the format, the incarnation, and for each shard its name, state, range and parents.
    pub(super) fn encode(&self) -> String {
        let mut text = format!("{FORMAT}\n{}\n", self.incarnation);
        for Shard { id, range, parents, closed } in &self.shards {
            let state = if *closed { "closed" } else { "open" };
            write!(text, "{id} {state} {:?} {:?}", range.low, range.high).expect("a String takes everything");
            parents.iter().for_each(|parent| write!(text, " {parent}").expect("a String takes everything"));
            text.push('\n');
        }
        text
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Lineage> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let incarnation = lines.next()?.to_owned();
        let shards = lines.map(decode_shard).collect::<Option<_>>()?;
        Some(Lineage { incarnation, shards })
    }
}

fn decode_shard(line: &str) -> Option<Shard> {
    let mut words = line.split(' ');
    let id = ShardId::new(words.next()?);
    let closed = match words.next()? {
        "open" => false,
        "closed" => true,
        _ => return None,
    };
    let mut point = || Some(HashKey(u128::from_str_radix(words.next()?, 16).ok()?));
    let range = HashRange { low: point()?, high: point()? };
    Some(Shard { id, range, parents: words.map(ShardId::new).collect(), closed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).expect("not zero")
    }

    fn covers_the_space_once(lineage: &Lineage) -> bool {
        let mut open: Vec<HashRange> = lineage.shards.iter().filter(|s| !s.closed).map(|s| s.range).collect();
        open.sort_by_key(|range| range.low);
        open[0].low == HashKey(0)
            && open[open.len() - 1].high == HashKey::MAX
            && open.windows(2).all(|pair| pair[0].high.0 + 1 == pair[1].low.0)
    }

    proptest! {
        #[test]
        fn open_shards_cover_the_space_whatever_the_reshards(counts in proptest::collection::vec(1u32..9, 1..6)) {
            let mut lineage = Lineage::new("raw", "a1", &HashRange::even(4));
            for number in counts {
                lineage = lineage.reshard("raw", count(number)).expect("few shards");
                prop_assert!(covers_the_space_once(&lineage));
                prop_assert_eq!(Lineage::decode(lineage.encode().as_bytes()), Some(lineage.clone()));
            }
        }
    }

    #[test]
    fn a_child_has_the_shards_that_it_overlaps_as_parents() {
        let lineage = Lineage::new("raw", "a1", &HashRange::even(2)).reshard("raw", count(3)).expect("few shards");
        let parents: Vec<Vec<&str>> =
            lineage.shards[2..].iter().map(|s| s.parents.iter().map(ShardId::as_str).collect()).collect();
        assert_eq!(parents, [vec!["raw-0000"], vec!["raw-0000", "raw-0001"], vec!["raw-0001"]]);
    }

    #[test]
    fn a_split_and_a_merge_undo_each_other() {
        let lineage = Lineage::new("raw", "a1", &[HashRange::ALL]);
        let [root, left, right] = [0, 1, 2].map(|number| ShardId::new(format!("raw-000{number}")));
        let split = lineage.split("raw", &root, HashKey(7)).expect("a point within");
        let merged = split.merge("raw", &right, &left).expect("neighbours");
        assert_eq!(merged.shards[3].range, HashRange::ALL);
        assert_eq!(merged.shards[3].parents, [left, right]);
        assert!(split.split("raw", &root, HashKey(7)).is_err(), "a closed shard is not split");
        assert!(lineage.split("raw", &root, HashKey(0)).is_err(), "no shard is empty");
    }
}
