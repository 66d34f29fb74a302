//! Which rows are further copies of an id (PROTOCOL rule 29).
//!
//! **Row number**: the place of a row when a plan's inputs are read one after the other. **First**: of the rows with one
//! id, the one in an earlier plan's outputs, else the one with the lowest origin and ordinal; all others are copies.
//! **Card**: what is needed of a row to tell. Cards are sorted by id, on disk where they don't fit in memory.

use crate::error::{CompactError, spill};
use crate::held::{Held, MEMORY};
use crate::spill::Spill;
use arrow_array::RecordBatch;
use schema::columns::{Place, places};
use schema::{EventId, Table};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, Write};

/// Row number of all rows of earlier plans.
const EARLIER: u32 = u32::MAX;

/// Bytes of a card in a file.
const CARD_BYTES: usize = 32;

/// Most files of cards that are read at the same time.
const FILES_OPEN_MAX: usize = 128;

/// Bits of the filter for each row: one id in about sixteen passes that should not, and is found out later.
const FILTER_BITS_PER_ROW: u64 = 16;

/// What is known of a row, in the order of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Card {
    /// The id's halves.
    id: [u64; 2],
    ordinal: u64,
    /// Number of the origin.
    origin: u32,
    row: u32,
}

impl Card {
    fn to_bytes(self) -> [u8; CARD_BYTES] {
        let mut bytes = [0; CARD_BYTES];
        bytes[..8].copy_from_slice(&self.id[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id[1].to_le_bytes());
        bytes[16..24].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.origin.to_le_bytes());
        bytes[28..].copy_from_slice(&self.row.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; CARD_BYTES]) -> Card {
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("it lies within the card"));
        let short = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("it lies within the card"));
        Card { id: [long(0), long(8)], ordinal: long(16), origin: short(24), row: short(28) }
    }
}

fn halves(id: EventId) -> [u64; 2] {
    [(id.0 >> 64) as u64, id.0 as u64]
}

/// A set of row numbers.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    words: Vec<u64>,
    count: u64,
}

impl Copies {
    fn insert(&mut self, row: u32) {
        let word = row as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (row % 64);
        self.count += 1;
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// Sorts out which rows are copies.
#[derive(Debug)]
pub(crate) struct CopyFinder<'a> {
    table: Table,
    spill: &'a Spill,
    cards: Vec<Card>,
    cards_max: usize,
    files: Vec<File>,
    origins: Origins,
    filter: Filter,
    held: Held,
}

impl<'a> CopyFinder<'a> {
    /// Holds about `bytes_max` of cards in memory. There will be `rows` rows.
    pub(crate) fn new(table: Table, rows: u64, bytes_max: usize, spill: &'a Spill) -> CopyFinder<'a> {
        let filter = Filter::new(rows, bytes_max / 2);
        let mut held = Held::nothing_of(&MEMORY);
        held.set(filter.words.len() * size_of::<u64>());
        CopyFinder {
            table,
            spill,
            cards: Vec::new(),
            cards_max: (bytes_max / 2 / size_of::<Card>()).max(1),
            files: Vec::new(),
            origins: Origins::default(),
            filter,
            held,
        }
    }

    /// Takes note of input rows, of which the first has number `first`.
    pub(crate) fn add(&mut self, batch: &RecordBatch, first: u32) -> Result<(), CompactError> {
        for (place, row) in places(self.table, batch)?.zip(first..) {
            let Place { origin, ordinal, id } = place?;
            if !self.names_no_row(id) {
                let id = halves(id);
                self.filter.insert(id);
                let origin = self.origins.number(origin);
                self.push(Card { id, ordinal, origin, row })?;
            }
        }
        Ok(())
    }

    /// Takes note of the ids in an output of an earlier plan, after all input rows.
    pub(crate) fn add_earlier(&mut self, ids: impl Iterator<Item = Option<EventId>>) -> Result<(), CompactError> {
        for id in ids.flatten() {
            let id = halves(id);
            if self.filter.may_contain(id) {
                self.push(Card { id, ordinal: 0, origin: 0, row: EARLIER })?;
            }
        }
        Ok(())
    }

    /// Rows that a writer made of bytes nobody could read have no id, and all of them the same nil one.
    fn names_no_row(&self, id: EventId) -> bool {
        self.table == Table::Quarantine && id == EventId(0)
    }

    fn push(&mut self, card: Card) -> Result<(), CompactError> {
        let room = self.cards.capacity();
        self.cards.push(card);
        self.held.add((self.cards.capacity() - room) * size_of::<Card>());
        if self.cards.len() >= self.cards_max { self.write() } else { Ok(()) }
    }

    /// Writes the cards in memory to a file of their own, sorted.
    fn write(&mut self) -> Result<(), CompactError> {
        self.cards.sort_unstable();
        let file = written(self.spill, self.cards.drain(..).map(Ok))?;
        self.files.push(file);
        Ok(())
    }

    /// The copies among the input rows.
    pub(crate) fn finish(mut self) -> Result<Copies, CompactError> {
        self.filter = Filter::default();
        if self.files.is_empty() {
            self.cards.sort_unstable();
            let Judge { copies, .. } = judged(&self.origins, std::mem::take(&mut self.cards).into_iter().map(Ok))?;
            return Ok(copies);
        }
        self.write()?;
        self.cards = Vec::new();
        while self.files.len() > FILES_OPEN_MAX {
            let rest = self.files.split_off(FILES_OPEN_MAX);
            let merged = written(self.spill, Merge::new(std::mem::replace(&mut self.files, rest))?)?;
            self.files.push(merged);
        }
        let merge = Merge::new(std::mem::take(&mut self.files))?;
        Ok(judged(&self.origins, merge)?.copies)
    }
}

fn judged(
    origins: &Origins,
    cards: impl Iterator<Item = Result<Card, CompactError>>,
) -> Result<Judge<'_>, CompactError> {
    let mut judge = Judge { origins, first: None, copies: Copies::default() };
    for card in cards {
        judge.look(card?);
    }
    Ok(judge)
}

/// Tells the first of each id from its copies, while ids come in order.
struct Judge<'a> {
    origins: &'a Origins,
    first: Option<Card>,
    copies: Copies,
}

