//! Workers that share a day, fail, die and come late.

use crate::crash::{self, AT_ONCE, gated};
use crate::house::{DAY, House, Row, row};
use crate::network::Gate;
use bytes::Bytes;
use compactor::{Compactor, Outcome, Planned, Selection, Worker, WorkerConfig};
use futures::{StreamExt, stream};
use lake::Lake;
use lake::layout::LIVE;
use lake::parquet_file::{self, Identity};
use queue::Queue;
use schema::ChainId;
use service::{Halt, Stop};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Longer than a test; tests whose time is paused do not wait for it.
const LONG: Duration = Duration::from_secs(600);

const ATTEMPTS_MAX: u32 = 3;

/// Tasks taken before a test gives up.
const TASKS_MAX: usize = 200;

struct Fleet {
    house: House,
    tasks: Arc<dyn Queue>,
    dead: Arc<dyn Queue>,
}

impl Fleet {
    fn of(house: House) -> Fleet {
        Fleet { tasks: house.queue("tasks"), dead: house.queue("dead"), house }
    }

    async fn plan(&self) -> Planned {
        self.house.compactor().plan(Selection::All, &*self.tasks, &Stop::new()).await.unwrap()
    }

    fn worker(&self) -> Worker {
        self.worker_of(self.house.compactor())
    }

    fn worker_of(&self, compactor: Compactor) -> Worker {
        let config = WorkerConfig {
            task_visibility: LONG,
            task_retry_after: Duration::from_secs(60),
            task_attempts_max: NonZeroU32::new(ATTEMPTS_MAX).unwrap(),
        };
        Worker::new(compactor, config, self.tasks.clone(), self.dead.clone())
    }

    /// Lets a worker take tasks until there are none, hidden ones included.
    async fn drain(&self, worker: &Worker) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for _ in 0..TASKS_MAX {
            if self.tasks.depth().await.unwrap() == 0 {
                return outcomes;
            }
            outcomes.extend(worker.take_one(2 * LONG).await.unwrap());
        }
        panic!("there is no end of tasks: {outcomes:?}");
    }

    async fn identities(&self) -> BTreeMap<String, Identity> {
        let mut identities = BTreeMap::new();
        for key in self.house.made().await.into_keys() {
            let identity = parquet_file::identity(&*self.house.lake, &key).await.unwrap();
            identities.insert(key, identity);
        }
        identities
    }
}

fn count(outcomes: &[Outcome], wanted: Outcome) -> usize {
    outcomes.iter().filter(|outcome| **outcome == wanted).count()
}

/// A day of many types, with copies in a type, across types and of an earlier plan.
async fn busy_house() -> House {
    let house = House::new();
    house.write(0, &[row(1, "t00", 5, "a", 0), row(2, "t31", 6, "a", 1)]).await;
    house.compact().await;
    for shard in 0..3u32 {
        let name = |k: u32| format!("t{:02}", (k * 7 + shard) % 40);
        let rows: Vec<Row> = (0..120u32)
            .map(|k| row(u128::from(k * 2 + shard), &name(k), i64::from(k % 9), &format!("o{shard}"), k.into()))
            .collect();
        house.write(shard, &rows).await;
    }
    house
}

