//! What a reader keeps between two reads, so that going on costs one call and no record is fetched twice.
//!
//! **Rest**: records that were fetched and not given yet. **Source**: where further records come from.

use super::fan_out::Subscription;
use super::seen::Glimpse;
use crate::{Page, ReadError, ReadLimit, Record};
use schema::{Position, ShardId};
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Most cursors that are kept. A process reads its shards from one position each, most of the time.
const CURSORS_MAX: usize = 4096;

/// Most bytes of the rests of all cursors; a cursor that would keep more is given up, and its rest fetched again.
const REST_BYTES_MAX: usize = 64 << 20;

/// A cursor that nobody has used for so long is given up, and with it its subscription, which holds a connection.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// How long the record that a cursor was opened at may take to show up: acknowledged records are read within a second,
/// as a rule. Source: <https://docs.aws.amazon.com/streams/latest/dev/introduction.html>
const UNSEEN_MAX: Duration = Duration::from_secs(30);

/// Where a source begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At the oldest record there is.
    Horizon,
    /// At the oldest record that arrived then or later, in Unix microseconds.
    Since(i64),
    /// At this record, which must be there.
    At(Position),
    /// After this record, whose followers are all there.
    After(Position),
}

impl Start {
    pub(super) fn position(&self) -> Position {
        match self {
            Start::Horizon | Start::Since(_) => Position::start(),
            Start::At(position) | Start::After(position) => position.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) enum Source {
    Iterator(String),
    Subscription(Box<Subscription>),
    /// The shard is closed and read to its end.
    Ended(Vec<ShardId>),
}

/// What Kinesis gave.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) records: Vec<Record>,
    /// The iterator to go on with, where there is one.
    pub(super) iterator: Option<String>,
    pub(super) end: Option<Vec<ShardId>>,
    pub(super) behind: Duration,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// The source is of no use: another one has to begin at the cursor's start.
    BeginAnew,
}

#[derive(Debug)]
pub(super) struct Cursor {
    /// Everything up to it was given.
    pub(super) after: Position,
    rest: VecDeque<Record>,
    /// Where a new source has to begin.
    pub(super) start: Start,
    pub(super) source: Source,
    /// When its source began.
    pub(super) opened_at: Instant,
    /// Before the first answer, as if from the tip when it was opened.
    pub(super) glimpse: Glimpse,
    /// Answers in a row without records.
    pub(super) idle: u32,
    /// When a subscription is worth another try.
    pub(super) subscribe_at: Instant,
}

impl Cursor {
    pub(super) fn new(after: &Position, start: Start, source: Source, retention: Duration) -> Cursor {
        let now = Instant::now();
        let glimpse = Glimpse { at: now, behind: Duration::ZERO, kept_for: retention };
        let (after, rest) = (after.clone(), VecDeque::new());
        Cursor { after, rest, start, source, opened_at: now, glimpse, idle: 0, subscribe_at: now }
    }

    /// There is something to give, be it the end.
    pub(super) fn has_something(&self) -> bool {
        !self.rest.is_empty() || matches!(self.source, Source::Ended(_))
    }

    /// Nothing is known to follow.
    pub(super) fn is_at_tip(&self) -> bool {
        self.glimpse.behind.is_zero()
    }

    /// The last record that was fetched.
    pub(super) fn fetched(&self) -> &Position {
        self.rest.back().map_or(&self.after, |record| &record.position)
    }

    /// Takes over what Kinesis gave.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`]: it is not what follows.
    pub(super) fn take(&mut self, shard: &ShardId, answer: Answer, retention: Duration) -> Result<Taken, ReadError> {
        let Answer { records, iterator, end, behind } = answer;
        let trimmed = || ReadError::Trimmed { shard: shard.clone(), after: self.after.clone() };
        let was_sure = self.glimpse.is_sure(retention);
        let shows_nothing = records.is_empty() && behind >= retention;
        match (&self.start, records.first()) {
            (Start::At(expected), Some(first)) if first.position != *expected => return Err(trimmed()),
            (Start::At(_), None) if shows_nothing || end.is_some() => return Err(trimmed()),
            (Start::At(_), None) if behind.is_zero() && self.opened_at.elapsed() > UNSEEN_MAX => return Err(trimmed()),
            (Start::After(_), None) if shows_nothing && !was_sure => return Err(trimmed()),
            (Start::After(_), None) if shows_nothing => {
                // It stands where nothing is left, though nothing that was not read is gone.
                self.start = Start::Horizon;
                return Ok(Taken::BeginAnew);
            }
            _ => {}
        }
        self.idle = if records.is_empty() { self.idle.saturating_add(1) } else { 0 };
        self.glimpse = Glimpse { at: Instant::now(), behind, kept_for: retention };
        if let Some(last) = records.last() {
            let fetched = self.fetched().clone();
            self.start = Start::After(fetched.clone().max(last.position.clone()));
            self.rest.extend(records.into_iter().filter(|record| record.position > fetched));
        }
        if let Some(iterator) = iterator {
            self.source = Source::Iterator(iterator);
        }
        if let Some(children) = end {
            self.source = Source::Ended(children);
        }
        Ok(Taken::Yes)
    }

