//! `forebay bench`: what the pipeline costs on this machine.
//!
//! **Part**: something measured: `a` the whole path into `live/`, `b` its compaction, `c` single events against a bare
//! handler. **Child**: this executable once more, as the process under measurement; the parent makes the load, and what
//! it costs is not counted. The result of every part is audited before it is reported.

use crate::generate::rate::count;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use input::Input;
use report::Report;
use service::{Env, settings};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

mod bare;
mod child;
mod compaction;
mod connection;
mod input;
mod path;
mod process;
mod report;
mod single;

/// Measures CPU time, throughput and memory of the pipeline on this machine
///
/// Needs Linux, and about 2 GB of disk for 2,000,000 events. Build with --release.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Events of parts a and b, as in 50k, 2M
    #[arg(long, default_value = "2M", value_parser = count)]
    pub events: u64,

    /// Which parts: a, HTTP batches of 100 to live Parquet; b, compaction of that; c, single events at 64 connections
    /// against a bare handler
    #[arg(long, value_delimiter = ',', default_value = "a,b,c")]
    pub parts: Vec<Part>,

    /// Connections that post the batches of part a
    #[arg(long, default_value = "4")]
    pub connections: NonZeroUsize,

    /// Rounds of part c, each once with either server
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroU32,

    /// Length of a round of part c, as in 10s; a tenth of it is run before, to warm up
    #[arg(long, default_value = "10s", value_parser = settings::duration)]
    pub round_time: Duration,

    /// The same seed makes the same events
    #[arg(long, default_value = "7")]
    pub seed: u64,

    /// Where files go meanwhile, on the disk that is to be measured [default: the system's folder of temporary files]
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Print JSON in place of a table
    #[arg(long)]
    pub json: bool,

    /// Be the bare handler of part c
    #[arg(long, hide = true)]
    pub bare_server: bool,
}

/// Something measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    A,
    B,
    C,
}

impl BenchArgs {
    fn check(&self) -> anyhow::Result<()> {
        let asks_for = |part| self.parts.contains(&part);
        ensure!(asks_for(Part::A) || !asks_for(Part::B), "part b compacts the lake of part a: ask for --parts a,b");
        ensure!(!self.round_time.is_zero(), "--round-time must be above zero");
        Ok(())
    }
}

/// Measures the parts one after the other, and prints what they cost.
pub async fn run(args: BenchArgs, env: Env) -> anyhow::Result<()> {
    if args.bare_server {
        return bare::serve().await;
    }
    args.check()?;
    let json = args.json;
    let report = tokio::task::spawn_blocking(move || measure(&args, &env)).await.context("measure")??;
    if json {
        println!("{}", serde_json::to_string_pretty(&report).context("write the report")?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Blocks: the children are waited for, and the load has a runtime and a thread of its own.
fn measure(args: &BenchArgs, env: &Env) -> anyhow::Result<Report> {
    let dir = folder(args.dir.as_deref())?;
    let mut report = Report::new();
    if args.parts.contains(&Part::A) {
        tracing::info!(events = args.events, "making the input");
        let input = Input::make(&dir.path().join("events.ndjson"), args.seed, args.events, env.now())?;
        report.input_bytes_per_event = Some(input.bytes() as f64 / args.events as f64);
        let data_dir = dir.path().join("data");
        tracing::info!("part a: HTTP batches to live Parquet");
        report.rows.push(path::measure(&input, &data_dir, args.connections)?);
        if args.parts.contains(&Part::B) {
            tracing::info!("part b: compaction");
            report.rows.push(compaction::measure(&input, &data_dir)?);
        }
    }
    if args.parts.contains(&Part::C) {
        single::measure(args, dir.path(), env.now(), &mut report)?;
    }
    Ok(report)
}

/// A new folder, removed in the end.
fn folder(parent: Option<&Path>) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("forebay-bench-");
    let made = parent.map_or_else(|| builder.tempdir(), |parent| builder.tempdir_in(parent));
    made.context("make a folder for the files of the benchmark; choose where with --dir")
}

/// Bytes of all files below `dir`.
fn bytes_below(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("look into {}", dir.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(flags: &str) -> anyhow::Result<BenchArgs> {
        let args = Cli::try_parse_from(["bench"].into_iter().chain(flags.split_whitespace()))?.args;
        args.check().map(|()| args)
    }

    #[test]
    fn all_parts_are_measured_unless_some_are_named() {
        assert_eq!(parse("").expect("defaults").parts, [Part::A, Part::B, Part::C]);
        assert_eq!(parse("").expect("defaults").events, 2_000_000);
        assert_eq!(parse("--parts c,a").expect("two parts").parts, [Part::C, Part::A]);
        for flags in ["--parts b", "--parts b,c", "--parts d", "--events 0", "--rounds 0", "--round-time 0s"] {
            assert!(parse(flags).is_err(), "{flags}");
        }
    }

    #[test]
    fn files_in_folders_are_counted() {
        let dir = folder(None).expect("a folder");
        std::fs::create_dir(dir.path().join("a")).expect("a folder");
        std::fs::write(dir.path().join("a/b"), b"123").expect("a file");
        std::fs::write(dir.path().join("c"), b"45").expect("a file");
        assert_eq!(bytes_below(dir.path()).expect("readable"), 5);
    }
}
