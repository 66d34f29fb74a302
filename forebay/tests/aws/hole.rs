//! Clean records that the stream has taken and lost: what they held is missing, and can be forwarded again.

use crate::fleet::{Fleet, eventually};
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};

const LOAD: [&str; 7] = ["--total", "300", "--batch", "20", "--max", "--duplicates", "5%"];

/// What follows these words on their line.
fn after<'a>(words: &str, said: &'a str) -> &'a str {
    let (_, after) = said.split_once(words).unwrap_or_else(|| panic!("not {words:?}: {said}"));
    after.lines().next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_whose_clean_records_were_lost_are_missing_until_they_are_forwarded_again() {
    let mut fleet = Fleet::set_up("hole").await;
    let gateway = fleet.gateway();
    let proxy = FaultProxy::start(&standins::kinesis().await, Faults::none(), 0).await;
    fleet.detour(Server::Kinesis, proxy.endpoint());
    let workers = fleet.workers();
    fleet.wait_until_ready(gateway).await;
    fleet.generate(gateway, &LOAD);
    fleet.audit_is_clean();
    proxy.set(Faults::none().next(1, "PutRecords", Fault::Lose));
    fleet.generate(gateway, &LOAD);
    eventually("records are lost", || proxy.counts().of("PutRecords", Fault::Lose) == 1).await;
    fleet.generate(gateway, &LOAD);
    // They finish what is on its way.
    for worker in workers {
        fleet.stop(worker);
    }
    let audit = fleet.forebay_fails(&["audit", "--ledger", &fleet.receipts()]);
    assert!(audit.contains("missing"), "{audit}");
    let rehearsal = fleet.forebay(&["forward-again", "--dry-run"]);
    let done = fleet.forebay(&["forward-again"]);
    assert_eq!(after("would forward ", &rehearsal), after("forwarded ", &done));
    fleet.workers();
    fleet.audit_is_clean();
    let nothing = fleet.forebay(&["forward-again"]);
    assert!(nothing.contains("nothing to forward"), "{nothing}");
    fleet.stop_all();
}
