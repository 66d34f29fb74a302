//! Reading a shard: looks within what Kinesis allows, and never past something that is gone.

use super::Api;
use super::cursor::{Answer, Cursor, Cursors, Source, Start, Taken};
use super::described::Described;
use super::error::read_error;
use super::fan_out::{FanOut, SUBSCRIBE_EVERY};
use super::lineage::{Lineage, children};
use super::seen::{Glimpse, Track, Tracks};
use crate::{Page, ReadError, ReadLimit, Record, Tip};
use aws::Failure;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use schema::{Position, ShardId};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// A shard answers five looks a second, whoever makes them; a little less leaves room for a look from elsewhere.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
pub(super) const POLL_MIN: Duration = Duration::from_millis(220);

/// Most records one look gives.
/// Source: <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const LOOK_RECORDS_MAX: usize = 10_000;

/// How long a read goes on past its wait where empty answers say that more follows: a shard that is mostly gone or that
/// was idle is walked in many steps.
const GAP_WAIT: Duration = Duration::from_secs(3);

/// How far this clock may be apart from that of Kinesis, for the age of a shard.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);

/// New sources in one read before it gives up: an iterator expires once in five minutes.
const REOPENS_MAX: u32 = 4;

/// How often a shard is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polling {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

#[derive(Debug)]
pub(super) struct Reader {
    api: Api,
    lineage: Arc<Lineage>,
    described: Arc<RwLock<Described>>,
    polling: Polling,
    fan_out: Option<FanOut>,
    accept_trimmed: Vec<(ShardId, Position)>,
    since: Option<i64>,
    cursors: Cursors,
    tracks: Tracks,
    /// When it was last asked whether the stream is the one that was opened, and found so.
    same_at: Mutex<Option<Instant>>,
}

/// What a look gave.
pub(super) enum Looked {
    Answer(Answer),
    /// Nothing was pushed in the time there was.
    Nothing,
    /// The source is of no use any more: it is too old, or it failed.
    Expired,
}

/// What came of asking for an iterator.
enum Opened {
    Iterator(String),
    /// No such shard, or no such record in it.
    NotFound,
    /// The position can't be of this shard.
    Invalid(String),
}

/// One read of one shard.
struct Reading<'a> {
    shard: &'a ShardId,
    track: &'a Track,
    limit: &'a ReadLimit,
    deadline: Instant,
}

impl Reader {
    pub(super) fn new(
        api: Api,
        lineage: Arc<Lineage>,
        described: Arc<RwLock<Described>>,
        polling: Polling,
        fan_out: Option<FanOut>,
        accept_trimmed: Vec<(ShardId, Position)>,
        since: Option<i64>,
    ) -> Reader {
        let (cursors, tracks) = (Cursors::default(), Tracks::default());
        let same_at = Mutex::default();
        Reader { api, lineage, described, polling, fan_out, accept_trimmed, since, cursors, tracks, same_at }
    }

