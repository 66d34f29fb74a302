//! The services as separate processes on what stands in for AWS, over the wire.
//!
//! They are the binaries that `cargo test --workspace` builds beside `forebay`.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

mod backfill;
mod changed;
mod climate;
#[path = "../../../service/tests/it/collector.rs"]
mod collector;
mod compaction;
mod cost;
mod direct;
mod fan_out;
mod fleet;
mod gone;
mod halt;
mod health;
mod hole;
mod http;
mod metrics;
mod outage;
mod overflow;
mod quarantine;
mod reshard;
mod restart;
mod retention;
mod tasks;
mod traces;
mod weather;
mod went_back;
mod workers;

use fleet::Fleet;

/// Two of each: what one does not finish, or does twice, the other finds.
#[tokio::test]
async fn two_of_each_service_put_every_acknowledged_event_into_the_lake_once() {
    let mut fleet = Fleet::set_up("pipeline").await;
    let gateways = [fleet.gateway(), fleet.gateway()];
    for _ in 0..2 {
        fleet.dedup();
        fleet.start("writer-service", &["--flush-interval", "2s"]);
    }
    for _ in 0..2 {
        fleet.start("compactor", &["work"]);
    }
    for gateway in &gateways {
        fleet.wait_until_ready(*gateway).await;
    }
    let few = ["--total", "2000", "--batch", "50", "--max", "--duplicates", "5%", "--invalid", "1%"];
    // Of a day that is over, so that it can be compacted.
    let load = [&few[..], &["--ago", "48h"]].concat();
    for gateway in gateways {
        fleet.generate(gateway, &load);
    }
    fleet.audit_is_clean();
    compaction::finishes(&fleet).await;
    fleet.audit_is_clean();
    fleet.stop_all();
}