    /// Gives what is there, as far as the limits go.
    pub(super) fn give(&mut self, limit: &ReadLimit) -> Page {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < limit.bytes_max.max(1)
            && records.len() < limit.records_max
            && let Some(record) = self.rest.pop_front()
        {
            bytes += record.bytes.len();
            records.push(record);
        }
        let held_back = match (records.last(), self.rest.back()) {
            (Some(given), Some(fetched)) => fetched.arrived_at.saturating_sub(given.arrived_at),
            _ => 0,
        };
        if let Some(last) = records.last() {
            self.after = last.position.clone();
        }
        let children = match &self.source {
            Source::Ended(children) if self.rest.is_empty() => Some(children.clone()),
            _ => None,
        };
        Page {
            records,
            end_of_shard: children.is_some(),
            children: children.unwrap_or_default(),
            lag: self.glimpse.behind + Duration::from_micros(u64::try_from(held_back).unwrap_or(0)),
        }
    }

    fn rest_bytes(&self) -> usize {
        self.rest.iter().map(|record| record.bytes.len()).sum()
    }
}

/// Cursors that wait for their readers.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    cursors: HashMap<(ShardId, Position), Idle>,
    rest_bytes: usize,
}

#[derive(Debug)]
struct Idle {
    cursor: Cursor,
    rest_bytes: usize,
    since: Instant,
}

impl Cursors {
    /// The cursor of whoever has read up to `after`. It is theirs until they put it back.
    pub(super) fn take(&self, shard: &ShardId, after: &Position) -> Option<Cursor> {
        let mut kept = self.kept.lock().expect("nobody panics while holding it");
        kept.drop_unused();
        kept.remove(&(shard.clone(), after.clone())).map(|idle| idle.cursor)
    }

    pub(super) fn put(&self, shard: &ShardId, cursor: Cursor) {
        let rest_bytes = cursor.rest_bytes();
        let mut kept = self.kept.lock().expect("nobody panics while holding it");
        let key = (shard.clone(), cursor.after.clone());
        kept.remove(&key);
        if kept.cursors.len() < CURSORS_MAX && kept.rest_bytes + rest_bytes <= REST_BYTES_MAX {
            kept.rest_bytes += rest_bytes;
            kept.cursors.insert(key, Idle { cursor, rest_bytes, since: Instant::now() });
        }
    }
}

impl Kept {
    fn remove(&mut self, key: &(ShardId, Position)) -> Option<Idle> {
        let idle = self.cursors.remove(key)?;
        self.rest_bytes -= idle.rest_bytes;
        Some(idle)
    }