    /// Reads what follows `after`. Looks at least once, whatever the wait.
    pub(super) async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        let track = self.tracks.of(shard);
        let reading = Reading { shard, track: &track, limit: &limit, deadline: Instant::now() + limit.wait };
        let mut cursor = match self.cursors.take(shard, after) {
            Some(cursor) => cursor,
            None => self.open(&reading, after).await?,
        };
        self.fill(&reading, &mut cursor).await?;
        let page = cursor.give(&limit);
        if !matches!(cursor.start, Start::At(_)) {
            track.note(&cursor.after, Glimpse { behind: page.lag, ..cursor.glimpse });
        }
        self.cursors.put(shard, cursor);
        Ok(page)
    }

    /// How long ago an answer said that nothing follows `after`.
    pub(super) fn at_tip(&self, shard: &ShardId, after: &Position) -> Option<Duration> {
        let glimpse = self.tracks.of(shard).seen(after)?;
        glimpse.behind.is_zero().then(|| glimpse.at.elapsed())
    }

    pub(super) fn recall_tip(&self, shard: &ShardId, after: &Position, tip: Tip) {
        self.tracks.of(shard).recall_tip(after, tip);
    }

    pub(super) fn begin_anyway(&self, shard: &ShardId) {
        self.tracks.of(shard).begin_anyway();
    }

    async fn open(&self, reading: &Reading<'_>, after: &Position) -> Result<Cursor, ReadError> {
        let seen = reading.track.seen(after).filter(|glimpse| glimpse.is_sure(self.retention()));
        let start = if let Some(since) = self.since
            && after.is_start()
        {
            Start::Since(since)
        } else if self.accept_trimmed.iter().any(|(shard, position)| shard == reading.shard && position == after) {
            Start::Horizon
        } else if after.is_start() {
            if seen.is_none() && !reading.track.begins_anyway() {
                self.check_start(reading).await?;
            }
            Start::Horizon
        } else if seen.is_some() {
            Start::After(after.clone())
        } else {
            Start::At(after.clone())
        };
        let iterator = self.iterator(reading.shard, &start).await?;
        let mut cursor = Cursor::new(after, start, Source::Iterator(iterator), self.retention());
        cursor.glimpse = seen.unwrap_or(cursor.glimpse);
        Ok(cursor)
    }

    /// Looks until there is something to give, or the wait is over.
    async fn fill(&self, reading: &Reading<'_>, cursor: &mut Cursor) -> Result<(), ReadError> {
        let gap_deadline = reading.deadline.max(Instant::now() + GAP_WAIT);
        let (mut answers, mut reopens) = (0, 0);
        while !cursor.has_something() {
            self.choose_source(reading, cursor).await;
            let look_at = self.look_at(cursor);
            let until = if cursor.is_at_tip() { reading.deadline } else { gap_deadline };
            if answers > 0 && look_at.max(Instant::now()) >= until {
                break;
            }
            let taken = match self.look(reading, cursor, look_at, until).await? {
                Looked::Answer(answer) => self.take(reading.shard, cursor, answer).await?,
                Looked::Expired => Taken::BeginAnew,
                Looked::Nothing => break,
            };
            match taken {
                Taken::Yes => answers += 1,
                Taken::BeginAnew if reopens == REOPENS_MAX => {
                    let detail = format!("shard {}: iterators keep expiring", reading.shard);
                    return Err(ReadError::Unavailable(detail));
                }
                Taken::BeginAnew => {
                    reopens += 1;
                    self.begin_anew(reading.shard, cursor).await?;
                }
            }
        }
        Ok(())
    }

    /// Has records pushed to readers who wait for them, where that is set; polls for the others, and where it fails.
    async fn choose_source(&self, reading: &Reading<'_>, cursor: &mut Cursor) {
        let Some(fan_out) = &self.fan_out else { return };
        let may_wait = !reading.limit.wait.is_zero() && Instant::now() >= cursor.subscribe_at;
        let is_polled = matches!(cursor.source, Source::Iterator(_)) && !matches!(cursor.start, Start::At(_));
        if may_wait && is_polled && cursor.glimpse.is_sure(self.retention()) {
            cursor.subscribe_at = Instant::now() + SUBSCRIBE_EVERY;
            match fan_out.subscribe(reading.shard, &cursor.start).await {
                Ok(subscription) => cursor.source = Source::Subscription(Box::new(subscription)),
                Err(error) => fan_out.warn(reading.shard, &error),
            }
        }
    }

    async fn look(
        &self,
        reading: &Reading<'_>,
        cursor: &mut Cursor,
        look_at: Instant,
        until: Instant,
    ) -> Result<Looked, ReadError> {
        let is_checked = matches!(cursor.start, Start::At(_));
        if cursor.fetched().is_start() && cursor.glimpse.is_stale(self.retention()) {
            self.check_start(reading).await?;
            cursor.glimpse = Glimpse { at: Instant::now(), behind: Duration::ZERO, kept_for: self.retention() };
            return Ok(Looked::Expired);
        }
        if !is_checked && !cursor.fetched().is_start() && !cursor.glimpse.is_sure(self.retention()) {
            // What follows may be going this very moment: it is all there only if the record before it still is.
            cursor.start = Start::At(cursor.fetched().clone());
            return Ok(Looked::Expired);
        }
        let iterator = match &mut cursor.source {
            Source::Ended(_) => return Ok(Looked::Nothing),
            Source::Subscription(subscription) => {
                let fan_out = self.fan_out.as_ref().expect("it made the subscription");
                return Ok(fan_out.next(subscription, until).await);
            }
            Source::Iterator(iterator) => std::mem::take(iterator),
        };
        sleep_until(look_at.min(reading.deadline)).await;
        // One more where the first is the one that is known already.
        let records_max = reading.limit.records_max.saturating_add(usize::from(is_checked)).clamp(1, LOOK_RECORDS_MAX);
        let records_max = i32::try_from(records_max).expect("it is bounded");
        let look = async || {
            reading.track.turn(self.polling.min).await;
            self.api.look(&iterator, records_max).await
        };
        self.api.calls.repeat(look).await.map_err(|failure| read_error(&failure))
    }

    async fn take(&self, shard: &ShardId, cursor: &mut Cursor, mut answer: Answer) -> Result<Taken, ReadError> {
        if let Some(named) = &mut answer.end {
            // The children are new, so the list of shards has to be as well.
            let shards = self.lineage.shards_now().await?;
            if named.is_empty() {
                *named = children(&shards, shard);
            }
            if named.is_empty() {
                return Err(ReadError::Unavailable(format!("shard {shard} has ended, and no other goes on yet")));
            }
        }
        cursor.take(shard, answer, self.retention())
    }

    async fn begin_anew(&self, shard: &ShardId, cursor: &mut Cursor) -> Result<(), ReadError> {
        if let Start::After(position) = &cursor.start
            && !cursor.glimpse.is_sure(self.retention())
        {
            cursor.start = Start::At(position.clone());
        }
        cursor.source = Source::Iterator(self.iterator(shard, &cursor.start).await?);
        cursor.opened_at = Instant::now();
        Ok(())
    }

    async fn iterator(&self, shard: &ShardId, start: &Start) -> Result<String, ReadError> {
        let opened = self.api.calls.repeat(async || self.api.iterator(shard, start).await).await;
        let opened = opened.map_err(|failure| read_error(&failure))?;
        self.is_same_since(Instant::now()).await?;
        match opened {
            Opened::Iterator(iterator) => Ok(iterator),
            Opened::NotFound => Err(self.not_found(shard, start).await?),
            Opened::Invalid(detail) => {
                Err(ReadError::Damaged { shard: shard.clone(), after: start.position(), detail })
            }
        }
    }

    /// Refuses to begin a shard that may have held records before the oldest one that is left: it was open before those came.
    /// One that was opened since can't have lost any, nor can a stream that was made since.
    async fn check_start(&self, reading: &Reading<'_>) -> Result<(), ReadError> {
        let Described { made_at, retention, .. } =
            self.described.read().expect("nobody panics while holding it").clone();
        let known = reading.track.seen(&Position::start()).map_or(Duration::MAX, |glimpse| glimpse.kept_for);
        let kept_for = known.min(retention).saturating_sub(CLOCKS_APART_MAX);
        let kept_from = self.now().saturating_sub(i64::try_from(kept_for.as_millis()).unwrap_or(i64::MAX));
        if made_at >= kept_from {
            return Ok(());
        }
        match self.api.was_open(reading.shard, kept_from).await.map_err(|failure| read_error(&failure))? {
            true => Err(ReadError::Trimmed { shard: reading.shard.clone(), after: Position::start() }),
            false => Ok(()),
        }
    }

    /// Unix time in milliseconds, by the clock that calls are signed with.
    fn now(&self) -> i64 {
        let clock = self.api.client.config().time_source().unwrap_or_default();
        let since = clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Tells a shard that is not there from a record that is not.
    async fn not_found(&self, shard: &ShardId, start: &Start) -> Result<ReadError, ReadError> {
        let shards = self.lineage.shards_now().await?;
        Ok(match start {
            _ if shards.iter().all(|listed| listed.id != *shard) => ReadError::UnknownShard(shard.clone()),
            Start::Horizon | Start::Since(_) => {
                ReadError::Unavailable(format!("shard {shard} is listed and was not found"))
            }
            Start::At(after) | Start::After(after) => ReadError::Trimmed { shard: shard.clone(), after: after.clone() },
        })
    }

    /// Refuses what was given before `opened_at` by a stream that took the place of the one that was opened: its shards have
    /// the same names. Who waits meanwhile shares the answer.
    async fn is_same_since(&self, opened_at: Instant) -> Result<(), ReadError> {
        let mut same_at = self.same_at.lock().await;
        if same_at.is_some_and(|same_at| same_at >= opened_at) {
            return Ok(());
        }
        let asked_at = Instant::now();
        let now = self.api.describe().await.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        let was = self.described.read().expect("nobody panics while holding it").incarnation.clone();
        if now.incarnation != was {
            return Err(ReadError::MadeAgain { stream: self.api.stream.clone(), was });
        }
        *same_at = Some(asked_at);
        Ok(())
    }

    /// When a cursor's next look is due: later and later where nothing comes.
    fn look_at(&self, cursor: &Cursor) -> Instant {
        let Polling { min, max } = self.polling;
        match &cursor.source {
            Source::Iterator(_) if cursor.idle == 0 => cursor.glimpse.at,
            Source::Iterator(_) if cursor.is_at_tip() => {
                let doublings = (cursor.idle - 1).min(16);
                cursor.glimpse.at + max.min(min * 2u32.pow(doublings))
            }
            Source::Iterator(_) => cursor.glimpse.at + min,
            Source::Subscription(_) | Source::Ended(_) => Instant::now(),
        }
    }

    fn retention(&self) -> Duration {
        self.described.read().expect("nobody panics while holding it").retention
    }
}

