//! Which shards may be owned now.

use crate::OwnerError;
use async_trait::async_trait;
use ledger::keeper::{Ending, Failure, Work};
use schema::{ChainId, ShardId};
use service::{Part, Stop};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use stream::{Shard, Stream};

/// What is done with the shards of a stream.
#[async_trait]
pub trait Stage: Send + Sync + fmt::Debug + 'static {
    fn stream(&self) -> &dyn Stream;

    fn chain_of(&self, shard: &ShardId) -> ChainId;

    async fn has_ended(&self, chain: &ChainId) -> Result<bool, OwnerError>;

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
}

impl<S: Stage> Shards<S> {
    /// `ready` is told once the shards could be listed.
    pub fn new(stage: S, ready: Part) -> Shards<S> {
        Shards { stage, ready, ended: Mutex::default() }
    }

    fn piece_of(&self, shard: &Shard) -> String {
        self.stage.chain_of(&shard.id).to_string()
    }

    async fn shards(&self) -> Result<Vec<Shard>, OwnerError> {
        Ok(self.stage.stream().shards().await?)
    }

    async fn may_be_owned(&self, shard: &Shard) -> Result<bool, OwnerError> {
        if shard.closed && self.has_ended(&shard.id).await? {
            return Ok(false);
        }
        // The stream may no longer list a parent; its chain stays.
        for parent in &shard.parents {
            if !self.has_ended(parent).await? {
                return Ok(false);
            }
        }
        Ok(true)
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

    fn ended(&self) -> MutexGuard<'_, BTreeSet<ShardId>> {
        self.ended.lock().expect("nobody panics while holding it")
    }
}

#[async_trait]
impl<S: Stage> Work for Shards<S> {
    async fn pieces(&self) -> Result<Vec<String>, Failure> {
        let shards = self.shards().await?;
        let mut pieces = Vec::new();
        for shard in &shards {
            if self.may_be_owned(shard).await? {
                pieces.push(self.piece_of(shard));
            }
        }
        self.ready.ready();
        Ok(pieces)
    }

    async fn run(&self, piece: &str, stop: Stop) -> Result<Ending, Failure> {
        let shards = self.shards().await?;
        match shards.into_iter().find(|shard| self.piece_of(shard) == piece) {
            Some(shard) => Ok(self.stage.own(shard, stop).await?),
            None => Err(Failure::Again(format!("the stream no longer lists the shard of {piece}"))),
        }
    }
}
