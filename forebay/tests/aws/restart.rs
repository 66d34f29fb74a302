//! A deployment: one worker after the other is asked to stop, and another takes its place.

use crate::fleet::{Fleet, Member, free_address};
use ledger::dynamodb::DynamoLedger;
use ledger::{Ledger, for_each_slot};

const LOAD: [&str; 6] = ["--rate", "100/s", "--batch", "10", "--duplicates", "5%"];

/// Rows, and events that reached a writer again, as all writers have them.
async fn written(fleet: &Fleet) -> (u64, u64) {
    let aws = standins::connect(&standins::dynamodb().await);
    let ledger = DynamoLedger::open(&aws, fleet.name_of("TABLE")).await.unwrap();
    let (mut rows, mut redelivered) = (0, 0);
    for chain in ledger.chains("writer/").await.unwrap() {
        let mut slots = Vec::new();
        let collect = |slot| {
            slots.push(slot);
            Ok(())
        };
        for_each_slot(&ledger, &chain, 1, collect).await.unwrap();
        for slot in slots {
            let entry = writer_service::chain::announcement(&chain, slot.number, slot.entry.bytes).unwrap();
            rows += entry.objects.iter().map(|object| object.rows).sum::<u64>();
            redelivered += entry.redelivered;
        }
    }
    (rows, redelivered)
}

/// Starts a worker, and waits until it is ready.
async fn start(fleet: &mut Fleet, binary: &str, args: &[&str]) -> Member {
    let admin = free_address();
    let member = fleet.start(binary, &[args, &["--admin-addr", &admin.to_string()]].concat());
    fleet.wait_until_ready(admin).await;
    member
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing_and_redelivers_next_to_nothing() {
    let mut fleet = Fleet::set_up("restart").await;
    let gateway = free_address();
    let door = fleet.gateway_at(gateway);
    let workers = [("dedup-service", &[][..]), ("writer-service", &["--flush-interval", "1s"][..])];
    let mut running = Vec::new();
    for (binary, args) in [workers, workers].concat() {
        running.push((binary, args, start(&mut fleet, binary, args).await));
    }
    fleet.wait_until_ready(gateway).await;
    let load = fleet.start_to_generate(gateway, &LOAD);
    // Producers that find nobody there for a moment send again, as they do behind a load balancer.
    fleet.stop(door);
    fleet.gateway_at(gateway);
    for (binary, args, member) in running {
        fleet.stop(member);
        start(&mut fleet, binary, args).await;
    }
    fleet.stop(load);
    fleet.audit_is_clean();
    let (rows, redelivered) = written(&fleet).await;
    assert!(rows > 0 && redelivered * 100 <= rows, "{redelivered} of {rows} events came again");
    fleet.stop_all();
}
