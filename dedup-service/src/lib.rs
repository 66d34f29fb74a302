//! The dedup stage: reads raw records, passes on the first carrier of each event id, and numbers it.
//!
//! One **owner** works on each raw shard. It writes each decision to its chain in the ledger before it acts on it.

pub mod batch;
pub mod chain;
pub mod config;
pub mod dedup;
mod metrics;
pub mod owner;
pub mod window;

pub use config::Config;
pub use owner::{Outcome, Owner, OwnerError, Parts};

use async_trait::async_trait;
use ledger::Ledger;
use ledger::keeper::{Ending, Failure, Keeper, Terms, Work};
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
    pub fn new(
        config: Config,
        raw: Arc<dyn Stream>,
        clean: Arc<dyn Stream>,
        ledger: Arc<dyn Ledger>,
        env: Env,
        health: &Health,
    ) -> Deduper {
        let window_ids_max = config.window_ids_max.get();
        let parts = Parts { raw, clean, ledger, env, config, window_ids_max, rules: Rules::default() };
        Deduper { parts, ready: health.part("dedup") }
    }

    /// Works until `stop`, then drains: everything decided is forwarded and written down.
    pub async fn run(mut self, terms: Terms, stop: Stop) -> anyhow::Result<()> {
        let open = self.parts.raw.shards().await?.iter().filter(|shard| !shard.closed).count();
        self.parts.window_ids_max /= open.max(1);
        let ledger = self.parts.ledger.clone();
        Keeper::new(ledger, Arc::new(self), terms).run(stop).await
    }

    fn lease_of(&self, shard: &Shard) -> String {
        owner::chain_of(&*self.parts.raw, shard).to_string()
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failure> {
        self.parts.raw.shards().await.map_err(|error| again(&error))
    }

    async fn has_ended(&self, shard: &Shard) -> Result<bool, Failure> {
        let chain = owner::chain_of(&*self.parts.raw, shard);
        owner::has_ended(&*self.parts.ledger, &chain).await.map_err(failure)
    }
}

#[async_trait]
impl Work for Deduper {
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
            return Err(Failure::Again(format!("the raw stream no longer lists the shard of {piece}")));
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
