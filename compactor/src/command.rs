//! What a process of the compactor does, as its command line has it.

use crate::{Compactor, Planned, Worker, WorkerConfig, backlog, dead};
use anyhow::Context;
use backend::TaskQueues;
use clap::ValueEnum;
use service::{Misconfigured, Stop, Tasks};

/// What a process of the compactor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Command {
    /// Plan days that are over and send a task for each group of their outputs; sweep and trim; end
    Plan,
    /// Take tasks until stopped
    Work,
    /// Do both: plan each night at 00:10 UTC, sweep and trim every hour, and take tasks until stopped
    Run,
}

/// What a process does until it is stopped; [`Command::Plan`] is over before that, see [`plan`].
///
/// Without queues, [`Command::Run`] compacts by itself.
///
/// # Errors
/// [`Misconfigured`] where there is no queue to work for.
pub fn spawn(
    command: Command,
    compactor: Compactor,
    worker: WorkerConfig,
    queues: Option<TaskQueues>,
    running: &mut Tasks,
) -> Result<(), Misconfigured> {
    let queues = match (command, queues) {
        (Command::Run, None) => {
            running.spawn("compactor", |stop| compactor.run(stop));
            return Ok(());
        }
        (_, queues) => needed(queues)?,
    };
    let TaskQueues { tasks, dead } = queues;
    let (planner, planned) = (compactor.clone(), tasks.clone());
    match command {
        Command::Run => running.spawn("planner", |stop| planner.run_planner(planned, stop)),
        _ => running.spawn("backlog", |stop| planner.run_backlog(stop)),
    }
    let letters = dead.clone();
    running.spawn("dead letters", |stop| dead::watch(letters, stop));
    running.spawn("worker", |stop| Worker::new(compactor, worker, tasks, dead).run(stop));
    Ok(())
}

/// Plans, sweeps and trims once, and prints what was planned; `signal` ends it early, and signals `stop`.
///
/// # Errors
/// As [`Compactor::plan_once`]; [`Misconfigured`] where there is no queue for the tasks.
pub async fn plan(
    compactor: &Compactor,
    queues: Option<TaskQueues>,
    signal: impl Future<Output = ()>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let TaskQueues { tasks, dead } = needed(queues)?;
    compactor.show_ready();
    let stopped = async {
        signal.await;
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        planned = compactor.plan_once(&*tasks, stop) => tell(planned.context("plan")?, stop),
        halted = backlog::watch(compactor) => halted?,
        ended = dead::watch(dead, stop.clone()) => ended?,
        () = stopped => {}
    }
    Ok(())
}

/// Prints what was planned. The log says so too where nothing was cut short: an alarm waits for that line each night.
fn tell(planned: Planned, stop: &Stop) {
    println!("{planned}");
    if !stop.is_cancelled() {
        tracing::info!(%planned, "past days are planned, swept and trimmed");
    }
}

fn needed(queues: Option<TaskQueues>) -> Result<TaskQueues, Misconfigured> {
    queues.ok_or_else(|| Misconfigured::because("--task-queue is empty: `plan` and `work` need one, `run` does not"))
}
