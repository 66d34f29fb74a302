//! The pipeline while AWS has a bad day: every kind of fault, on every service.

use crate::climate::Climate;
use crate::fleet::{Fleet, eventually};
use crate::metrics;
use standins::Server;
use standins::proxy::{Fault, Faults};
use std::net::SocketAddr;

/// Most rounds of load until everything has happened: a writer makes few objects in each.
const ROUNDS_MAX: u32 = 20;

const CLIMATES: [Climate; 4] = [
    Climate { server: Server::Kinesis, writes: &["PutRecords"], own: &[Fault::Split] },
    Climate { server: Server::DynamoDb, writes: &["PutItem"], own: &[] },
    Climate { server: Server::S3, writes: &["PutObject"], own: &[Fault::Conflict, Fault::ExistsAlready] },
    Climate { server: Server::Queue, writes: &["SendMessageBatch"], own: &[] },
];

/// Kinesis refuses every record for longer than a gateway waits; so some go by way of the queue.
fn outage() -> Faults {
    Faults::none().with("PutRecords", Fault::Throttle, 1.0)
}

/// What went by way of the queue is in the stream.
async fn has_drained(gateway: SocketAddr) {
    let overflowed = metrics::total(gateway, "forebay_gateway_overflow_records_total");
    assert!(overflowed > 0.0, "nothing went by way of the queue");
    let drained = || metrics::total(gateway, "forebay_gateway_overflow_drained_total") >= overflowed;
    eventually("the overflow queue is drained", drained).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_is_in_the_lake_once_after_every_kind_of_fault() {
    let mut fleet = Fleet::set_up("weather").await;
    let mut proxies = Vec::new();
    for climate in &CLIMATES {
        let proxy = climate.begin().await;
        fleet.detour(climate.server, proxy.endpoint());
        proxies.push(proxy);
    }
    let gateway = fleet.gateway();
    let workers = [fleet.workers(), fleet.workers()];
    fleet.wait_until_ready(gateway).await;
    let load = ["--batch", "20", "--max", "--duplicates", "5%", "--invalid", "1%"];
    for _ in 0..ROUNDS_MAX {
        fleet.generate(gateway, &[&["--total", "1200"], &load[..]].concat());
        proxies[0].set(outage());
        fleet.generate(gateway, &[&["--total", "300"], &load[..]].concat());
        for (climate, proxy) in CLIMATES.iter().zip(&proxies) {
            proxy.set(climate.faults());
        }
        if CLIMATES.iter().zip(&proxies).all(|(climate, proxy)| climate.missing(proxy).is_empty()) {
            break;
        }
    }
    has_drained(gateway).await;
    fleet.audit_is_clean();
    fleet.forebay_by_detour(&["compact", "--all"]);
    fleet.audit_is_clean();
    for (climate, proxy) in CLIMATES.iter().zip(&proxies) {
        let missing = climate.missing(proxy);
        assert!(missing.is_empty(), "none of this happened: {missing:?}");
    }
    for worker in workers.into_iter().flatten() {
        fleet.stop(worker);
    }
    fleet.workers();
    fleet.generate(gateway, &[&["--total", "300"], &load[..]].concat());
    fleet.audit_is_clean();
    for (climate, proxy) in CLIMATES.iter().zip(&proxies) {
        climate.deliver_late(proxy).await;
    }
    fleet.generate(gateway, &[&["--total", "300"], &load[..]].concat());
    fleet.audit_is_clean();
    fleet.stop_all();
}
