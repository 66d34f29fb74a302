//! Compaction as a fleet: one process plans, others work, and what one of them leaves undone another does.

use crate::fleet::Fleet;
use bytes::Bytes;
use queue::Queue;
use queue::sqs::{SqsQueue, dead_letters_of};
use std::process::Output;
use std::time::{Duration, Instant};

/// Longest wait for workers: twice the visibility of a task that a killed one held, and time to work.
const PATIENCE: Duration = Duration::from_secs(180);

/// The shortest that can be set.
const VISIBILITY: [&str; 2] = ["--task-visibility", "30s"];

pub(crate) const NOTHING: &str = "0 plans appended, 0 open already, 0 tasks sent";

/// Both queues of a fleet.
pub(crate) struct Queues {
    pub(crate) tasks: SqsQueue,
    pub(crate) dead: SqsQueue,
}

impl Queues {
    pub(crate) async fn of(fleet: &Fleet) -> Queues {
        let aws = standins::connect(&standins::queue().await);
        let name = fleet.name_of("TASK_QUEUE");
        let open = async |name: &str| SqsQueue::open(&aws, name).await.unwrap();
        Queues { tasks: open(name).await, dead: open(&dead_letters_of(name)).await }
    }

    /// Waits until fewer tasks are left than that; how many are.
    pub(crate) async fn fewer_than(&self, count: u64) -> u64 {
        let start = Instant::now();
        loop {
            let left = self.tasks.depth().await.unwrap();
            if left < count {
                return left;
            }
            assert!(start.elapsed() < PATIENCE, "{left} tasks are left");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The next dead letter, as text.
    pub(crate) async fn dead_letter(&self) -> String {
        let received = self.dead.receive(1, PATIENCE, Duration::from_secs(20)).await.unwrap();
        let [letter] = received.as_slice() else { panic!("{received:?}") };
        self.dead.ack(&letter.receipt).await.unwrap();
        String::from_utf8(letter.bytes.to_vec()).unwrap()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// What a planning printed, and what it logged.
pub(crate) struct Planning {
    pub(crate) printed: String,
    pub(crate) logged: String,
}

pub(crate) fn plan_with(fleet: &Fleet, settings: &[&str]) -> Planning {
    let output = fleet.command("compactor").arg("plan").args(settings).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_string();
    Planning { printed, logged: String::from_utf8(output.stderr).unwrap() }
}

/// Plans, and gives what was printed.
fn plan(fleet: &Fleet) -> String {
    plan_with(fleet, &[]).printed
}

/// Plans, and waits for workers, until they have left nothing.
pub(crate) async fn finishes(fleet: &Fleet) {
    let (queues, start) = (Queues::of(fleet).await, Instant::now());
    while plan(fleet) != NOTHING {
        assert!(start.elapsed() < PATIENCE, "there is no end of plans");
        queues.fewer_than(1).await;
    }
    let preview = fleet.forebay(&["compact", "--dry-run"]);
    assert!(preview.contains("nothing to compact"), "{preview}");
}

/// Most of these events happened on days that are over.
fn generate_late(fleet: &Fleet, gateway: std::net::SocketAddr) {
    let load = ["--total", "2000", "--batch", "50", "--max", "--late", "70%", "--duplicates", "5%", "--invalid", "1%"];
    fleet.generate(gateway, &load);
}

#[tokio::test]
async fn workers_merge_past_days_though_one_is_killed_and_days_are_planned_twice() {
    let mut fleet = Fleet::set_up("compaction").await;
    let gateway = fleet.gateway();
    fleet.workers();
    fleet.wait_until_ready(gateway).await;
    generate_late(&fleet, gateway);
    fleet.audit_is_clean();
    plan(&fleet);
    plan(&fleet);
    let queues = Queues::of(&fleet).await;
    let sent = queues.tasks.depth().await.unwrap();
    assert!(sent > 20, "{sent} tasks are too few to be shared out");

    let work = [&["work"], &VISIBILITY[..]].concat();
    let doomed = fleet.start("compactor", &work);
    let left = queues.fewer_than(sent - 5).await;
    fleet.kill(doomed);
    assert!(left > 0, "nothing is left for others");
    for _ in 0..2 {
        fleet.start("compactor", &work);
    }
    queues.fewer_than(1).await;
    fleet.audit_is_clean();

    // What writers had not settled when days were planned.
    finishes(&fleet).await;
    assert_eq!(queues.dead.depth().await.unwrap(), 0);
    fleet.audit_is_clean();
}

#[tokio::test]
async fn rubbish_ends_among_the_dead_letters_with_its_reason_and_workers_go_on() {
    let mut fleet = Fleet::set_up("poison").await;
    let queues = Queues::of(&fleet).await;
    let no_day = r#"{"table":"events","day":"2026-13-01","plan":0,"partitions":[],"more":false}"#;
    fleet.start("compactor", &["work"]);
    for (rubbish, reason) in [("no task", "the message is no task"), (no_day, "there is no day")] {
        queues.tasks.send(vec![Bytes::from(rubbish)]).await.remove(0).unwrap();
        let letter = queues.dead_letter().await;
        assert!(letter.contains(reason) && letter.contains(r#""deliveries":1"#), "{letter}");
        queues.fewer_than(1).await;
    }
    fleet.stop_all();
}

/// Such a queue would take a task away before its last attempt, and the reason would be lost.
#[tokio::test]
async fn a_queue_that_gives_tasks_up_too_soon_is_refused_with_both_settings() {
    let fleet = Fleet::set_up("receives").await;
    for command in ["plan", "work", "run"] {
        let output = fleet.command("compactor").args([command, "--task-attempts", "10"]).output().unwrap();
        let (code, said) = (output.status.code(), said(&output));
        assert!(code == Some(2) && said.contains("--task-attempts is 10"), "{command}: {code:?} {said}");
        assert!(said.contains("maxReceiveCount") && said.contains(fleet.name_of("TASK_QUEUE")), "{said}");
    }
    for command in ["plan", "work"] {
        let output = fleet.command("compactor").args([command, "--task-queue", ""]).output().unwrap();
        let (code, said) = (output.status.code(), said(&output));
        assert!(code == Some(2) && said.contains("--task-queue is empty"), "{command}: {code:?} {said}");
    }
}
