//! Workers that end without a word, and workers that sleep past the term of their leases: they wake to shards that others
//! have gone on with, and what they had sent before arrives after all.

use crate::fleet::{Fleet, Member, eventually, free_address};
use crate::metrics;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::net::SocketAddr;
use std::time::Duration;

const SHARDS: f64 = 2.0;

const LOAD: [&str; 6] = ["--rate", "100/s", "--batch", "10", "--duplicates", "5%"];

/// A call that arrives when the test says so.
const HELD: Fault = Fault::Hold(Duration::MAX);

/// So many writes to the ledger are more than the renewals of all leases within seconds: some are entries.
const HELD_ENTRIES: u64 = 12;

/// A process that works on shards, and where it shows what it counts.
struct Worker {
    member: Member,
    admin: SocketAddr,
    stage: &'static str,
}

impl Worker {
    async fn start(fleet: &mut Fleet, stage: &'static str, args: &[&str]) -> Worker {
        let admin = free_address();
        let binary = format!("{stage}-service");
        let member = fleet.start(&binary, &[&["--admin-addr", &admin.to_string()], args].concat());
        fleet.wait_until_ready(admin).await;
        Worker { member, admin, stage }
    }

    async fn start_both(fleet: &mut Fleet) -> [Worker; 2] {
        let dedup = Worker::start(fleet, "dedup", &[]).await;
        [dedup, Worker::start(fleet, "writer", &["--flush-interval", "1s"]).await]
    }

    fn total(&self, metric: &str) -> f64 {
        metrics::total(self.admin, &format!("forebay_{}_{metric}", self.stage))
    }

    async fn owns_all_shards(&self) {
        let what = format!("a worker owns all shards of the {} stage", self.stage);
        eventually(&what, || self.total("shards_owned") == SHARDS).await;
    }

    async fn has_appended(&self) {
        let what = format!("a worker has appended to chains of the {} stage", self.stage);
        eventually(&what, || self.total("chain_appends_total") >= SHARDS).await;
    }

    /// By its lease, or by the entry of another that its own append met.
    async fn learns_that_it_has_lost(&self) {
        let what = format!("a worker of the {} stage learns that its shards are another's", self.stage);
        let learns = || self.total("leases_lost_total") + self.total("chain_conflicts_total") > 0.0;
        eventually(&what, learns).await;
    }
}

/// What is between workers and what they write to.
struct Detours {
    kinesis: FaultProxy,
    dynamodb: FaultProxy,
    s3: FaultProxy,
}

impl Detours {
    async fn of(fleet: &mut Fleet) -> Detours {
        let [kinesis, dynamodb, s3] = [standins::kinesis().await, standins::dynamodb().await, standins::s3().await];
        let before = async |upstream| FaultProxy::start(&upstream, Faults::none(), 0).await;
        let detours =
            Detours { kinesis: before(kinesis).await, dynamodb: before(dynamodb).await, s3: before(s3).await };
        for (server, (proxy, _)) in [Server::Kinesis, Server::DynamoDb, Server::S3].into_iter().zip(detours.all()) {
            fleet.detour(server, proxy.endpoint());
        }
        detours
    }

    /// Each with the writes that it sees.
    fn all(&self) -> [(&FaultProxy, &'static str); 3] {
        [(&self.kinesis, "PutRecords"), (&self.dynamodb, "PutItem"), (&self.s3, "PutObject")]
    }

    /// Holds some effects of entries, and then all entries.
    async fn hold_writes(&self) {
        let [records, entries, objects] = self.all();
        for (proxy, write) in [records, objects] {
            proxy.set(Faults::none().next(1, write, HELD));
        }
        for (proxy, write) in [records, objects] {
            eventually(&format!("a {write} is held"), || proxy.counts().of(write, HELD) == 1).await;
        }
        let (proxy, write) = entries;
        proxy.set(Faults::none().with(write, HELD, 1.0));
        eventually("entries are held", || proxy.counts().of(write, HELD) >= HELD_ENTRIES).await;
    }

    async fn deliver_writes(&self) {
        for (proxy, write) in self.all() {
            proxy.set(Faults::none());
            assert_eq!(proxy.counts().delivered(write), 0);
            proxy.deliver_held();
            let is_delivered = || proxy.counts().delivered(write) == proxy.counts().of(write, HELD);
            eventually(&format!("each {write} is delivered"), is_delivered).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_workers_sleep_past_their_leases_and_when_they_are_killed() {
    let mut fleet = Fleet::set_up("workers").await;
    let gateway = fleet.gateway();
    fleet.wait_until_ready(gateway).await;
    let detours = Detours::of(&mut fleet).await;
    let sleepers = Worker::start_both(&mut fleet).await;
    let load = fleet.start_to_generate(gateway, &LOAD);
    for sleeper in &sleepers {
        sleeper.owns_all_shards().await;
    }
    detours.hold_writes().await;
    for sleeper in &sleepers {
        fleet.pause(sleeper.member);
    }
    fleet.end_detours();
    let others = Worker::start_both(&mut fleet).await;
    for other in &others {
        other.owns_all_shards().await;
        other.has_appended().await;
    }
    detours.deliver_writes().await;
    for sleeper in &sleepers {
        fleet.resume(sleeper.member);
    }
    for sleeper in &sleepers {
        sleeper.learns_that_it_has_lost().await;
    }
    for other in others {
        fleet.kill(other.member);
    }
    fleet.stop(load);
    // Once the leases of those are over, it is the sleepers who go on.
    fleet.audit_is_clean();
    fleet.stop_all();
}
