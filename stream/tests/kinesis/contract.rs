//! The contract, polled and pushed.

use crate::house::{aws, fresh, make, options};
use schema::HashKey;
use std::num::NonZeroU32;
use std::sync::Arc;
use stream::kinesis::{KinesisOptions, KinesisStream};
use stream::{Stream, contract};

/// A stream whose records are pushed.
async fn pushed() -> KinesisStream {
    let aws = aws().await;
    let name = make(&aws, 2).await;
    let options = KinesisOptions { fan_out: Some("pushed".into()), ..options(&name) };
    KinesisStream::open(&aws, options).await.expect("a stream that was just made")
}

macro_rules! keeps_the_contract {
    ($($name:ident),* $(,)?) => {
        mod polled {
            $(
                #[tokio::test]
                async fn $name() {
                    super::contract::$name(&super::fresh(2).await).await;
                }
            )*
        }
        mod pushed {
            $(
                #[tokio::test]
                async fn $name() {
                    super::contract::$name(&super::pushed().await).await;
                }
            )*
        }
    };
}

stream::contract_checks!(keeps_the_contract);

#[tokio::test]
async fn what_many_append_at_once_is_there_once_each() {
    contract::what_many_append_at_once_is_there_once_each(Arc::new(fresh(2).await)).await;
}

#[tokio::test]
async fn a_closed_shard_ends_with_its_children_and_they_go_on() {
    for way in 0..4 {
        let stream = if way == 3 { pushed().await } else { fresh(2).await };
        let shards = stream.shards().await.unwrap();
        let reshard = async || match way {
            0 => stream.reshard(NonZeroU32::new(4).unwrap()).await.unwrap(),
            1 | 3 => stream.split(&shards[0].id, HashKey(99)).await.unwrap(),
            _ => stream.merge(&shards[0].id, &shards[1].id).await.unwrap(),
        };
        contract::a_closed_shard_ends_with_its_children_and_they_go_on(&stream, reshard).await;
    }
}
