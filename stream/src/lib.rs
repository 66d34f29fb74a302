//! The stream port: append records, read shards, know where shards come from.
//!
//! **Record**: bytes that carry events. **Shard**: an ordered slice of a stream that covers a range of the hash key
//! space. **Position**: where a record stands in its shard. **Incarnation**: a stream that was deleted and made again is
//! another stream, whatever its name. A shard that is **closed** takes no more records; its children cover its range.

use async_trait::async_trait;
use bytes::Bytes;
use schema::{HashKey, HashRange, Position, ShardId};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

pub mod contract;
mod description;
pub mod embedded;
pub mod kinesis;

pub use description::{Change, Description};

/// A record to append: goes to the open shard whose range covers `point`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    pub point: HashKey,
    pub bytes: Bytes,
}

/// Where a record landed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub shard: ShardId,
    pub position: Position,
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    /// Unix time in microseconds at which the stream took it, by the stream's clock; approximate.
    pub arrived_at: i64,
    pub bytes: Bytes,
}

/// A shard and its place in the lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub id: ShardId,
    pub range: HashRange,
    /// None for a shard the stream started with, one after a split, two after a merge.
    pub parents: Vec<ShardId>,
    /// Takes no more records.
    pub closed: bool,
}

/// How much to read, and how long to wait where nothing is there yet.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    pub records_max: usize,
    /// Bytes after which no further record is added; the first record comes whatever its size.
    pub bytes_max: usize,
    /// Longest wait for a first record; zero answers at once.
    pub wait: Duration,
}

/// What one read gave.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of their positions.
    pub records: Vec<Record>,
    /// The shard is closed and nothing follows these records.
    pub end_of_shard: bool,
    /// Shards that go on after the end; empty before it.
    pub children: Vec<ShardId>,
    /// Tip minus the last record of this page, in time; zero at the tip.
    pub lag: Duration,
}

/// That nothing followed a position, as somebody has written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// How long ago that was seen.
    pub ago: Duration,
    /// For how long the stream has kept records at least, from then on: a retention that is raised brings nothing back.
    pub kept_for: Duration,
}

/// Why a record was not appended. The record may be sent again as it is.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AppendError {
    /// Refused for now: wait and send again.
    #[error("the stream is throttled: {0}")]
    Throttled(String),
    /// Undecided: the record may have landed. Send again.
    #[error("the stream did not answer: {0}")]
    Unavailable(String),
    /// Never accepted as it is.
    #[error("the record has {bytes} bytes, the stream takes at most {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
}

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// Wait and read again.
    #[error("the stream did not answer: {0}")]
    Unavailable(String),
    #[error("shard {0} is not known to this stream")]
    UnknownShard(ShardId),
    /// What follows the position is gone by retention. Never go on from a later place in silence: a person must decide.
    #[error("shard {shard} no longer holds what follows position {after}: retention has removed it")]
    Trimmed { shard: ShardId, after: Position },
    /// Another stream of the same name has taken its place. Positions of one say nothing about the other.
    #[error(
        "stream {stream} was deleted and made again since this process started: what was not read of the old one is lost; \
         to go on with the new one, start its readers again with --accept-made-again {was}"
    )]
    MadeAgain { stream: String, was: String },
    /// A record can't be read back.
    #[error("shard {shard} is damaged after position {after}: {detail}")]
    Damaged { shard: ShardId, after: Position, detail: String },
}

/// An ordered, durable, sharded log.
#[async_trait]
pub trait Stream: Send + Sync + fmt::Debug {
    /// What people call it.
    fn name(&self) -> &str;

    /// Tells this stream from any other one of the same name, before or after. Letters and digits, at most 32.
    fn incarnation(&self) -> &str;

    /// Appends records, each on its own: the result at place `k` is that of record `k`.
    ///
    /// A success means durable. No order among the records of a call, nor among calls. Not idempotent: a record sent
    /// again after [`AppendError::Unavailable`] may be there twice.
    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>>;

    /// All shards that the stream still knows, closed ones included, parents before children.
    async fn shards(&self) -> Result<Vec<Shard>, ReadError>;

    /// Reads the records that follow `after`. A page may be empty though more follows; its lag says so.
    ///
    /// Only durable records are given. Reading does not consume: the same range read again gives the same records.
    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError>;