/// Unix microseconds as the SDK has times; Kinesis tells milliseconds apart.
pub(super) fn date_time(micros: i64) -> DateTime {
    DateTime::from_millis(micros.div_euclid(1000))
}

impl Api {
    async fn iterator(&self, shard: &ShardId, start: &Start) -> Result<Opened, Failure> {
        self.called("GetShardIterator");
        let get = self.client.get_shard_iterator().stream_name(&self.stream).shard_id(shard.as_str());
        let get = match start {
            Start::Horizon => get.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Start::Since(at) => get.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date_time(*at)),
            Start::At(at) => {
                get.shard_iterator_type(ShardIteratorType::AtSequenceNumber).starting_sequence_number(at.as_str())
            }
            Start::After(after) => {
                get.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(after.as_str())
            }
        };
        match get.send().await {
            Ok(answer) => answer
                .shard_iterator
                .map(Opened::Iterator)
                .ok_or_else(|| Failure::Unavailable("the answer has no iterator".to_owned())),
            Err(error) => match aws::code(&error) {
                "ResourceNotFoundException" => Ok(Opened::NotFound),
                "InvalidArgumentException" => Ok(Opened::Invalid(Failure::of(&error).to_string())),
                _ => Err(Failure::of(&error)),
            },
        }
    }

    async fn look(&self, iterator: &str, records_max: i32) -> Result<Looked, Failure> {
        self.called("GetRecords");
        let answer = match self.client.get_records().shard_iterator(iterator).limit(records_max).send().await {
            Ok(answer) => answer,
            Err(error) => {
                return match aws::code(&error) {
                    "ExpiredIteratorException" | "InvalidArgumentException" => Ok(Looked::Expired),
                    _ => Err(Failure::of(&error)),
                };
            }
        };
        self.retrieved("GetRecords", &answer.records);
        let records = answer.records.into_iter().map(record).collect::<Option<_>>();
        let records = records.ok_or_else(|| Failure::Refused("a record has no sequence number".to_owned()))?;
        let children = answer.child_shards.unwrap_or_default().into_iter().map(|child| ShardId::new(child.shard_id));
        let end = answer.next_shard_iterator.is_none().then(|| children.collect());
        let behind = Duration::from_millis(u64::try_from(answer.millis_behind_latest.unwrap_or(0)).unwrap_or(0));
        Ok(Looked::Answer(Answer { records, iterator: answer.next_shard_iterator, end, behind }))
    }
}

/// `None` for a record without a place.
pub(super) fn record(read: aws_sdk_kinesis::types::Record) -> Option<Record> {
    let position = Position::parse(&read.sequence_number).filter(|position| !position.is_start())?;
    let arrived_at = read.approximate_arrival_timestamp.map_or(0, |at| at.as_nanos() / 1000);
    let arrived_at = i64::try_from(arrived_at).unwrap_or(0);
    Some(Record { position, arrived_at, bytes: read.data.into_bytes() })
}
