//! One world from its beginning to its verdict.
//!
//! First **trouble**: events come in, owners come and go, shards split and merge, calls fail. Then **rest**: faults end,
//! what was late lands, and owners of everything work until nothing changes any more.

use crate::backends::Backends;
use crate::clients::Edge;
use crate::events::{Books, Event};
use crate::network::{Backend, pause};
use crate::scenario::{Off, Scenario};
use crate::scheduler::{Role, Scheduler};
use crate::verdict::Judge;
use crate::world::{Keep, Statistics, World};
use lake::layout::LIVE;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const CLIENTS: usize = 3;

const EVENTS_PER_CLIENT: usize = 14;

/// Steps during which there is trouble.
const TROUBLE_STEPS: u64 = 6_000;

/// At which of them a ledger is restored from a backup, where that is what a scenario is about.
const RESTORE_STEP: u64 = 3_600;

/// Longest time between two steps.
const STEP_MILLIS_MAX: u64 = 20;

/// What the wall clock shows of a step: a run takes many windows of an hour.
const STEP_ON_THE_WALL: Duration = Duration::from_secs(23);

/// Longest time for which an actor is starved.
const STARVED_STEPS_MAX: u64 = 1_500;

/// Longest outage: owners lose patience after fifty refusals.
const OUTAGE_STEPS_MAX: u64 = 2_500;

/// Who may be out at the same time.
const OUTAGES: &[&[Backend]] = &[&[Backend::Ledger], &[Backend::Lake], &[Backend::Ledger, Backend::Lake]];

/// Rounds of starting everybody after which a world that still changes is stuck.
const REST_ROUNDS_MAX: usize = 60;

/// A pause that outlasts every timer of an owner: nothing changes in it only if nothing is left to do.
const QUIET: Duration = Duration::from_secs(4);

/// Time that passes at a step of rest at which nobody can go on.
const REST_STEP: Duration = Duration::from_millis(25);

/// Steps of one round of rest after which somebody goes round in circles.
const ROUND_STEPS_MAX: u64 = 200_000;

/// A pause that makes owners mistrust their memory (PROTOCOL rule 4).
const LONG_PAUSE: Duration = Duration::from_secs(3_700);

/// What became of a world.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub scenario: Scenario,
    /// Ways in which the promise was broken.
    pub findings: BTreeSet<String>,
    pub statistics: Statistics,
    /// Stands for the whole schedule: the same for the same seed.
    pub schedule_hash: u64,
    /// The schedule, where it was kept.
    pub schedule: Vec<String>,
}

impl Report {
    /// Whether a finding is of one of these kinds, as `loss live` or `dup final`.
    pub fn shows(&self, ways: &[&str]) -> bool {
        self.findings.iter().any(|finding| ways.iter().any(|way| finding.starts_with(way)))
    }

    /// What went wrong, and how to see it again.
    pub fn complaint(&self) -> String {
        let findings: Vec<&str> = self.findings.iter().map(String::as_str).collect();
        let (seed, scenario) = (self.seed, self.scenario.name);
        let replay = format!("cargo run -p simulation -- --seed {seed} --scenario {scenario}");
        format!("seed {seed} breaks the promise; see it again with `{replay}`:\n  {}", findings.join("\n  "))
    }
}

/// Runs the world of a seed.
pub fn run(seed: u64, scenario: Scenario, keep: Keep) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread needs nothing of the system");
    let world = Arc::new(World::new(seed, scenario, keep));
    runtime.block_on(Run::new(world.clone()).live());
    let remains = world.remains();
    Report {
        seed,
        scenario,
        findings: remains.findings,
        statistics: remains.statistics,
        schedule_hash: remains.schedule_hash,
        schedule: remains.lines,
    }
}

struct Run {
    world: Arc<World>,
    backends: Backends,
    scheduler: Scheduler,
    judge: Judge,
    step: u64,
}

impl Run {
    fn new(world: Arc<World>) -> Run {
        let backends = Backends::new(world.clone());
        let books = Books::default();
        let mut scheduler = Scheduler::new(world.clone());
        let edge = Edge::new(world.clone(), backends.raw.clone(), books.clone());
        for client in 0..CLIENTS {
            let numbers = client * EVENTS_PER_CLIENT..(client + 1) * EVENTS_PER_CLIENT;
            let events: Vec<Event> = numbers.map(|number| world.draw(|dice| Event::drawn(number, dice))).collect();
            let edge = edge.clone();
            scheduler.start(Role::Client, "client", |_| edge.client(events));
        }
        let judge = Judge::new(backends.clone(), books);
        Run { world, backends, scheduler, judge, step: 0 }
    }

