//! Dealing rows out to lake objects.
//!
//! **Part**: the rows of one object. Rows of a table and day fill one part after another. **Split**: where a part ends:
//! as this owner's memory wants it, or as an earlier owner's entry recorded it.

use crate::uncounted::Uncounted;
use schema::rows::{RowPlace, Rows};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::v1::LakeObject;
use schema::{Day, Table};
use std::collections::{BTreeMap, VecDeque};

/// What parts are gathered for.
pub type Slot = (Table, Day);

/// Rows of an entry, dealt out.
#[derive(Debug)]
pub struct Deal {
    open: BTreeMap<Slot, Rows>,
    /// In the order in which they were closed.
    closed: Vec<(Slot, Rows)>,
    uncounted: Uncounted,
    split: Split,
}

#[derive(Debug)]
enum Split {
    /// At this many rows, or earlier where the owner says so.
    Own { part_rows_max: u64 },
    /// Row counts of the parts to come.
    Recorded(BTreeMap<Slot, VecDeque<u64>>),
}

impl Deal {
    /// Parts end at `part_rows_max` rows, or where this owner closes them.
    pub fn new(part_rows_max: u64) -> Deal {
        Deal::split_as(Split::Own { part_rows_max })
    }

    /// Parts end where an entry says they ended.
    pub fn as_recorded(objects: &[LakeObject]) -> Deal {
        let mut recorded: BTreeMap<Slot, VecDeque<u64>> = BTreeMap::new();
        for object in objects {
            if let Some(table) = Table::parse(&object.table) {
                recorded.entry((table, Day(object.date))).or_default().push_back(object.rows);
            }
        }
        Deal::split_as(Split::Recorded(recorded))
    }

    fn split_as(split: Split) -> Deal {
        Deal { open: BTreeMap::new(), closed: Vec::new(), uncounted: Uncounted::default(), split }
    }

    pub fn event(&mut self, place: &RowPlace<'_>, event: &StoredEvent<'_>) {
        let slot = (Table::Events, Day::of(event.created_at));
        self.rows(slot).push_event(place, event);
        self.close_where_split(slot);
    }

    pub fn quarantined(&mut self, place: &RowPlace<'_>, item: &StoredQuarantine<'_>) {
        let slot = (Table::Quarantine, Day::of(place.received_at));
        self.rows(slot).push_quarantined(place, item);
        self.uncounted.note(item);
        self.close_where_split(slot);
    }

    fn rows(&mut self, slot: Slot) -> &mut Rows {
        self.open.entry(slot).or_insert_with(|| Rows::new(slot.0))
    }

    fn close_where_split(&mut self, slot: Slot) {
        let rows = self.open[&slot].rows();
        let full = match &mut self.split {
            Split::Own { part_rows_max } => rows >= *part_rows_max,
            Split::Recorded(limits) => {
                let limits = limits.entry(slot).or_default();
                let full = limits.front().is_some_and(|&limit| rows >= limit);
                full && limits.pop_front().is_some()
            }
        };
        if full {
            self.close(slot);
        }
    }

    /// Ends the open part of a slot.
    pub fn close(&mut self, slot: Slot) {
        if let Some(rows) = self.open.remove(&slot) {
            self.closed.push((slot, rows));
        }
    }

    /// The slot whose open part holds the most memory.
    pub fn largest(&self) -> Option<(Slot, usize)> {
        self.open.iter().map(|(slot, rows)| (*slot, rows.memory_bytes())).max_by_key(|(_, bytes)| *bytes)
    }

    pub fn open_parts(&self) -> usize {
        self.open.len()
    }

    /// Rows in open parts.
    pub fn rows_open(&self) -> u64 {
        self.open.values().map(Rows::rows).sum()
    }

    /// Bytes of the rows in open parts, as plain columns.
    pub fn row_bytes(&self) -> usize {
        self.open.values().map(Rows::row_bytes).sum()
    }

    pub fn memory_bytes(&self) -> usize {
        let closed = self.closed.iter().map(|(_, rows)| rows.memory_bytes()).sum::<usize>();
        closed + self.open.values().map(Rows::memory_bytes).sum::<usize>()
    }

    /// Takes the parts that were closed so far.
    pub fn take_closed(&mut self) -> Vec<(Slot, Rows)> {
        std::mem::take(&mut self.closed)
    }

    /// Rows that no gateway has counted.
    pub(crate) fn uncounted(&self) -> &Uncounted {
        &self.uncounted
    }

    /// Ends all parts and takes them.
    pub fn finish(mut self) -> Vec<(Slot, Rows)> {
        while let Some((slot, rows)) = self.open.pop_first() {
            self.closed.push((slot, rows));
        }
        self.closed
    }
}
