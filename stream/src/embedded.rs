//! A stream in the store of a data directory: each shard is a log there, and the **lineage** of the shards is a note.
//!
//! A handle is cheap to clone; all handles of a stream see a reshard at once, because the lineage lives in the store and
//! is changed there by compare-and-swap.

mod lineage;

use crate::{AppendError, NewRecord, Page, Placed, ReadError, ReadLimit, Record, Shard, Stream};
use async_trait::async_trait;
use bytes::Bytes;
use lineage::Lineage;
use schema::record::RECORD_BYTES_MAX;
use schema::{HashKey, HashRange, Position, ShardId};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use store::{Append, FetchError, Frame, Refusal, Store, StoreError, StoreReader, View};
use thiserror::Error;
use tokio::time::Instant;

/// Times that an append or a reshard starts anew because the shards have just changed: each time needs a reshard in
/// between, so more than a few mean that something is wrong.
const CHANGES_MAX: u32 = 8;

/// Why a stream can't be opened or its shards not be changed.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// A person must decide: without the lineage its records can't be told from those of another stream.
    #[error("the lineage of stream {name} is lost: {detail}")]
    LineageLost { name: String, detail: String },
    #[error("there is no stream {0}")]
    NoStream(String),
    #[error("these shards can't be changed so: {0}")]
    Impossible(&'static str),
}

/// A stream that is embedded in this process.
#[derive(Clone)]
pub struct EmbeddedStream {
    name: Arc<str>,
    note: Arc<str>,
    incarnation: Arc<str>,
    view: Arc<View>,
    /// Absent where the data directory is open read-only.
    store: Option<Arc<Store>>,
    known: Arc<RwLock<Arc<Known>>>,
}

/// The lineage as it was last seen, with what appending needs of it.
#[derive(Debug)]
struct Known {
    version: u64,
    lineage: Lineage,
    /// Open shards by the lower end of their ranges.
    open: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    low: HashKey,
    shard: ShardId,
    log: Arc<str>,
}

impl fmt::Debug for EmbeddedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStream").field("name", &self.name).finish_non_exhaustive()
    }
}

impl EmbeddedStream {
    /// Opens stream `name` with `shards` open shards: makes it where it is new, reshards it where it has another number.
    ///
    /// A new stream gets `incarnation`: letters and digits, at most 32, never used before.
    pub async fn open(
        store: &Arc<Store>,
        name: &str,
        shards: NonZeroU32,
        incarnation: &str,
    ) -> Result<EmbeddedStream, EmbeddedError> {
        let known = match read_known(store.view(), name)? {
            Some(known) => known,
            None => create(store, name, shards, incarnation).await?,
        };
        let closed = known.lineage.shards.iter().filter(|shard| shard.closed);
        let closes = closed.map(|shard| Append::Close { log: log_of(name, &shard.id) }).collect();
        store.append(closes).await?;
        let resharded = known.open.len() != shards.get() as usize;
        let stream = EmbeddedStream::of(name, known, store.view().clone(), Some(store.clone()));
        if resharded {
            stream.reshard(shards).await?;
        }
        Ok(stream)
    }

    /// Opens a stream for reading, while another process may write it.
    pub fn open_read_only(reader: &StoreReader, name: &str) -> Result<EmbeddedStream, EmbeddedError> {
        let known = read_known(reader.view(), name)?.ok_or_else(|| EmbeddedError::NoStream(name.to_owned()))?;
        Ok(EmbeddedStream::of(name, known, reader.view().clone(), None))
    }

    fn of(name: &str, known: Known, view: Arc<View>, store: Option<Arc<Store>>) -> EmbeddedStream {
        EmbeddedStream {
            name: Arc::from(name),
            note: note_of(name),
            incarnation: Arc::from(known.lineage.incarnation.as_str()),
            view,
            store,
            known: Arc::new(RwLock::new(Arc::new(known))),
        }
    }

    /// Closes all open shards; `count` new ones with even ranges go on.
    pub async fn reshard(&self, count: NonZeroU32) -> Result<(), EmbeddedError> {
        self.change(|lineage| lineage.reshard(&self.name, count)).await
    }

    /// Closes `shard`; two go on, the second from point `at`.
    pub async fn split(&self, shard: &ShardId, at: HashKey) -> Result<(), EmbeddedError> {
        self.change(|lineage| lineage.split(&self.name, shard, at)).await
    }

    /// Closes two neighbours; one goes on.
    pub async fn merge(&self, a: &ShardId, b: &ShardId) -> Result<(), EmbeddedError> {
        self.change(|lineage| lineage.merge(&self.name, a, b)).await
    }

    async fn change(&self, next: impl Fn(&Lineage) -> Result<Lineage, &'static str>) -> Result<(), EmbeddedError> {
        let store = self.store.as_ref().ok_or(StoreError::ReadOnly)?;
        for _ in 0..CHANGES_MAX {
            let known = self.known().map_err(|error| lost(&self.name, &error.to_string()))?;
            let lineage = next(&known.lineage).map_err(EmbeddedError::Impossible)?;
            let was_open = |shard: &&Shard| shard.closed && known.open.iter().any(|route| route.shard == shard.id);
            let closes = lineage.shards.iter().filter(was_open).map(|shard| log_of(&self.name, &shard.id)).collect();
            let bytes = Bytes::from(lineage.encode());
            let note = Append::Note { key: self.note.clone(), seen: known.version, bytes, closes };
            if store.append(vec![note]).await?.iter().all(Result::is_ok) {
                return Ok(());
            }
        }
        Err(EmbeddedError::Impossible("they keep changing"))
    }

