//! Looks for seeds that break the promise, or replays one and prints its schedule.

use anyhow::Context;
use clap::Parser;
use simulation::{Keep, PROTOCOL, Report, SWITCHED_OFF, Scenario, Statistics, for_each_seed, run, schedule_of};
use std::process::ExitCode;

/// Runs simulated worlds and judges them by the product's promise
#[derive(Parser, Debug)]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value = "1000", conflicts_with = "seed")]
    seeds: u64,

    /// The first of them
    #[arg(long, default_value = "0", conflicts_with = "seed")]
    from: u64,

    /// Replays this seed and prints its schedule: step, actor, call and what became of it
    #[arg(long)]
    seed: Option<u64>,

    /// Kind of world; without it, the kinds in which the promise must hold take turns
    #[arg(long)]
    scenario: Option<String>,

    /// Lists the kinds of world
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        PROTOCOL.iter().chain(SWITCHED_OFF).for_each(|scenario| println!("{}", scenario.name));
        return Ok(ExitCode::SUCCESS);
    }
    let named = |name: &str| Scenario::named(name).with_context(|| format!("no scenario is called {name}: see --list"));
    let chosen = arguments.scenario.as_deref().map(named).transpose()?;
    let scenario_of = |seed| chosen.unwrap_or_else(|| in_turn(seed));
    let broken = match arguments.seed {
        Some(seed) => replay(seed, scenario_of(seed)),
        None => search(arguments.from..arguments.from.saturating_add(arguments.seeds), scenario_of),
    };
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The kind of world that a seed gets in turn.
fn in_turn(seed: u64) -> Scenario {
    PROTOCOL[(seed % PROTOCOL.len() as u64) as usize]
}

/// Prints what happened in the world of a seed; how many seeds break the promise, which is this one or none.
fn replay(seed: u64, scenario: Scenario) -> u64 {
    let report = run(seed, scenario, Keep::Lines);
    report.schedule.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}, {}: schedule {:016x}, {:?}", scenario.name, report.schedule_hash, report.statistics);
    complain(&report)
}

/// Runs seeds and prints every one that breaks the promise, the first with its schedule; how many do.
fn search(seeds: std::ops::Range<u64>, scenario_of: impl Fn(u64) -> Scenario + Sync) -> u64 {
    let (mut broken, mut statistics) = (0, Statistics::new());
    for_each_seed(seeds.clone(), scenario_of, |report| {
        if broken == 0 && !report.findings.is_empty() {
            schedule_of(&report).iter().for_each(|line| println!("{line}"));
        }
        broken += complain(&report);
        report.statistics.iter().for_each(|(what, count)| *statistics.entry(what).or_default() += count);
    });
    println!("seeds {seeds:?}: {broken} break the promise; {statistics:?}");
    broken
}

fn complain(report: &Report) -> u64 {
    if report.findings.is_empty() {
        return 0;
    }
    println!("{}", report.complaint());
    1
}
