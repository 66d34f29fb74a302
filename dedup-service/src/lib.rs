//! The dedup stage: reads raw records, passes on the first carrier of each event id, and numbers it.
//!
//! One **owner** works on each raw shard. It writes each decision to its chain in the ledger before it acts on it.

pub mod batch;
pub mod chain;
pub mod config;
pub mod dedup;
mod metrics;
pub mod owner;
pub mod retention;
mod voids;
pub mod window;

pub use config::Config;
pub use ledger::keeper::Ending;
pub use owner::{Owner, Parts};
pub use ownership::OwnerError;
pub use retention::Retention;

use async_trait::async_trait;
use ledger::Ledger;
use ledger::keeper::{Keeper, Terms};
use ownership::{Shards, Stage};
use schema::{ChainId, ShardId};
use service::{Env, Health, Part, Rules, Stop};
use std::sync::Arc;
use stream::{Shard, Stream};

/// The dedup stage of one process: owns as many raw shards as it gets leases for.
#[derive(Debug)]
pub struct Deduper {
    parts: Parts,
    ready: Part,
}

impl Deduper {
    /// # Errors
    /// Settings that contradict each other.
    pub fn new(
        config: Config,
        raw: Arc<dyn Stream>,
        clean: Arc<dyn Stream>,
        ledger: Arc<dyn Ledger>,
        env: Env,
        health: &Health,
    ) -> anyhow::Result<Deduper> {
        config.check()?;
        let window_ids_max = config.window_ids_max.get();
        let parts = Parts { raw, clean, ledger, env, config, window_ids_max, rules: Rules::default() };
        Ok(Deduper { parts, ready: health.part("dedup") })
    }

    /// Works until `stop`, then drains: everything decided is forwarded and written down.
    pub async fn run(self, terms: Terms, stop: Stop) -> anyhow::Result<()> {
        let Deduper { mut parts, ready } = self;
        let open = parts.raw.shards().await?.iter().filter(|shard| !shard.closed).count();
        parts.window_ids_max /= open.max(1);
        let (ledger, retention) = (parts.ledger.clone(), Retention::new(&parts));
        let keeper = Keeper::new(ledger, Arc::new(Shards::new(parts, ready)), terms);
        tokio::try_join!(keeper.run(stop.clone()), retention.run(stop))?;
        Ok(())
    }
}

#[async_trait]
impl Stage for Parts {
    fn stream(&self) -> &dyn Stream {
        &*self.raw
    }

    fn chain_of(&self, shard: &ShardId) -> ChainId {
        chain::of_shard(&*self.raw, shard)
    }

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        owner::has_ended(&*self.ledger, chain).await
    }

    async fn own(&self, shard: Shard, stop: Stop) -> Result<Ending, OwnerError> {
        Owner::open(self.clone(), shard).await?.run(stop).await
    }
}
