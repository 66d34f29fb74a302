//! A ledger, a lake, and a writer that has been at work.

use compactor::{CompactError, Compactor, Config, Labour, Parts, Summary};
use lake::layout::{DROPPED, FINAL, ObjectName};
use lake::local::LocalLake;
use lake::parquet_file::{self, Columns, batches_of};
use lake::{Created, Lake};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use queue::Queue;
use queue::embedded::{EmbeddedQueue, QueueBounds};
use schema::columns::{self, EVENT_TYPE, Place, places, text};
use schema::rows::{RowPlace, Rows};
use schema::stored::{StoredEvent, StoredQuarantine};
use schema::v1::{Announcement, LakeObject, WriterEntry, WriterGenesis, writer_entry};
use schema::{ChainId, Day, EventId, Origin, ShardId, Table, record};
use service::{Clock, Env, Random, Rules};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Options, Store};
use tempfile::TempDir;

pub(crate) const DAY: Day = Day(20_779);

#[derive(Debug)]
pub(crate) struct SetClock(pub(crate) AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> i64 {
        self.0.load(SeqCst)
    }
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Random for Counter {
    fn next(&self) -> u128 {
        self.0.fetch_add(1, SeqCst).into()
    }
}

/// A row of events, or of quarantine, which has no type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) event_type: String,
    /// Microseconds into the day.
    pub(crate) at: i64,
    pub(crate) origin: String,
    pub(crate) ordinal: u64,
    pub(crate) id: u128,
}

pub(crate) fn row(id: u128, event_type: &str, at: i64, origin: &str, ordinal: u64) -> Row {
    Row { event_type: event_type.to_string(), at, origin: origin.to_string(), ordinal, id }
}

#[derive(Debug)]
pub(crate) struct House {
    dir: TempDir,
    store: Arc<Store>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) lake: Arc<LocalLake>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) config: Config,
    env: Env,
    written: Mutex<BTreeMap<ChainId, u64>>,
}

