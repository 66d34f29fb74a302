//! Forwarding again: what a chain decided goes to the clean stream once more.
//!
//! The way to close a hole (PROTOCOL rule 25): the clean stream lost records, or gave them up before the writer had read
//! them. The chain says what was decided, and the raw stream still has the events for as long as its retention lasts. Always
//! safe, since the writer takes each ordinal once: one that was only late is dropped. Of what became void the chain itself
//! has all that its **tombstone** says (rule 16).

use crate::batch::{LANES, unit_of};
use crate::chain;
use crate::dedup::{self, Forward};
use crate::retention::saved_voids;
use ledger::{Ledger, Walk};
use ownership::{OwnerError, RETRY_PAUSE};
use schema::v1::{CleanRecord, Decision, Void};
use schema::{ChainId, HashKey, IntervalSet, Kind, Origin, Position, ShardId, record};
use service::Halt;
use std::collections::BTreeMap;
use stream::{AppendError, NewRecord, ReadError, Stream};

/// Appends of the same record before giving up: with the pause between them half a minute, longer than throttling lasts.
const ATTEMPTS_MAX: u32 = 300;

/// Ordinals by origin.
pub type Ordinals = BTreeMap<Origin, IntervalSet>;

/// What became of the ordinals that were asked for.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Clean records that hold them.
    pub records: u64,
    /// Their events, those included that nobody asked for.
    pub events: u64,
    /// Ordinals whose raw records are gone, or whose entries are.
    pub gone: Ordinals,
}

/// Where decisions are read, and what they decided goes.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    pub raw: &'a dyn Stream,
    pub clean: &'a dyn Stream,
    pub ledger: &'a dyn Ledger,
    /// Only say what there is to forward.
    pub is_rehearsal: bool,
}

