//! The `forebay` binary: what people start.

use clap::{Parser, Subcommand};
use forebay::{audit, backfill, bench, compact, cost, forward_again, generate, quarantine, setup, up};
use service::telemetry::{self, LogFormat};
use service::{Env, Stop, files, memory, process, tasks};
use std::process::ExitCode;

/// Gives memory back faster and takes fewer locks than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes analytics events over HTTP and writes each one exactly once, as Parquet, into a lake
#[derive(Debug, Parser)]
#[command(version, args_override_self = true)]
struct Cli {
    /// How log lines look
    #[arg(long, env = "FOREBAY_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // One of them is made, once.
enum Command {
    Up(up::UpArgs),
    Generate(generate::Args),
    Audit(audit::AuditArgs),
    Compact(compact::CompactArgs),
    ForwardAgain(forward_again::ForwardArgs),
    Backfill(backfill::BackfillArgs),
    Quarantine(quarantine::QuarantineArgs),
    Bench(bench::BenchArgs),
    Cost(cost::CostArgs),
    Setup(setup::SetupArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    memory::take_small_pages();
    files::raise_limit();
    let cli = Cli::parse();
    let outcome = match telemetry::init(cli.log_format, "info") {
        Ok(()) => run(cli.command).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("forebay: {error:#}");
            tasks::exit_code(&Err(error))
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let env = Env::system();
    match command {
        Command::Up(args) => up::run(args, env, tasks::signal).await.map(|()| ExitCode::SUCCESS),
        Command::Generate(args) => {
            let summary = generate::run(args, env, stop_on_signal()).await?;
            print!("{summary}");
            Ok(code(summary.is_clean()))
        }
        Command::Audit(audit::AuditArgs { check_health: Some(addr), .. }) => {
            process::check_health(addr).map(|()| ExitCode::SUCCESS)
        }
        Command::Audit(args) if args.watch.is_some() => {
            let every = args.watch.expect("it was just looked at");
            let conserved = Box::pin(audit::watch(args, every, env, stop_on_signal())).await?;
            Ok(code(conserved.is_right()))
        }
        Command::Audit(args) => {
            let report = Box::pin(audit::run(args, env)).await?;
            print!("{report}");
            Ok(code(report.is_clean()))
        }
        Command::Compact(args) => Box::pin(compact::run(args, env)).await.map(|()| ExitCode::SUCCESS),
        Command::ForwardAgain(args) => Box::pin(forward_again::run(args, env)).await.map(|()| ExitCode::SUCCESS),
        Command::Backfill(args) => Box::pin(backfill::run(args, env, stop_on_signal())).await.map(code),
        Command::Quarantine(args) => Box::pin(quarantine::run(args, env, stop_on_signal())).await.map(code),
        Command::Setup(args) => Box::pin(setup::run(args, env)).await.map(|()| ExitCode::SUCCESS),
        Command::Cost(args) => {
            print!("{}", cost::run(&args)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench(args) => bench::run(args, env).await.map(|()| ExitCode::SUCCESS),
    }
}

fn code(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A stop that Ctrl-C or SIGTERM signals.
fn stop_on_signal() -> Stop {
    let stop = Stop::new();
    let (signalled, signal) = (stop.clone(), tasks::signal());
    // Ends with the process; nothing waits for it.
    drop(tokio::spawn(async move {
        signal.await;
        signalled.cancel();
    }));
    stop
}
