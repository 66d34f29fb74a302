//! Shards whose parents are gone before anybody has read them: nobody goes on unless a person says so.
//!
//! On the stand-in whose splits delete the parent at once, as retention does in time.

use crate::fleet::{Fleet, Member, eventually, free_address};
use crate::metrics;
use std::net::SocketAddr;
use stream::Stream;
use stream::kinesis::{KinesisOptions, KinesisStream};

/// Of each stage, once its only shard was split.
const CHILDREN: f64 = 2.0;

const WORKERS: [(&str, &[&str]); 2] =
    [("dedup-service", &["--dedup-linger", "500ms"]), ("writer-service", &["--flush-interval", "1s"])];

/// Splits the only shard of a stream, which is gone then.
async fn split(name: &str) -> String {
    let aws = standins::connect(&standins::kinesis_fast().await);
    let stream = KinesisStream::open(&aws, KinesisOptions::new(name)).await.unwrap();
    let shard = stream.shards().await.unwrap().remove(0);
    stream.split(&shard.id, shard.range.middle()).await.unwrap();
    shard.id.to_string()
}

async fn start(fleet: &mut Fleet, binary: &str, settings: &[&str]) -> (Member, SocketAddr) {
    let admin = free_address();
    let member = fleet.start(binary, &[settings, &["--admin-addr", &admin.to_string()]].concat());
    fleet.wait_until_ready(admin).await;
    (member, admin)
}

#[tokio::test]
async fn shards_whose_parent_is_gone_wait_until_a_person_accepts_it() {
    let mut fleet = Fleet::set_up_on("gone", 1, standins::kinesis_fast().await).await;
    let gone = split(fleet.name_of("RAW_STREAM")).await;
    assert_eq!(split(fleet.name_of("CLEAN_STREAM")).await, gone, "both streams call their first shard the same");
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &["--total", "300", "--batch", "20", "--max", "--duplicates", "5%"]);
    let accepted = format!("--accept-gone {gone}");
    for (binary, settings) in WORKERS {
        let (member, admin) = start(&mut fleet, binary, settings).await;
        let waits = || metrics::total(admin, "forebay_shards_without_parent") == CHILDREN;
        eventually(&format!("the children of a {binary} wait"), waits).await;
        eventually(&format!("{binary} says what to do"), || fleet.log(member).contains(&accepted)).await;
        fleet.stop(member);
    }
    for (binary, settings) in WORKERS {
        let (_, admin) = start(&mut fleet, binary, &[settings, &["--accept-gone", &gone]].concat()).await;
        assert_eq!(metrics::total(admin, "forebay_shards_without_parent"), 0.0);
    }
    fleet.audit_is_clean();
    fleet.stop_all();
}
