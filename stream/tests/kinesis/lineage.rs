//! Reshards: nothing of a shard is missed, and nothing comes twice.

use crate::house::{WAITING, append, aws, fresh, make, open, read, texts};
use schema::{HashKey, Position, ShardId};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use stream::{ReadLimit, Shard, Stream};

/// Open shards cover the whole space, once.
fn assert_whole(shards: &[Shard]) {
    let mut open: Vec<_> = shards.iter().filter(|shard| !shard.closed).map(|shard| shard.range).collect();
    open.sort_by_key(|range| range.low);
    assert_eq!((open[0].low, open[open.len() - 1].high), (HashKey(0), HashKey::MAX));
    assert!(open.windows(2).all(|pair| pair[0].high.0 + 1 == pair[1].low.0), "{open:?}");
}

/// Parents are listed, and before their children.
fn assert_parents_first(shards: &[Shard]) {
    let mut seen = BTreeSet::new();
    for shard in shards {
        assert!(shard.parents.iter().all(|parent| seen.contains(parent)), "{shards:?}");
        seen.insert(shard.id.clone());
    }
}

#[tokio::test]
async fn no_shard_is_missing_after_reshards() {
    let stream = fresh(2).await;
    for count in [4, 2, 3] {
        let before = stream.shards().await.unwrap();
        stream.reshard(NonZeroU32::new(count).unwrap()).await.unwrap();
        let after = stream.shards().await.unwrap();
        assert!(before.iter().all(|shard| after.iter().any(|listed| listed.id == shard.id)));
        assert_eq!(after.iter().filter(|shard| !shard.closed).count(), count as usize);
        assert_whole(&after);
        assert_parents_first(&after);
    }
}

#[tokio::test]
async fn a_split_and_a_merge_keep_their_lineage() {
    let stream = fresh(1).await;
    let root = stream.shards().await.unwrap().remove(0).id;
    stream.split(&root, HashKey(1 << 100)).await.unwrap();
    let shards = stream.shards().await.unwrap();
    assert!(shards[1..].iter().all(|child| child.parents == [root.clone()]));
    stream.merge(&shards[1].id, &shards[2].id).await.unwrap();
    let shards = stream.shards().await.unwrap();
    let parents: BTreeSet<&ShardId> = shards[3].parents.iter().collect();
    assert_eq!(parents, BTreeSet::from([&shards[1].id, &shards[2].id]));
    assert_whole(&shards);
}

#[tokio::test]
async fn an_empty_closed_shard_ends_at_once() {
    let stream = fresh(1).await;
    let root = stream.shards().await.unwrap().remove(0).id;
    stream.split(&root, HashKey(1 << 100)).await.unwrap();
    let page = stream.read(&root, &Position::start(), WAITING).await.unwrap();
    assert!(page.records.is_empty() && page.end_of_shard && page.children.len() == 2, "{page:?}");
}

#[tokio::test]
async fn an_empty_child_replays_nothing_of_its_parent_or_of_itself() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    let root = append(&stream, &["parent's"]).await.remove(0).shard;
    stream.split(&root, HashKey(1 << 100)).await.unwrap();
    let child = stream.shards().await.unwrap().remove(1).id;
    let now = ReadLimit { wait: std::time::Duration::ZERO, ..WAITING };
    assert!(stream.read(&child, &Position::start(), now).await.unwrap().records.is_empty());
    append(&stream, &["first", "second"]).await;
    let records = read(&stream, &child, &Position::start(), 2).await;
    assert_eq!(texts(&records).iter().collect::<BTreeSet<_>>(), BTreeSet::from([&"first", &"second"]));
    let elsewhere = open(&aws, &name).await;
    for stream in [&stream, &elsewhere] {
        let after = stream.read(&child, &records[1].position, now).await.unwrap();
        assert!(after.records.is_empty() && !after.end_of_shard, "{after:?}");
    }
}

#[tokio::test]
async fn records_appended_during_a_reshard_are_all_there_and_none_follows_an_end() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let (stream, other) = (open(&aws, &name).await, open(&aws, &name).await);
    let root = stream.shards().await.unwrap().remove(0).id;
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let writes = async {
        for number in &numbers {
            append(&other, &[number]).await;
        }
    };
    let ((), split) = tokio::join!(writes, stream.split(&root, HashKey(7)));
    split.unwrap();
    let mut found = Vec::new();
    for shard in stream.shards().await.unwrap() {
        let mut at = Position::start();
        for _ in 0..20 {
            let page =
                stream.read(&shard.id, &at, ReadLimit { wait: std::time::Duration::ZERO, ..WAITING }).await.unwrap();
            at = page.records.last().map_or(at, |record| record.position.clone());
            found.extend(texts(&page.records).into_iter().map(str::to_owned));
        }
    }
    found.sort();
    let mut expected = numbers.clone();
    expected.sort();
    assert_eq!(found, expected);
}
