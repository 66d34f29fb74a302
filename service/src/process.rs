//! The frame of a service's process: what it is told by settings, what it shows of itself, and how it ends.

use crate::settings::duration;
use crate::telemetry::{self, LogFormat};
use crate::{Health, Stop, Tasks, admin, files, memory, metrics, tasks};
use anyhow::{Context, ensure};
use clap::Args;
use std::fmt;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for the answer of a health check, and most of it that is read.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
const CHECK_BYTES_MAX: u64 = 16 << 10;

/// Longest time for which a process that is done goes on telling those who watch it: they are to hear of the drain before the
/// connection ends, and a watch has no end of its own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What every service's process is told the same way.
#[derive(Args, Clone, Debug)]
#[group(id = "process")]
#[command(next_help_heading = "Process")]
pub struct Process {
    /// Where to serve /healthz, /readyz, /metrics and gRPC health [default: nowhere]
    #[arg(long, env = "FOREBAY_ADMIN_ADDR")]
    pub admin_addr: Option<SocketAddr>,

    /// How long draining may take; shorter than the orchestrator's own patience
    #[arg(long, env = "FOREBAY_SHUTDOWN_GRACE", default_value = "25s", value_parser = duration)]
    pub shutdown_grace: Duration,

    /// How log lines look
    #[arg(long, env = "FOREBAY_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Ask the process that shows its health at this address whether it is ready, and end: with 0 if it is
    #[arg(long, value_name = "ADDR")]
    pub check_health: Option<SocketAddr>,

    /// Print the settings that apply, with those from the environment, and end
    #[arg(long)]
    pub print_config: bool,
}

impl Process {
    /// Begins a process, unless it is only asked something: then it answers, and there is nothing to do.
    ///
    /// # Errors
    /// A filter of logs that is none; another process that was asked for, and is not ready.
    pub fn begin(&self, settings: &impl fmt::Debug) -> anyhow::Result<bool> {
        if let Some(addr) = self.check_health {
            return check_health(addr).map(|()| false);
        }
        if self.print_config {
            println!("{settings:#?}");
            return Ok(false);
        }
        memory::take_small_pages();
        files::raise_limit();
        telemetry::init(self.log_format, "info")?;
        tracing::info!(?settings, "starting");
        Ok(true)
    }

    /// Runs the tasks of `service` until `signal`, and shows the process's health meanwhile. Who listens for signals before
    /// there are tasks misses none that comes while they start.
    ///
    /// # Errors
    /// As [`Tasks::run_until`], and an address that can't be had.
    pub async fn run(
        &self,
        service: &str,
        health: Health,
        tasks: Tasks,
        signal: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let shown = self.show(service, health, tasks.stop()).await?;
        let outcome = tasks.run_until(signal, self.shutdown_grace).await;
        shown.close().await;
        outcome
    }

    /// Shows the health of `service` on its admin address, if it has one, until what this gives is closed or dropped. Once
    /// `stop` is signalled it is no longer ready.
    ///
    /// # Errors
    /// An address that can't be had.
    pub async fn show(&self, service: &str, health: Health, stop: Stop) -> anyhow::Result<Shown> {
        metrics::begin(service);
        let Some(addr) = self.admin_addr else { return Ok(Shown::default()) };
        let listener = TcpListener::bind(addr).await.with_context(|| format!("listen on --admin-addr {addr}"))?;
        tracing::info!(admin = %listener.local_addr()?, "showing health");
        let (name, closing) = (service.to_owned(), Stop::new());
        let closed = closing.clone();
        let serve = async move {
            if let Err(error) = admin::serve(listener, health, &name, stop, closed).await {
                tracing::error!(%error, "health is no longer shown");
            }
        };
        Ok(Shown { serving: Some(AbortOnDropHandle::new(tokio::spawn(serve))), closing })
    }
}

/// The health of a process, while it is shown.
#[derive(Debug, Default)]
pub struct Shown {
    serving: Option<AbortOnDropHandle<()>>,
    closing: Stop,
}

impl Shown {
    /// Shows it no longer, once everybody who watches has been told what there was to tell.
    pub async fn close(self) {
        self.closing.cancel();
        if let Some(serving) = self.serving {
            // Who watches on is cut off.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, serving).await;
        }
    }
}

/// Asks the process that shows its health at this address for its readiness.
///
/// # Errors
/// It does not answer, or is not ready; with its reasons.
pub fn check_health(addr: SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect_timeout(&addr, CHECK_TIMEOUT).with_context(|| format!("connect to {addr}"))?;
    socket.set_read_timeout(Some(CHECK_TIMEOUT))?;
    socket.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    socket.take(CHECK_BYTES_MAX).read_to_string(&mut answer).with_context(|| format!("no answer from {addr}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let reasons = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim_end();
    ensure!(status == "200", "{addr} is not ready: {reasons}");
    Ok(())
}

/// Says what ended a process, and gives the exit code for it.
pub fn end(name: &str, outcome: &anyhow::Result<()>) -> ExitCode {
    if let Err(error) = outcome {
        eprintln!("{name}: {error:#}");
    }
    tasks::exit_code(outcome)
}