    fn drop_unused(&mut self) {
        let rest_bytes = &mut self.rest_bytes;
        self.cursors.retain(|_, idle| {
            let is_used = idle.since.elapsed() < UNUSED_MAX;
            *rest_bytes -= if is_used { 0 } else { idle.rest_bytes };
            is_used
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(number: u64) -> Position {
        Position::from_number(number)
    }

    fn record(number: u64, bytes: usize) -> Record {
        Record { position: at(number), arrived_at: number as i64 * 1_000_000, bytes: vec![0; bytes].into() }
    }

    fn answer(numbers: &[u64], behind: Duration) -> Answer {
        let records = numbers.iter().map(|&number| record(number, 10)).collect();
        Answer { records, iterator: Some("next".into()), end: None, behind }
    }

    fn cursor(start: Start) -> Cursor {
        Cursor::new(&start.position(), start, Source::Iterator("first".into()), DAY)
    }

    fn take(cursor: &mut Cursor, answer: Answer) -> Result<Taken, ReadError> {
        cursor.take(&ShardId::new("s"), answer, DAY)
    }

    fn is_trimmed(taken: &Result<Taken, ReadError>) -> bool {
        matches!(taken, Err(ReadError::Trimmed { .. }))
    }

    const ALL: ReadLimit = ReadLimit { records_max: 100, bytes_max: 1000, wait: Duration::ZERO };

    #[tokio::test]
    async fn the_record_that_a_cursor_stands_at_is_looked_for_and_not_given_again() {
        let mut cursor = cursor(Start::At(at(5)));
        assert_eq!(take(&mut cursor, answer(&[5, 6, 7], Duration::ZERO)), Ok(Taken::Yes));
        assert_eq!(cursor.give(&ALL).records, [record(6, 10), record(7, 10)]);
        assert_eq!((&cursor.start, &cursor.after), (&Start::After(at(7)), &at(7)));
    }

    #[tokio::test]
    async fn a_jump_is_refused() {
        assert!(is_trimmed(&take(&mut cursor(Start::At(at(5))), answer(&[6], Duration::ZERO))));
    }

    #[tokio::test]
    async fn an_iterator_that_never_leaves_what_is_gone_is_refused() {
        assert!(is_trimmed(&take(&mut cursor(Start::At(at(5))), answer(&[], DAY))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_does_not_show_up_is_gone() {
        let mut cursor = cursor(Start::At(at(5)));
        assert_eq!(take(&mut cursor, answer(&[], Duration::ZERO)), Ok(Taken::Yes), "it may be on its way");
        tokio::time::advance(UNSEEN_MAX + Duration::from_secs(1)).await;
        assert!(is_trimmed(&take(&mut cursor, answer(&[], Duration::ZERO))));
    }

    #[tokio::test]
    async fn the_end_of_a_shard_without_the_record_is_a_loss() {
        let end = Answer { end: Some(vec![]), iterator: None, ..answer(&[], Duration::ZERO) };
        assert!(is_trimmed(&take(&mut cursor(Start::At(at(5))), end)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_shard_outlives_its_last_record_where_its_tip_was_seen() {
        let mut quiet = cursor(Start::After(at(5)));
        assert_eq!(take(&mut quiet, answer(&[], Duration::ZERO)), Ok(Taken::Yes));
        tokio::time::advance(DAY / 4).await;
        assert_eq!(take(&mut quiet, answer(&[], DAY)), Ok(Taken::BeginAnew));
        assert_eq!(quiet.start, Start::Horizon);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_shard_whose_tip_was_seen_too_long_ago_may_have_lost_something() {
        let mut quiet = cursor(Start::After(at(5)));
        assert_eq!(take(&mut quiet, answer(&[], Duration::ZERO)), Ok(Taken::Yes));
        tokio::time::advance(DAY / 2).await;
        assert!(is_trimmed(&take(&mut quiet, answer(&[], DAY))));
    }

    #[tokio::test]
    async fn what_was_fetched_and_not_given_counts_as_lag_and_comes_next() {
        let mut cursor = cursor(Start::Horizon);
        take(&mut cursor, answer(&[1, 2, 3], Duration::from_secs(7))).unwrap();
        let page = cursor.give(&ReadLimit { records_max: 1, ..ALL });
        assert_eq!((page.records, page.lag), (vec![record(1, 10)], Duration::from_secs(9)));
        assert_eq!(cursor.give(&ALL).records, [record(2, 10), record(3, 10)]);
    }

    #[tokio::test]
    async fn an_end_comes_with_the_last_record_and_not_before() {
        let mut cursor = cursor(Start::Horizon);
        let children = vec![ShardId::new("child")];
        let end = Answer { end: Some(children.clone()), iterator: None, ..answer(&[1, 2], Duration::ZERO) };
        take(&mut cursor, end).unwrap();
        assert!(!cursor.give(&ReadLimit { records_max: 1, ..ALL }).end_of_shard);
        let page = cursor.give(&ALL);
        assert!(page.end_of_shard && page.children == children && page.records.len() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn cursors_are_kept_by_what_they_have_given_within_bounds() {
        let (cursors, shard) = (Cursors::default(), ShardId::new("s"));
        cursors.put(&shard, cursor(Start::After(at(1))));
        assert!(cursors.take(&shard, &at(2)).is_none());
        assert!(cursors.take(&shard, &at(1)).is_some() && cursors.take(&shard, &at(1)).is_none());
        let mut large = cursor(Start::After(at(1)));
        large.rest.push_back(record(2, REST_BYTES_MAX + 1));
        cursors.put(&shard, large);
        assert!(cursors.take(&shard, &at(1)).is_none(), "its rest is too large to keep");
        cursors.put(&shard, cursor(Start::After(at(1))));
        tokio::time::advance(UNUSED_MAX).await;
        assert!(cursors.take(&shard, &at(1)).is_none(), "nobody wanted it");
    }
}
