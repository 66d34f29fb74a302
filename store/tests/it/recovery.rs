use super::*;
use std::fs::File;
use tempfile::tempdir;

#[tokio::test]
async fn everything_is_there_after_a_reopen() {
    let dir = tempdir().unwrap();
    let before = filled(dir.path()).await;
    for _ in 0..3 {
        let store = open(dir.path());
        assert_eq!(content(store.view()), before);
    }
}

#[tokio::test]
async fn numbers_go_on_after_a_reopen() {
    let dir = tempdir().unwrap();
    filled(dir.path()).await;
    let store = open(dir.path());
    let answers = store.append(vec![
        record("raw/raw-0000", "next"),
        slot("dedup/a", 3, 3, "again"),
        slot("dedup/a", 3, 9, "other"),
        message("overflow", "next"),
    ]);
    let taken = Err(store::Refusal::Taken);
    assert_eq!(answers.await.unwrap(), [Ok(4), Ok(3), taken, Ok(4)]);
}

/// Two commits, and the log as a kill right after the second one leaves it.
async fn two_commits(dir: &Path) -> (u64, u64) {
    let store = open(dir);
    let first = vec![record("raw/raw-0000", "first"), slot("dedup/a", 0, 1, "genesis")];
    let second =
        vec![record("raw/raw-0000", "second"), slot("dedup/a", 1, 2, "entry"), record("raw/raw-0001", "third")];
    append(&store, first).await;
    let between = store.stats().log_bytes;
    append(&store, second).await;
    let after = store.stats().log_bytes;
    (between, after)
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_and_nothing_before_it_is_lost() {
    let dir = tempdir().unwrap();
    let (between, after) = two_commits(dir.path()).await;
    for cut in between..after {
        let torn = tempdir().unwrap();
        copy_log(dir.path(), torn.path());
        File::options().write(true).open(segment(torn.path(), 1)).unwrap().set_len(cut).unwrap();
        let store = open(torn.path());
        let found = content(store.view());
        let whole_frames = [66, 126].iter().filter(|&&end| cut - between >= end).count();
        assert_eq!(found.len(), 2 + whole_frames, "cut at {cut}: {found:?}");
        append(&store, vec![record("raw/raw-0000", "after")]).await;
        let again = content(store.view());
        drop(store);
        assert_eq!(content(open(torn.path()).view()), again, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_last_commit_half_written_anywhere_is_torn_and_no_damage() {
    let dir = tempdir().unwrap();
    let (between, after) = two_commits(dir.path()).await;
    for hole in (between..after).step_by(5) {
        let torn = tempdir().unwrap();
        copy_log(dir.path(), torn.path());
        let mut bytes = fs::read(segment(torn.path(), 1)).unwrap();
        bytes.truncate(after as usize);
        let hole_end = (hole as usize + 40).min(bytes.len());
        bytes[hole as usize..hole_end].fill(0);
        fs::write(segment(torn.path(), 1), bytes).unwrap();
        let found = content(open(torn.path()).view());
        assert!(found.len() >= 2 && found[0] == "record raw/raw-0000 0 first", "hole at {hole}: {found:?}");
    }
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_of_the_room_ahead_is_cut_off() {
    let dir = tempdir().unwrap();
    let (between, after) = two_commits(dir.path()).await;
    for cut in (between..=after).step_by(3) {
        let torn = tempdir().unwrap();
        copy_log(dir.path(), torn.path());
        let mut bytes = fs::read(segment(torn.path(), 1)).unwrap();
        bytes.truncate(cut as usize);
        bytes.resize(cut as usize + 100_000, 0);
        fs::write(segment(torn.path(), 1), bytes).unwrap();
        let store = open(torn.path());
        let found = content(store.view());
        // A frame that ends in zeros is whole although it was cut.
        assert!(found.len() >= 2 && found[0] == "record raw/raw-0000 0 first", "cut at {cut}: {found:?}");
        append(&store, vec![record("raw/raw-0000", "after")]).await;
        let again = content(store.view());
        drop(store);
        assert_eq!(content(open(torn.path()).view()), again, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_segment_has_room_ahead_while_it_is_written_and_none_afterwards() {
    let (dir, killed) = (tempdir().unwrap(), tempdir().unwrap());
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "first")]).await;
    copy_log(dir.path(), killed.path());
    let length = |dir: &Path| fs::metadata(segment(dir, 1)).unwrap().len();
    assert!(length(dir.path()) > store.stats().log_bytes);
    drop(store);
    for dir in [dir.path(), killed.path()] {
        let store = open(dir);
        assert_eq!((content(store.view()).len(), length(dir)), (1, store.stats().log_bytes));
    }
}

#[tokio::test]
async fn a_roll_that_was_interrupted_goes_on_at_the_next_open() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "before")]).await;
    drop(store);
    // The next segment is made before the full one is sealed.
    File::create(segment(dir.path(), 2)).unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "after")]).await;
    drop(store);
    assert_eq!(content(open(dir.path()).view()).len(), 2);
}
