//! `forebay cost`: what the pipeline costs on AWS at list prices.
//!
//! **Unit**: what a service bills by: a KB that went in, a write unit, a request. **Used**: units of one kind for a million
//! events. **Measured** figures were counted by a run and are taken as they are at every rate; **modelled** ones follow
//! from the settings and the rate. Whatever is paid by time is worked out from the rate.

mod bill;
mod model;
mod sizes;
mod table;
mod units;

pub use aws::{Plan, Prices};
pub use bill::Bill;
pub use model::{Modelled, Settings, Workload, modelled};
pub use sizes::Sizes;
pub use table::{Target, targets};
pub use units::{Counted, Run, Used};

use crate::generate::rate::Rate;
use anyhow::Context;
use clap::Parser;
use service::settings::duration;
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// Rates of a table where none is asked for: the base load, and a thousand times that.
const RATES: [f64; 2] = [300.0, 300_000.0];

/// Longest file of prices that is read.
const PRICES_BYTES_MAX: u64 = 1 << 20;

/// Shows what a million events and a month cost on AWS
#[derive(Clone, Debug, clap::Args)]
pub struct CostArgs {
    /// Units that a run counted, as JSON; without it they are modelled from the settings below
    #[arg(long)]
    pub units: Option<PathBuf>,

    /// Prices in place of those of us-east-1 that this binary has, as TOML
    #[arg(long)]
    pub prices: Option<PathBuf>,

    /// Events in a time, several by commas, as in 0.3/s,1M/h [default: as measured, 300/s and 300k/s]
    #[arg(long, value_delimiter = ',')]
    pub rate: Vec<Rate>,

    /// Events in a request
    #[arg(long, default_value = "100")]
    pub batch: NonZeroU64,

    /// Shards of each stream, at least; more where a rate needs them
    #[arg(long, env = "FOREBAY_SHARDS", default_value = "4")]
    pub shards: NonZeroU64,

    /// As the gateway's --linger [default: as the gateway has it]
    #[arg(long, value_parser = duration)]
    pub linger: Option<Duration>,

    /// As the dedup stage's --dedup-linger [default: as the dedup stage has it]
    #[arg(long, value_parser = duration)]
    pub dedup_linger: Option<Duration>,

    /// As the writer's --flush-interval [default: as the writer has it]
    #[arg(long, value_parser = duration)]
    pub flush_interval: Option<Duration>,

    /// As the gateway's --record-level [default: as the gateway has it]
    #[arg(long, allow_negative_numbers = true)]
    pub record_level: Option<i32>,
}

/// The services' settings, by their own defaults on AWS and environment variables.
#[derive(Debug, Parser)]
struct Services {
    #[command(flatten)]
    _backend: backend::Settings,
    #[command(flatten)]
    gateway: ingest_gateway::Config,
    #[command(flatten)]
    dedup: dedup_service::Config,
    #[command(flatten)]
    writer: writer_service::Config,
    #[command(flatten)]
    compactor: compactor::Config,
}

impl CostArgs {
    /// The services' settings with those that were given above them, and the level of compression.
    fn settings(&self) -> anyhow::Result<(Settings, i32)> {
        let Services { gateway, dedup, writer, compactor, .. } = Services::try_parse_from(["cost", "--backend", "aws"])
            .context("read the services' settings from the environment")?;
        let settings = Settings {
            linger: self.linger.unwrap_or(gateway.linger),
            flushes_max: gateway.flushes_max,
            dedup_linger: self.dedup_linger.unwrap_or(dedup.linger),
            dedup_settle_after: dedup.settle_after,
            writer_linger: writer.linger,
            writer_settle_after: writer.settle_after,
            flush_interval: self.flush_interval.unwrap_or(writer.flush_interval),
            flush_bytes_max: writer.flush_bytes_max,
            flush_rows_max: writer.flush_rows_max.get(),
            object_bytes: compactor.object_bytes,
            shards: self.shards.get(),
        };
        Ok((settings, self.record_level.unwrap_or(gateway.record_level)))
    }

    fn prices(&self) -> anyhow::Result<Prices> {
        let Some(path) = &self.prices else { return Ok(Prices::us_east_1()) };
        let context = || format!("read the prices in {}", path.display());
        let bytes = std::fs::metadata(path).with_context(context)?.len();
        anyhow::ensure!(bytes <= PRICES_BYTES_MAX, "{} has {bytes} bytes: no file of prices", path.display());
        Prices::parse(&std::fs::read_to_string(path).with_context(context)?).with_context(context)
    }

    /// Events per second, in the order of the table.
    fn rates(&self, run: Option<&Run>) -> Vec<f64> {
        match self.rate.as_slice() {
            [] => run.map(Run::events_per_second).into_iter().chain(RATES).collect(),
            rates => rates.iter().map(per_second).collect(),
        }
    }
}

/// Bills for some rates, and where their figures come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub notes: Vec<String>,
    pub bills: Vec<Bill>,
}