    async fn live(mut self) {
        while self.step < TROUBLE_STEPS {
            self.trouble();
            self.pass_time().await;
        }
        self.world.heal();
        self.scheduler.feed_all();
        self.rest().await;
        self.judge.look();
        self.judge.audit().await;
        self.sweep().await;
        self.judge.look();
        self.judge.audit().await;
        self.judge.verdict();
    }

    /// One step of trouble.
    fn trouble(&mut self) {
        self.step += 1;
        self.world.turn(self.step, "world");
        self.world.pass(STEP_ON_THE_WALL);
        if self.step == RESTORE_STEP && self.world.is_off(Off::ChainsOnlyGrow) {
            self.backends.ledger.restore_a_backup();
        }
        match self.world.draw(|dice| dice.below(10_000)) {
            0..15 => self.reshard(),
            15..55 => self.world.land_one(),
            55..450 => self.backends.start_any(&mut self.scheduler),
            450..530 => self.scheduler.kill_one(),
            530..545 => self.scheduler.stop_one(),
            545..600 => {
                let until = self.step + self.world.draw(|dice| dice.between(1, STARVED_STEPS_MAX));
                self.scheduler.starve_one(until);
            }
            600..605 => self.judge.look(),
            605..608 => {
                let until = self.step + self.world.draw(|dice| dice.between(1, OUTAGE_STEPS_MAX));
                self.world.begin_outage(self.world.draw(|dice| dice.pick(OUTAGES)), until);
            }
            _ => drop(self.scheduler.poll_one(self.step)),
        }
    }

    fn reshard(&self) {
        match self.world.draw(|dice| dice.below(3)) {
            0 => self.backends.clean.reshard(),
            _ => self.backends.raw.reshard(),
        }
    }

    /// Lets a little time pass, and very rarely much.
    async fn pass_time(&self) {
        let long = self.world.draw(|dice| dice.percent(0.005));
        let millis = self.world.draw(|dice| dice.between(0, STEP_MILLIS_MAX));
        tokio::time::advance(if long { LONG_PAUSE } else { Duration::from_millis(millis) }).await;
    }

    /// Lets everything come to an end.
    async fn rest(&mut self) {
        for _ in 0..REST_ROUNDS_MAX {
            let before = self.world.changes();
            self.backends.raw.publish_all();
            self.backends.clean.publish_all();
            self.land_some();
            self.backends.start_all(&mut self.scheduler);
            if !self.work_until_quiet().await {
                let names = self.scheduler.names().join(", ");
                return self.world.find(format!("stuck: {names} do not come to an end"));
            }
            if self.world.changes() == before && self.world.late_calls() == 0 {
                return;
            }
        }
        self.world.find("stuck: the world never comes to rest");
    }

    /// Removes all live objects: by now every one is in a complete plan.
    async fn sweep(&mut self) {
        let last = self.step + ROUND_STEPS_MAX;
        self.backends.start_sweep(&mut self.scheduler, Duration::ZERO);
        while self.step < last && !self.scheduler.is_empty() {
            self.work().await;
        }
        if let Some(left) = self.backends.lake.keys().iter().find(|key| key.starts_with(LIVE)) {
            self.world.find(format!("audit: live object {left} is left"));
        }
    }

    fn land_some(&self) {
        while self.world.late_calls() > 0 && self.world.draw(|dice| dice.percent(90.0)) {
            self.world.land_one();
        }
    }

    /// Runs all actors until nothing changes for a while, and then lets them drain; false where they don't end.
    async fn work_until_quiet(&mut self) -> bool {
        let last = self.step + ROUND_STEPS_MAX;
        let mut changes = self.world.changes();
        let mut changed_at = tokio::time::Instant::now();
        while self.step < last && (changed_at.elapsed() < QUIET || self.scheduler.has_clients()) {
            self.work().await;
            if self.world.changes() != changes {
                changes = self.world.changes();
                changed_at = tokio::time::Instant::now();
            }
        }
        self.scheduler.stop_all();
        while self.step < last && !self.scheduler.is_empty() {
            self.work().await;
        }
        self.scheduler.is_empty()
    }

    /// One step without trouble: time passes only where nobody can go on.
    async fn work(&mut self) {
        self.step += 1;
        if self.scheduler.poll_one(self.step) {
            pause().await;
        } else {
            self.backends.raw.publish_all();
            self.backends.clean.publish_all();
            tokio::time::advance(REST_STEP).await;
        }
    }
}
