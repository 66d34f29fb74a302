//! Which shards may be owned now.

use crate::OwnerError;
use crate::orphans::Orphans;
use async_trait::async_trait;
use ledger::keeper::{Ending, Failure, Work};
use schema::{ChainId, ShardId};
use service::{Part, Stop, telemetry};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use stream::{Shard, Stream};
use tracing::Instrument;

/// What is done with the shards of a stream.
#[async_trait]
pub trait Stage: Send + Sync + fmt::Debug + 'static {
    /// As log lines call it.
    const NAME: &'static str;

    fn stream(&self) -> &dyn Stream;

    fn chain_of(&self, shard: &ShardId) -> ChainId;

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError>;

    /// The lease of a shard that was owned here is another worker's now.
    fn lost(&self) {}

    /// Owns a shard until its chain has ended or `stop` is signalled.
    async fn own(&self, shard: Shard, stop: Stop) -> Result<Ending, OwnerError>;
}

/// The shards of a stage as pieces of work. A piece has the name of its shard's chain.
#[derive(Debug)]
pub struct Shards<S> {
    stage: S,
    ready: Part,
    /// Nobody need ask again: an END is for ever.
    ended: Mutex<BTreeSet<ShardId>>,
    orphans: Orphans,
}

impl<S: Stage> Shards<S> {
    /// `ready` is told whether shards can be seen and taken.
    pub fn new(stage: S, ready: Part) -> Shards<S> {
        Shards { stage, ready, ended: Mutex::default(), orphans: Orphans::default() }
    }

    fn piece_of(&self, shard: &Shard) -> String {
        self.stage.chain_of(&shard.id).to_string()
    }

    async fn shards(&self) -> Result<Vec<Shard>, OwnerError> {
        Ok(self.stage.stream().shards().await?)
    }

    /// The shards that may be owned, among all that are listed.
    async fn ownable<'a>(&self, shards: &'a [Shard]) -> Result<Vec<&'a Shard>, OwnerError> {
        let listed: BTreeSet<&ShardId> = shards.iter().map(|shard| &shard.id).collect();
        let (mut ownable, mut orphans) = (Vec::new(), BTreeSet::new());
        for shard in shards {
            if shard.closed && self.has_ended(&shard.id).await? {
                continue;
            }
            let running = self.running_parents(shard, &listed).await?;
            if running.is_empty() {
                ownable.push(shard);
            }
            let gone = running.into_iter().filter(|parent| !listed.contains(parent));
            orphans.extend(gone.map(|parent| (shard.id.clone(), parent.clone())));
        }
        self.orphans.note(&orphans);
        Ok(ownable)
    }

    /// Parents that have not ended. The stream may no longer list a parent; its chain stays, and where that has not ended,
    /// only a person can say to go on.
    async fn running_parents<'a>(
        &self,
        shard: &'a Shard,
        listed: &BTreeSet<&ShardId>,
    ) -> Result<Vec<&'a ShardId>, OwnerError> {
        let mut running = Vec::new();
        for parent in &shard.parents {
            let is_given_up = !listed.contains(parent) && self.stage.stream().goes_on_without(parent);
            if !is_given_up && !self.has_ended(parent).await? {
                running.push(parent);
            }
        }
        Ok(running)
    }

    async fn has_ended(&self, shard: &ShardId) -> Result<bool, OwnerError> {
        if self.ended().contains(shard) {
            return Ok(true);
        }
        let has_ended = self.stage.has_ended(&self.stage.chain_of(shard)).await?;
        if has_ended {
            self.ended().insert(shard.clone());
        }
        Ok(has_ended)
    }

    /// Every line that is logged meanwhile says whose it is.
    async fn own(&self, shard: Shard, chain: &str, stop: Stop) -> Result<Ending, OwnerError> {
        let owner = telemetry::owner(S::NAME, shard.id.as_str(), chain);
        let work = async {
            tracing::info!("the shard is owned here from now on");
            let ending = self.stage.own(shard, stop).await;
            tracing::info!("the shard is let go");
            ending
        };
        work.instrument(owner).await
    }

    fn ended(&self) -> MutexGuard<'_, BTreeSet<ShardId>> {
        self.ended.lock().expect("nobody panics while holding it")
    }
}

#[async_trait]
impl<S: Stage> Work for Shards<S> {
    async fn pieces(&self) -> Result<Vec<String>, Failure> {
        let shards = self.shards().await?;
        let ownable = self.ownable(&shards).await?;
        Ok(ownable.into_iter().map(|shard| self.piece_of(shard)).collect())
    }

    fn lost(&self, _piece: &str) {
        self.stage.lost();
    }

    fn able(&self, able: Result<(), &str>) {
        match able {
            Ok(()) => self.ready.ready(),
            Err(reason) => self.ready.not_ready(reason),
        }
    }

    async fn run(&self, piece: &str, stop: Stop) -> Result<Ending, Failure> {
        let shards = self.shards().await?;
        match shards.into_iter().find(|shard| self.piece_of(shard) == piece) {
            Some(shard) => Ok(self.own(shard, piece, stop).await?),
            None => Err(Failure::Again(format!("the stream no longer lists the shard of {piece}"))),
        }
    }
}
