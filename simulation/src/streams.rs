//! A stream in memory, as unreliable as a real one may be.
//!
//! **Tail**: records that the stream has taken and does not show to readers yet; a new one finds its place anywhere among
//! them, so that the order in a shard follows arrival only coarsely.

use crate::network::Backend;
use crate::world::World;
use async_trait::async_trait;
use schema::record::RECORD_BYTES_MAX;
use schema::{HashKey, HashRange, Position, ShardId};
use service::Clock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use stream::{AppendError, NewRecord, Page, Placed, ReadError, ReadLimit, Record, Shard, Stream};

/// Room between the positions of neighbours, so that records can find a place between them.
const POSITION_GAP: u64 = 1 << 20;

/// Percent of appended records that stay in the tail for now, with all that is there. Without faults none does.
const HIDDEN_PERCENT: f64 = 60.0;

/// Percent of calls of which some records are throttled and the others go on.
const PARTIAL_PERCENT: f64 = 15.0;

/// Percent of reshards that split; the others merge.
const SPLIT_PERCENT: f64 = 55.0;

/// Most records of one page while faults happen: fewer than anybody asks for.
const PAGE_RECORDS_MAX: usize = 6;

/// A stream of a simulated world.
#[derive(Clone, Debug)]
pub(crate) struct SimStream {
    world: Arc<World>,
    name: &'static str,
    record_bytes_max: usize,
    shards: Arc<Mutex<Vec<SimShard>>>,
}

/// A shard with all that it ever took.
#[derive(Clone, Debug)]
pub(crate) struct SimShard {
    pub(crate) shard: Shard,
    pub(crate) log: Vec<Record>,
    tail: Vec<Record>,
    /// Up to where nobody will ever read again, as the stream was told.
    pub(crate) consumed: Position,
}

impl SimShard {
    fn new(name: &str, number: usize, range: HashRange, parents: Vec<ShardId>) -> SimShard {
        let id = ShardId::new(format!("{name}-{number:04}"));
        let shard = Shard { id, range, parents, closed: false };
        SimShard { shard, log: Vec::new(), tail: Vec::new(), consumed: Position::start() }
    }

    fn publish(&mut self) {
        self.log.append(&mut self.tail);
    }

    /// Puts a record anywhere into the tail.
    fn take(&mut self, world: &World, bytes: bytes::Bytes) -> Position {
        let place = world.draw(|dice| dice.below(self.tail.len() + 1));
        let below = place.checked_sub(1).map_or(self.log.last(), |before| self.tail.get(before));
        let below = below.map_or(0, |record| number_of(&record.position));
        let above = self.tail.get(place).map_or(below + 2 * POSITION_GAP, |record| number_of(&record.position));
        let position = Position::from_number(below + (above - below) / 2);
        self.tail.insert(place, Record { position: position.clone(), arrived_at: world.now(), bytes });
        if !world.fault(HIDDEN_PERCENT) {
            self.publish();
        }
        position
    }

    pub(crate) fn last(&self) -> Position {
        self.log.last().map_or_else(Position::start, |record| record.position.clone())
    }
}

fn number_of(position: &Position) -> u64 {
    position.as_str().parse().expect("this stream gives 64-bit positions")
}

impl SimStream {
    /// A new stream whose shards begin at `cuts`, in 128ths of the hash key space.
    pub(crate) fn new(world: Arc<World>, name: &'static str, cuts: &[u128]) -> SimStream {
        let starts: Vec<u128> = std::iter::once(0).chain(cuts.iter().map(|cut| cut << 121)).collect();
        let high = |k: usize| starts.get(k + 1).map_or(HashKey::MAX, |next| HashKey(next - 1));
        let range = |k: usize| HashRange { low: HashKey(starts[k]), high: high(k) };
        let shards = (0..starts.len()).map(|k| SimShard::new(name, k, range(k), Vec::new())).collect();
        SimStream { world, name, record_bytes_max: RECORD_BYTES_MAX, shards: Arc::new(Mutex::new(shards)) }
    }