    /// The lineage as it is now.
    fn known(&self) -> Result<Arc<Known>, ReadError> {
        let known = self.known.read().expect("nobody panics while holding it").clone();
        if known.version == self.view.note_version(&self.note) {
            return Ok(known);
        }
        let unreadable = |detail: String| ReadError::Unavailable(format!("the lineage of {}: {detail}", self.name));
        let known = read_known(&self.view, &self.name).map_err(|error| unreadable(error.to_string()))?;
        let known = Arc::new(known.ok_or_else(|| unreadable("it is gone".to_owned()))?);
        *self.known.write().expect("nobody panics while holding it") = known.clone();
        Ok(known)
    }

    /// Appends those of `left` that find an open shard; gives back those whose shard has just been closed.
    async fn append_once(
        &self,
        store: &Store,
        left: Vec<(usize, NewRecord)>,
        results: &mut [Result<Placed, AppendError>],
    ) -> Vec<(usize, NewRecord)> {
        let known = match self.known() {
            Ok(known) => known,
            Err(error) => {
                fail(&left, results, &AppendError::Unavailable(error.to_string()));
                return Vec::new();
            }
        };
        let appends = left.iter().map(|(_, record)| {
            let route = known.route(record.point);
            Append::Record { log: route.log.clone(), bytes: record.bytes.clone() }
        });
        let answers = match store.append(appends.collect()).await {
            Ok(answers) => answers,
            Err(error) => {
                fail(&left, results, &append_error(&error));
                return Vec::new();
            }
        };
        let mut closed = Vec::new();
        for ((place, record), answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(number) => {
                    let shard = known.route(record.point).shard.clone();
                    results[place] = Ok(Placed { shard, position: Position::from_number(number) });
                }
                Err(Refusal::Closed) => closed.push((place, record)),
                Err(refusal) => results[place] = Err(AppendError::Unavailable(format!("{refusal:?}"))),
            }
        }
        closed
    }

    /// Reads what is there now; `None` where nothing is, and more may come.
    async fn read_now(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Option<Page>, ReadError> {
        // The lineage first: once it says closed, all records of the shard are visible.
        let known = self.known()?;
        let closed = known.shard(shard).ok_or_else(|| ReadError::UnknownShard(shard.clone()))?.closed;
        let from = number_after(shard, after)?;
        let page = self.view.records(&log_of(&self.name, shard), from, limit.records_max, limit.bytes_max);
        let (next, tip_at) = (page.next, page.tip_at);
        if page.frames.is_empty() {
            let end =
                || Page { records: vec![], end_of_shard: true, children: known.children(shard), lag: Duration::ZERO };
            return Ok(closed.then(end));
        }
        let fetched = page.frames.load().await;
        let Some(last) = fetched.frames.last() else {
            let error = fetched.stopped.expect("a page that is not empty has frames or an error");
            return Err(read_error(shard, after, error));
        };
        let at_tip = last.number + 1 == next;
        let lag = if at_tip { Duration::ZERO } else { micros(tip_at.saturating_sub(last.aux as i64)) };
        let end_of_shard = closed && at_tip;
        let children = if end_of_shard { known.children(shard) } else { Vec::new() };
        Ok(Some(Page { records: fetched.frames.into_iter().map(record).collect(), end_of_shard, children, lag }))
    }
}

#[async_trait]
impl Stream for EmbeddedStream {
    fn name(&self) -> &str {
        &self.name
    }

    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        let changing = AppendError::Throttled("its shards keep changing".to_owned());
        let mut results = vec![Err(changing); records.len()];
        let Some(store) = &self.store else {
            results.fill(Err(AppendError::Unavailable(StoreError::ReadOnly.to_string())));
            return results;
        };
        let mut left = Vec::with_capacity(records.len());
        for (place, record) in records.into_iter().enumerate() {
            match record.bytes.len() {
                bytes if bytes > RECORD_BYTES_MAX => {
                    results[place] = Err(AppendError::TooLarge { bytes, bytes_max: RECORD_BYTES_MAX });
                }
                _ => left.push((place, record)),
            }
        }
        for _ in 0..CHANGES_MAX {
            if left.is_empty() {
                break;
            }
            left = self.append_once(store, left, &mut results).await;
        }
        results
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        Ok(self.known()?.lineage.shards.clone())
    }

    async fn read(&self, shard: &ShardId, after: &Position, limit: ReadLimit) -> Result<Page, ReadError> {
        if let Some(page) = self.read_now(shard, after, limit).await? {
            return Ok(page);
        }
        let deadline = Instant::now() + limit.wait;
        let arrivals = self.view.arrivals(&log_of(&self.name, shard));
        while !limit.wait.is_zero() {
            // Listens before it looks, so that nothing arrives unheard in between.
            let mut arrival = std::pin::pin!(arrivals.notified());
            arrival.as_mut().enable();
            if let Some(page) = self.read_now(shard, after, limit).await? {
                return Ok(page);
            }
            if tokio::time::timeout_at(deadline, arrival).await.is_err() {
                break;
            }
        }
        Ok(Page { records: Vec::new(), end_of_shard: false, children: Vec::new(), lag: Duration::ZERO })
    }

    async fn consumed(&self, shard: &ShardId, through: &Position) {
        if let Ok(number) = number_after(shard, through) {
            self.view.consumed(&log_of(&self.name, shard), number);
        }
    }
}

