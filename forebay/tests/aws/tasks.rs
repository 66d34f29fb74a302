//! The processes of the compactor: what they show of themselves, and what becomes of tasks on a bad day.

use crate::climate::Climate;
use crate::compaction::{NOTHING, Queues, said};
use crate::fleet::{Fleet, eventually, free_address};
use crate::health;
use crate::http::exchange;
use crate::metrics;
use queue::Queue;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::net::SocketAddr;

/// Most rounds of load until everything has happened: a planning makes few writes.
const ROUNDS_MAX: u32 = 20;

/// Most plannings of a round: one may fail as a whole, and what workers make complete may leave more to plan.
const PLANNINGS_MAX: u32 = 20;

const CLIMATES: [Climate; 3] = [
    Climate { server: Server::DynamoDb, writes: &["PutItem"], own: &[] },
    Climate { server: Server::S3, writes: &["PutObject"], own: &[Fault::Conflict, Fault::ExistsAlready] },
    Climate { server: Server::Queue, writes: &["SendMessageBatch", "DeleteMessage"], own: &[] },
];

/// Events of a day that is over are in live objects.
async fn begun(name: &str, load: &[&str]) -> (Fleet, SocketAddr) {
    let mut fleet = Fleet::set_up(name).await;
    let gateway = fleet.gateway();
    fleet.workers();
    fleet.wait_until_ready(gateway).await;
    add(&fleet, gateway, load);
    (fleet, gateway)
}

fn add(fleet: &Fleet, gateway: SocketAddr, load: &[&str]) {
    let past = ["--batch", "20", "--max", "--ago", "48h"];
    fleet.generate(gateway, &[&past, load].concat());
    fleet.audit_is_clean();
}

/// Tasks that came out so.
fn tasks(worker: SocketAddr, outcome: &str) -> u64 {
    let start = format!("forebay_compactor_tasks_total{{outcome=\"{outcome}\"}} ");
    let shown = metrics::shown(worker);
    shown.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

/// Lives, is ready, and says so in all ways.
async fn is_well(fleet: &Fleet, address: SocketAddr) {
    fleet.wait_until_ready(address).await;
    for path in ["/healthz", "/readyz"] {
        let answer = exchange(address, &format!("GET {path} HTTP/1.1"), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    health::serves(address, "compactor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planning_working_and_both_show_their_health_and_what_they_count() {
    let (mut fleet, _) = begun("shown", &["--total", "400"]).await;
    // Planning reads the ends of live objects, and so goes on for as long as it can't.
    let no_objects = Faults::none().with("GetObject", Fault::Throttle, 1.0);
    let proxy = FaultProxy::start(&standins::s3().await, no_objects, 0).await;
    fleet.detour(Server::S3, proxy.endpoint());
    let [plan, work, run] = [(); 3].map(|()| free_address());
    let planner = fleet.start("compactor", &["plan", "--admin-addr", &plan.to_string()]);
    is_well(&fleet, plan).await;
    proxy.set(Faults::none());
    let (code, said) = fleet.ended(planner).await;
    assert!(code == Some(0) && said.contains("1 plans appended"), "{code:?} {said}");

    let queues = Queues::of(&fleet).await;
    let worker = fleet.start("compactor", &["work", "--admin-addr", &work.to_string()]);
    is_well(&fleet, work).await;
    queues.fewer_than(1).await;
    assert_eq!(tasks(work, "completed"), 1);
    assert!(said.contains(&format!("{} tasks sent", tasks(work, "done") + 1)), "{said}");
    let shown = |name: &str| metrics::total(work, &format!("forebay_compactor_{name}"));
    assert_eq!([shown("plans_total"), shown("rows_total")], [1.0, 400.0]);
    assert_eq!([shown("dead_letters"), shown("backlog_days"), shown("backlog_bytes")], [0.0; 3]);
    assert!(shown("last_success_seconds") > 0.0, "nothing was due");
    fleet.stop(worker);

    let nightly = fleet.start("compactor", &["run", "--admin-addr", &run.to_string()]);
    is_well(&fleet, run).await;
    fleet.stop(nightly);
}

/// What was printed by the first planning that was not ended by a fault.
fn plan(fleet: &Fleet) -> String {
    for _ in 0..PLANNINGS_MAX {
        let output = fleet.service("compactor").arg("plan").output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        }
        let (code, said) = (output.status.code(), said(&output));
        assert_eq!(code, Some(3), "no fault may halt it: {said}");
    }
    panic!("no planning comes through");
}

async fn compact(fleet: &Fleet, queues: &Queues) {
    for _ in 0..PLANNINGS_MAX {
        if plan(fleet) == NOTHING {
            return;
        }
        queues.fewer_than(1).await;
    }
    panic!("there is no end of plans");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_is_in_a_final_object_once_after_every_kind_of_fault() {
    let load = ["--total", "400", "--duplicates", "5%", "--invalid", "2%"];
    let (mut fleet, gateway) = begun("storm", &load).await;
    let queues = Queues::of(&fleet).await;
    let mut proxies = Vec::new();
    for climate in &CLIMATES {
        let proxy = climate.begin().await;
        fleet.detour(climate.server, proxy.endpoint());
        proxies.push(proxy);
    }
    for _ in 0..2 {
        fleet.start("compactor", &["work", "--task-visibility", "30s", "--task-retry-after", "1s"]);
    }
    for _ in 0..ROUNDS_MAX {
        compact(&fleet, &queues).await;
        if CLIMATES.iter().zip(&proxies).all(|(climate, proxy)| climate.missing(proxy).is_empty()) {
            break;
        }
        add(&fleet, gateway, &load);
    }
    fleet.audit_is_clean();
    for (climate, proxy) in CLIMATES.iter().zip(&proxies) {
        let missing = climate.missing(proxy);
        assert!(missing.is_empty(), "none of this happened: {missing:?}");
        climate.deliver_late(proxy).await;
    }
    // What came late as well.
    compact(&fleet, &queues).await;
    let preview = fleet.forebay(&["compact", "--dry-run"]);
    assert!(preview.contains("nothing to compact"), "{preview}");
    fleet.audit_is_clean();
    assert_eq!(queues.dead.depth().await.unwrap(), 0);
    fleet.stop_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_fails_each_time_is_a_dead_letter_with_its_reason_and_is_asked_for_again() {
    let (mut fleet, _) = begun("fails", &["--total", "100", "--event-types", "1"]).await;
    let queues = Queues::of(&fleet).await;
    let no_objects = Faults::none().with("PutObject", Fault::ServerError, 1.0);
    let proxy = FaultProxy::start(&standins::s3().await, no_objects, 0).await;
    fleet.detour(Server::S3, proxy.endpoint());
    assert_eq!(plan(&fleet), "1 plans appended, 0 open already, 1 tasks sent");
    let work = free_address();
    fleet.start("compactor", &["work", "--task-attempts", "1", "--admin-addr", &work.to_string()]);
    fleet.wait_until_ready(work).await;
    eventually("the task is given up", || tasks(work, "dead") == 1).await;
    eventually("the dead letter is shown", || metrics::total(work, "forebay_compactor_dead_letters") == 1.0).await;
    let letter = queues.dead_letter().await;
    assert!(letter.contains("final/events/") && letter.contains(r#""deliveries":1"#), "{letter}");

    proxy.set(Faults::none());
    assert_eq!(plan(&fleet), "0 plans appended, 1 open already, 1 tasks sent");
    queues.fewer_than(1).await;
    assert_eq!(plan(&fleet), NOTHING);
    fleet.audit_is_clean();
    fleet.stop_all();
}
