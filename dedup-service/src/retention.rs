//! Retention of the dedup chains: what no copy can be held against any more goes.
//!
//! **As of**: the time up to which everything is decided. The age of an entry is counted back from there and not from
//! now, so that a stage that was down for a month still recognises the copies among what has waited for it. **Saved**: a
//! void whose entry goes is written to a chain of its own first, since it is the only account of its ordinals. **Heir**:
//! the owned shard in whose range a chain's own range begins. Its owner trims the chain: the shard's own, and those of
//! ancestors, which have ended. There is one heir at most, as owned shards do not overlap; where there is none, as between
//! a parent's END and its children's first owners, the chain waits.

use crate::batch::unit_of;
use crate::chain;
use crate::config::Config;
use crate::metrics::METRICS;
use crate::owned::Owned;
use crate::owner::Parts;
use crate::waits::Waits;
use ledger::{Ledger, Walk, append_until_decided};
use ownership::{OwnerError, PATIENCE};
use schema::v1::{Decision, Void, dedup_entry};
use schema::{ChainId, Position};
use service::{Env, Stop};
use std::sync::Arc;
use std::time::Duration;
use stream::{ReadLimit, Stream};

const EVERY: Duration = Duration::from_secs(3600);

/// Time after the start at which chains are trimmed first: not while owners load them.
const FIRST_AFTER: Duration = Duration::from_secs(60);

/// Enough to see the oldest record that is not decided.
const GLANCE: ReadLimit = ReadLimit { records_max: 1, bytes_max: 1, wait: Duration::ZERO };

/// Trims the chains whose heirs are owned by this process.
#[derive(Debug)]
pub struct Retention {
    raw: Arc<dyn Stream>,
    ledger: Arc<dyn Ledger>,
    env: Env,
    config: Config,
    overflow: Duration,
    owned: Owned,
}

impl Retention {
    /// `overflow` is for how long the overflow queue keeps records; zero where there is none.
    pub fn new(parts: &Parts, overflow: Duration, owned: Owned) -> Retention {
        let Parts { raw, ledger, env, config, .. } = parts.clone();
        Retention { raw, ledger, env, config, overflow, owned }
    }

    /// Trims every hour until `stop`.
    ///
    /// # Errors
    /// [`service::Halt`] only: what else goes wrong is logged and tried again.
    pub(crate) async fn run(self, stop: Stop) -> anyhow::Result<()> {
        stop.run_until_cancelled(self.run_on()).await.unwrap_or(Ok(()))
    }

    async fn run_on(&self) -> anyhow::Result<()> {
        tokio::time::sleep(FIRST_AFTER).await;
        loop {
            match self.trim().await {
                Ok(0) => {}
                Ok(entries) => tracing::info!(entries, "removed old decisions from the ledger"),
                Err(OwnerError::Halt(halt)) => return Err(halt.into()),
                Err(error) => tracing::warn!(%error, "trimming decisions failed, trying again later"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Trims once; how many entries went.
    pub async fn trim(&self) -> Result<u64, OwnerError> {
        let keep = self.config.keep_decisions(&Waits::of(&*self.raw, self.overflow));
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let kept_from = self.decided_as_of().await?.saturating_sub(keep);
        let mut trimmed = 0;
        for chain in self.ledger.chains(&chain::prefix(&*self.raw)).await? {
            if self.is_heir_of(&chain).await? {
                trimmed += self.trim_chain(&chain, kept_from).await?;
            }
        }
        METRICS.trimmed.inc_by(trimmed);
        Ok(trimmed)
    }

    async fn is_heir_of(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        let Some(genesis) = chain::genesis(&*self.ledger, chain).await? else { return Ok(false) };
        let (range, _) = chain::range_of(chain, &genesis)?;
        Ok(self.owned.covers(range.low))
    }

    async fn decided_as_of(&self) -> Result<i64, OwnerError> {
        let mut as_of = self.env.now();
        for shard in self.raw.shards().await? {
            let head = chain::head(&*self.ledger, &chain::of_shard(&*self.raw, &shard.id)).await?;
            let (at, tip_at) = match &head {
                Some((_, head)) if head.end => continue,
                Some((_, head)) => (Position::parse(&head.to), head.tip_at),
                None => (Some(Position::start()), 0),
            };
            let Some(at) = at else { return Ok(i64::MIN) }; // Its owner will halt: nothing may go until then.
            // A shard that has been quiet for long is nothing to halt for.
            let (raw, ledger, now) = (&*self.raw, &*self.ledger, self.env.now());
            ownership::recall_tip(ChainId::RAW, raw, ledger, &shard.id, &at, tip_at, now).await?;
            for record in self.raw.read(&shard.id, &at, GLANCE).await?.records {
                let received_at = unit_of(&record)?.received_at().unwrap_or(record.arrived_at);
                as_of = as_of.min(record.arrived_at).min(received_at);
            }
        }
        Ok(as_of)
    }

    /// Removes what is forwarded and was appended before `kept_from`.
    async fn trim_chain(&self, chain: &ChainId, kept_from: i64) -> Result<u64, OwnerError> {
        let Some((head, decision)) = chain::head(&*self.ledger, chain).await? else { return Ok(0) };
        let through = decision.forwarded_through.min(head);
        let mut walk = Walk::new(&*self.ledger, chain, 1);
        let (mut below, mut count) = (1, 0);
        while let Some(slot) = walk.next().await? {
            let decision = chain::decision(chain, slot.number, slot.entry.bytes)?;
            if slot.number >= through || decision.appended_at >= kept_from {
                break;
            }
            if !decision.voids.is_empty() {
                self.save(chain, decision.voids).await?;
            }
            (below, count) = (slot.number + 1, count + 1);
        }
        if count > 0 {
            self.ledger.trim(chain, below).await?;
        }
        Ok(count)
    }

    /// Saves voids. Doing it twice is harmless.
    async fn save(&self, chain: &ChainId, voids: Vec<Void>) -> Result<(), OwnerError> {
        let saved = chain::of_voids(chain);
        let number = self.ledger.head(&saved).await?.map_or(0, |head| head.number + 1);
        let decision = Decision { voids, appended_at: self.env.now(), ..Decision::default() };
        let entry = chain::encode(self.env.nonce(), dedup_entry::Entry::Decision(decision));
        Ok(append_until_decided(&*self.ledger, &saved, number, entry, PATIENCE).await?)
    }
}

/// The voids of a chain whose entries may be gone.
pub async fn saved_voids(ledger: &dyn Ledger, chain: &ChainId) -> Result<Vec<Void>, OwnerError> {
    let saved = chain::of_voids(chain);
    let (mut walk, mut voids) = (Walk::new(ledger, &saved, 0), Vec::new());
    while let Some(slot) = walk.next().await? {
        voids.extend(chain::decision(&saved, slot.number, slot.entry.bytes)?.voids);
    }
    Ok(voids)
}
