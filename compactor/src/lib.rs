//! The compactor: merges the live objects of a day into few final ones, each row once.
//!
//! **Plan**: an entry of a day's chain that names inputs and outputs exactly. **Open**: written down, and not all its
//! outputs exist; **complete**: they do. Every day has a chain of its own for each table, and its plans are carried out
//! one after the other. Anyone may do that, at any time, several at once: what they make is the same.
//!
//! One process does it all by itself ([`Compactor::run`]), or a **fleet** does: a planner writes plans down and sends
//! **tasks** ([`Compactor::plan`]), and any number of workers take them ([`Worker`]).

mod backlog;
mod block;
mod chain;
pub mod command;
mod compact;
pub mod config;
mod copies;
mod day;
mod dead;
mod discover;
mod error;
mod fleet;
mod group;
mod held;
mod merge;
pub mod metrics;
mod nightly;
mod outputs;
mod patient;
pub mod plan;
mod preview;
mod run;
mod snapshot;
mod sort;
mod spill;
mod sweep;
mod task;
mod trim;
mod worker;

pub use backlog::Backlog;
pub use command::Command;
pub use config::{Config, WorkerConfig};
pub use error::CompactError;
pub use fleet::Planned;
pub use preview::PlanPreview;
pub use snapshot::{Snapshot, snapshot};
pub use worker::{Outcome, Worker};

use anyhow::Context;
use day::DayWork;
use discover::Discovery;
use futures::future::BoxFuture;
use lake::Lake;
use ledger::Ledger;
use nightly::Night;
use patient::Patient;
use plan::Cursors;
use queue::Queue;
use schema::{Day, Table};
use service::{Env, Health, Part, Rules, Stop};
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// Where rows are sorted and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labour {
    /// On the pool of blocking threads, so that the event loop goes on.
    OnPool,
    /// Right here: the same every time, as a simulation needs.
    Inline,
}

/// What a compactor works with.
#[derive(Clone, Debug)]
pub struct Parts {
    pub ledger: Arc<dyn Ledger>,
    pub lake: Arc<dyn Lake>,
    pub env: Env,
    pub config: Config,
    pub labour: Labour,
    pub rules: Rules,
}

/// Which days to compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    All,
    Day(Day),
    /// Days that are over.
    Past,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub plans: u64,
    pub inputs: u64,
    pub rows: u64,
    /// Rows whose id was in the day already.
    pub dropped: u64,
    /// Final objects.
    pub objects: u64,
}

impl Summary {
    fn add(&mut self, done: &compact::Done) {
        *self = self.plus(&Summary {
            plans: 1,
            inputs: done.inputs,
            rows: done.rows,
            dropped: done.dropped,
            objects: done.objects,
        });
    }

    fn plus(&self, other: &Summary) -> Summary {
        Summary {
            plans: self.plans + other.plans,
            inputs: self.inputs + other.inputs,
            rows: self.rows + other.rows,
            dropped: self.dropped + other.dropped,
            objects: self.objects + other.objects,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { plans, inputs, rows, dropped, objects } = self;
        write!(
            f,
            "{plans} plans: {inputs} live objects, {rows} rows -> {objects} final objects, {dropped} rows dropped"
        )
    }
}

/// The compactor of one process. Clones are the same compactor, and compact one after the other.
#[derive(Clone, Debug)]
pub struct Compactor {
    parts: Arc<Parts>,
    lake: Patient,
    discovery: Arc<Mutex<Discovery>>,
    /// Held while a compaction is under way: two at once would do no harm, and the same work.
    turn: Arc<tokio::sync::Mutex<()>>,
    ready: Option<Part>,
}

impl Compactor {
    pub fn new(config: Config, ledger: Arc<dyn Ledger>, lake: Arc<dyn Lake>, env: Env, health: &Health) -> Compactor {
        let parts = Parts { ledger, lake, env, config, labour: Labour::OnPool, rules: Rules::default() };
        Compactor { ready: Some(health.part("compactor")), ..Compactor::of(parts) }
    }

    /// A compactor that nobody asks for its health.
    pub fn of(parts: Parts) -> Compactor {
        metrics::register();
        metrics::show_bounds(&parts.config);
        let lake = Patient(parts.lake.clone());
        Compactor { parts: Arc::new(parts), lake, discovery: Arc::default(), turn: Arc::default(), ready: None }
    }