impl House {
    pub(crate) fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("log"), Options::new(Arc::new(|| 0), "a test")).unwrap();
        let config = Config {
            object_bytes: 256 << 20,
            memory_bytes_max: 512 << 20,
            spill_dir: Some(dir.path().join("spill")),
            grace: Duration::from_secs(86_400),
            keep_announcements: Duration::from_secs(7 * 86_400),
        };
        let clock = Arc::new(SetClock(AtomicI64::new(DAY.start_micros())));
        let store = Arc::new(store);
        House {
            ledger: Arc::new(EmbeddedLedger::new(store.clone())),
            store,
            lake: Arc::new(LocalLake::open(dir.path().join("lake")).unwrap()),
            env: Env::of(clock.clone(), Arc::<Counter>::default()),
            clock,
            config,
            written: Mutex::default(),
            dir,
        }
    }

    /// A part of its folder: `log`, `lake` or `spill`.
    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// Lets go of the log, so that a process can take it.
    pub(crate) fn leave(&self) {
        self.store.close();
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts {
            ledger: self.ledger.clone(),
            lake: self.lake.clone(),
            env: self.env.clone(),
            config: self.config.clone(),
            labour: Labour::Inline,
            rules: Rules::default(),
        }
    }

    /// An empty queue, or the one of that name.
    pub(crate) fn queue(&self, name: &str) -> Arc<dyn Queue> {
        self.queue_of(name, 1000)
    }

    /// The same, with room for so many messages.
    pub(crate) fn queue_of(&self, name: &str, messages_max: usize) -> Arc<dyn Queue> {
        let bounds = QueueBounds { messages_max, bytes_max: 1 << 20 };
        Arc::new(EmbeddedQueue::open(self.store.clone(), name, bounds))
    }

    pub(crate) fn compactor(&self) -> Compactor {
        Compactor::of(self.parts())
    }

    pub(crate) async fn compact(&self) -> Summary {
        self.compactor().compact_day(Table::Events, DAY).await.unwrap()
    }

    pub(crate) async fn try_compact(&self) -> Result<Summary, CompactError> {
        self.compactor().compact_day(Table::Events, DAY).await
    }

    pub(crate) fn spill_files(&self) -> usize {
        self.config.spill_dir.as_ref().and_then(|dir| std::fs::read_dir(dir).ok()).map_or(0, Iterator::count)
    }

    /// Writes rows of the day as one object, announced and settled.
    pub(crate) async fn write(&self, shard: u32, rows: &[Row]) -> String {
        self.write_of(Table::Events, DAY, shard, rows).await
    }

    pub(crate) async fn write_of(&self, table: Table, day: Day, shard: u32, rows: &[Row]) -> String {
        let (bytes, identity) = parquet_file::encode(gathered(table, day, rows));
        let (chain, number) = self.next_entry(shard).await;
        let key = ObjectName::live(table, day, &chain, number, 0).key();
        assert_eq!(self.lake.create(&key, bytes).await.unwrap(), Created::New);
        let object = LakeObject {
            key: key.clone(),
            table: table.name().to_string(),
            date: day.0,
            rows: identity.rows,
            rows_hash: identity.rows_hash.to_be_bytes().to_vec().into(),
        };
        self.announce(&chain, number, vec![object], number + 1).await;
        key
    }

    /// Announces an object that does not exist, and is not said to.
    pub(crate) async fn announce_only(&self, shard: u32) -> String {
        let (chain, number) = self.next_entry(shard).await;
        let key = ObjectName::live(Table::Events, DAY, &chain, number, 0).key();
        let (table, rows_hash) = (Table::Events.name().to_string(), vec![0; 16].into());
        let object = LakeObject { key: key.clone(), table, date: DAY.0, rows: 1, rows_hash };
        self.announce(&chain, number, vec![object], number).await;
        key
    }

    pub(crate) async fn announce(&self, chain: &ChainId, number: u64, objects: Vec<LakeObject>, done_through: u64) {
        let appended_at = self.clock.0.load(SeqCst);
        let announcement = Announcement { objects, done_through, appended_at, ..Announcement::default() };
        self.append(chain, number, writer_entry::Entry::Announcement(announcement)).await;
    }

    pub(crate) async fn next_entry(&self, shard: u32) -> (ChainId, u64) {
        let chain = ChainId::writer("a1", &ShardId::new(format!("clean-{shard}")), 0);
        let number = *self.written.lock().unwrap().entry(chain.clone()).and_modify(|number| *number += 1).or_insert(1);
        if number == 1 {
            self.append(&chain, 0, writer_entry::Entry::Genesis(WriterGenesis::default())).await;
        }
        (chain, number)
    }

    async fn append(&self, chain: &ChainId, number: u64, entry: writer_entry::Entry) {
        let entry = Entry { nonce: self.env.nonce(), bytes: record::encode(&WriterEntry { entry: Some(entry) }) };
        self.ledger.append(chain, number, entry).await.unwrap();
    }

    /// Keys under a root.
    pub(crate) async fn keys(&self, root: &str) -> Vec<String> {
        self.lake.list(&format!("{root}/")).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// Rows of an object, in its order, after checking that they are those its footer names.
    pub(crate) async fn rows_of(&self, key: &str) -> Vec<Row> {
        let name = ObjectName::parse(key).unwrap();
        parquet_file::verify(&*self.lake, name.table, key).await.unwrap();
        let bytes = self.lake.get(key).await.unwrap();
        let mut rows = Vec::new();
        for batch in batches_of(name.table, key, &bytes, Columns::All).unwrap() {
            let types = text(&batch, EVENT_TYPE).ok();
            let times = columns::times(&batch, name.table.day_column()).unwrap();
            for (k, place) in places(name.table, &batch).unwrap().enumerate() {
                let Place { origin, ordinal, id } = place.unwrap();
                let is_typed = types.filter(|_| name.table == Table::Events);
                let event_type = is_typed.map_or("", |types| types.value(k));
                rows.push(row(id.0, event_type, times.value(k) - name.day.start_micros(), origin, ordinal));
            }
        }
        assert!(rows.is_sorted(), "{key} is not sorted");
        rows
    }

    pub(crate) async fn rows_under(&self, root: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in self.keys(root).await {
            rows.extend(self.rows_of(&key).await);
        }
        rows
    }

    /// Everything that compactions made: keys and rows.
    pub(crate) async fn made(&self) -> BTreeMap<String, Vec<Row>> {
        let mut made = BTreeMap::new();
        for root in [FINAL, DROPPED] {
            for key in self.keys(root).await {
                let rows = self.rows_of(&key).await;
                made.insert(key, rows);
            }
        }
        made
    }
}

fn gathered(table: Table, day: Day, rows: &[Row]) -> Rows {
    let mut gathered = Rows::new(table);
    for Row { event_type, at, origin, ordinal, id } in rows {
        let (origin, time) = (Origin::new(origin), day.start_micros() + at);
        let place = RowPlace { origin: &origin, ordinal: *ordinal, id: EventId(*id), received_at: time };
        let text = format!("{id}");
        match table {
            Table::Events => {
                let user_id = (id % 3 > 0).then_some(text.as_str());
                let (event_name, event_type) = ("page:view", Some(event_type.as_str()));
                let created_at = time;
                gathered.push_event(
                    &place,
                    &StoredEvent { event_name, event_type, created_at, user_id, ..StoredEvent::default() },
                );
            }
            Table::Quarantine => {
                let original = text.as_bytes();
                gathered.push_quarantined(
                    &place,
                    &StoredQuarantine { original, reason: "bad", ..StoredQuarantine::default() },
                );
            }
        }
    }
    gathered
}
