//! The store from outside: what is acknowledged is there after anything, and what is damaged is named.

mod commit;
mod damage;
mod reader;
mod recovery;
mod retention;

use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use store::{Append, Options, Store, StoreError, View};

/// A clock that the test sets.
#[derive(Clone, Default)]
struct Hand(Arc<AtomicI64>);

impl Hand {
    fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }

    fn options(&self) -> Options {
        let hand = self.0.clone();
        let clock = Arc::new(move || hand.load(Ordering::Relaxed));
        // No marker comes between what a test writes, however slow the machine is.
        Options { mark_after: Duration::from_secs(3600), ..Options::new(clock, "a test") }
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Hand::default().options()).expect("a sound directory opens")
}

fn open_set_aside(dir: &Path) -> Store {
    let options = Options { set_aside_damaged: true, ..Hand::default().options() };
    Store::open(dir, options).expect("damage is set aside")
}

fn damage_of(dir: &Path) -> Vec<store::Damage> {
    match Store::open(dir, Hand::default().options()) {
        Err(StoreError::Damaged(damages)) => damages,
        other => panic!("expected damage, found {other:?}"),
    }
}

fn record(log: &str, bytes: &str) -> Append {
    Append::Record { log: log.into(), bytes: Bytes::copy_from_slice(bytes.as_bytes()) }
}

fn slot(chain: &str, number: u64, nonce: u128, bytes: &str) -> Append {
    Append::Slot { chain: chain.into(), number, nonce, bytes: Bytes::copy_from_slice(bytes.as_bytes()) }
}

fn note(key: &str, seen: u64, bytes: &str) -> Append {
    Append::Note { key: key.into(), seen, bytes: Bytes::copy_from_slice(bytes.as_bytes()), closes: vec![] }
}

fn message(queue: &str, bytes: &str) -> Append {
    Append::Message { queue: queue.into(), bytes: Bytes::copy_from_slice(bytes.as_bytes()) }
}

async fn append(store: &Store, appends: Vec<Append>) {
    let answers = store.append(appends).await.expect("the store runs");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Everything that can be read, as text.
fn content(view: &View) -> Vec<String> {
    let text = |kind: &str, name: &str, number: u64, bytes: &Bytes| {
        format!("{kind} {name} {number} {}", String::from_utf8_lossy(bytes))
    };
    let mut all = Vec::new();
    for log in view.logs("") {
        let frames = view.records(&log, 0, 1000, usize::MAX).frames.load_blocking().frames;
        all.extend(frames.iter().map(|frame| text("record", &log, frame.number, &frame.bytes)));
    }
    for chain in view.chains("") {
        let frames = (0..100).flat_map(|number| view.slots(&chain, number, 1).load_blocking().frames);
        all.extend(frames.map(|frame| text("slot", &chain, frame.number, &frame.bytes)));
    }
    let waiting: Vec<u64> = view.messages("overflow").into_iter().map(|(number, _)| number).collect();
    let frames = view.message_bodies("overflow", &waiting).load_blocking().frames;
    all.extend(frames.iter().map(|frame| text("message", "overflow", frame.number, &frame.bytes)));
    let note = view.note("stream/raw").ok().flatten();
    all.extend(note.map(|note| text("note", "stream/raw", note.version, &note.bytes)));
    all.sort();
    all.dedup();
    all
}

fn segment(dir: &Path, number: u32) -> std::path::PathBuf {
    dir.join("log").join(format!("{number:08}.log"))
}

/// A copy of the log as a kill would leave it.
fn copy_log(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("log")).expect("a temporary directory");
    for entry in fs::read_dir(from.join("log")).expect("a log") {
        let path = entry.expect("a log").path();
        fs::copy(&path, to.join("log").join(path.file_name().expect("a file"))).expect("room for a copy");
    }
}

/// Two segments full of everything, closed.
async fn filled(dir: &Path) -> Vec<String> {
    let options = Options { segment_bytes: 900, ..Hand::default().options() };
    let store = Store::open(dir, options).expect("a new directory");
    for round in 0..4u64 {
        let text = format!("round {round}");
        append(&store, vec![record("raw/raw-0000", &text), record("raw/raw-0001", &text)]).await;
        append(&store, vec![slot("dedup/a", round, round.into(), &text), message("overflow", &text)]).await;
        append(&store, vec![note("stream/raw", round, &text), slot("plan/b", 7 + round, 1, &text)]).await;
    }
    append(&store, vec![Append::Ack { queue: "overflow".into(), number: 1 }]).await;
    let content = content(store.view());
    assert_eq!(content.len(), 4 * 4 + 3 + 1);
    content
}
