//! The dedup stage: reads raw records, passes on the first carrier of each event id, and numbers it.
//!
//! One **owner** works on each raw shard. It writes each decision to its chain in the ledger before it acts on it.

pub mod again;
pub mod batch;
pub mod budget;
pub mod chain;
pub mod config;
pub mod dedup;
pub mod metrics;
mod owned;
pub mod owner;
pub mod retention;
mod voids;
mod waits;
pub mod window;
pub mod windows;

pub use config::Config;
pub use ledger::keeper::Ending;
pub use owned::{Owned, Owning};
pub use owner::{Owner, Parts};
pub use ownership::OwnerError;
pub use retention::Retention;
pub use waits::Waits;

use async_trait::async_trait;
use budget::Budget;
use ledger::Ledger;
use ledger::keeper::{Keeper, Terms};
use metrics::METRICS;
use ownership::{Notes, Shards, Stage, Succession};
use schema::{ChainId, ShardId};
use service::{Env, Health, Part, Rules, Stop};
use std::sync::Arc;
use std::time::Duration;
use stream::{Shard, Stream};

/// A raw stream that took another one's place.
const SUCCESSION: Succession = Succession {
    chains: ChainId::DEDUP,
    unread: "What nobody had read of the old one is not in the lake, and is lost if that was deleted: `forebay audit --ledger` \
             names the ids that a producer has receipts for.",
};

/// The dedup stage of one process: owns as many raw shards as it gets leases for.
#[derive(Debug)]
pub struct Deduper {
    parts: Parts,
    overflow: Duration,
    ready: Part,
}

impl Deduper {
    /// `overflow` is for how long the overflow queue keeps records; zero where there is none.
    ///
    /// # Errors
    /// Settings that contradict each other, or what the raw stream and the overflow queue keep.
    pub fn new(
        config: Config,
        raw: Arc<dyn Stream>,
        clean: Arc<dyn Stream>,
        ledger: Arc<dyn Ledger>,
        overflow: Duration,
        env: Env,
        health: &Health,
    ) -> anyhow::Result<Deduper> {
        metrics::register();
        config.check(&Waits::of(&*raw, overflow))?;
        let budget = Budget::new(config.window_ids_max.get());
        let parts = Parts { raw, clean, ledger, env, config, budget, rules: Rules::default() };
        Ok(Deduper { parts, overflow, ready: health.part("dedup") })
    }

    /// Works until `stop`, then drains: everything decided is forwarded and written down.
    pub async fn run(self, terms: Terms, stop: Stop) -> anyhow::Result<()> {
        let Deduper { parts, overflow, ready } = self;
        metrics::show_bounds(parts.budget.ids_max(), parts.config.ahead_max.get());
        let (ledger, owned) = (parts.ledger.clone(), Owned::default());
        let (raw, env) = (parts.raw.clone(), parts.env.clone());
        let retention = Retention::new(&parts, overflow, owned.clone());
        let owners = Owners { parts, owned };
        SUCCESSION.check(&owners, &*ledger).await?;
        let notes = Notes::compare(ChainId::RAW, &raw, &ledger, &env).await?;
        let keeper = Keeper::new(ledger, Arc::new(Shards::new(owners, ready)), terms);
        tokio::try_join!(keeper.run(stop.clone()), retention.run(stop.clone()), Notes::keep(notes, stop))?;
        Ok(())
    }
}

/// The owners of one process.
#[derive(Debug)]
struct Owners {
    parts: Parts,
    owned: Owned,
}

#[async_trait]
impl Stage for Owners {
    const NAME: &'static str = "dedup";

    fn stream(&self) -> &dyn Stream {
        &*self.parts.raw
    }

    fn chain_of(&self, shard: &ShardId) -> ChainId {
        chain::of_shard(self.stream(), shard)
    }

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        owner::has_ended(&*self.parts.ledger, chain).await
    }

    fn lost(&self) {
        METRICS.stage.lease_lost();
    }

    async fn own(&self, shard: Shard, stop: Stop) -> Result<Ending, OwnerError> {
        let _shown = metrics::Shown::new(&shard.id);
        let _owning = self.owned.own(shard.range);
        Owner::open(self.parts.clone(), shard).await?.run(stop).await
    }
}
