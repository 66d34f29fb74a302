//! What all parts of a simulated world share: chance, time, the schedule, and what was found.
//!
//! **Step**: one move of the scheduler. **Schedule**: what happened, line by line; its hash stands for it. **Finding**: a
//! way in which the promise was broken.

use crate::dice::Dice;
use crate::network::Backend;
use crate::owners::Memory;
use crate::scenario::{Off, Scenario};
use service::{Clock, Random, Rules};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// When a world begins: 2026-11-22 00:00 UTC.
pub(crate) const BEGIN_MICROS: i64 = 1_795_305_600_000_000;

/// How often things happened that a run should have met.
pub type Statistics = BTreeMap<&'static str, u64>;

/// A call that lands later than its caller was told.
type Late = Box<dyn FnOnce() + Send>;

/// One seeded world.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    nonces: Dice,
    healthy: bool,
    now: i64,
    /// Changes of streams, chains and lake so far.
    changes: u64,
    step: u64,
    actor: String,
    late: Vec<Late>,
    outage: Option<Outage>,
    /// The memory of the dedup owner that drew a nonce.
    memories: BTreeMap<u128, Memory>,
    schedule: Schedule,
    statistics: Statistics,
    findings: BTreeSet<String>,
}

/// Who refuses everything, and until which step.
#[derive(Clone, Debug)]
struct Outage {
    backends: &'static [Backend],
    until: u64,
}

/// What happened, in order.
struct Schedule {
    hash: DefaultHasher,
    lines: Option<Vec<String>>,
}

/// Whether a run keeps the lines of its schedule, or only their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Lines,
    HashOnly,
}

/// What is left of a world in the end.
pub(crate) struct Remains {
    pub(crate) findings: BTreeSet<String>,
    pub(crate) statistics: Statistics,
    pub(crate) schedule_hash: u64,
    pub(crate) lines: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario, keep: Keep) -> World {
        let schedule = Schedule { hash: DefaultHasher::new(), lines: (keep == Keep::Lines).then(Vec::new) };
        let state = State {
            dice: Dice::new(seed, 0),
            nonces: Dice::new(seed, 1),
            healthy: false,
            now: BEGIN_MICROS,
            changes: 0,
            step: 0,
            actor: String::new(),
            late: Vec::new(),
            outage: None,
            memories: BTreeMap::new(),
            schedule,
            statistics: Statistics::new(),
            findings: BTreeSet::new(),
        };
        World { scenario, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }

    /// Draws something.
    pub(crate) fn draw<T>(&self, from: impl FnOnce(&mut Dice) -> T) -> T {
        from(&mut self.state().dice)
    }

    /// True `percent` of a hundred times while faults happen, and never afterwards.
    pub(crate) fn fault(&self, percent: f64) -> bool {
        let mut state = self.state();
        !state.healthy && state.dice.percent(percent)
    }

    /// Items of a page for which at most `asked` were asked: while faults happen, seldom more than a few.
    pub(crate) fn page_items(&self, asked: usize, troubled_max: usize) -> usize {
        let mut state = self.state();
        if state.healthy { asked } else { asked.min(state.dice.below(troubled_max) + 1) }
    }

    /// Lets backends refuse everything until a step, unless some do already.
    pub(crate) fn begin_outage(&self, backends: &'static [Backend], until: u64) {
        let mut state = self.state();
        if state.outage.as_ref().is_some_and(|outage| state.step < outage.until) {
            return;
        }
        state.outage = Some(Outage { backends, until });
        drop(state);
        self.note(format_args!("{backends:?} out until step {until}"));
        self.count("outages");
    }

    pub(crate) fn is_out(&self, backend: Backend) -> bool {
        let state = self.state();
        let concerned = |outage: &Outage| state.step < outage.until && outage.backends.contains(&backend);
        !state.healthy && state.outage.as_ref().is_some_and(concerned)
    }

    /// Remembers who drew a nonce: entries carry it.
    pub(crate) fn sign(&self, nonce: u128, memory: Memory) {
        self.state().memories.insert(nonce, memory);
    }

    /// The memory of the dedup owner that wrote the entry with this nonce.
    pub(crate) fn memory_of(&self, nonce: u128) -> Memory {
        let memory = self.state().memories.get(&nonce).copied();
        memory.expect("whoever writes entries to a dedup chain signs its nonces")
    }

    pub(crate) fn is_off(&self, off: Off) -> bool {
        self.scenario.off == Some(off)
    }

    /// The rules that hold inside the services.
    pub(crate) fn rules(&self) -> Rules {
        #[cfg(debug_assertions)]
        if let Some(Off::Rule(rule)) = self.scenario.off {
            return Rules::without(rule);
        }
        Rules::default()
    }

    pub(crate) fn heal(&self) {
        self.state().healthy = true;
    }

    /// Moves the wall clock, which has nothing to do with the clock of timers.
    pub(crate) fn pass(&self, time: Duration) {
        self.state().now += time.as_micros() as i64;
    }

    pub(crate) fn changed(&self) {
        self.state().changes += 1;
    }

    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Says who acts from now on.
    pub(crate) fn turn(&self, step: u64, actor: &str) {
        let mut state = self.state();
        state.step = step;
        state.actor.clear();
        state.actor.push_str(actor);
    }

    /// Writes a line of the schedule.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        let mut state = self.state();
        let line = format!("{:6} {:24} {what}", state.step, state.actor);
        line.hash(&mut state.schedule.hash);
        if let Some(lines) = &mut state.schedule.lines {
            lines.push(line);
        }
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.count_many(what, 1);
    }

    pub(crate) fn count_many(&self, what: &'static str, count: u64) {
        *self.state().statistics.entry(what).or_default() += count;
    }

    pub(crate) fn find(&self, finding: impl Into<String>) {
        let finding = finding.into();
        self.note(format_args!("FINDING {finding}"));
        self.state().findings.insert(finding);
    }

    pub(crate) fn land_later(&self, late: Late) {
        self.state().late.push(late);
    }

    pub(crate) fn late_calls(&self) -> usize {
        self.state().late.len()
    }

    /// Lets one of the late calls land.
    pub(crate) fn land_one(&self) {
        let late = {
            let mut state = self.state();
            if state.late.is_empty() {
                return;
            }
            let count = state.late.len();
            let which = state.dice.below(count);
            state.late.remove(which)
        };
        late();
        self.count("late landings");
    }

    pub(crate) fn remains(&self) -> Remains {
        let mut state = self.state();
        Remains {
            findings: std::mem::take(&mut state.findings),
            statistics: std::mem::take(&mut state.statistics),
            schedule_hash: state.schedule.hash.finish(),
            lines: state.schedule.lines.take().unwrap_or_default(),
        }
    }
}

impl Clock for World {
    fn now(&self) -> i64 {
        self.state().now
    }
}

impl Random for World {
    fn next(&self) -> u128 {
        self.state().nonces.wide()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({})", self.scenario.name)
    }
}
