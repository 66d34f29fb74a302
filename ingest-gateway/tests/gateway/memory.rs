//! A stream in memory that can be slow, throttled and resharded.

use async_trait::async_trait;
use schema::body::{BodyOpener, for_each_carried};
use schema::record::{self, decode_raw};
use schema::{EventId, HashRange, Kind, Position, ShardId, v1};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;
use stream::{AppendError, NewRecord, Page, Placed, ReadError, ReadLimit, Shard, Stream};
use tokio::sync::Semaphore;

/// What one append call meets instead of success.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Throttle,
    ThrottleFirstRecord,
    Unavailable,
}

/// A record that landed.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    pub(crate) record: NewRecord,
}

impl Landed {
    pub(crate) fn raw(&self) -> v1::RawRecord {
        decode_raw(self.record.bytes.clone()).expect("a record")
    }

    pub(crate) fn ids(&self) -> Vec<EventId> {
        record::ids(&self.raw().ids).collect()
    }

    fn messages<M: prost::Message + Default>(&self, kind: Kind) -> Vec<(EventId, M)> {
        let raw = self.raw();
        if raw.kind != i32::from(kind) {
            return Vec::new();
        }
        let body = raw.body.expect("a body");
        let plain = BodyOpener::default().open(&body).expect("an intact body");
        let ids: Vec<EventId> = record::ids(&raw.ids).collect();
        let mut messages = Vec::new();
        for_each_carried(&body, &plain, |at, message| {
            messages.push((ids[at], M::decode(message).expect("a message")));
            Ok(())
        })
        .expect("intact messages");
        messages
    }
}

#[derive(Debug)]
pub(crate) struct MemoryStream {
    shards: Mutex<Vec<Shard>>,
    landed: Mutex<Vec<Landed>>,
    appends: Mutex<Vec<usize>>,
    faults: Mutex<VecDeque<Fault>>,
    /// What appends meet that meet no fault of their own.
    lasting: Mutex<Option<Fault>>,
    /// Appends wait for a permit each.
    gate: Semaphore,
}

const OPEN: usize = 1 << 20;

impl MemoryStream {
    pub(crate) fn new(shards: u32) -> MemoryStream {
        MemoryStream {
            shards: Mutex::new(shards_of("s", HashRange::even(shards))),
            landed: Mutex::default(),
            appends: Mutex::default(),
            faults: Mutex::default(),
            lasting: Mutex::default(),
            gate: Semaphore::new(OPEN),
        }
    }

    /// Makes every further append wait.
    pub(crate) fn close_gate(&self) {
        self.gate.forget_permits(OPEN);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(OPEN);
    }

    /// Lets the next appends meet these faults, one each.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().expect("no holder panics").extend(faults);
    }

    /// Lets all appends meet this fault until it is another, or none.
    pub(crate) fn keep_failing(&self, fault: Option<Fault>) {
        *self.lasting.lock().expect("no holder panics") = fault;
    }

    /// Closes all shards and opens others.
    pub(crate) fn reshard(&self, count: u32) {
        let mut shards = self.shards.lock().expect("no holder panics");
        shards.iter_mut().for_each(|shard| shard.closed = true);
        shards.extend(shards_of("t", HashRange::even(count)));
    }

    pub(crate) fn landed(&self) -> Vec<Landed> {
        self.landed.lock().expect("no holder panics").clone()
    }

    /// Records of each append call so far.
    pub(crate) fn appends(&self) -> Vec<usize> {
        self.appends.lock().expect("no holder panics").clone()
    }

    pub(crate) fn events(&self) -> Vec<(EventId, v1::StoredEvent)> {
        self.landed().iter().flat_map(|landed| landed.messages(Kind::Events)).collect()
    }

    pub(crate) fn quarantined(&self) -> Vec<(EventId, v1::StoredQuarantine)> {
        self.landed().iter().flat_map(|landed| landed.messages(Kind::Quarantine)).collect()
    }

    fn place(&self, record: NewRecord) -> Placed {
        let shards = self.shards.lock().expect("no holder panics");
        let shard = shards.iter().find(|shard| !shard.closed && shard.range.covers(record.point));
        let shard = shard.expect("open shards cover the key space").id.clone();
        let mut landed = self.landed.lock().expect("no holder panics");
        landed.push(Landed { record });
        Placed { shard, position: Position::from_number(landed.len() as u64) }
    }
}

fn shards_of(prefix: &str, ranges: Vec<HashRange>) -> Vec<Shard> {
    let shard =
        |(k, range)| Shard { id: ShardId::new(format!("{prefix}{k}").as_str()), range, parents: vec![], closed: false };
    ranges.into_iter().enumerate().map(shard).collect()
}

#[async_trait]
impl Stream for MemoryStream {
    fn name(&self) -> &str {
        "memory"
    }

    fn incarnation(&self) -> &str {
        "memory"
    }

    async fn append(&self, records: Vec<NewRecord>) -> Vec<Result<Placed, AppendError>> {
        self.appends.lock().expect("no holder panics").push(records.len());
        self.gate.acquire().await.expect("the gate stays").forget();
        self.gate.add_permits(1);
        let fault = self.faults.lock().expect("no holder panics").pop_front();
        let fault = fault.or_else(|| self.lasting.lock().expect("no holder panics").clone());
        let meet = |(k, record): (usize, NewRecord)| match fault {
            Some(Fault::Unavailable) => Err(AppendError::Unavailable("black hole".into())),
            Some(Fault::Throttle) => Err(AppendError::Throttled("slow down".into())),
            Some(Fault::ThrottleFirstRecord) if k == 0 => Err(AppendError::Throttled("slow down".into())),
            _ => Ok(self.place(record)),
        };
        records.into_iter().enumerate().map(meet).collect()
    }

    async fn shards(&self) -> Result<Vec<Shard>, ReadError> {
        Ok(self.shards.lock().expect("no holder panics").clone())
    }

    async fn read(&self, _: &ShardId, _: &Position, _: ReadLimit) -> Result<Page, ReadError> {
        Ok(Page { records: vec![], end_of_shard: false, children: vec![], lag: Duration::ZERO })
    }

    async fn consumed(&self, _: &ShardId, _: &Position) {}
}
