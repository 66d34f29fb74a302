//! Whether a stream may be gone on with as it is set now.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

#[allow(dead_code)] // Other tests need more of it.
#[path = "shared/aging.rs"]
mod aging;

use aging::{Aging, DAY};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use ownership::{Notes, recall_start};
use prost::Message;
use schema::v1::StreamEntry;
use schema::{ChainId, Position, record};
use service::{Env, Halt, Stop};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::Stream;
use stream::embedded::EmbeddedStream;
use tempfile::TempDir;

/// More looks than any note takes.
const LOOKS_MAX: u32 = 10_000;

struct World {
    aging: Arc<Aging>,
    ledger: Arc<dyn Ledger>,
    _dir: TempDir,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
        let stream = EmbeddedStream::open(&store, "raw", NonZeroU32::MIN, "new").await.unwrap();
        World { aging: Aging::new(stream), ledger: Arc::new(EmbeddedLedger::new(store)), _dir: dir }
    }

    fn keep_for(&self, retention: Duration) {
        *self.aging.kept_for.lock().unwrap() = retention;
    }

    async fn compare(&self) -> anyhow::Result<Option<Notes>> {
        let stream: Arc<dyn Stream> = self.aging.clone();
        Notes::compare(ChainId::RAW, &stream, &self.ledger, &Env::system()).await
    }

    /// Waits until the last entry says so many hours; how many entries there are.
    async fn noted(&self, hours: u64) -> u64 {
        for _ in 0..LOOKS_MAX {
            let head = self.ledger.head(&ChainId::new("raw/new")).await.unwrap();
            let said = head.map(|head| (head.number + 1, StreamEntry::decode(head.entry.bytes).unwrap()));
            match said {
                Some((entries, said)) if said.retention_hours == hours => return entries,
                _ => pause().await,
            }
        }
        panic!("{hours} h were never noted");
    }
}

/// A second of paused time, and time for the store's own threads, beside which that runs on.
async fn pause() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_retention_that_is_raised_is_noted_and_one_that_was_lowered_since_is_refused() {
    let world = World::new().await;
    let notes = world.compare().await.unwrap();
    let stop = Stop::new();
    let kept = tokio::spawn(Notes::keep(notes, stop.clone()));
    assert_eq!(world.noted(24).await, 1);
    world.keep_for(2 * DAY);
    assert_eq!(world.noted(48).await, 2);
    stop.cancel();
    kept.await.unwrap().unwrap();

    world.keep_for(DAY);
    let told = world.compare().await.unwrap_err().downcast::<Halt>().unwrap().to_string();
    for words in ["the retention of stream raw was 48h", "and is 24h", "raise it again", "--accept-changed raw:24h"] {
        assert!(told.contains(words), "{told}");
    }
    world.keep_for(3 * DAY);
    assert!(world.compare().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stays_what_it_is_has_one_note_however_many_keep_it() {
    let world = World::new().await;
    let stop = Stop::new();
    let (one, other) = (world.compare().await.unwrap(), world.compare().await.unwrap());
    let kept = [one, other].map(|notes| tokio::spawn(Notes::keep(notes, stop.clone())));
    world.noted(24).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.noted(24).await, 1);
    stop.cancel();
    for kept in kept {
        kept.await.unwrap().unwrap();
    }
}

/// What a shard held before is nothing that its readers have lost.
#[tokio::test]
async fn readers_began_when_their_stream_was_noted_first_or_begin_now() {
    let world = World::new().await;
    let shard = world.aging.shards().await.unwrap().remove(0).id;
    let recalled = async |now| {
        recall_start(ChainId::RAW, &*world.aging, &*world.ledger, &shard, now).await.unwrap();
        world.aging.recalled.lock().unwrap().take()
    };
    assert_eq!(recalled(5_000_000).await, Some((Position::start(), Duration::ZERO)));
    for (number, appended_at) in [(0, 2_000_000), (1, 4_000_000)] {
        let note = StreamEntry { appended_at, ..StreamEntry::default() };
        let entry = Entry { nonce: u128::from(number), bytes: record::encode(&note) };
        world.ledger.append(&ChainId::new("raw/new"), number, entry).await.unwrap();
    }
    assert_eq!(recalled(5_000_000).await, Some((Position::start(), Duration::from_secs(3))));
}