impl Known {
    fn of(name: &str, version: u64, lineage: Lineage) -> Known {
        let mut open: Vec<Route> = lineage
            .shards
            .iter()
            .filter(|shard| !shard.closed)
            .map(|shard| Route { low: shard.range.low, shard: shard.id.clone(), log: log_of(name, &shard.id) })
            .collect();
        open.sort_by_key(|route| route.low);
        Known { version, lineage, open }
    }

    fn route(&self, point: HashKey) -> &Route {
        let at = self.open.partition_point(|route| route.low <= point);
        &self.open[at.checked_sub(1).expect("open shards cover the whole space")]
    }

    fn shard(&self, id: &ShardId) -> Option<&Shard> {
        self.lineage.shards.iter().find(|shard| shard.id == *id)
    }

    fn children(&self, id: &ShardId) -> Vec<ShardId> {
        let shards = self.lineage.shards.iter();
        shards.filter(|shard| shard.parents.contains(id)).map(|shard| shard.id.clone()).collect()
    }
}

async fn create(store: &Arc<Store>, name: &str, shards: NonZeroU32, incarnation: &str) -> Result<Known, EmbeddedError> {
    let lineage = Lineage::new(name, incarnation, &HashRange::even(shards.get()));
    let bytes = Bytes::from(lineage.encode());
    let note = Append::Note { key: note_of(name), seen: 0, bytes, closes: Vec::new() };
    // Where another handle was faster, its lineage counts.
    store.append(vec![note]).await?;
    read_known(store.view(), name)?.ok_or_else(|| lost(name, "it was not written"))
}

/// Reads the lineage; `None` for a stream that never was.
fn read_known(view: &View, name: &str) -> Result<Option<Known>, EmbeddedError> {
    let note = view.note(&note_of(name)).map_err(|error| lost(name, &error.to_string()))?;
    let logs = view.logs(&format!("{name}/"));
    let Some(note) = note else {
        return if logs.is_empty() { Ok(None) } else { Err(lost(name, "its records are there")) };
    };
    let lineage = Lineage::decode(&note.bytes).ok_or_else(|| lost(name, "it can't be decoded"))?;
    let known = Known::of(name, note.version, lineage);
    let stranger = logs.iter().find(|log| known.lineage.shards.iter().all(|shard| log_of(name, &shard.id) != **log));
    match stranger {
        Some(log) => Err(lost(name, &format!("it does not know {log}"))),
        None => Ok(Some(known)),
    }
}

fn lost(name: &str, detail: &str) -> EmbeddedError {
    EmbeddedError::LineageLost { name: name.to_owned(), detail: detail.to_owned() }
}

fn note_of(name: &str) -> Arc<str> {
    Arc::from(format!("stream/{name}"))
}

fn log_of(name: &str, shard: &ShardId) -> Arc<str> {
    Arc::from(format!("{name}/{shard}"))
}

/// Number of the record that follows `after`.
fn number_after(shard: &ShardId, after: &Position) -> Result<u64, ReadError> {
    if after.is_start() {
        return Ok(0);
    }
    let number = after.as_str().parse::<u64>().ok().and_then(|number| number.checked_add(1));
    let detail = || "the position is not of an embedded stream".to_owned();
    number.ok_or_else(|| ReadError::Damaged { shard: shard.clone(), after: after.clone(), detail: detail() })
}

fn record(frame: Frame) -> Record {
    Record { position: Position::from_number(frame.number), arrived_at: frame.aux as i64, bytes: frame.bytes }
}

fn read_error(shard: &ShardId, after: &Position, error: FetchError) -> ReadError {
    let (shard, after) = (shard.clone(), after.clone());
    match error {
        FetchError::Trimmed { .. } => ReadError::Trimmed { shard, after },
        FetchError::Damaged { detail, .. } => ReadError::Damaged { shard, after, detail },
        FetchError::Io(detail) => ReadError::Unavailable(detail),
    }
}

fn append_error(error: &StoreError) -> AppendError {
    match error {
        StoreError::Full => AppendError::Throttled(error.to_string()),
        _ => AppendError::Unavailable(error.to_string()),
    }
}

fn fail(records: &[(usize, NewRecord)], results: &mut [Result<Placed, AppendError>], error: &AppendError) {
    for (place, _) in records {
        results[*place] = Err(error.clone());
    }
}

fn micros(count: i64) -> Duration {
    Duration::from_micros(u64::try_from(count).unwrap_or(0))
}
