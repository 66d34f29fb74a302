//! A simulated backend without faults keeps the contract that every backend keeps: what services meet here is what they
//! meet elsewhere.
//!
//! Faults off is a world that has come to rest. Its clock is paused: what waits for a record waits no time of ours.

use crate::lakes::SimLake;
use crate::ledger::SimLedger;
use crate::scenario::PROTOCOL;
use crate::streams::SimStream;
use crate::world::{Keep, World};
use std::sync::Arc;

/// A world in which no call goes wrong.
fn sound_world() -> Arc<World> {
    let world = World::new(7, PROTOCOL[0], Keep::HashOnly);
    world.heal();
    Arc::new(world)
}

mod streams {
    use super::*;
    use schema::HashKey;
    use stream::contract;

    fn open() -> SimStream {
        SimStream::new(sound_world(), "raw", &[64])
    }

    macro_rules! keeps_the_contract {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    contract::$name(&open()).await;
                }
            )*
        };
    }

    stream::contract_checks!(keeps_the_contract);

    #[tokio::test(start_paused = true)]
    async fn what_many_append_at_once_is_there_once_each() {
        contract::what_many_append_at_once_is_there_once_each(Arc::new(open())).await;
    }

    /// Splits and merges are drawn: the shard in question is closed by one or the other.
    #[tokio::test(start_paused = true)]
    async fn a_closed_shard_ends_with_its_children_and_they_go_on() {
        let stream = open();
        for _ in 0..20 {
            let lineage = stream.lineage();
            let first = lineage.iter().position(|shard| !shard.closed && shard.range.covers(HashKey(0)));
            let first = first.expect("open shards cover the whole space");
            let reshard = async || {
                while !stream.lineage()[first].closed {
                    stream.reshard();
                }
            };
            contract::a_closed_shard_ends_with_its_children_and_they_go_on(&stream, reshard).await;
        }
    }
}

mod ledgers {
    use super::*;
    use ledger::contract;

    fn open() -> SimLedger {
        SimLedger::new(sound_world())
    }

    macro_rules! keeps_the_contract {
        ($($name:ident),* $(,)?) => {
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    contract::$name(&open(), "fresh").await;
                }
            )*
        };
    }

    ledger::contract_checks!(keeps_the_contract);

    #[tokio::test(start_paused = true)]
    async fn one_of_fifty_racing_owners_wins() {
        contract::one_of_fifty_racing_owners_wins(Arc::new(open()), "fresh").await;
    }
}

mod lakes {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_whole_contract_holds() {
        lake::contract::the_whole_contract_holds(&SimLake::new(sound_world()), "contract/").await;
    }
}