    /// Tells the stream that nobody will read `shard` up to and including `through` again, so that retention may remove
    /// it. A hint: it may be lost, and streams with retention of their own ignore it.
    async fn consumed(&self, shard: &ShardId, through: &Position);

    /// How long ago it was last seen that nothing follows `after`; `None` where nobody has looked, or where it does not
    /// matter, since what nobody has read stays.
    fn at_tip(&self, _shard: &ShardId, _after: &Position) -> Option<Duration> {
        None
    }

    /// Tells the stream when nothing followed `after`, as [`Stream::at_tip`] had it and a reader has written down. A shard that
    /// has been quiet since is then not taken for one whose records are gone.
    fn recall_tip(&self, _shard: &ShardId, _after: &Position, _tip: Tip) {}

    /// Has readers begin with the oldest record that `shard` has, whatever was before it: they know what there was, or want
    /// what is left.
    fn begin_anyway(&self, _shard: &ShardId) {}

    /// Whether a person has decided to go on without what `shard` held. Means something for a shard that is no longer
    /// listed.
    fn goes_on_without(&self, _shard: &ShardId) -> bool {
        false
    }

    /// Whether a person has decided to go on with this stream after the one of another incarnation, whatever that still
    /// held.
    fn goes_on_after(&self, _incarnation: &str) -> bool {
        false
    }

    /// Whether a person has decided to go on though this stream was something else before: `now` is [`Change::now`].
    fn goes_on_as(&self, _now: &str) -> bool {
        false
    }

    /// What it is set to at this moment; `None` for a stream that only its own process can set.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: ask again.
    async fn describe(&self) -> Result<Option<Description>, ReadError> {
        Ok(None)
    }

    /// How long a record can be read, whether or not somebody has read it; `None` where what nobody has read stays.
    fn kept_for(&self) -> Option<Duration> {
        None
    }

    /// The longest for which [`Stream::keep_longer`] may come to have records kept.
    fn kept_for_at_most(&self) -> Option<Duration> {
        self.kept_for()
    }

    /// Has records kept for longer than `now`, if that may be; for how long from here on. Safe to repeat, and for many to
    /// ask at a time: it is raised once above each `now`.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]: it is not known whether it was raised.
    async fn keep_longer(&self, now: Duration) -> Result<Duration, ReadError> {
        Ok(now)
    }
}

/// Whether a reader of small pages is at the tip: reading again at once would find next to nothing.
pub fn found_little(page: &Page, limit: &ReadLimit) -> bool {
    let bytes: usize = page.records.iter().map(|record| record.bytes.len()).sum();
    !page.end_of_shard && bytes < limit.bytes_max / 2 && page.records.len() < limit.records_max
}

/// Reads exactly the records in `(from, to]`. From the start of a shard, they may be fewer, where retention has removed some:
/// whoever asks knows what they were.
///
/// # Errors
/// As [`Stream::read`]; a range that can't be read whole is [`ReadError::Trimmed`].
pub async fn read_range(
    stream: &dyn Stream,
    shard: &ShardId,
    from: &Position,
    to: &Position,
) -> Result<Vec<Record>, ReadError> {
    const RANGE_PAGE: ReadLimit = ReadLimit { records_max: 10_000, bytes_max: 10 << 20, wait: Duration::ZERO };
    /// Pages in a row without a record: a stream may show a record a little later elsewhere than where it was read.
    const EMPTY_PAGES_MAX: u32 = 20;
    let (mut records, mut at, mut empty_pages) = (Vec::new(), from.clone(), 0);
    if from.is_start() {
        stream.begin_anyway(shard);
    }
    while at < *to {
        let page = stream.read(shard, &at, RANGE_PAGE).await?;
        let Some(last) = page.records.last() else {
            empty_pages += 1;
            if page.end_of_shard || empty_pages == EMPTY_PAGES_MAX {
                return Err(ReadError::Trimmed { shard: shard.clone(), after: at });
            }
            continue;
        };
        at = last.position.clone();
        empty_pages = 0;
        records.extend(page.records.into_iter().filter(|record| record.position <= *to));
    }
    Ok(records)
}
