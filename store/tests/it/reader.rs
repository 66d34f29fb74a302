use super::*;
use store::StoreReader;
use tempfile::tempdir;

#[tokio::test]
async fn a_reader_sees_what_is_written_beside_it() {
    let dir = tempdir().unwrap();
    let options = Options { segment_bytes: 700, ..Hand::default().options() };
    let store = Store::open(dir.path(), options).unwrap();
    let reader = StoreReader::open(dir.path()).unwrap();
    for round in 0..20u64 {
        append(&store, vec![record("raw/raw-0000", "x"), slot("dedup/a", round, 1, "y")]).await;
        reader.refresh().unwrap();
        assert_eq!(content(reader.view()), content(store.view()), "round {round}");
    }
    assert!(store.stats().segments > 3);
    assert_eq!(reader.damages(), []);
}

#[tokio::test]
async fn a_reader_waits_for_the_rest_of_a_frame_that_is_being_written() {
    let dir = tempdir().unwrap();
    filled(dir.path()).await;
    let copy = tempdir().unwrap();
    copy_log(dir.path(), copy.path());
    let last = segment(copy.path(), fs::read_dir(copy.path().join("log")).unwrap().count() as u32);
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..100]).unwrap();
    let reader = StoreReader::open(copy.path()).unwrap();
    assert_eq!(reader.damages(), []);
    fs::write(&last, &bytes).unwrap();
    reader.refresh().unwrap();
    assert_eq!(content(reader.view()), content(open(dir.path()).view()));
}

#[tokio::test]
async fn a_reader_bears_with_segments_that_vanish() {
    let (dir, hand) = (tempdir().unwrap(), Hand::default());
    let store = Store::open(dir.path(), Options { segment_bytes: 700, ..hand.options() }).unwrap();
    let reader = StoreReader::open(dir.path()).unwrap();
    for round in 0..10u64 {
        append(&store, vec![record("raw/raw-0000", "x"), slot("dedup/a", round, 1, "y")]).await;
    }
    reader.refresh().unwrap();
    for round in 10..20u64 {
        append(&store, vec![record("raw/raw-0000", "x"), slot("dedup/a", round, 1, "y")]).await;
    }
    store.view().consumed("raw/raw-0000", 18);
    assert!(store.enforce_retention(i64::MAX).await.unwrap().segments_dropped >= 2);
    reader.refresh().unwrap();
    assert_eq!(content(reader.view()), content(store.view()));
    assert_eq!(reader.damages(), []);
    let late = StoreReader::open(dir.path()).unwrap();
    assert_eq!(content(late.view()), content(store.view()));
}

#[tokio::test]
async fn a_reader_names_damage_and_reads_up_to_it() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "zero"), record("raw/raw-0000", "one")]).await;
    append(&store, vec![record("raw/raw-0000", "two")]).await;
    drop(store);
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[64 + 60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let reader = StoreReader::open(dir.path()).unwrap();
    assert_eq!(reader.damages().len(), 1);
    let page = reader.view().records("raw/raw-0000", 0, 10, 1000).frames.load().await;
    assert_eq!(page.frames.len(), 1);
    assert!(matches!(page.stopped, Some(store::FetchError::Damaged { number: 1, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_busy_writer_sees_no_damage() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "first")]).await;
    let (reader, done) = (StoreReader::open(dir.path()).unwrap(), std::sync::atomic::AtomicBool::new(false));
    let long = "x".repeat(20_000);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                reader.refresh().unwrap();
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for _ in 0..1_500 {
                    append(&store, vec![record("raw/raw-0000", &long), record("raw/raw-0001", "short")]).await;
                }
            });
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reading.join().unwrap();
    });
    reader.refresh().unwrap();
    assert_eq!(reader.damages(), []);
    assert_eq!(content(reader.view()), content(store.view()));
}
