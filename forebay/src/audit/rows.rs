//! What the objects hold: which ordinals, how often, and the sums of their ids' hashes.

use super::bitmap::Bitmap;
use super::deep::{Depth, Sum};
use super::numbering::Numbering;
use super::objects::{Balance, Content, Named, View};
use super::receipts::Receipts;
use super::report::Findings;
use anyhow::Context;
use lake::parquet_file::{Columns, Identity, ObjectError, ObjectReader};
use lake::{Lake, LakeError};
use schema::columns::{ORDINAL, ORIGIN, Place, places};
use schema::{EventId, Table};
use std::collections::HashMap;
use writer_service::write::UNREGISTERED;

/// Ordinals of one origin in the lake.
#[derive(Debug)]
pub(super) struct Held {
    /// In the exact view.
    pub(super) exact: Bitmap,
    /// Under `live/`, as far as it is settled.
    pub(super) live: Bitmap,
    /// Sums of H(id) over what the maps hold, each ordinal once.
    pub(super) exact_sum: u128,
    pub(super) live_sum: u128,
}

/// Rows by what they count as; those of origins that nobody has registered are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) live: u64,
    pub(super) finals: u64,
    pub(super) dropped: u64,
    pub(super) unregistered: u64,
    /// Rows of events that the writer could not read: they are in quarantine under their ordinals.
    pub(super) unreadable: u64,
    /// Rows whose ordinal was there already.
    pub(super) twice: u64,
}

/// What was read of the lake.
#[derive(Debug)]
pub(super) struct Rows {
    /// As the decided lanes, by place.
    pub(super) held: Vec<Held>,
    pub(super) counts: Counts,
    /// Ids of dropped rows.
    pub(super) dropped: Vec<EventId>,
    places: HashMap<Box<str>, usize>,
    /// Origin of the row before, and its place: most rows have the same.
    last: Option<(Box<str>, Option<usize>)>,
}

/// What the objects are read into.
pub(super) struct Reading<'a> {
    pub(super) lake: &'a dyn Lake,
    pub(super) lanes: &'a [Numbering],
    pub(super) receipts: Option<&'a mut Receipts>,
    pub(super) depth: Depth,
    pub(super) findings: &'a mut Findings,
}

