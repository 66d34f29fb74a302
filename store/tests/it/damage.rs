use super::*;
use store::FetchError;
use tempfile::tempdir;

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("a segment");
    bytes[offset] ^= 1 << (offset % 8);
    fs::write(path, bytes).expect("a segment");
}

#[tokio::test]
async fn a_flipped_bit_is_named_and_costs_one_frame_at_most() {
    let dir = tempdir().unwrap();
    let before = filled(dir.path()).await;
    let length = fs::metadata(segment(dir.path(), 1)).unwrap().len() as usize;
    for offset in (0..length).step_by(7) {
        let flipped = tempdir().unwrap();
        copy_log(dir.path(), flipped.path());
        flip(&segment(flipped.path(), 1), offset);
        let damages = damage_of(flipped.path());
        let place = damages[0].offset as usize..(damages[0].offset + damages[0].bytes) as usize;
        assert_eq!(damages[0].file, segment(flipped.path(), 1));
        assert!(place.contains(&offset), "offset {offset}: {damages:?}");
        let after = content(open_set_aside(flipped.path()).view());
        let lost = before.iter().filter(|line| !after.contains(line)).count();
        // A note falls back to nothing, an ack that is lost brings its message back.
        assert!(lost <= 1, "offset {offset}: {damages:?}");
        assert!(after.len() + lost <= before.len() + 1);
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_commit_before_a_close_is_damage() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![record("raw/raw-0000", "only")]).await;
    drop(store);
    flip(&segment(dir.path(), 1), 48 + 12 + 1);
    let damages = damage_of(dir.path());
    assert!(
        damages[0].to_string().ends_with("64 bytes at offset 0 are damaged: record 0 of raw/raw-0000"),
        "{damages:?}"
    );
}

#[tokio::test]
async fn a_cut_off_segment_and_a_missing_one_are_damage() {
    let dir = tempdir().unwrap();
    filled(dir.path()).await;
    let first = segment(dir.path(), 1);
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..bytes.len() / 2]).unwrap();
    assert!(damage_of(dir.path()).iter().any(|damage| damage.to_string().contains("cut off")));
    fs::remove_file(&first).unwrap();
    assert!(damage_of(dir.path())[0].to_string().ends_with("the file is missing"));
}

#[tokio::test]
async fn a_damaged_slot_stays_an_error_and_is_never_filled_again() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![slot("dedup/a", 0, 1, "genesis"), slot("dedup/a", 1, 2, "entry")]).await;
    drop(store);
    flip(&segment(dir.path(), 1), (48 + 7 + 7) + 48 + 7 + 2);
    let store = open_set_aside(dir.path());
    let lost = FetchError::Damaged { number: 1, detail: "lost to damage of the log".into() };
    assert_eq!(store.view().slots("dedup/a", 0, 10).load_blocking().stopped, Some(lost.clone()));
    assert_eq!(store.view().head("dedup/a").load_blocking().stopped, Some(lost));
    let answers = store.append(vec![slot("dedup/a", 1, 3, "other")]).await.unwrap();
    assert_eq!(answers, [Err(store::Refusal::Damaged)]);
}

#[tokio::test]
async fn no_number_is_given_twice_when_a_header_is_lost() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    append(&store, vec![slot("dedup/a", 0, 1, "genesis"), record("raw/raw-0000", "zero")]).await;
    append(&store, vec![slot("dedup/a", 1, 1, "entry")]).await;
    append(&store, vec![record("raw/raw-0000", "one")]).await;
    drop(store);
    let start = 48 + 7 + 7 + 48 + 12 + 4;
    // The headers of slot 1 and of record 1.
    flip(&segment(dir.path(), 1), start + 20);
    flip(&segment(dir.path(), 1), start + 48 + 7 + 5 + 20);
    let store = open_set_aside(dir.path());
    let answers = store.append(vec![slot("dedup/a", 1, 3, "other"), record("raw/raw-0000", "two")]).await.unwrap();
    assert_eq!(answers[0], Err(store::Refusal::Damaged));
    assert!(answers[1].as_ref().is_ok_and(|number| *number > 1), "{answers:?}");
}

#[tokio::test]
async fn damaged_bytes_are_copied_aside() {
    let dir = tempdir().unwrap();
    filled(dir.path()).await;
    let path = segment(dir.path(), 1);
    flip(&path, 10);
    let store = open_set_aside(dir.path());
    let damage = &store.damages()[0];
    let copy = fs::read(dir.path().join("damaged/00000001-0.bytes")).unwrap();
    assert_eq!(copy, fs::read(path).unwrap()[..damage.bytes as usize]);
}

#[tokio::test]
async fn a_missing_last_segment_is_damage_and_stays_so() {
    let dir = tempdir().unwrap();
    let before = filled(dir.path()).await;
    let segments = fs::read_dir(dir.path().join("log")).unwrap().count() as u32;
    fs::remove_file(segment(dir.path(), segments)).unwrap();
    assert_eq!(damage_of(dir.path())[0].file, segment(dir.path(), segments));
    let store = open_set_aside(dir.path());
    assert!(content(store.view()).len() < before.len());
    append(&store, vec![message("overflow", "after")]).await;
    assert_eq!(store.append(vec![slot("dedup/a", 4, 9, "next")]).await.unwrap(), [Err(store::Refusal::Damaged)]);
    drop(store);
    assert_eq!(damage_of(dir.path())[0].file, segment(dir.path(), segments));
}