    /// The same stream, which refuses records beyond `record_bytes_max` for ever.
    pub(crate) fn narrowed(self, record_bytes_max: usize) -> SimStream {
        SimStream { record_bytes_max, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SimShard>> {
        self.shards.lock().expect("nothing panics while it holds the shards")
    }

    /// Everything, as a witness that no fault can reach sees it.
    pub(crate) fn witness(&self) -> Vec<SimShard> {
        self.lock().clone()
    }

    /// All shards as they are now.
    pub(crate) fn lineage(&self) -> Vec<Shard> {
        self.lock().iter().map(|shard| shard.shard.clone()).collect()
    }

    /// Ranges of the open shards.
    pub(crate) fn map(&self) -> Vec<HashRange> {
        self.lock().iter().filter(|shard| !shard.shard.closed).map(|shard| shard.shard.range).collect()
    }

    /// Shows all that was taken.
    pub(crate) fn publish_all(&self) {
        self.lock().iter_mut().for_each(SimShard::publish);
    }

    /// Splits a shard somewhere, or merges two neighbours.
    pub(crate) fn reshard(&self) {
        let mut shards = self.lock();
        let mut open: Vec<usize> = (0..shards.len()).filter(|&k| !shards[k].shard.closed).collect();
        open.sort_by_key(|&k| shards[k].shard.range.low);
        let which = self.world.draw(|dice| dice.below(open.len()));
        let range = shards[open[which]].shard.range;
        if self.world.draw(|dice| dice.percent(SPLIT_PERCENT)) {
            let Some(width) = (range.high.0 - range.low.0).checked_sub(1).filter(|&width| width > 0) else { return };
            let cut = range.low.0 + 1 + self.world.draw(|dice| dice.wide()) % width;
            let halves = [HashRange { high: HashKey(cut - 1), ..range }, HashRange { low: HashKey(cut), ..range }];
            self.replace(&mut shards, &open[which..=which], &halves);
        } else if which + 1 < open.len() {
            let merged = HashRange { high: shards[open[which + 1]].shard.range.high, ..range };
            self.replace(&mut shards, &open[which..=which + 1], &[merged]);
        }
    }

    fn replace(&self, shards: &mut Vec<SimShard>, parents: &[usize], ranges: &[HashRange]) {
        for &parent in parents {
            shards[parent].publish();
            shards[parent].shard.closed = true;
        }
        let ids: Vec<ShardId> = parents.iter().map(|&parent| shards[parent].shard.id.clone()).collect();
        for range in ranges {
            let child = SimShard::new(self.name, shards.len(), *range, ids.clone());
            shards.push(child);
        }
        self.world.count("reshards");
        self.world.note(format_args!("{}: {ids:?} become {} shards", self.name, ranges.len()));
    }

    /// Lands records where their points belong by now.
    fn land(&self, records: Vec<NewRecord>) -> Vec<Placed> {
        let mut shards = self.lock();
        let mut placed = Vec::with_capacity(records.len());
        for record in records {
            let home = |shard: &&mut SimShard| !shard.shard.closed && shard.shard.range.covers(record.point);
            let shard = shards.iter_mut().find(home).expect("open shards cover the whole space");
            let position = shard.take(&self.world, record.bytes);
            placed.push(Placed { shard: shard.shard.id.clone(), position });
        }
        self.world.changed();
        placed
    }

    /// What is to be read after a position.
    fn page(&self, shard: &ShardId, after: &Position, limit: &ReadLimit) -> Result<Page, ReadError> {
        let shards = self.lock();
        let found = shards.iter().find(|known| known.shard.id == *shard);
        let known = found.ok_or_else(|| ReadError::UnknownShard(shard.clone()))?;
        let next = known.log.partition_point(|record| record.position <= *after);
        let count = self.world.page_items(limit.records_max, PAGE_RECORDS_MAX);
        let (mut bytes, mut records) = (0, Vec::new());
        for record in known.log[next..].iter().take(count) {
            if !records.is_empty() && bytes + record.bytes.len() > limit.bytes_max {
                break;
            }
            bytes += record.bytes.len();
            records.push(record.clone());
        }
        let end_of_shard = known.shard.closed && next + records.len() == known.log.len();
        let is_child = |other: &&SimShard| end_of_shard && other.shard.parents.contains(shard);
        let children = shards.iter().filter(is_child).map(|child| child.shard.id.clone()).collect();
        Ok(Page { records, end_of_shard, children, lag: Duration::ZERO })
    }

    /// For each of `count` records of a call, whether it is throttled.
    fn throttled(&self, count: usize) -> Vec<bool> {
        let partial = count > 1 && self.world.fault(PARTIAL_PERCENT);
        if partial {
            self.world.count("partial appends");
        }
        (0..count).map(|_| partial && self.world.draw(|dice| dice.percent(50.0))).collect()
    }
}

#[async_trait]
impl Stream for SimStream {
    fn name(&self) -> &str {
        self.name
    }

    fn incarnation(&self) -> &str {
        self.name
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        let throttled = self.throttled(records.len());
        let bytes_max = self.record_bytes_max;
        let fits = |record: &NewRecord| record.bytes.len() <= bytes_max;
        let sizes: Vec<usize> = records.iter().map(|record| record.bytes.len()).collect();
        let going = records.into_iter().zip(&throttled).filter(|(record, throttled)| !**throttled && fits(record));
        let mut going: Vec<NewRecord> = going.map(|(record, _)| record).collect();
        let mut order: Vec<usize> = (0..going.len()).collect();
        self.world.draw(|dice| dice.shuffle(&mut order));
        let shuffled = order.iter().map(|&k| std::mem::replace(&mut going[k], gone())).collect();
        let stream = self.clone();
        let name = format!("append {} of {} records to {}", order.len(), sizes.len(), self.name);
        let answer = self.world.call(Backend::Stream, name, move || stream.land(shuffled)).await;
        let mut landed = answer.map(|placed| in_order(placed, &order).into_iter());
        let result = |(throttled, bytes): (bool, usize)| match (throttled, &mut landed) {
            _ if bytes > bytes_max => Err(AppendError::TooLarge { bytes, bytes_max }),
            (true, _) => Err(AppendError::Throttled("too many records".to_string())),
            (false, Ok(placed)) => Ok(placed.next().expect("every record that went has landed")),
            (false, Err(_)) => Err(AppendError::Unavailable("no answer".to_string())),
        };
        throttled.into_iter().zip(sizes).map(result).collect()
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        let answer =
            self.world.ask(Backend::Stream, format!("list the shards of {}", self.name), || self.lineage()).await;
        answer.map_err(|_| ReadError::Unavailable("no answer".to_string()))
    }

    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        let name = format!("read {shard} after {after}");
        let answer = self.world.ask(Backend::Stream, name, || self.page(shard, after, &limit)).await;
        let page = answer.map_err(|_| ReadError::Unavailable("no answer".to_string()))??;
        if !page.records.is_empty() || page.end_of_shard || limit.wait.is_zero() {
            return Ok(page);
        }
        tokio::time::sleep(limit.wait).await;
        self.page(shard, after, &limit)
    }

    async fn consumed(&self, shard: &ShardId, through: &Position) {
        let mut shards = self.lock();
        if let Some(known) = shards.iter_mut().find(|known| known.shard.id == *shard) {
            known.consumed = known.consumed.clone().max(through.clone());
        }
    }
}

/// Stands where a record was taken out.
fn gone() -> NewRecord {
    NewRecord { point: HashKey(0), bytes: bytes::Bytes::new() }
}

/// Undoes a shuffle: `order[k]` is where the item at place `k` belongs.
fn in_order(placed: Vec<Placed>, order: &[usize]) -> Vec<Placed> {
    let mut items: Vec<(usize, Placed)> = order.iter().copied().zip(placed).collect();
    items.sort_by_key(|(place, _)| *place);
    items.into_iter().map(|(_, placed)| placed).collect()
}
