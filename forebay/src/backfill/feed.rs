//! Feeds shards: reads a page, puts what it holds, goes on.

use super::account::Account;
use super::batch::Batch;
use super::pace::{Pace, Turns};
use anyhow::{Context, bail};
use futures::TryStreamExt;
use ownership::RETRY_PAUSE;
use schema::{Position, ShardId};
use service::Stop;
use std::time::Duration;
use stream::{AppendError, NewRecord, Page, ReadError, ReadLimit, Record, Shard, Stream};

/// Shards that are fed side by side: a page of each is in memory, and what the source's reader has fetched ahead of it.
const SHARDS_AT_A_TIME: usize = 4;

/// What is read and put at a time: about as much as a second's worth, so that the pace is even.
const PAGE: ReadLimit = ReadLimit { records_max: 500, bytes_max: 512 << 10, wait: Duration::ZERO };

/// Attempts in a row to read a page, or to put records of which none is taken. Each lasts for what a call is repeated by
/// itself, so this is minutes: longer than throttling lasts, and shorter than somebody looks away.
const ATTEMPTS_MAX: u32 = 100;

/// When records have to have arrived, in Unix microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
}

impl Span {
    /// Records arrive in their order, so what follows one that is too late is so as well.
    fn is_over(&self, record: &Record) -> bool {
        self.until.is_some_and(|until| record.arrived_at >= until)
    }

    fn has_begun(&self, record: &Record) -> bool {
        self.since.is_none_or(|since| record.arrived_at >= since)
    }
}

/// What is fed, and where to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed<'a> {
    pub(super) from: &'a dyn Stream,
    pub(super) to: &'a dyn Stream,
    pub(super) span: Span,
    pub(super) rate: Pace,
    /// Only count what there is to feed.
    pub(super) is_rehearsal: bool,
    pub(super) account: &'a Account,
    pub(super) stop: &'a Stop,
}

impl Feed<'_> {
    /// Feeds shards up to their ends, their tips or the end of the span; false if it was stopped before.
    ///
    /// # Errors
    /// A stream that can't be read or written, or a record that a person has to look at.
    pub(super) async fn shards(&self, shards: &[Shard]) -> anyhow::Result<bool> {
        let turns = Turns::new(self.rate);
        let shards = futures::stream::iter(shards.iter().map(anyhow::Ok));
        let fed = shards.try_for_each_concurrent(SHARDS_AT_A_TIME, |shard| self.shard(&shard.id, &turns));
        fed.await?;
        Ok(!self.stop.is_cancelled())
    }

    async fn shard(&self, shard: &ShardId, turns: &Turns) -> anyhow::Result<()> {
        let mut through = self.account.through(shard);
        while !self.stop.is_cancelled() {
            let page = self.read(shard, &through).await?;
            let meant = page.records.iter().take_while(|record| !self.span.is_over(record)).count();
            let (meant, beyond) = page.records.split_at(meant);
            if let Some(last) = meant.last() {
                self.feed(shard, meant, turns).await.with_context(|| format!("feed shard {shard} after {through}"))?;
                through = last.position.clone();
            }
            let is_at_tip = page.records.is_empty() && page.lag.is_zero();
            if page.end_of_shard || is_at_tip || !beyond.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn feed(&self, shard: &ShardId, records: &[Record], turns: &Turns) -> anyhow::Result<()> {
        let mut batch = Batch::default();
        for record in records.iter().filter(|record| self.span.has_begun(record)) {
            batch.take(shard, record)?;
        }
        if !self.is_rehearsal {
            turns.wait(batch.records.iter().map(|record| record.bytes.len())).await;
            self.put(batch.records).await?;
        }
        if let Some(last) = records.last() {
            self.account.fed(shard, &last.position, batch.counts);
        }
        Ok(())
    }

    async fn read(&self, shard: &ShardId, after: &Position) -> anyhow::Result<Page> {
        if after.is_start() {
            // What is left of it is what is meant, whatever it held before.
            self.from.begin_anyway(shard);
        }
        for _ in 1..ATTEMPTS_MAX {
            match self.from.read(shard, after, PAGE).await {
                Err(ReadError::Unavailable(_)) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error @ ReadError::Trimmed { .. }) => {
                    return Err(error).context("leave the shard out of --after to feed what is left of it");
                }
                read => return Ok(read?),
            }
        }
        Ok(self.from.read(shard, after, PAGE).await?)
    }

    /// Puts records until all are taken; those that were not, again.
    async fn put(&self, mut records: Vec<NewRecord>) -> anyhow::Result<()> {
        let mut attempts = 0;
        while !records.is_empty() {
            let outcomes = self.to.append(records.clone()).await;
            let (mut left, mut refusal) = (Vec::new(), None);
            let all = records.len();
            for (record, outcome) in records.into_iter().zip(outcomes) {
                let Err(error) = outcome else { continue };
                left.push(record);
                refusal = Some(error);
            }
            attempts = if left.len() < all { 0 } else { attempts + 1 };
            match refusal {
                None => {}
                Some(error @ AppendError::TooLarge { .. }) => {
                    return Err(error).context("raise the largest record that --raw-stream takes, then go on");
                }
                Some(error) if attempts == ATTEMPTS_MAX => bail!("--raw-stream takes nothing: {error}"),
                Some(_) => {
                    self.account.put_again(left.len());
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
            records = left;
        }
        Ok(())
    }
}
