//! The pipeline while AWS has a bad day: every kind of fault, on every service.

use crate::fleet::{Fleet, eventually};
use crate::metrics;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::net::SocketAddr;
use std::time::Duration;

/// Which calls meet which faults.
const SEED: u64 = 7;

/// How often each fault happens beyond its first times. Many operations come a few times only.
const OFTEN: f64 = 0.02;

/// When a held call arrives: its caller has long repeated it.
const HELD: Duration = Duration::from_secs(8);

/// Most rounds of load until everything has happened: a writer makes few objects in each.
const ROUNDS_MAX: u32 = 20;

/// Faults that any call can meet.
const ANY: [Fault; 3] = [Fault::Refuse, Fault::ServerError, Fault::Throttle];

/// Faults after which a write is undecided to whoever made it, or takes effect twice.
const WRITES: [Fault; 3] = [Fault::DropAnswer, Fault::Hold(HELD), Fault::Twice];

/// A service, what writes to it, and what else may happen to such a write.
struct Climate {
    server: Server,
    write: &'static str,
    own: &'static [Fault],
}

const CLIMATES: [Climate; 4] = [
    Climate { server: Server::Kinesis, write: "PutRecords", own: &[Fault::Split] },
    Climate { server: Server::DynamoDb, write: "PutItem", own: &[] },
    Climate { server: Server::S3, write: "PutObject", own: &[Fault::Conflict, Fault::ExistsAlready] },
    Climate { server: Server::Queue, write: "SendMessageBatch", own: &[] },
];

impl Climate {
    fn faults_of_writes(&self) -> impl Iterator<Item = Fault> {
        ANY.into_iter().chain(WRITES).chain(self.own.iter().copied())
    }

    /// Each fault once for certain, and then by the seed.
    fn faults(&self) -> Faults {
        let once = self.faults_of_writes().fold(Faults::none(), |faults, fault| faults.next(1, self.write, fault));
        let to_writes =
            WRITES.iter().chain(self.own).fold(once, |faults, &fault| faults.with(self.write, fault, OFTEN));
        ANY.into_iter().fold(to_writes, |faults, fault| faults.with_any(fault, OFTEN))
    }

    async fn endpoint(&self) -> standins::Endpoint {
        match self.server {
            Server::Kinesis | Server::KinesisFast => standins::kinesis().await,
            Server::DynamoDb => standins::dynamodb().await,
            Server::S3 => standins::s3().await,
            Server::Queue => standins::queue().await,
        }
    }

    async fn begin(&self) -> FaultProxy {
        FaultProxy::start(&self.endpoint().await, self.faults(), SEED).await
    }

    /// Faults of writes that have not happened yet.
    fn missing(&self, proxy: &FaultProxy) -> Vec<&'static str> {
        let counts = proxy.counts();
        self.faults_of_writes().filter(|&fault| counts.of(self.write, fault) == 0).map(Fault::name).collect()
    }

    async fn has_delivered_late(&self, proxy: &FaultProxy) {
        eventually(&format!("a {} is delivered late", self.write), || proxy.counts().delivered(self.write) > 0).await;
    }
}

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
    for _ in 0..2 {
        fleet.workers();
    }
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
        assert_eq!(climate.missing(proxy), [""; 0], "none of this happened to a {}", climate.write);
        climate.has_delivered_late(proxy).await;
    }
    fleet.audit_is_clean();
    fleet.stop_all();
}