impl Reading<'_> {
    /// Reads all objects, strays last: what they hold is compared with what is there already.
    pub(super) async fn read(mut self, mut named: Vec<Named>, balances: &[Balance]) -> anyhow::Result<Rows> {
        named.sort_by_key(|object| object.view == View::Stray);
        let mut rows = Rows::new(self.lanes);
        let mut made = HashMap::new();
        for object in &named {
            if let Some(identity) = self.object(object, &mut rows).await?
                && matches!(object.view, View::Final | View::Dropped)
            {
                made.insert(object.key.as_str(), (identity.rows, identity.rows_hash));
            }
        }
        for balance in balances {
            self.balance(balance, &made);
        }
        Ok(rows)
    }

    async fn object(&mut self, named: &Named, rows: &mut Rows) -> anyhow::Result<Option<Identity>> {
        match self.rows_of(named, rows).await {
            Ok(identity) => Ok(Some(identity)),
            Err(ObjectError::Lake(LakeError::NotFound(key))) => {
                // Covered objects go when their grace is over, which may be right now.
                if named.view != View::Covered {
                    self.findings.add("missing object", format_args!("{key}, named by {}", named.by));
                }
                Ok(None)
            }
            Err(ObjectError::Damaged { key, detail }) => {
                self.findings.add("damaged object", format_args!("{key}, named by {}: {detail}", named.by));
                Ok(None)
            }
            Err(error) => Err(error).context("read the lake"),
        }
    }

    async fn rows_of(&mut self, named: &Named, rows: &mut Rows) -> Result<Identity, ObjectError> {
        let Named { key, table, by, .. } = named;
        let who = [table.id_column(), ORIGIN, ORDINAL];
        let columns = if self.depth == Depth::Deep { Columns::All } else { Columns::Only(&who) };
        let mut reader = ObjectReader::open(self.lake, *table, key, columns).await?;
        let identity = reader.identity()?;
        let found = Content { rows: identity.rows, hash: identity.rows_hash };
        if let Some(announced) = named.content.filter(|announced| *announced != found) {
            let Content { rows, .. } = announced;
            let what = format_args!("{key}: holds {identity}, and not the {rows} rows that {by} announced");
            self.findings.add("foreign object", what);
        }
        let damaged =
            |detail: &dyn std::fmt::Display| ObjectError::Damaged { key: key.clone(), detail: detail.to_string() };
        let mut sum = Sum::default();
        while let Some(batch) = reader.next_batch(self.lake).await? {
            if self.depth == Depth::Deep {
                sum.add(*table, &batch).map_err(|error| damaged(&error))?;
            }
            for place in places(*table, &batch).map_err(|error| damaged(&error))? {
                self.row(named, &place.map_err(|error| damaged(&error))?, rows);
            }
        }
        if self.depth == Depth::Deep {
            sum.check(&identity).map_err(|detail| damaged(&detail))?;
        }
        Ok(identity)
    }

    fn row(&mut self, named: &Named, place: &Place<'_>, rows: &mut Rows) {
        let &Place { origin, ordinal, id } = place;
        let Some(lane) = rows.lane(origin) else {
            if origin.starts_with(UNREGISTERED) {
                rows.counts.unregistered += 1;
            } else {
                self.findings.add("invented", format_args!("{id}: nobody numbers {origin}, in {}", named.key));
            }
            return;
        };
        let numbering = &self.lanes[lane];
        if ordinal >= numbering.end {
            let what =
                format_args!("{id}: ordinal {ordinal} of {origin}, which ends at {}, in {}", numbering.end, named.key);
            self.findings.add("invented", what);
            return;
        }
        let is_new = rows.held[lane].take(named.view, ordinal, id);
        rows.count(named.view, id);
        if !is_new {
            rows.counts.twice += 1;
            self.findings.add("twice", format_args!("{id}: ordinal {ordinal} of {origin} once more in {}", named.key));
        }
        let kind = numbering.origin.kind();
        if matches!(named.view, View::Live | View::Final) {
            rows.counts.unreadable += u64::from(named.table != Table::from(kind));
            self.receipts.iter_mut().for_each(|receipts| receipts.tick(kind, id));
        }
    }

    /// What went into a plan must have come out of it.
    fn balance(&mut self, balance: &Balance, made: &HashMap<&str, (u64, u128)>) {
        let mut sum = Content { rows: 0, hash: 0 };
        for key in &balance.outputs {
            // One that is missing or damaged has been found already.
            let Some((rows, hash)) = made.get(key.as_str()) else { return };
            sum = Content { rows: sum.rows + rows, hash: sum.hash.wrapping_add(*hash) };
        }
        if sum != balance.input {
            let Content { rows, .. } = balance.input;
            let what = format_args!("{}: {rows} rows went in, {} came out, or others", balance.by, sum.rows);
            self.findings.add("unbalanced plan", what);
        }
    }
}

impl Rows {
    fn new(lanes: &[Numbering]) -> Rows {
        let places = lanes.iter().enumerate().map(|(place, lane)| (Box::from(lane.origin.as_str()), place));
        Rows {
            held: lanes.iter().map(|lane| Held::new(lane.end)).collect(),
            counts: Counts::default(),
            dropped: Vec::new(),
            places: places.collect(),
            last: None,
        }
    }

    fn lane(&mut self, origin: &str) -> Option<usize> {
        match &self.last {
            Some((last, place)) if **last == *origin => *place,
            _ => {
                let place = self.places.get(origin).copied();
                self.last = Some((Box::from(origin), place));
                place
            }
        }
    }

    fn count(&mut self, view: View, id: EventId) {
        match view {
            View::Live => self.counts.live += 1,
            View::Final => self.counts.finals += 1,
            View::Dropped => {
                self.counts.dropped += 1;
                self.dropped.push(id);
            }
            View::Covered | View::Stray => {}
        }
    }
}

impl Held {
    pub(super) fn new(end: u64) -> Held {
        Held { exact: Bitmap::new(end), live: Bitmap::new(end), exact_sum: 0, live_sum: 0 }
    }

    /// Takes a row into its views; whether none of them had its ordinal.
    fn take(&mut self, view: View, ordinal: u64, id: EventId) -> bool {
        let in_live = matches!(view, View::Live | View::Covered);
        let in_exact = matches!(view, View::Live | View::Final | View::Dropped);
        let hash = id.hash().0;
        let mut is_new = view != View::Stray || !self.exact.contains(ordinal);
        if in_live {
            let is_first = self.live.insert(ordinal);
            self.live_sum = self.live_sum.wrapping_add(if is_first { hash } else { 0 });
            is_new &= is_first;
        }
        if in_exact {
            let is_first = self.exact.insert(ordinal);
            self.exact_sum = self.exact_sum.wrapping_add(if is_first { hash } else { 0 });
            is_new &= is_first;
        }
        is_new
    }
}