/// Works out what is asked for.
///
/// # Errors
/// Files that can't be read or make no sense; an environment that the services would refuse.
pub fn run(args: &CostArgs) -> anyhow::Result<Report> {
    let prices = args.prices()?;
    let run = args.units.as_deref().map(Run::read).transpose()?;
    let rates = args.rates(run.as_ref());
    let mut notes = vec![format!(
        "list prices of {} as of {}, without free tiers, computing, logs and traffic between zones",
        prices.region, prices.date
    )];
    let bills = match &run {
        Some(run) => {
            notes.push(format!("measured: {}", run.how));
            rates.iter().map(|&rate| measured_bill(&prices, run, rate, args.shards.get())).collect()
        }
        None => {
            let (settings, level) = args.settings()?;
            notes.push(modelled_note(args, &settings, level));
            let sizes = Sizes::at_level(level);
            rates.iter().map(|&rate| modelled_bill(&prices, args, &settings, &sizes, rate)).collect()
        }
    };
    Ok(Report { notes, bills })
}

fn measured_bill(prices: &Prices, run: &Run, rate: f64, shards_min: u64) -> Bill {
    let used = run.used();
    Bill::new(prices, rate, bill::shards_of(&used, rate, shards_min), &used)
}

fn modelled_bill(prices: &Prices, args: &CostArgs, settings: &Settings, sizes: &Sizes, rate: f64) -> Bill {
    let workload = Workload { events_per_second: rate, batch_events: args.batch.get() as f64 };
    let Modelled { used, shards } = modelled(&workload, settings, sizes);
    Bill::new(prices, rate, shards, &used)
}

fn modelled_note(args: &CostArgs, settings: &Settings, level: i32) -> String {
    let Settings { linger, dedup_linger, flush_interval, .. } = settings;
    format!(
        "modelled, not measured: requests of {} events, linger {linger:?}, dedup-linger {dedup_linger:?}, \
         flush-interval {flush_interval:?}, record-level {level}",
        args.batch
    )
}

fn per_second(rate: &Rate) -> f64 {
    units::MILLION / rate.time_of(units::MILLION as u64).as_secs_f64()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for bill in &self.bills {
            write!(f, "\n{bill}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        cost: CostArgs,
    }

    fn report(flags: &[&str]) -> Report {
        let line = Line::try_parse_from([&["cost"], flags].concat()).expect("flags that exist");
        run(&line.cost).expect("a report")
    }

    fn count(operation: &'static str, unit: &'static str, total: u64) -> aws::Count {
        aws::Count { service: "dynamodb", operation, unit, total }
    }

    #[test]
    fn a_million_events_cost_what_they_should_by_the_defaults_on_aws() {
        for bill in report(&[]).bills {
            for target in targets(&bill) {
                assert!(target.is_met(), "{target:?} at {} events/s\n{bill}", bill.events_per_second);
            }
        }
    }

    #[test]
    fn what_is_not_measured_says_so_and_what_is_says_how() {
        assert!(report(&[]).to_string().contains("modelled, not measured"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let counts = vec![Counted::from(&count("PutItem", "write_units", 16_000))];
        let run = Run { how: "stand-ins, by hand".into(), events: 1_000_000, seconds: 3600.0, counts };
        serde_json::to_writer(&file, &run).unwrap();
        let report = report(&["--units", file.path().to_str().unwrap()]);
        assert!(report.notes.contains(&"measured: stand-ins, by hand".to_owned()));
        assert_eq!(report.bills.len(), 1 + RATES.len());
        for bill in &report.bills {
            assert_eq!(bill.lines[0].dollars[Plan::OnDemand as usize], Some(0.01), "16,000 write units at every rate");
        }
    }

    #[test]
    fn rates_that_are_asked_for_are_the_ones_that_are_shown() {
        let report = report(&["--rate", "300/s,1.8M/h"]);
        let rates: Vec<f64> = report.bills.iter().map(|bill| bill.events_per_second.round()).collect();
        assert_eq!(rates, [300.0, 500.0]);
    }

    #[test]
    fn a_thousandth_of_the_base_load_has_a_bill() {
        let report = report(&["--rate", "0.3/s"]);
        assert!((report.bills[0].events_per_second - 0.3).abs() < 1e-9, "{report}");
        assert!(report.to_string().contains("\n0.30 events/s: 0.79 million a month"), "{report}");
    }

    #[test]
    fn settings_that_are_not_given_are_the_services_own() {
        let given = ["--linger", "0s", "--dedup-linger", "100ms", "--flush-interval", "10s", "--record-level", "-1"];
        let line = Line::try_parse_from([&["cost"][..], &given].concat()).unwrap();
        let (ours, _) = line.cost.settings().unwrap();
        let (services, _) = Line::try_parse_from(["cost"]).unwrap().cost.settings().unwrap();
        assert_eq!((ours.flush_bytes_max, ours.shards), (services.flush_bytes_max, 4));
        assert_eq!(ours.linger, Duration::ZERO);
        assert!(services.flush_interval >= Duration::from_secs(1), "{services:?}");
    }
}