#[tokio::test(start_paused = true)]
async fn workers_that_share_a_day_make_what_one_compaction_makes() {
    let alone = Fleet::of(busy_house().await);
    let summary = alone.house.compact().await;
    assert!(summary.dropped > 100, "{summary}");

    let fleet = Fleet::of(busy_house().await);
    let planned = fleet.plan().await;
    assert!((planned.appended, planned.open) == (1, 0) && planned.tasks > 10, "{planned}");
    let workers = [fleet.worker(), fleet.worker(), fleet.worker()];
    let outcomes = futures::future::join_all(workers.iter().map(|worker| fleet.drain(worker))).await.concat();
    let made = count(&outcomes, Outcome::Done) + count(&outcomes, Outcome::Completed);
    assert!(made as u64 >= planned.tasks && count(&outcomes, Outcome::Completed) >= 1, "{outcomes:?}");
    assert_eq!(fleet.house.made().await, alone.house.made().await);
    assert_eq!(fleet.identities().await, alone.identities().await);
    assert_eq!(fleet.plan().await, Planned::default(), "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_at_any_moment_is_made_up_for_by_another() {
    let (expected, moments) = {
        let (fleet, gate) = (Fleet::of(crash::house().await), Gate::at(u64::MAX));
        fleet.plan().await;
        fleet.drain(&fleet.worker_of(gated(&fleet.house, &gate))).await;
        (fleet.house.made().await, gate.moments())
    };
    assert!(moments > 60, "{moments} moments are too few to be all of them");
    let die = |moment| async move { (moment, died_at(moment).await) };
    let mut deaths = stream::iter(0..moments).map(die).buffer_unordered(AT_ONCE);
    while let Some((moment, made)) = deaths.next().await {
        assert_eq!(made, expected, "after a death at moment {moment}");
    }
}

/// What a worker that died and another made.
async fn died_at(moment: u64) -> BTreeMap<String, Vec<Row>> {
    let (fleet, gate) = (Fleet::of(crash::house().await), Gate::at(moment));
    fleet.plan().await;
    let dies = fleet.worker_of(gated(&fleet.house, &gate));
    tokio::select! {
        outcomes = fleet.drain(&dies) => panic!("it reaches {moment}: {outcomes:?}"),
        () = gate.stopped.notified() => {}
    }
    fleet.drain(&fleet.worker()).await;
    fleet.house.made().await
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_twice_or_after_the_sweep_changes_nothing() {
    let fleet = Fleet::of(crash::house().await);
    let first = fleet.plan().await;
    let again = fleet.plan().await;
    assert_eq!((first.appended, again.appended, again.open, again.tasks), (1, 0, 1, first.tasks));
    let late = fleet.tasks.receive(1, LONG, LONG).await.unwrap().remove(0);
    let outcomes = fleet.drain(&fleet.worker()).await;
    assert_eq!(count(&outcomes, Outcome::Completed), 1, "{outcomes:?}");
    let made = fleet.house.made().await;

    fleet.house.clock.0.store(i64::MAX, SeqCst);
    assert!(fleet.house.compactor().sweep().await.unwrap() > 0);
    assert!(fleet.house.keys(LIVE).await.is_empty());
    fleet.tasks.send(vec![late.bytes]).await.remove(0).unwrap();
    assert_eq!(fleet.drain(&fleet.worker()).await, [Outcome::Over]);
    assert_eq!(fleet.house.made().await, made);
    assert_eq!(fleet.dead.depth().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn planning_again_asks_only_for_what_is_missing() {
    let fleet = Fleet::of(busy_house().await);
    let planned = fleet.plan().await;
    assert_eq!(fleet.worker().take_one(LONG).await.unwrap(), Some(Outcome::Done));
    let partitions = |bytes: &Bytes| {
        let task: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        task["partitions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let tasks = fleet.house.queue("again");
    fleet.house.compactor().plan(Selection::All, &*tasks, &Stop::new()).await.unwrap();
    let mut named = Vec::new();
    while tasks.depth().await.unwrap() > 0 {
        let task = tasks.receive(1, LONG, LONG).await.unwrap().remove(0);
        named.extend(partitions(&task.bytes));
        tasks.ack(&task.receipt).await.unwrap();
    }
    let made = fleet.house.keys("final").await;
    let made_by_worker = made.iter().filter(|key| key.ends_with("000001-0000.parquet")).count();
    assert!(made_by_worker > 0 && planned.tasks > 1);
    named.sort();
    assert_eq!(named.len(), 40 - made_by_worker);
}

#[tokio::test(start_paused = true)]
async fn whoever_makes_a_plan_complete_plans_what_has_come_since() {
    let fleet = Fleet::of(crash::house().await);
    fleet.plan().await;
    fleet.house.write(1, &[row(6, "page", 7, "a", 4), row(7, "cart", 7, "a", 5)]).await;
    let again = fleet.plan().await;
    assert_eq!((again.appended, again.open), (0, 1));
    let outcomes = fleet.drain(&fleet.worker()).await;
    assert_eq!(count(&outcomes, Outcome::Completed), 2, "{outcomes:?}");
    assert_eq!(fleet.plan().await, Planned::default());
    let ids: std::collections::BTreeSet<u128> =
        fleet.house.rows_under("final").await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, (1..=7).collect());
}

#[tokio::test(start_paused = true)]
async fn tasks_of_the_next_plan_that_the_queue_did_not_take_are_sent_when_the_task_comes_again() {
    let house = House::new();
    let fleet = Fleet { tasks: house.queue_of("tasks", 2), dead: house.queue("dead"), house };
    fleet.house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    fleet.plan().await;
    fleet.house.write(1, &[row(2, "page", 6, "a", 1)]).await;
    let knows_no_more = fleet.tasks.receive(1, LONG, LONG).await.unwrap().remove(0);
    fleet.tasks.ack(&knows_no_more.receipt).await.unwrap();
    assert_eq!(fleet.plan().await, Planned { appended: 0, open: 1, tasks: 1 });
    fleet.tasks.send(vec![Bytes::from("one too many")]).await.remove(0).unwrap();

    let worker = fleet.worker();
    assert_eq!(worker.take_one(LONG).await.unwrap(), Some(Outcome::Failed), "the queue is full");
    let other = fleet.tasks.receive(1, LONG, Duration::ZERO).await.unwrap().remove(0);
    fleet.tasks.ack(&other.receipt).await.unwrap();
    assert_eq!(fleet.drain(&worker).await, [Outcome::Over, Outcome::Completed]);
    assert_eq!(fleet.plan().await, Planned::default());
    assert_eq!(fleet.house.rows_under("final").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poison_task_ends_among_the_dead_letters_with_its_reason() {
    let mut house = House::new();
    // Nothing fits, and no folder for spilled rows can be made where a file is.
    house.config.memory_bytes_max = 1;
    std::fs::write(house.path("spill"), b"").unwrap();
    let fleet = Fleet::of(house);
    fleet.house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    fleet.plan().await;
    let outcomes = fleet.drain(&fleet.worker()).await;
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Failed, Outcome::Dead]);
    let letter = fleet.dead.receive(1, LONG, LONG).await.unwrap().remove(0);
    let letter: serde_json::Value = serde_json::from_slice(&letter.bytes).unwrap();
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.contains("can't spill rows to disk"), "{reason}");
    assert_eq!(letter["deliveries"], ATTEMPTS_MAX);
    assert!(letter["task"].as_str().unwrap().contains("page"), "{letter}");
}

#[tokio::test(start_paused = true)]
async fn a_halt_ends_the_worker_names_chain_and_plan_and_gives_the_task_back() {
    let fleet = Fleet::of(House::new());
    let key = fleet.house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    fleet.plan().await;
    fleet.house.lake.delete(&key).await.unwrap();
    let error = fleet.worker().run(Stop::new()).await.unwrap_err();
    let halt = error.chain().find_map(|cause| cause.downcast_ref::<Halt>()).unwrap();
    let named = format!("chain {}, plan 0: {key} is gone", ChainId::plan("events", &DAY.to_string()));
    assert!(halt.0.starts_with(&named), "{halt}");
    assert_eq!(fleet.tasks.receive(1, LONG, Duration::ZERO).await.unwrap().len(), 1);
    assert_eq!(fleet.dead.depth().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_its_workers_and_a_message_that_is_no_task_are_given_up() {
    let fleet = Fleet::of(crash::house().await);
    fleet.tasks.send(vec![Bytes::from("\u{1}rubbish")]).await.remove(0).unwrap();
    assert_eq!(fleet.drain(&fleet.worker()).await, [Outcome::Dead]);
    fleet.plan().await;
    for _ in 0..ATTEMPTS_MAX {
        while fleet.tasks.receive(1, Duration::from_secs(1), Duration::ZERO).await.unwrap().pop().is_some() {}
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    let outcomes = fleet.drain(&fleet.worker()).await;
    assert!(!outcomes.is_empty() && outcomes.iter().all(|outcome| *outcome == Outcome::Dead), "{outcomes:?}");
    let again = fleet.plan().await;
    assert_eq!(again.tasks as usize, outcomes.len(), "nothing is lost: the plan is open, and asked for again");
    assert_eq!(count(&fleet.drain(&fleet.worker()).await, Outcome::Completed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_stays_hidden_for_as_long_as_its_worker_lives() {
    let fleet = Fleet::of(House::new());
    fleet.house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    fleet.plan().await;
    let gate = Gate::at(5);
    let worker = fleet.worker_of(gated(&fleet.house, &gate));
    let other = async {
        gate.stopped.notified().await;
        let received = fleet.tasks.receive(1, LONG, 20 * LONG).await.unwrap();
        gate.go_on.notify_one();
        received
    };
    let (outcome, received) = tokio::join!(worker.take_one(LONG), other);
    assert_eq!((outcome.unwrap(), received), (Some(Outcome::Completed), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_gives_its_task_back_at_once() {
    let fleet = Fleet::of(House::new());
    fleet.house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    fleet.plan().await;
    let (gate, stop) = (Gate::at(5), Stop::new());
    let running = fleet.worker_of(gated(&fleet.house, &gate)).run(stop.clone());
    let stopping = async {
        gate.stopped.notified().await;
        stop.cancel();
    };
    tokio::join!(running, stopping).0.unwrap();
    assert_eq!(fleet.tasks.receive(1, LONG, Duration::ZERO).await.unwrap().len(), 1);
}
