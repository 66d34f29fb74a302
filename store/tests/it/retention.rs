use super::*;
use std::time::Duration;
use tempfile::tempdir;

const HOUR: i64 = 3_600_000_000;

fn small(hand: &Hand, dir: &Path) -> Store {
    let options = Options { segment_bytes: 1000, retain_for: Duration::from_secs(24 * 3600), ..hand.options() };
    Store::open(dir, options).expect("a sound directory opens")
}

async fn write(store: &Store, count: u64) {
    for round in 0..count {
        append(store, vec![record("raw/raw-0000", "some bytes"), slot("dedup/a", round, 5, "entry")]).await;
    }
}

#[tokio::test]
async fn consumed_segments_go_after_their_time_and_live_slots_stay() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let store = small(&hand, dir.path());
    write(&store, 40).await;
    let slots: Vec<String> = content(store.view()).into_iter().filter(|line| line.starts_with("slot")).collect();
    let before = store.stats().segments;
    assert_eq!(store.enforce_retention(25 * HOUR).await.unwrap().segments_dropped, 0, "nothing is consumed");
    store.view().consumed("raw/raw-0000", 30);
    assert_eq!(store.enforce_retention(23 * HOUR).await.unwrap().segments_dropped, 0, "nothing is old");
    let retained = store.enforce_retention(25 * HOUR).await.unwrap();
    assert!(retained.segments_dropped > 2 && retained.frames_moved > 0, "{retained:?} of {before}");
    for store in [store, open_again(&hand, dir.path())] {
        let after = content(store.view());
        assert_eq!(after.into_iter().filter(|line| line.starts_with("slot")).collect::<Vec<_>>(), slots);
        let page = store.view().records("raw/raw-0000", 0, 1, 1).frames.load().await;
        assert!(matches!(page.stopped, Some(store::FetchError::Trimmed { first }) if first > 0 && first <= 30));
        store.close();
    }
}

fn open_again(hand: &Hand, dir: &Path) -> Store {
    // The first store still holds the lock until it is closed; a copy does not care.
    let copy = dir.join("copy");
    copy_log(dir, &copy);
    small(hand, &copy)
}

#[tokio::test]
async fn numbers_go_on_after_retention_took_every_record() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let store = small(&hand, dir.path());
    write(&store, 20).await;
    store.view().consumed("raw/raw-0000", 20);
    for pass in 0..3 {
        // Fill segments with something else, so that even the last records are in an old one.
        append(&store, (0..20).map(|k| record("clean/clean-0000", &format!("{pass} {k}"))).collect()).await;
    }
    store.view().consumed("clean/clean-0000", 60);
    assert!(store.enforce_retention(25 * HOUR).await.unwrap().segments_dropped > 0);
    drop(store);
    let store = small(&hand, dir.path());
    assert_eq!(store.append(vec![record("raw/raw-0000", "x")]).await.unwrap(), [Ok(20)]);
}

#[tokio::test]
async fn trimmed_slots_go_for_good() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let store = small(&hand, dir.path());
    write(&store, 20).await;
    append(&store, vec![Append::Trim { chain: "dedup/a".into(), below: 15 }]).await;
    store.view().consumed("raw/raw-0000", 20);
    append(&store, (0..40).map(|_| record("clean/clean-0000", "filler")).collect()).await;
    store.view().consumed("clean/clean-0000", 40);
    append(&store, (0..40).map(|_| record("clean/clean-0000", "filler")).collect()).await;
    assert!(store.enforce_retention(25 * HOUR).await.unwrap().segments_dropped > 2);
    drop(store);
    let store = small(&hand, dir.path());
    let slots = store.view().slots("dedup/a", 0, 100).load().await.frames;
    assert_eq!(slots.iter().map(|slot| slot.number).collect::<Vec<_>>(), [0, 15, 16, 17, 18, 19]);
    assert_eq!(store.append(vec![slot("dedup/a", 3, 5, "entry")]).await.unwrap(), [Err(store::Refusal::Taken)]);
}

#[tokio::test]
async fn a_log_beyond_its_size_loses_consumed_segments_before_their_time() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let options = Options { segment_bytes: 1000, log_bytes_max: 2000, ..hand.options() };
    let store = Store::open(dir.path(), options).unwrap();
    append(&store, vec![slot("dedup/a", 0, 5, "genesis")]).await;
    for _ in 0..40 {
        append(&store, vec![record("raw/raw-0000", "some bytes")]).await;
    }
    store.view().consumed("raw/raw-0000", 40);
    store.enforce_retention(0).await.unwrap();
    assert!(store.stats().log_bytes <= 3000, "{:?}", store.stats());
    assert_eq!(store.view().slots("dedup/a", 0, 1).load().await.frames.len(), 1);
}

#[tokio::test]
async fn a_removal_that_was_interrupted_is_finished_at_the_next_open() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let store = small(&hand, dir.path());
    write(&store, 20).await;
    let leftover = fs::read(segment(dir.path(), 1)).unwrap();
    store.view().consumed("raw/raw-0000", 15);
    assert!(store.enforce_retention(25 * HOUR).await.unwrap().segments_dropped > 0);
    hand.set(1);
    let before = content(store.view());
    drop(store);
    fs::write(segment(dir.path(), 1), leftover).unwrap();
    let store = small(&hand, dir.path());
    assert_eq!(content(store.view()), before);
    assert!(!segment(dir.path(), 1).exists());
}