impl Judge<'_> {
    fn look(&mut self, card: Card) {
        let Some(first) = self.first.filter(|first| first.id == card.id) else {
            self.first = Some(card);
            return;
        };
        let copy = if self.rank(&card) < self.rank(&first) {
            self.first = Some(card);
            first
        } else {
            card
        };
        if copy.row != EARLIER {
            self.copies.insert(copy.row);
        }
    }

    fn rank(&self, card: &Card) -> (bool, Option<&str>, u64, u32) {
        let is_input = card.row != EARLIER;
        (is_input, is_input.then(|| self.origins.name(card.origin)), card.ordinal, card.row)
    }
}

/// Origins by number.
#[derive(Debug, Default)]
struct Origins {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
    last: u32,
}

impl Origins {
    fn number(&mut self, name: &str) -> u32 {
        if self.names.get(self.last as usize).is_some_and(|last| **last == *name) {
            return self.last;
        }
        let next = self.names.len() as u32;
        self.last = match self.numbers.get(name) {
            Some(&number) => number,
            None => {
                self.numbers.insert(name.into(), next);
                self.names.push(name.into());
                next
            }
        };
        self.last
    }

    fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }
}

/// Says of most ids that they are not among the inputs'.
#[derive(Debug, Default)]
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn new(rows: u64, bytes_max: usize) -> Filter {
        let wanted = (rows * FILTER_BITS_PER_ROW / 64).max(1);
        let words = usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes_max / 8).max(1);
        Filter { words: vec![0; words] }
    }

    /// Ids may share most of their bits, as those made from the time do.
    fn place(&self, [high, low]: [u64; 2]) -> (usize, u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (high.wrapping_mul(ODD) ^ low.rotate_left(32)).wrapping_mul(ODD);
        let hash = (mixed ^ mixed >> 29).wrapping_mul(ODD);
        let word = (u128::from(hash) * self.words.len() as u128) >> 64;
        (word as usize, 1 << (hash & 63))
    }

    fn insert(&mut self, id: [u64; 2]) {
        let (word, bit) = self.place(id);
        self.words[word] |= bit;
    }

    fn may_contain(&self, id: [u64; 2]) -> bool {
        let (word, bit) = self.place(id);
        self.words[word] & bit != 0
    }
}

