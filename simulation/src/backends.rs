//! What the services of a world run on, and who is started on it.

use crate::lakes::SimLake;
use crate::ledger::SimLedger;
use crate::scheduler::Scheduler;
use crate::streams::SimStream;
use crate::world::World;
use service::{Env, Halt};
use std::fmt;
use std::sync::Arc;
use stream::Shard;

/// Shards of the raw stream begin at the start and here, in 128ths of the hash key space.
const RAW_CUTS: &[u128] = &[64];

/// Those of the clean stream; they have nothing to do with each other.
const CLEAN_CUTS: &[u128] = &[32, 80];

/// Percent of worlds whose clean stream takes small records only: what it refuses is void.
const NARROW_PERCENT: f64 = 30.0;

/// Most bytes of a clean record there: enough for any one event and for any tombstone, and less than some requests need.
const NARROW_BYTES: (u64, u64) = (200, 400);

/// Everything a service can reach.
#[derive(Clone, Debug)]
pub(crate) struct Backends {
    pub(crate) world: Arc<World>,
    pub(crate) raw: SimStream,
    pub(crate) clean: SimStream,
    pub(crate) ledger: SimLedger,
    pub(crate) lake: SimLake,
}

impl Backends {
    pub(crate) fn new(world: Arc<World>) -> Backends {
        Backends {
            raw: SimStream::new(world.clone(), "raw", RAW_CUTS),
            clean: clean_stream(&world),
            ledger: SimLedger::new(world.clone()),
            lake: SimLake::new(world.clone()),
            world,
        }
    }

    /// Time and randomness as services see them whose nonces matter to nobody.
    pub(crate) fn env(&self) -> Env {
        Env::of(self.world.clone(), self.world.clone())
    }

    /// Starts one more owner of a shard, or a compactor, whoever else is at work there.
    pub(crate) fn start_any(&self, scheduler: &mut Scheduler) {
        match self.world.draw(|dice| dice.below(5)) {
            0 | 1 => self.start_deduper(scheduler, self.any(self.raw.lineage())),
            2 | 3 => self.start_writer(scheduler, self.any(self.clean.lineage())),
            _ => self.start_any_compactor(scheduler),
        }
    }

    fn any(&self, shards: Vec<Shard>) -> Shard {
        let which = self.world.draw(|dice| dice.below(shards.len()));
        shards.into_iter().nth(which).expect("the place is among the shards")
    }

    /// Starts owners of all shards, and a compactor of all days.
    pub(crate) fn start_all(&self, scheduler: &mut Scheduler) {
        self.raw.lineage().into_iter().for_each(|shard| self.start_deduper(scheduler, shard));
        self.clean.lineage().into_iter().for_each(|shard| self.start_writer(scheduler, shard));
        self.start_compactor(scheduler);
    }
}

fn clean_stream(world: &Arc<World>) -> SimStream {
    let clean = SimStream::new(world.clone(), "clean", CLEAN_CUTS);
    let (least, most) = NARROW_BYTES;
    match world.draw(|dice| dice.percent(NARROW_PERCENT).then(|| dice.between(least, most))) {
        Some(bytes_max) => clean.narrowed(bytes_max as usize),
        None => clean,
    }
}

/// Takes note of an actor that has done what it was asked for.
pub(crate) fn ended(world: &World, outcome: &dyn fmt::Debug) {
    world.note(format_args!("ends: {outcome:?}"));
}

/// A person would have to look: in a world where all rules hold there is no reason for that.
pub(crate) fn halted(world: &World, halt: &Halt) {
    world.find(halt.to_string());
}

/// Takes note of an actor that starting anew puts right.
pub(crate) fn gave_up(world: &World, error: &dyn fmt::Display) {
    world.note(format_args!("gives up: {error}"));
    world.count("owners that gave up");
}
