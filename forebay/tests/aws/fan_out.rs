//! Workers that records are pushed to (enhanced fan-out).

use crate::fleet::{Fleet, Member, eventually, free_address};
use crate::metrics;
use crate::reshard::{open, split};
use std::net::SocketAddr;

const PUSHED: [&str; 2] = ["--fan-out", "true"];

const LOAD: [&str; 7] = ["--total", "300", "--batch", "20", "--max", "--duplicates", "5%"];

/// A worker of each stage, and where it shows what it counts.
fn start_both(fleet: &mut Fleet) -> [(Member, SocketAddr); 2] {
    [("dedup-service", &[][..]), ("writer-service", &["--flush-interval", "1s"][..])].map(|(binary, settings)| {
        let admin = free_address();
        (fleet.start(binary, &[&PUSHED, settings, &["--admin-addr", &admin.to_string()]].concat()), admin)
    })
}

/// Each of them has subscribed to shards.
async fn are_pushed_to(fleet: &Fleet, workers: &[(Member, SocketAddr)]) {
    for (_, admin) in workers {
        fleet.wait_until_ready(*admin).await;
        let subscribes = || metrics::shown(*admin).contains("operation=\"SubscribeToShard\"");
        eventually("a worker subscribes to a shard", subscribes).await;
    }
}

/// Names of those that records of a stream are pushed to.
async fn consumers(stream: &str) -> Vec<String> {
    let client = aws_sdk_kinesis::Client::new(&standins::connect(&standins::kinesis().await).config);
    let described = client.describe_stream_summary().stream_name(stream).send().await.unwrap();
    let arn = described.stream_description_summary.unwrap().stream_arn;
    let listed = client.list_stream_consumers().stream_arn(arn).send().await.unwrap();
    listed.consumers.unwrap_or_default().into_iter().map(|consumer| consumer.consumer_name).collect()
}

#[tokio::test]
async fn records_that_are_pushed_are_in_the_lake_once_through_a_reshard_and_a_restart() {
    let mut fleet = Fleet::set_up("fan-out").await;
    let gateway = fleet.gateway();
    let workers = start_both(&mut fleet);
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    are_pushed_to(&fleet, &workers).await;
    for stream in ["RAW_STREAM", "CLEAN_STREAM"] {
        split(&open(fleet.name_of(stream)).await).await;
    }
    fleet.generate(gateway, &LOAD);
    for (member, _) in workers {
        fleet.stop(member);
    }
    let workers = start_both(&mut fleet);
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    are_pushed_to(&fleet, &workers).await;
    for (stream, consumer) in [("RAW_STREAM", "forebay-dedup"), ("CLEAN_STREAM", "forebay-writer")] {
        assert_eq!(consumers(fleet.name_of(stream)).await, [consumer], "one for all processes of a service");
    }
    fleet.stop_all();
}
