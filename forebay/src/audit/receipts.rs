//! The ids that a producer has receipts for, held against the lake.

use crate::acked::Ledger;
use schema::{EventId, Kind};

/// Ids of one kind, and how often each was met.
#[derive(Debug, Default)]
pub(super) struct Checklist {
    /// Ascending, each once.
    ids: Vec<EventId>,
    met: Vec<u8>,
}

impl Checklist {
    fn new(ids: Vec<EventId>) -> Checklist {
        Checklist { met: vec![0; ids.len()], ids }
    }

    fn tick(&mut self, id: EventId) {
        if let Ok(place) = self.ids.binary_search(&id) {
            self.met[place] = self.met[place].saturating_add(1);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Ids that were not met.
    pub(super) fn absent(&self) -> impl Iterator<Item = EventId> + '_ {
        self.ids.iter().zip(&self.met).filter(|(_, met)| **met == 0).map(|(id, _)| *id)
    }

    /// Ids that were met more than once.
    pub(super) fn repeated(&self) -> impl Iterator<Item = (EventId, u8)> + '_ {
        self.ids.iter().zip(&self.met).filter(|(_, met)| **met > 1).map(|(id, met)| (*id, *met))
    }
}

/// What was acknowledged, by what it was acknowledged as.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    accepted: Checklist,
    quarantined: Checklist,
    /// Quarantined events whose ids no answer named.
    pub(super) unlisted: u64,
}

impl Receipts {
    pub(super) fn new(ledger: Ledger) -> Receipts {
        let Ledger { accepted, quarantined, unlisted, .. } = ledger;
        Receipts { accepted: Checklist::new(accepted), quarantined: Checklist::new(quarantined), unlisted }
    }

    /// Takes note of a row of the exact view.
    pub(super) fn tick(&mut self, kind: Kind, id: EventId) {
        match kind {
            Kind::Events => self.accepted.tick(id),
            Kind::Quarantine => self.quarantined.tick(id),
        }
    }

    pub(super) fn of(&self, kind: Kind) -> &Checklist {
        match kind {
            Kind::Events => &self.accepted,
            Kind::Quarantine => &self.quarantined,
        }
    }
}
