//! Keeps stand-ins for AWS running for a person or a script, as a test does: until it is ended.

use anyhow::Context;
use clap::Parser;
use standins::{Home, Lease, Server, StandInError};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Starts servers that stand in for AWS, prints the environment that leads to them, and keeps them until it is ended
#[derive(Parser, Debug)]
struct Arguments {
    /// Which; those of the tests while tests run
    #[arg(required = true)]
    servers: Vec<Server>,

    /// Directory of this run [default: that of the tests]
    #[arg(long)]
    run: Option<PathBuf>,

    /// Directory of the installed packages [default: that of the tests]
    #[arg(long)]
    installs: Option<PathBuf>,

    /// Seconds that servers stay after their last user [default: as with the tests]
    #[arg(long)]
    grace: Option<f64>,

    /// Ends when its standard input does, which for a child is when its parent ends, however that happens
    #[arg(long)]
    until_input_ends: bool,
}

fn main() -> ExitCode {
    match keep(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keep(arguments: Arguments) -> anyhow::Result<()> {
    let shared = Home::shared();
    let home = Home {
        installs: arguments.installs.unwrap_or(shared.installs),
        run: arguments.run.unwrap_or(shared.run),
        grace: arguments.grace.map_or(shared.grace, Duration::from_secs_f64),
    };
    let leases = arguments.servers.iter().map(|&server| Ok((server, home.ask(server)?)));
    let leases = leases.collect::<Result<Vec<(Server, Lease)>, StandInError>>()?;
    print(&leases).context("print the environment")?;
    if arguments.until_input_ends {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).context("read standard input")?;
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}

fn print(leases: &[(Server, Lease)]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for (name, value) in standins::identity() {
        writeln!(output, "export {name}={value}")?;
    }
    for (server, lease) in leases {
        writeln!(output, "export {}={}", server.variable(), lease.endpoint().url)?;
    }
    output.flush()
}
