//! A stream in Amazon Kinesis.
//!
//! **Sequence number**: what Kinesis calls a position. **Iterator**: Kinesis' own mark of how far somebody has read; it
//! lives for five minutes. **Look**: one call that asks a shard for records. **Cursor**: what a reader keeps between two
//! reads. **Behind**: how far an answer is from the tip of its shard, in time.
//!
//! Records can be read for as long as the stream's **retention**, and nothing makes Kinesis say that some are gone: an
//! iterator after a record that was removed starts at whatever is oldest. So a cursor that is opened after a position
//! asks for the record *at* it, and the first answer must be that record ([`crate::ReadError::Trimmed`] otherwise). No call
//! tells whether a shard once held records before its oldest one: the start of a shard that is older than what the stream
//! keeps is refused as well, unless it is known that nothing was there ([`Stream::recall_tip`]).

mod api;
mod append;
mod cursor;
mod described;
mod error;
mod fan_out;
mod lineage;
mod read;
mod seen;
mod setup;
mod watch;

pub use error::KinesisError;
pub use setup::{Capacity, create};

use crate::{AppendError, Description, NewRecord, Page, Placed, ReadError, ReadLimit, Shard, Stream, Tip};
use api::Api;
use append::Appender;
use async_trait::async_trait;
use aws::Aws;
use described::Described;
use lineage::Lineage;
use read::Reader;
use schema::{Position, ShardId};
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// How a stream is reached and read.
#[derive(Clone, Debug)]
pub struct KinesisOptions {
    pub name: String,
    /// How long records that Kinesis refuses are sent again.
    pub append_deadline: Duration,
    /// How old the list of shards may be that [`Stream::shards`] gives.
    pub lineage_age_max: Duration,
    /// Shortest time between two looks at a shard by this process.
    pub poll_min: Duration,
    /// Longest time between two looks at a shard that has nothing new.
    pub poll_max: Duration,
    /// Time between two looks of [`KinesisStream::watch`].
    pub watch_every: Duration,
    /// Name of a consumer with throughput of its own (enhanced fan-out). Two readers of one shard under one name take it
    /// from each other, so each service has another.
    pub fan_out: Option<String>,
    /// How long nothing may be pushed, be it that nothing came, before a connection counts as dead.
    pub push_silence_max: Duration,
    /// Positions that may be gone by retention: their readers go on with the oldest record that is left. A person's
    /// decision to live with a loss, one for each shard.
    pub accept_trimmed: Vec<(ShardId, Position)>,
    /// Shards that the stream no longer lists and that nobody has read to their end: their children go on without. As
    /// above, a person's decision.
    pub accept_gone: Vec<ShardId>,
    /// Incarnations of streams that this one takes the place of: its readers go on although chains of theirs have no END.
    /// As above, a person's decision.
    pub accept_made_again: Vec<String>,
    /// What streams have become, each with the name of its stream: their readers go on although they were something else. As
    /// above, a person's decision.
    pub accept_changed: Vec<(String, String)>,
    /// Readers that begin at the start of a shard begin with what arrived then or later, in Unix microseconds.
    pub since: Option<i64>,
    /// Up to where [`Stream::keep_longer`] raises retention.
    pub retention_max: Duration,
}

impl KinesisOptions {
    pub fn new(name: impl Into<String>) -> KinesisOptions {
        KinesisOptions {
            name: name.into(),
            append_deadline: Duration::from_secs(2),
            lineage_age_max: Duration::from_secs(2),
            poll_min: read::POLL_MIN,
            poll_max: Duration::from_secs(1),
            watch_every: Duration::from_secs(60),
            fan_out: None,
            push_silence_max: fan_out::SILENCE_MAX,
            accept_trimmed: Vec::new(),
            accept_gone: Vec::new(),
            accept_made_again: Vec::new(),
            accept_changed: Vec::new(),
            since: None,
            retention_max: Duration::ZERO,
        }
    }
}

/// A stream in Kinesis.
pub struct KinesisStream {
    api: Api,
    /// As it was last seen.
    described: Arc<RwLock<Described>>,
    incarnation: String,
    watch_every: Duration,
    retention_max: Duration,
    accept_gone: Vec<ShardId>,
    accept_made_again: Vec<String>,
    accept_changed: Vec<(String, String)>,
    lineage: Arc<Lineage>,
    appender: Appender,
    reader: Reader,
}

