//! Forgetting origins: sets must not grow with every shard that there ever was.
//!
//! **Over**: an origin whose dedup chain has ended [`FORGET_AFTER`] ago, as the clean stream tells time: by when a record
//! arrived, so that a range gives the same rows whenever it is read. An origin that is over and has all its ordinals
//! **leaves** the sets. What still comes of one that is over and in no set is never begun at 0 (PROTOCOL rule 21).

use crate::metrics::METRICS;
use crate::write::Sets;
use ledger::{Ledger, Slot};
use ownership::OwnerError;
use prost::Message;
use schema::v1::{DedupEntry, dedup_entry};
use schema::{Kind, Origin};
use service::Halt;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long after its END an origin may leave the sets. Source: PROTOCOL, «What follows from it».
pub const FORGET_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// How much longer an origin stays in the sets: more than records are out of the order of their arrival.
const STAYS_LONGER: Duration = Duration::from_secs(3600);

/// Pause between two looks: each asks the ledger for every origin in the sets.
const LOOK_EVERY: Duration = Duration::from_secs(86_400);

/// What the ledger says of an origin that is in no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its ordinals are to be taken.
    Registered,
    /// No dedup chain numbers it.
    Unregistered,
    Over,
}

impl Standing {
    /// Judges an origin by a record of it that arrived then.
    pub(crate) async fn look(ledger: &dyn Ledger, origin: &Origin, arrived_at: i64) -> Result<Standing, OwnerError> {
        let Some(head) = ledger.head(&origin.chain()).await? else { return Ok(Standing::Unregistered) };
        let is_over =
            End::of(origin, head)?.is_some_and(|end| end.at.saturating_add(micros(FORGET_AFTER)) <= arrived_at);
        Ok(if is_over { Standing::Over } else { Standing::Registered })
    }
}

/// The END of an origin's chain.
#[derive(Clone, Copy, Debug)]
struct End {
    at: i64,
    /// Ordinals `[0, count)` are all that there are.
    count: u64,
}

impl End {
    /// What the head of its chain says; `None` while the chain goes on.
    fn of(origin: &Origin, head: Slot) -> Result<Option<End>, Halt> {
        let entry = DedupEntry::decode(head.entry.bytes).ok().and_then(|entry| entry.entry);
        let unreadable = || Halt(format!("chain {}, entry {} can't be read", origin.chain(), head.number));
        let decision = match entry.ok_or_else(unreadable)? {
            dedup_entry::Entry::Decision(decision) if decision.end => decision,
            _ => return Ok(None),
        };
        let lane = match origin.kind() {
            Kind::Events => decision.events,
            Kind::Quarantine => decision.quarantine,
        };
        let lane = lane.ok_or_else(unreadable)?;
        Ok(Some(End { at: decision.appended_at, count: lane.first_ordinal + u64::from(lane.count) }))
    }
}

/// Which origins leave the sets, and when to look for more.
#[derive(Debug)]
pub(crate) struct Forgetting {
    look_at: Instant,
    /// Arrival of the newest record that was read.
    read_through: i64,
    /// Leave with the next entry: an origin stays for at least one whole entry after it was last seen.
    leaving: BTreeMap<Origin, u64>,
}

impl Forgetting {
    pub(crate) fn new() -> Forgetting {
        Forgetting { look_at: Instant::now(), read_through: i64::MIN, leaving: BTreeMap::new() }
    }

    pub(crate) fn note_arrival(&mut self, arrived_at: i64) {
        self.read_through = self.read_through.max(arrived_at);
    }

    /// Takes out of the sets what leaves with the entry that is about to be appended.
    pub(crate) fn apply(&mut self, sets: &mut Sets) {
        for (origin, count) in std::mem::take(&mut self.leaving) {
            if sets.forget(&origin, count) {
                METRICS.forgotten.inc();
                tracing::info!(%origin, ordinals = count, "forgot an origin: it has ended long ago, and all of it is taken");
            }
        }
    }

    /// Looks for origins that are over, once a day. To be called right after an entry with these sets was appended.
    ///
    /// # Errors
    /// [`OwnerError::Halt`] only: where the ledger does not answer, it is asked again after the next entry.
    pub(crate) async fn look(&mut self, ledger: &dyn Ledger, sets: &Sets) -> Result<(), OwnerError> {
        if Instant::now() < self.look_at {
            return Ok(());
        }
        match self.leaving(ledger, sets).await {
            Ok(leaving) => (self.leaving, self.look_at) = (leaving, Instant::now() + LOOK_EVERY),
            Err(halt @ OwnerError::Halt(_)) => return Err(halt),
            Err(error) => tracing::debug!(%error, "can't look for origins that are over, trying again"),
        }
        Ok(())
    }

    async fn leaving(&self, ledger: &dyn Ledger, sets: &Sets) -> Result<BTreeMap<Origin, u64>, OwnerError> {
        let ended_by = self.read_through.saturating_sub(micros(FORGET_AFTER + STAYS_LONGER));
        let mut leaving = BTreeMap::new();
        for (origin, set) in sets.iter().filter(|(_, set)| set.is_dense()) {
            let Some(head) = ledger.head(&origin.chain()).await? else { continue };
            if let Some(end) = End::of(origin, head)?
                && end.at <= ended_by
                && end.count == set.end()
            {
                leaving.insert(origin.clone(), end.count);
            }
        }
        Ok(leaving)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("it is a constant of some days")
}