/// Writes cards to a new file, and goes back to its start.
fn written(files: &Spill, cards: impl Iterator<Item = Result<Card, CompactError>>) -> Result<File, CompactError> {
    let (file, _) = files.file()?;
    let mut out = BufWriter::new(file);
    let mut bytes = 0;
    for card in cards {
        out.write_all(&card?.to_bytes()).map_err(spill("write ids"))?;
        bytes += CARD_BYTES;
    }
    files.note(bytes);
    let mut file = out.into_inner().map_err(|error| spill("write ids")(error.into_error()))?;
    file.rewind().map_err(spill("read ids"))?;
    Ok(file)
}

/// Cards of several sorted files, in order.
struct Merge {
    files: Vec<BufReader<File>>,
    /// The next card of each file that has one.
    next: BinaryHeap<Reverse<(Card, usize)>>,
}

impl Merge {
    fn new(files: Vec<File>) -> Result<Merge, CompactError> {
        let files: Vec<_> = files.into_iter().map(BufReader::new).collect();
        let mut merge = Merge { next: BinaryHeap::with_capacity(files.len()), files };
        for number in 0..merge.files.len() {
            merge.read(number)?;
        }
        Ok(merge)
    }

    fn read(&mut self, number: usize) -> Result<(), CompactError> {
        let mut bytes = [0; CARD_BYTES];
        match self.files[number].read_exact(&mut bytes) {
            Ok(()) => self.next.push(Reverse((Card::from_bytes(&bytes), number))),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(spill("read ids")(error)),
        }
        Ok(())
    }
}

impl Iterator for Merge {
    type Item = Result<Card, CompactError>;

    fn next(&mut self) -> Option<Result<Card, CompactError>> {
        let Reverse((card, number)) = self.next.pop()?;
        Some(self.read(number).map(|()| card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tempfile::tempdir;

    /// Input rows as (id, origin, ordinal), and earlier ids.
    fn copies(rows: &[(u8, u8, u8)], earlier: &[u8], bytes_max: usize) -> (Vec<u32>, u64) {
        let base = tempdir().unwrap();
        let spill = Spill::new(Some(base.path()));
        let mut finder = CopyFinder::new(Table::Events, rows.len() as u64, bytes_max, &spill);
        for (&(id, origin, ordinal), row) in rows.iter().zip(0..) {
            let id = halves(EventId(id.into()));
            finder.filter.insert(id);
            let origin = finder.origins.number(&format!("o{:03}", u8::MAX - origin));
            finder.push(Card { id, origin, ordinal: ordinal.into(), row }).unwrap();
        }
        finder.add_earlier(earlier.iter().map(|&id| Some(EventId(id.into())))).unwrap();
        let copies = finder.finish().unwrap();
        let found: Vec<u32> = (0..rows.len() as u32).filter(|&row| copies.contains(row)).collect();
        assert_eq!(copies.count(), found.len() as u64);
        (found, spill.files())
    }

    fn expected(rows: &[(u8, u8, u8)], earlier: &[u8]) -> Vec<u32> {
        let rank = |row: usize| (u8::MAX - rows[row].1, rows[row].2, row);
        let is_copy = |&row: &usize| {
            let id = rows[row].0;
            earlier.contains(&id) || (0..rows.len()).any(|other| rows[other].0 == id && rank(other) < rank(row))
        };
        (0..rows.len()).filter(is_copy).map(|row| row as u32).collect()
    }

    proptest! {
        #[test]
        fn the_first_of_each_id_is_no_copy_whatever_the_memory(
            rows in proptest::collection::vec((0u8..20, 240u8..=255, 0u8..9), 0..60),
            earlier in proptest::collection::vec(0u8..30, 0..10),
        ) {
            for bytes_max in [1, 300, 1 << 20] {
                prop_assert_eq!(copies(&rows, &earlier, bytes_max).0, expected(&rows, &earlier));
            }
        }
    }

    #[test]
    fn more_files_than_can_be_open_are_merged_in_passes() {
        let rows: Vec<(u8, u8, u8)> = (0..300u32).map(|k| ((k % 100) as u8, 0, (k / 100) as u8)).collect();
        let (found, files) = copies(&rows, &[], 1);
        assert_eq!(found, (100..300).collect::<Vec<u32>>());
        assert!(files > 300, "{files} files");
    }
}
