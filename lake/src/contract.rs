//! What every lake promises, as functions that each backend's tests call.
//!
//! **Scope**: a key prefix that ends with `/` and that nobody else uses; each function leaves objects there.

use crate::{Created, Lake, LakeError};
use bytes::Bytes;
use futures::future::join_all;

/// Creators that race for one key.
const RACERS: usize = 50;

/// Bytes of a big object.
const BIG_BYTES: usize = 8 << 20;

/// Why a call of the contract must not fail.
const SOUND: &str = "the lake is up, and the key is sound";

/// Calls every function of the contract.
pub async fn the_whole_contract_holds(lake: &dyn Lake, scope: &str) {
    an_object_reads_back(lake, &format!("{scope}read-back/")).await;
    one_creator_wins_a_race_and_its_content_stays(lake, &format!("{scope}race/")).await;
    exists_keeps_the_first_content(lake, &format!("{scope}exists/")).await;
    a_file_becomes_an_object_once(lake, &format!("{scope}file/")).await;
    ranges_are_cut_at_the_end(lake, &format!("{scope}ranges/")).await;
    what_is_absent_is_not_found(lake, &format!("{scope}absent/")).await;
    list_takes_any_string_prefix_and_is_sorted_and_complete(lake, &format!("{scope}list/")).await;
    a_deleted_object_is_gone_and_deleting_again_is_no_error(lake, &format!("{scope}delete/")).await;
    odd_keys_survive(lake, &format!("{scope}odd/")).await;
    a_big_object_reads_back(lake, &format!("{scope}big/")).await;
}

pub async fn an_object_reads_back(lake: &dyn Lake, scope: &str) {
    for content in [Bytes::new(), Bytes::from_static(b"content")] {
        let key = format!("{scope}{}", content.len());
        assert_eq!(lake.create(&key, content.clone()).await, Ok(Created::New));
        assert_eq!(lake.get(&key).await, Ok(content.clone()));
        let meta = lake.head(&key).await.expect(SOUND);
        assert_eq!((meta.key, meta.bytes), (key, content.len() as u64));
        assert!(meta.modified_at > 0, "modified at {}", meta.modified_at);
    }
}

pub async fn one_creator_wins_a_race_and_its_content_stays(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    let content = |racer: usize| Bytes::from(format!("content of racer {racer}"));
    let racers = (0..RACERS).map(|racer| lake.create(&key, content(racer)));
    let outcomes = join_all(racers).await;
    let won = |outcome: &Result<Created, LakeError>| *outcome == Ok(Created::New);
    let winner = outcomes.iter().position(won).expect("somebody wins");
    assert_eq!(outcomes.iter().filter(|outcome| won(outcome)).count(), 1);
    assert_eq!(lake.get(&key).await, Ok(content(winner)));
}

pub async fn exists_keeps_the_first_content(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second, and longer"));
    assert_eq!(lake.create(&key, first.clone()).await, Ok(Created::New));
    assert_eq!(lake.create(&key, second).await, Ok(Created::Exists));
    assert_eq!(lake.create(&key, first.clone()).await, Ok(Created::Exists));
    assert_eq!(lake.get(&key).await, Ok(first));
}

pub async fn a_file_becomes_an_object_once(lake: &dyn Lake, scope: &str) {
    let (key, folder) = (format!("{scope}key"), std::env::temp_dir());
    let file = folder.join(format!("lake-contract-{}-{}", std::process::id(), scope.replace('/', "-")));
    std::fs::write(&file, b"spooled").expect("a temporary folder takes a file");
    assert_eq!(lake.create_from_file(&key, &file).await, Ok(Created::New));
    assert_eq!(lake.create_from_file(&key, &file).await, Ok(Created::Exists));
    std::fs::remove_file(&file).expect("the file stays the caller's");
    assert_eq!(lake.get(&key).await, Ok(Bytes::from_static(b"spooled")));
    let gone = lake.create_from_file(&format!("{scope}other"), &file).await;
    assert!(matches!(gone, Err(LakeError::Refused { .. })), "{gone:?}");
}

