//! Shards that are split and merged while events run through them.

use crate::fleet::Fleet;
use schema::{Position, ShardId};
use std::time::Duration;
use stream::kinesis::{KinesisOptions, KinesisStream};
use stream::{ReadLimit, Shard, Stream};

/// Long enough for whatever is on its way to a shard.
const FIRST_RECORD: ReadLimit = ReadLimit { records_max: 1, bytes_max: 1, wait: Duration::from_secs(30) };

pub(crate) async fn open(name: &str) -> KinesisStream {
    let aws = standins::connect(&standins::kinesis().await);
    KinesisStream::open(&aws, KinesisOptions::new(name)).await.unwrap()
}

async fn open_shards(stream: &KinesisStream) -> Vec<Shard> {
    stream.shards().await.unwrap().into_iter().filter(|shard| !shard.closed).collect()
}

/// Splits the first shard; the two that go on.
pub(crate) async fn split(stream: &KinesisStream) -> [ShardId; 2] {
    let shard = open_shards(stream).await.into_iter().min_by_key(|shard| shard.range.low).unwrap();
    stream.split(&shard.id, shard.range.middle()).await.unwrap();
    let children = open_shards(stream).await.into_iter().filter(|child| child.parents.contains(&shard.id));
    children.map(|child| child.id).collect::<Vec<_>>().try_into().unwrap()
}

/// Waits until a record is in one of these shards.
async fn is_used(stream: &KinesisStream, shards: &[ShardId]) {
    let start = Position::start();
    let first = shards.iter().map(|shard| Box::pin(stream.read(shard, &start, FIRST_RECORD)));
    let (first, ..) = futures::future::select_all(first).await;
    assert!(!first.unwrap().records.is_empty(), "nobody writes into {shards:?}");
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_shards_of_both_streams_are_split_and_merged() {
    let mut fleet = Fleet::set_up("reshard").await;
    let gateway = fleet.gateway();
    for _ in 0..2 {
        fleet.workers();
    }
    fleet.wait_until_ready(gateway).await;
    let load = fleet.start_to_generate(gateway, &["--rate", "100/s", "--batch", "10", "--duplicates", "5%"]);
    let streams = [open(fleet.name_of("RAW_STREAM")).await, open(fleet.name_of("CLEAN_STREAM")).await];
    // The first children have records before they end, the second are merged as they come.
    for is_waited_for in [true, false] {
        for stream in &streams {
            let [low, high] = split(stream).await;
            if is_waited_for {
                is_used(stream, &[low.clone(), high.clone()]).await;
            }
            stream.merge(&low, &high).await.unwrap();
        }
    }
    for stream in &streams {
        let open: Vec<ShardId> = open_shards(stream).await.into_iter().map(|shard| shard.id).collect();
        assert_eq!(open.len(), 2);
        is_used(stream, &open).await;
    }
    fleet.stop(load);
    fleet.audit_is_clean();
    fleet.stop_all();
}
