//! The services as separate processes on what stands in for AWS, over the wire.
//!
//! They are the binaries that `cargo test --workspace` builds beside `forebay`.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

mod climate;
mod compaction;
mod cost;
mod direct;
mod fleet;
mod halt;
mod http;
mod metrics;
mod overflow;
mod quarantine;
mod reshard;
mod restart;
mod retention;
mod tasks;
mod weather;

use fleet::Fleet;
use std::time::Duration;

/// Two of each: what one does not finish, or does twice, the other finds.
#[tokio::test]
async fn two_of_each_service_put_every_acknowledged_event_into_the_lake_once() {
    let mut fleet = Fleet::set_up("pipeline").await;
    let gateways = [fleet.gateway(), fleet.gateway()];
    for _ in 0..2 {
        fleet.dedup();
        fleet.start("writer-service", &["--flush-interval", "2s"]);
    }
    for gateway in &gateways {
        fleet.wait_until_ready(*gateway).await;
    }
    let load = ["--total", "2000", "--batch", "50", "--max", "--duplicates", "5%", "--invalid", "1%"];
    for gateway in gateways {
        fleet.generate(gateway, &load);
    }
    fleet.audit_is_clean();
    fleet.forebay(&["compact", "--all"]);
    fleet.audit_is_clean();
    fleet.stop_all();
}

/// The worker that is killed leaves its leases to run out; the one that is stopped gives them back.
#[tokio::test]
async fn nothing_is_lost_or_doubled_when_workers_are_killed_stopped_and_paused() {
    let mut fleet = Fleet::set_up("kill").await;
    let gateway = fleet.gateway();
    let [dedup, writer] = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &["--total", "600", "--batch", "20", "--max", "--duplicates", "5%"]);
    fleet.kill(dedup);
    let paused = fleet.dedup();
    fleet.generate(gateway, &["--total", "600", "--batch", "20", "--max", "--duplicates", "5%", "--seed", "2"]);
    fleet.kill(writer);
    fleet.writer();
    fleet.pause(paused);
    fleet.dedup();
    fleet.generate(gateway, &["--total", "600", "--batch", "20", "--max", "--duplicates", "5%", "--seed", "3"]);
    // Past the term of the paused worker's leases: another has its shards when it goes on.
    tokio::time::sleep(ledger::keeper::LEASE_TERM + Duration::from_secs(10)).await;
    fleet.resume(paused);
    fleet.audit_is_clean();
}