    /// Whether a compaction is under way: another one waits for it.
    pub fn is_busy(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// Compacts what is settled of the selected days, once no other compaction of this process is under way.
    ///
    /// # Errors
    /// [`CompactError`]; what was done stays done.
    pub async fn compact(&self, selection: Selection) -> anyhow::Result<Summary> {
        let this = self.clone();
        self.labour(Box::pin(async move { this.compact_here(selection).await })).await
    }

    async fn compact_here(&self, selection: Selection) -> anyhow::Result<Summary> {
        let mut all = Summary::default();
        for (table, day) in self.days(selection).await.context("look for days to compact")? {
            let done =
                self.compact_day_here((table, day)).await.with_context(|| format!("compact {table} of {day}"))?;
            all = all.plus(&done);
        }
        Ok(all)
    }

    /// Compacts what is settled of one day: plans that are open first, then what no plan has.
    pub async fn compact_day(&self, table: Table, day: Day) -> Result<Summary, CompactError> {
        let this = self.clone();
        self.labour(Box::pin(async move { this.compact_day_here((table, day)).await })).await
    }

    async fn compact_day_here(&self, day: (Table, Day)) -> Result<Summary, CompactError> {
        let (settled, hints) = self.outlook(day).await?;
        let (summary, planned) = DayWork::new(&self.parts, &self.lake, day, settled, hints).run().await?;
        self.discovered(|discovery| discovery.done(day, &planned));
        Ok(summary)
    }

    /// The plans that [`Compactor::compact`] would begin with, a day each.
    pub async fn dry_run(&self, selection: Selection) -> anyhow::Result<Vec<PlanPreview>> {
        let mut previews = Vec::new();
        for day in self.days(selection).await.context("look for days to compact")? {
            let (settled, hints) = self.outlook(day).await?;
            previews.extend(DayWork::new(&self.parts, &self.lake, day, settled, hints).preview().await?);
        }
        Ok(previews)
    }

    /// Removes live objects that have been in complete plans for the grace; how many.
    pub async fn sweep(&self) -> Result<u64, CompactError> {
        sweep::sweep(&self.parts, &self.lake).await
    }

    /// Removes announcements of writers that are older than the settings say and whose rows are in final objects; how
    /// many.
    pub async fn trim(&self) -> Result<u64, CompactError> {
        trim::trim(&self.parts, &self.lake).await
    }

    /// Compacts past days, sweeps and trims: what a nightly cron job does.
    ///
    /// # Errors
    /// [`CompactError`]; what was done stays done.
    pub async fn run_once(&self) -> anyhow::Result<Summary> {
        let summary = self.compact(Selection::Past).await?;
        self.sweep().await.context("sweep")?;
        self.trim().await.context("trim announcements")?;
        Ok(summary)
    }

    /// Plans past days for a fleet, sweeps and trims: what a nightly cron job does where others work. Ends early at `stop`.
    ///
    /// # Errors
    /// [`CompactError`]; what was done stays done.
    pub async fn plan_once(&self, tasks: &dyn Queue, stop: &Stop) -> anyhow::Result<Planned> {
        let planned = self.plan(Selection::Past, tasks, stop).await?;
        if !stop.is_cancelled() {
            self.sweep().await.context("sweep")?;
            self.trim().await.context("trim announcements")?;
        }
        Ok(planned)
    }

    /// Compacts past days soon and then every night, sweeps and trims every hour, until `stop`.
    ///
    /// # Errors
    /// [`service::Halt`] only: what else goes wrong is logged and tried again.
    pub async fn run(self, stop: Stop) -> anyhow::Result<()> {
        self.run_nightly(Night::Compact, &stop).await
    }

    /// Plans past days for a fleet soon and then every night, sweeps and trims every hour, until `stop`.
    ///
    /// # Errors
    /// [`service::Halt`] only: what else goes wrong is logged and tried again.
    pub async fn run_planner(self, tasks: Arc<dyn Queue>, stop: Stop) -> anyhow::Result<()> {
        self.run_nightly(Night::Plan(tasks), &stop).await
    }

    async fn run_nightly(&self, night: Night, stop: &Stop) -> anyhow::Result<()> {
        self.show_ready();
        let work = async {
            tokio::select! {
                halted = nightly::run(self, &night) => halted,
                halted = backlog::watch(self) => halted,
            }
        };
        // What is cut off is finished by whoever comes next.
        stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
    }

    /// Shows what is left of the last night's work, until `stop`: for a process that leaves the nights to another.
    ///
    /// # Errors
    /// [`service::Halt`] only: what else goes wrong is logged and tried again.
    pub async fn run_backlog(self, stop: Stop) -> anyhow::Result<()> {
        stop.run_until_cancelled(backlog::watch(&self)).await.unwrap_or(Ok(()))
    }

    /// What the last night should have compacted, and has not.
    ///
    /// # Errors
    /// [`CompactError`].
    pub async fn backlog(&self) -> Result<Backlog, CompactError> {
        backlog::look(self, &mut Discovery::default(), nightly::last(self.parts.env.now())).await
    }

    fn show_ready(&self) {
        if let Some(part) = &self.ready {
            part.ready();
        }
    }

    /// How far writer chains are settled, and where they first mention the day.
    async fn outlook(&self, day: (Table, Day)) -> Result<(Cursors, Cursors), CompactError> {
        let settled = chain::settled(&*self.parts.ledger).await?;
        Ok((settled, self.discovered(|discovery| discovery.firsts(day))))
    }

    async fn days(&self, selection: Selection) -> Result<Vec<(Table, Day)>, CompactError> {
        if let Selection::Day(day) = selection {
            return Ok(Table::ALL.into_iter().map(|table| (table, day)).collect());
        }
        let settled = chain::settled(&*self.parts.ledger).await?;
        let mut discovery = self.discovered(std::mem::take);
        let read = discovery.read_on(&*self.parts.ledger, &settled, i64::MAX).await;
        let days = discovery.days();
        self.discovered(|kept| *kept = discovery);
        read?;
        let today = Day::of(self.parts.env.now());
        Ok(days.into_iter().filter(|&(_, day)| selection == Selection::All || day < today).collect())
    }

    fn discovered<T>(&self, look: impl FnOnce(&mut Discovery) -> T) -> T {
        look(&mut self.discovery.lock().expect("nobody panics while holding it"))
    }

    /// Does work that keeps a processor busy where it may. Work that nobody waits for any more is dropped.
    async fn labour<T: Send + 'static, E: From<CompactError> + Send + 'static>(
        &self,
        work: BoxFuture<'static, Result<T, E>>,
    ) -> Result<T, E> {
        let turn = self.turn.clone().lock_owned().await;
        let work = async move {
            let _turn = turn;
            work.await
        };
        if self.parts.labour == Labour::Inline {
            return work.await;
        }
        let abandoned = Stop::new();
        let _guard = abandoned.clone().drop_guard();
        let runtime = Handle::current();
        let work = move || runtime.block_on(abandoned.run_until_cancelled_owned(work));
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.expect("it is abandoned only when nobody waits"),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(CompactError::Spill("the process is shutting down".to_string()).into()),
        }
    }
}
