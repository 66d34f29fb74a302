//! The writer: reads clean records and writes each event once, as rows of Parquet objects under `live/`.
//!
//! One **owner** works on each clean shard. It announces the exact objects in its chain before it uploads them.

pub mod budget;
pub mod chain;
pub mod config;
pub mod deal;
mod holes;
mod metrics;
pub mod owner;
pub mod write;

pub use config::Config;
pub use owner::{Encode, Outcome, Owner, OwnerError, Parts};

use async_trait::async_trait;
use budget::Budget;
use lake::Lake;
use ledger::Ledger;
use ledger::keeper::{Ending, Failure, Keeper, Terms, Work};
use service::{Env, Health, Part, Rules, Stop};
use std::sync::Arc;
use stream::{Shard, Stream};

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
        let budget = Budget::new(config.memory_bytes_max);
        let rules = Rules::default();
        let parts = Parts { clean, ledger, lake, env, config, budget, encode: Encode::OnPool, rules };
        Writer { parts, ready: health.part("writer") }
    }

    /// Works until `stop`, then drains: everything that was read is in the lake and written down.
    pub async fn run(self, terms: Terms, stop: Stop) -> anyhow::Result<()> {
        let ledger = self.parts.ledger.clone();
        Keeper::new(ledger, Arc::new(self), terms).run(stop).await
    }

    fn lease_of(&self, shard: &Shard) -> String {
        owner::chain_of(&*self.parts.clean, shard).to_string()
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        self.parts.clean.shards().await.map_err(|error| again(&error))
    }

    async fn has_ended(&self, shard: &Shard) -> Result<bool, Failure> {
        let chain = owner::chain_of(&*self.parts.clean, shard);
        owner::has_ended(&*self.parts.ledger, &chain).await.map_err(failure)
    }
}

#[async_trait]
impl Work for Writer {
    async fn pieces(&self) -> Result<Vec<String>, Failure> {
        let shards = self.shards().await?;
        let mut ended = Vec::new();
        let mut pieces = Vec::new();
        for shard in &shards {
            if shard.closed && self.has_ended(shard).await? {
                ended.push(&shard.id);
            } else if shard.parents.iter().all(|parent| ended.contains(&parent)) {
                pieces.push(self.lease_of(shard));
            }
        }
        self.ready.ready();
        Ok(pieces)
    }

    async fn run(&self, piece: &str, stop: Stop) -> Result<Ending, Failure> {
        let shards = self.shards().await?;
        let Some(shard) = shards.into_iter().find(|shard| self.lease_of(shard) == piece) else {
            return Err(Failure::Again(format!("the clean stream no longer lists the shard of {piece}")));
        };
        let owner = Owner::open(self.parts.clone(), shard).await.map_err(failure)?;
        match owner.run(stop).await.map_err(failure)? {
            Outcome::Ended => Ok(Ending::Done),
            Outcome::Stopped => Ok(Ending::Stopped),
        }
    }
}

fn again(error: &dyn std::error::Error) -> Failure {
    Failure::Again(error.to_string())
}

fn failure(error: OwnerError) -> Failure {
    match error {
        OwnerError::Halt(halt) => Failure::Fatal(halt.into()),
        other => again(&other),
    }
}