impl fmt::Debug for KinesisStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisStream").field("name", &self.api.stream).finish_non_exhaustive()
    }
}

impl KinesisStream {
    /// Opens a stream that exists. A consumer that is named is registered by the first reader who waits for records.
    ///
    /// # Errors
    /// [`KinesisError::Unavailable`]: try again. The others need a person, and say what to do.
    pub async fn open(aws: &Aws, options: KinesisOptions) -> Result<KinesisStream, KinesisError> {
        let KinesisOptions { name, append_deadline, lineage_age_max, fan_out, accept_trimmed, .. } = options;
        let KinesisOptions { watch_every, retention_max, poll_min, poll_max, push_silence_max, .. } = options;
        let KinesisOptions { accept_gone, accept_made_again, accept_changed, since, .. } = options;
        let polling = read::Polling { min: poll_min, max: poll_max };
        let api = Api::new(aws, name);
        let described = api.describe().await?;
        described.check(&api.stream)?;
        let fan_out =
            fan_out.map(|consumer| fan_out::FanOut::new(aws, &api, &described.arn, consumer, push_silence_max));
        let incarnation = described.incarnation.clone();
        let appender = Appender::new(api.clone(), append_deadline, described.record_bytes_max);
        let described = Arc::new(RwLock::new(described));
        let lineage = Arc::new(Lineage::new(api.clone(), lineage_age_max));
        let reader =
            Reader::new(api.clone(), lineage.clone(), described.clone(), polling, fan_out, accept_trimmed, since);
        Ok(KinesisStream {
            api,
            described,
            incarnation,
            watch_every,
            retention_max,
            accept_gone,
            accept_made_again,
            accept_changed,
            lineage,
            appender,
            reader,
        })
    }

    /// How long records can be read, as of the last look. A reader that lags more than half of it should alarm.
    pub fn retention(&self) -> Duration {
        self.described.read().expect("nobody panics while holding it").retention
    }
}

#[async_trait]
impl Stream for KinesisStream {
    fn name(&self) -> &str {
        &self.api.stream
    }

    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        let results = self.appender.append(records).await;
        let placed = results.iter().filter_map(|result| result.as_ref().ok());
        self.lineage.notice(placed.map(|placed| &placed.shard));
        results
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        Ok(self.lineage.shards().await?.to_vec())
    }

    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        // Large, and held by futures of its callers.
        Box::pin(self.reader.read(shard, after, limit)).await
    }

    /// Kinesis removes records by their age alone.
    async fn consumed(&self, _shard: &ShardId, _through: &Position) {}

    fn at_tip(&self, shard: &ShardId, after: &Position) -> Option<Duration> {
        self.reader.at_tip(shard, after)
    }

    fn recall_tip(&self, shard: &ShardId, after: &Position, tip: Tip) {
        self.reader.recall_tip(shard, after, tip);
    }

    fn begin_anyway(&self, shard: &ShardId) {
        self.reader.begin_anyway(shard);
    }

    fn goes_on_without(&self, shard: &ShardId) -> bool {
        self.accept_gone.contains(shard)
    }

    fn goes_on_after(&self, incarnation: &str) -> bool {
        self.accept_made_again.iter().any(|accepted| accepted == incarnation)
    }

    fn goes_on_as(&self, now: &str) -> bool {
        self.accept_changed.iter().any(|(stream, accepted)| *stream == self.api.stream && accepted == now)
    }

    async fn describe(&self) -> Result<Option<Description>, ReadError> {
        let described = self.api.describe().await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        Ok(Some(described.description()))
    }

    fn kept_for(&self) -> Option<Duration> {
        Some(self.retention())
    }

    fn kept_for_at_most(&self) -> Option<Duration> {
        Some(self.retention().max(self.retention_max))
    }

    async fn keep_longer(&self, now: Duration) -> Result<Duration, ReadError> {
        let longer = now.saturating_mul(2).min(self.retention_max);
        if longer > now {
            let raised = Box::pin(self.raise_retention(longer)).await;
            raised.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        }
        Ok(self.retention())
    }
}
