//! Compactors as actors: of one day or of all, several at once, and sweeps that remove what they took up.

use crate::backends::{Backends, ended, gave_up, halted};
use crate::events::DAYS;
use crate::scheduler::{Role, Scheduler};
use crate::world::{BEGIN_MICROS, World};
use compactor::{Compactor, Config, Labour, Parts, Selection};
use ledger::KEPT_MIN;
use schema::{Day, Table};
use service::Halt;
use std::sync::Arc;
use std::time::Duration;

/// How long live objects stay after their plan is complete, by the wall clock of a world. Far less than an owner may be
/// starved: objects are deleted while somebody still wants to make them.
const GRACE: Duration = Duration::from_secs(1_800);

/// Memory of a compactor: more than all rows of a world.
const MEMORY_BYTES: usize = 64 << 20;

impl Backends {
    /// Starts a compactor of any days, or a sweep.
    pub(crate) fn start_any_compactor(&self, scheduler: &mut Scheduler) {
        match self.world.draw(|dice| dice.below(8)) {
            0..3 => self.start_sweep(scheduler, GRACE),
            3 => self.start_compactor(scheduler),
            _ => self.start_compactor_of_a_day(scheduler),
        }
    }

    /// Starts a compactor of all days.
    pub(crate) fn start_compactor(&self, scheduler: &mut Scheduler) {
        let (world, compactor) = (self.world.clone(), self.compactor(GRACE));
        scheduler.start(Role::Service, "compactor", |_| async move {
            let outcome = compactor.compact(Selection::All).await;
            note(&world, outcome.map(drop));
        });
    }

    fn start_compactor_of_a_day(&self, scheduler: &mut Scheduler) {
        let (table, day) = self.world.draw(|dice| dice.pick(&days()));
        let (world, compactor) = (self.world.clone(), self.compactor(GRACE));
        scheduler.start(Role::Service, &format!("compactor {table} {day}"), |_| async move {
            let outcome = compactor.compact_day(table, day).await;
            note(&world, outcome.map(drop).map_err(anyhow::Error::new));
        });
    }

    /// Starts a sweep of what has been in complete plans for `grace`.
    pub(crate) fn start_sweep(&self, scheduler: &mut Scheduler, grace: Duration) {
        let (world, compactor) = (self.world.clone(), self.compactor(grace));
        scheduler.start(Role::Service, "sweep", |_| async move {
            let outcome = compactor.sweep().await;
            world.count_many("swept objects", *outcome.as_ref().unwrap_or(&0));
            note(&world, outcome.map(drop).map_err(anyhow::Error::new));
        });
    }

    fn compactor(&self, grace: Duration) -> Compactor {
        let object_bytes = self.world.draw(|dice| dice.pick(&[1, 8 << 10, 1 << 20]));
        Compactor::of(Parts {
            ledger: Arc::new(self.ledger.clone()),
            lake: Arc::new(self.lake.clone()),
            env: self.env(),
            config: Config {
                object_bytes,
                memory_bytes_max: MEMORY_BYTES,
                spill_dir: None,
                grace,
                keep_announcements: KEPT_MIN,
            },
            labour: Labour::Inline,
            rules: self.world.rules(),
        })
    }
}

/// Tables and days that events of a world can belong to: created before it begins, received while it lasts.
fn days() -> Vec<(Table, Day)> {
    let begin = Day::of(BEGIN_MICROS).0;
    let created = (begin - DAYS as i32..begin).map(|day| (Table::Events, Day(day)));
    created.chain((begin..begin + 2).map(|day| (Table::Quarantine, Day(day)))).collect()
}

fn note(world: &World, outcome: anyhow::Result<()>) {
    match outcome {
        Ok(()) => ended(world, &"done"),
        Err(error) => match error.chain().find_map(|cause| cause.downcast_ref::<Halt>()) {
            Some(halt) => halted(world, halt),
            None => gave_up(world, &format_args!("{error:#}")),
        },
    }
}
