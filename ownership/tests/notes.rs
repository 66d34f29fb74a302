//! Whether a stream may be gone on with as it is set now.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

#[allow(dead_code)] // Other tests need more of it.
#[path = "shared/aging.rs"]
mod aging;

use aging::{Aging, DAY};
use ledger::embedded::EmbeddedLedger;
use ledger::{Entry, Ledger};
use ownership::{Notes, recall_tip};
use prost::Message;
use schema::v1::StreamEntry;
use schema::{ChainId, Position, record};
use service::{Env, Halt, Stop};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{Stream, Tip};
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
    assert!(world.compare().await.is_err());
    assert_eq!(world.noted(24).await, 3, "a refusal is noted once: records went meanwhile");

    world.keep_for(2 * DAY);
    let stop = Stop::new();
    let kept = tokio::spawn(Notes::keep(world.compare().await.unwrap(), stop.clone()));
    assert_eq!(world.noted(48).await, 4, "what is trusted since a refusal is told from what was before");
    stop.cancel();
    kept.await.unwrap().unwrap();
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

/// What a shard held before readers began is nothing that they have lost, and what was trusted under a shorter retention is not
/// trusted for longer because that was raised.
#[tokio::test]
async fn a_tip_counts_for_as_long_as_records_were_kept_from_then_on() {
    const HOUR: i64 = 3_600_000_000;
    let world = World::new().await;
    world.keep_for(7 * DAY);
    let shard = world.aging.shards().await.unwrap().remove(0).id;
    let recalled = async |after: &Position, tip_at| {
        let World { aging, ledger, .. } = &world;
        recall_tip(ChainId::RAW, &**aging, &**ledger, &shard, after, tip_at, 100 * HOUR).await.unwrap();
        aging.recalled.lock().unwrap().take()
    };
    let ago = |hours: u64, kept_for| Tip { ago: Duration::from_secs(hours * 3600), kept_for };
    let (start, later) = (Position::start(), Position::from_number(7));
    assert_eq!(recalled(&start, 0).await, Some((start.clone(), ago(0, 7 * DAY))), "they begin now");
    assert_eq!(recalled(&later, 0).await, None);
    for (number, hour, retention_hours) in [(0, 10, 48), (1, 50, 24), (2, 90, 168)] {
        let note = StreamEntry { retention_hours, appended_at: hour * HOUR, ..StreamEntry::default() };
        let entry = Entry { nonce: u128::from(number), bytes: record::encode(&note) };
        world.ledger.append(&ChainId::new("raw/new"), number, entry).await.unwrap();
    }
    assert_eq!(recalled(&start, 0).await, Some((start, ago(90, DAY))));
    for (tip_at, kept_for) in [(20, DAY), (60, DAY), (89, DAY), (90, DAY), (91, 7 * DAY)] {
        let expected = Some((later.clone(), ago(100 - tip_at as u64, kept_for)));
        assert_eq!(recalled(&later, tip_at * HOUR).await, expected, "seen at hour {tip_at}");
    }
    world.keep_for(DAY / 2);
    assert_eq!(
        recalled(&later, 91 * HOUR).await,
        Some((later, ago(9, DAY / 2))),
        "it was lowered, and nobody noted it"
    );
}