impl Again<'_> {
    /// Forwards every record that holds some of `wanted`.
    ///
    /// # Errors
    /// A chain or a stream that can't be read or written; what was forwarded until then stays so.
    pub async fn forward(&self, wanted: &Ordinals) -> Result<Outcome, OwnerError> {
        let mut outcome = Outcome { gone: wanted.clone(), ..Outcome::default() };
        let mut chains: Vec<ChainId> = wanted.keys().map(Origin::chain).collect();
        chains.sort_unstable();
        chains.dedup();
        for chain in chains {
            self.forward_chain(&chain, wanted, &mut outcome).await?;
        }
        outcome.gone.retain(|_, ordinals| !ordinals.is_empty());
        Ok(outcome)
    }

    async fn forward_chain(&self, chain: &ChainId, wanted: &Ordinals, outcome: &mut Outcome) -> Result<(), OwnerError> {
        let mut wanted = wanted.clone();
        let genesis = chain::genesis(self.ledger, chain).await?;
        let genesis = genesis.ok_or_else(|| Halt(format!("chain {chain} is not in the ledger: it has lost it")))?;
        let (_, point) = chain::range_of(chain, &genesis)?;
        let shard = ShardId::new(&genesis.shard);
        for void in self.voids(chain).await? {
            self.send_tombstone(point, chain, &void, &mut wanted, outcome).await?;
        }
        let mut walk = Walk::new(self.ledger, chain, 1);
        while let Some(slot) = walk.next().await? {
            let entry = chain::decision(chain, slot.number, slot.entry.bytes)?;
            if !is_wanted(chain, &entry, &wanted) {
                continue;
            }
            let Some(forwards) = self.recall(chain, &shard, slot.number, &entry).await? else { continue };
            for forward in forwards {
                if holds_some(&forward.record, &wanted) {
                    self.send(point, &forward.record, outcome).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything that the chain gave up on, in entries that are there or are gone.
    async fn voids(&self, chain: &ChainId) -> Result<Vec<Void>, OwnerError> {
        let mut voids = saved_voids(self.ledger, chain).await?;
        let mut walk = Walk::new(self.ledger, chain, 1);
        while let Some(slot) = walk.next().await? {
            voids.extend(chain::decision(chain, slot.number, slot.entry.bytes)?.voids);
        }
        Ok(voids)
    }

    /// Sends a void's tombstone where some of its ordinals are wanted, which they are not any more then.
    async fn send_tombstone(
        &self,
        point: HashKey,
        chain: &ChainId,
        void: &Void,
        wanted: &mut Ordinals,
        outcome: &mut Outcome,
    ) -> Result<(), OwnerError> {
        let kind = Kind::try_from(void.kind).map_err(|_| Halt(format!("chain {chain} has a void of no known kind")))?;
        let origin = Origin::of(chain, kind);
        let tombstone = record::tombstone(&origin, void.first_ordinal, void.ids.clone());
        if holds_some(&tombstone, wanted) {
            self.send(point, &tombstone, outcome).await?;
        }
        if let Some(ordinals) = wanted.get_mut(&origin) {
            ordinals.remove(void.first_ordinal, end_of(&tombstone));
        }
        Ok(())
    }

    /// What an entry decided; `None` where some of its raw records are gone.
    async fn recall(
        &self,
        chain: &ChainId,
        shard: &ShardId,
        number: u64,
        entry: &Decision,
    ) -> Result<Option<Vec<Forward>>, OwnerError> {
        let position = |text: &str| {
            Position::parse(text)
                .ok_or_else(|| Halt(format!("chain {chain}, entry {number} names `{text}`, no position")))
        };
        let (from, to) = (position(&entry.from)?, position(&entry.to)?);
        let records = match stream::read_range(self.raw, shard, &from, &to).await {
            Ok(records) => records,
            Err(ReadError::Trimmed { .. } | ReadError::UnknownShard(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if from.is_start() && records.len() < entry.records as usize {
            // A shard is read from the oldest record that it still has.
            return Ok(None);
        }
        let units = records.iter().map(unit_of).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(dedup::recall(chain, number, entry, &units)?))
    }

    async fn send(&self, point: HashKey, clean: &CleanRecord, outcome: &mut Outcome) -> Result<(), OwnerError> {
        if !self.is_rehearsal {
            self.append(NewRecord { point, bytes: record::encode(clean) }).await?;
        }
        outcome.records += 1;
        outcome.events += record::count(&clean.ids) as u64;
        if let Some(gone) = outcome.gone.get_mut(&Origin::new(&clean.origin)) {
            gone.remove(clean.first_ordinal, end_of(clean));
        }
        Ok(())
    }

    async fn append(&self, record: NewRecord) -> Result<(), OwnerError> {
        let mut attempt = 1;
        loop {
            let result = self.clean.append(vec![record.clone()]).await.pop();
            match result.expect("one result for each record") {
                Ok(_) => return Ok(()),
                Err(error @ AppendError::TooLarge { .. }) => return Err(Halt(error.to_string()).into()),
                Err(error) if attempt == ATTEMPTS_MAX => {
                    return Err(ReadError::Unavailable(format!("the clean stream takes nothing: {error}")).into());
                }
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
            attempt += 1;
        }
    }
}

fn is_wanted(chain: &ChainId, entry: &Decision, wanted: &Ordinals) -> bool {
    LANES.into_iter().zip([&entry.events, &entry.quarantine]).any(|(kind, lane)| {
        let Some(lane) = lane else { return false };
        overlaps(wanted, &Origin::of(chain, kind), lane.first_ordinal, lane.first_ordinal + u64::from(lane.count))
    })
}

fn holds_some(clean: &CleanRecord, wanted: &Ordinals) -> bool {
    overlaps(wanted, &Origin::new(&clean.origin), clean.first_ordinal, end_of(clean))
}

/// The ordinal behind a record's last.
fn end_of(clean: &CleanRecord) -> u64 {
    clean.first_ordinal + record::count(&clean.ids) as u64
}

fn overlaps(wanted: &Ordinals, origin: &Origin, start: u64, end: u64) -> bool {
    let Some(ordinals) = wanted.get(origin) else { return false };
    ordinals.intervals().iter().any(|&(from, to)| from < end && start < to)
}