pub async fn ranges_are_cut_at_the_end(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    lake.create(&key, Bytes::from_static(b"0123456789")).await.expect(SOUND);
    let ranges: [(u64, u64, &[u8]); 6] =
        [(0, 10, b"0123456789"), (3, 5, b"34"), (8, 99, b"89"), (10, 12, b""), (99, 100, b""), (4, 4, b"")];
    for (start, end, expected) in ranges {
        let found = lake.get_range(&key, start..end).await;
        assert_eq!(found, Ok(Bytes::from_static(expected)), "{start}..{end}");
    }
}

pub async fn what_is_absent_is_not_found(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    lake.create(&format!("{key}/below"), Bytes::new()).await.expect(SOUND);
    let not_found = LakeError::NotFound(key.clone());
    assert_eq!(lake.get(&key).await, Err(not_found.clone()));
    assert_eq!(lake.get_range(&key, 0..1).await, Err(not_found.clone()));
    assert_eq!(lake.head(&key).await, Err(not_found));
}

pub async fn list_takes_any_string_prefix_and_is_sorted_and_complete(lake: &dyn Lake, scope: &str) {
    let names = ["a/b/1", "a/b/10", "a/b/2", "a/b-c", "a/bc/3", "a0", "b"];
    for name in names.iter().rev() {
        lake.create(&format!("{scope}{name}"), Bytes::from_static(b"x")).await.expect(SOUND);
    }
    for prefix in ["", "a", "a/", "a/b", "a/b/", "a/b/1", "a/b/10", "c", "a/b/10/", "a/x/y"] {
        let mut expected: Vec<String> =
            names.iter().filter(|name| name.starts_with(prefix)).map(|name| format!("{scope}{name}")).collect();
        expected.sort_unstable();
        let listed = lake.list(&format!("{scope}{prefix}")).await.expect(SOUND);
        let keys: Vec<String> = listed.iter().map(|meta| meta.key.clone()).collect();
        assert_eq!(keys, expected, "{prefix}");
        assert!(listed.iter().all(|meta| meta.bytes == 1));
    }
}

pub async fn a_deleted_object_is_gone_and_deleting_again_is_no_error(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    assert_eq!(lake.delete(&key).await, Ok(()));
    lake.create(&key, Bytes::from_static(b"first")).await.expect(SOUND);
    assert_eq!(lake.delete(&key).await, Ok(()));
    assert_eq!(lake.delete(&key).await, Ok(()));
    assert_eq!(lake.get(&key).await, Err(LakeError::NotFound(key.clone())));
    assert_eq!(lake.list(scope).await, Ok(Vec::new()));
}

pub async fn odd_keys_survive(lake: &dyn Lake, scope: &str) {
    let names = ["event_type=a%2Fb%20c/1", "a b+c&d", "é/日本", "%", "=", "a..b", "100%25", "-rf", "~"];
    for name in names {
        let key = format!("{scope}{name}");
        assert_eq!(lake.create(&key, Bytes::from(name)).await, Ok(Created::New), "{key}");
        assert_eq!(lake.get(&key).await, Ok(Bytes::from(name)), "{key}");
    }
    let mut keys = names.map(|name| format!("{scope}{name}"));
    keys.sort_unstable();
    let listed = lake.list(scope).await.expect(SOUND);
    assert!(listed.iter().map(|meta| &meta.key).eq(&keys), "{listed:?}");
}

pub async fn a_big_object_reads_back(lake: &dyn Lake, scope: &str) {
    let key = format!("{scope}key");
    let content: Bytes = (0..BIG_BYTES).map(|k| (k % 251) as u8).collect();
    assert_eq!(lake.create(&key, content.clone()).await, Ok(Created::New));
    assert!(lake.get(&key).await.expect(SOUND) == content, "the content differs");
    let (start, end) = (BIG_BYTES - 1000, BIG_BYTES + 1000);
    let tail = lake.get_range(&key, start as u64..end as u64).await.expect(SOUND);
    assert!(tail == content.slice(start..), "the end differs");
}
