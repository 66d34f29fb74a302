//! Reading a chain in order, and how long its entries must stay.

use crate::{Ledger, LedgerError, Slot};
use schema::ChainId;
use std::time::Duration;

/// Entries that are loaded at a time.
const PAGE_ENTRIES: usize = 64;

/// Most reads of a gap before it is taken for damage: a load is no snapshot.
const READS_OF_A_GAP_MAX: u32 = 5;

/// Shortest time for which an entry is kept: far longer than any owner trusts its memory (PROTOCOL rule 4).
pub const KEPT_MIN: Duration = Duration::from_secs(7 * 86_400);

/// Refuses to keep entries for less than [`KEPT_MIN`].
pub fn kept_long_enough(keep: Duration) -> Result<Duration, String> {
    if keep < KEPT_MIN { Err("it takes at least 7d".to_string()) } else { Ok(keep) }
}

/// A chain's slots from some number on, ascending, page by page.
///
/// Where the chain is trimmed, it goes on with the first slot that is left: before it starts, and while it walks. Who
/// must not miss anything compares numbers.
#[derive(Debug)]
pub struct Walk<'a> {
    ledger: &'a dyn Ledger,
    chain: &'a ChainId,
    from: u64,
    next: u64,
    page: std::vec::IntoIter<Slot>,
}

impl<'a> Walk<'a> {
    pub fn new(ledger: &'a dyn Ledger, chain: &'a ChainId, from: u64) -> Walk<'a> {
        Walk { ledger, chain, from, next: from, page: Vec::new().into_iter() }
    }

    /// The next slot; `None` past the head.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] for a gap that is not of a trim and stays when it is read again (PROTOCOL rule 3).
    pub async fn next(&mut self) -> Result<Option<Slot>, LedgerError> {
        for _ in 0..=READS_OF_A_GAP_MAX {
            if self.page.len() == 0 {
                self.page = self.ledger.load(self.chain, self.next, PAGE_ENTRIES).await?.into_iter();
            }
            let Some(slot) = self.page.next() else { return Ok(None) };
            if self.follows(&slot) || self.is_first_left(&slot).await? {
                self.next = slot.number + 1;
                return Ok(Some(slot));
            }
            self.page = Vec::new().into_iter();
        }
        Err(self.damaged())
    }

    /// Where the walk begins, and right after the genesis, entries may be missing: they were trimmed.
    fn follows(&self, slot: &Slot) -> bool {
        slot.number == self.next || self.next == self.from || self.next == 1
    }

    /// Whether everything between the genesis and `slot` has been trimmed since the walk began.
    async fn is_first_left(&self, slot: &Slot) -> Result<bool, LedgerError> {
        let first = self.ledger.load(self.chain, 1, 1).await?.into_iter().next();
        Ok(first.is_some_and(|first| first.number >= slot.number))
    }

    fn damaged(&self) -> LedgerError {
        let detail = "missing, while a later slot is there".to_string();
        LedgerError::Damaged { chain: self.chain.clone(), number: self.next, detail }
    }
}

/// Shows a chain's slots from number `from` on, ascending.
///
/// # Errors
/// As [`Walk::next`], and those of `each`.
pub async fn for_each_slot(
    ledger: &dyn Ledger,
    chain: &ChainId,
    from: u64,
    mut each: impl FnMut(Slot) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut walk = Walk::new(ledger, chain, from);
    while let Some(slot) = walk.next().await? {
        each(slot)?;
    }
    Ok(())
}
