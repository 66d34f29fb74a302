//! The writer: reads clean records and writes each event once, as rows of Parquet objects under `live/`.
//!
//! One **owner** works on each clean shard. It announces the exact objects in its chain before it uploads them.

pub mod budget;
pub mod chain;
pub mod config;
pub mod deal;
mod forget;
mod holes;
pub mod metrics;
pub mod owner;
mod uncounted;
pub mod write;

pub use config::Config;
pub use forget::FORGET_AFTER;
pub use ledger::keeper::Ending;
pub use owner::{Encode, Owner, Parts};
pub use ownership::OwnerError;

use async_trait::async_trait;
use budget::Budget;
use lake::Lake;
use ledger::Ledger;
use ledger::keeper::{Keeper, Terms};
use metrics::METRICS;
use ownership::{Notes, Shards, Stage, Succession};
use schema::{ChainId, ShardId};
use service::{Env, Health, Part, Rules, Stop};
use std::sync::Arc;
use stream::{Shard, Stream};

/// A clean stream that took another one's place.
const SUCCESSION: Succession = Succession {
    chains: ChainId::WRITER,
    unread: "What nobody had read of the old one is not in the lake: `forebay audit` names it, and `forebay forward-again` \
             puts it into this one while the raw stream has it.",
};

/// The writer of one process: owns as many clean shards as it gets leases for.
#[derive(Debug)]
pub struct Writer {
    parts: Parts,
    ready: Part,
}

impl Writer {
    pub fn new(
        config: Config,
        clean: Arc<dyn Stream>,
        ledger: Arc<dyn Ledger>,
        lake: Arc<dyn Lake>,
        env: Env,
        health: &Health,
    ) -> Writer {
        metrics::register();
        let budget = Budget::new(config.memory_bytes_max);
        metrics::show_bounds(&budget, config.open_objects_max.get());
        let rules = Rules::default();
        let parts = Parts { clean, ledger, lake, env, config, budget, encode: Encode::OnPool, rules };
        Writer { parts, ready: health.part("writer") }
    }

    /// Works until `stop`, then drains: everything that was read is in the lake and written down.
    pub async fn run(self, terms: Terms, stop: Stop) -> anyhow::Result<()> {
        let Writer { parts, ready } = self;
        let ledger = parts.ledger.clone();
        SUCCESSION.check(&parts, &*ledger).await?;
        let notes = Notes::compare(ChainId::CLEAN, &parts.clean, &ledger, &parts.env).await?;
        let keeper = Keeper::new(ledger, Arc::new(Shards::new(parts, ready)), terms);
        tokio::try_join!(keeper.run(stop.clone()), Notes::keep(notes, stop))?;
        Ok(())
    }
}

#[async_trait]
impl Stage for Parts {
    const NAME: &'static str = "writer";

    fn stream(&self) -> &dyn Stream {
        &*self.clean
    }

    fn chain_of(&self, shard: &ShardId) -> ChainId {
        chain::of_shard(&*self.clean, shard)
    }

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError> {
        owner::has_ended(&*self.ledger, chain).await
    }

    fn lost(&self) {
        METRICS.stage.lease_lost();
    }

    async fn own(&self, shard: Shard, stop: Stop) -> Result<Ending, OwnerError> {
        let _shown = metrics::Shown::new(&shard.id);
        Owner::open(self.clone(), shard).await?.run(stop).await
    }
}
