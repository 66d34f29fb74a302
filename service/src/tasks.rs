//! A process is a set of tasks that live and end together.
//!
//! **Stop**: the signal to drain. **Grace**: how long draining may take. **Halt**: a protocol check failed; nothing but a
//! person may start this again.

use anyhow::{Context, anyhow};
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Tells a task to drain and end.
pub type Stop = tokio_util::sync::CancellationToken;

/// A check of the protocol failed: going on could lose or double events. A person must look.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("halt: {0}")]
pub struct Halt(pub String);

/// Settings that can't be meant: nothing is started with them.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct Misconfigured(String);

impl Misconfigured {
    /// For `map_err` behind a check of settings.
    pub fn because(error: impl std::fmt::Display) -> Misconfigured {
        Misconfigured(format!("{error:#}"))
    }
}

/// Tasks of one process: the first failure, panic or early end stops all.
#[derive(Debug, Default)]
pub struct Tasks {
    running: JoinSet<(String, anyhow::Result<()>)>,
    stop: Stop,
}

impl Tasks {
    /// Signals every task of this set.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Runs a task; it must drain and return once `stop` is signalled, and not before.
    pub fn spawn<F>(&mut self, name: &str, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// As [`Tasks::spawn`], on the threads of another runtime.
    pub fn spawn_on<F>(&mut self, threads: &Handle, name: &str, task: impl FnOnce(Stop) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.to_string();
        let work = task(self.stop.clone());
        self.running.spawn_on(async move { (name, work.await) }, threads);
    }

    /// Runs until `signal`, or until a task ends; then stops all and waits up to `grace` for them to drain.
    ///
    /// # Errors
    /// The first task that failed, panicked, or ended before the signal; a drain that outlasts the grace.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>, grace: Duration) -> anyhow::Result<()> {
        let first = tokio::select! {
            () = signal => Ok(()),
            ended = self.running.join_next() => ended.map_or(Ok(()), |ended| judge(ended, true)),
        };
        if let Err(error) = &first {
            tracing::error!(error = format!("{error:#}"), "stopping");
        }
        self.stop.cancel();
        let drained = tokio::time::timeout(grace, self.drain()).await;
        first.and(drained.unwrap_or_else(|_| Err(anyhow!("not drained within {grace:?}"))))
    }

    async fn drain(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.running.join_next().await {
            outcome = outcome.and(judge(ended, false));
        }
        outcome
    }
}

fn judge(ended: Result<(String, anyhow::Result<()>), tokio::task::JoinError>, early: bool) -> anyhow::Result<()> {
    let (name, outcome) = ended.context("a task panicked")?;
    outcome.with_context(|| format!("task {name}"))?;
    if early {
        return Err(anyhow!("task {name} ended without being asked to"));
    }
    Ok(())
}

/// Listens for Ctrl-C and SIGTERM from now on; what this gives resolves on the first of either. Until then, both end the
/// process at once, or go by unseen where it is the first one of a container.
///
/// # Panics
/// Outside of a runtime.
pub fn signal() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("the process may listen for SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the process may listen for Ctrl-C");
    async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// Exit codes, so that an orchestrator can tell what to do: 2 bad settings (as clap has it), 3 a dependency is lost, 4 halt.
pub fn exit_code(outcome: &anyhow::Result<()>) -> ExitCode {
    const MISCONFIGURED: u8 = 2;
    const LOST_DEPENDENCY: u8 = 3;
    const HALT: u8 = 4;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.chain().any(|cause| cause.is::<Halt>()) => ExitCode::from(HALT),
        Err(error) if error.chain().any(|cause| cause.is::<Misconfigured>()) => ExitCode::from(MISCONFIGURED),
        Err(_) => ExitCode::from(LOST_DEPENDENCY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_signal_lets_every_task_drain() {
        let mut tasks = Tasks::default();
        tasks.spawn("a", |stop| async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        });
        assert!(tasks.run_until(async {}, GRACE).await.is_ok());
    }

    #[tokio::test]
    async fn a_signal_that_comes_before_anybody_waits_for_it_is_not_missed() {
        let signalled = signal();
        let process = rustix::process::getpid();
        rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("its own process");
        signalled.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_stops_the_others_and_is_the_error() {
        let mut tasks = Tasks::default();
        tasks.spawn("short", |_| async { Ok(()) });
        tasks.spawn("long", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        let error = tasks.run_until(pending(), GRACE).await.expect_err("ended early");
        assert!(error.to_string().contains("short"), "{error:#}");
    }

    #[test]
    fn what_ended_a_process_shows_in_its_exit_code() {
        let coded = |error: anyhow::Error| exit_code(&Err(error.context("start")));
        assert_eq!(coded(Misconfigured::because("--shards is 0").into()), ExitCode::from(2));
        assert_eq!(coded(anyhow!("no answer")), ExitCode::from(3));
        assert_eq!(coded(Halt("slot 7 differs".into()).into()), ExitCode::from(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_drain_is_an_error_after_the_grace() {
        let mut tasks = Tasks::default();
        tasks.spawn("deaf", |_| pending());
        assert!(tasks.run_until(async {}, GRACE).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_wins_over_errors_of_the_drain() {
        let mut tasks = Tasks::default();
        tasks.spawn("first", |_| async { Err(Halt("slot 7 differs".into()).into()) });
        tasks.spawn("second", |stop| async move {
            stop.cancelled().await;
            Err(anyhow!("late"))
        });
        let outcome = tasks.run_until(pending(), GRACE).await;
        assert_eq!(exit_code(&outcome), ExitCode::from(4));
    }
}
