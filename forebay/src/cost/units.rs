//! Units that AWS bills: how many a million events take.
//!
//! A **run** that counted them writes a file: events, how they were made, and the counts of all its processes.

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Events that all figures are for.
pub(super) const MILLION: f64 = 1e6;

/// Longest file that is read: a count has about 100 bytes, and there are some dozens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How many of one unit a million events take.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    pub service: String,
    pub operation: String,
    pub unit: String,
    pub per_million: f64,
}

impl Used {
    pub(super) fn new(service: &str, operation: &str, unit: &str, per_million: f64) -> Used {
        Used { service: service.to_owned(), operation: operation.to_owned(), unit: unit.to_owned(), per_million }
    }
}

/// The sum of what `is_meant` selects.
pub(super) fn sum(used: &[Used], is_meant: impl Fn(&Used) -> bool) -> f64 {
    used.iter().filter(|used| is_meant(used)).map(|used| used.per_million).sum()
}

/// What was counted of one unit, as [`aws::Count`] has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    pub service: String,
    pub operation: String,
    pub unit: String,
    pub total: u64,
}

impl From<&aws::Count> for Counted {
    fn from(count: &aws::Count) -> Counted {
        let aws::Count { service, operation, unit, total } = *count;
        Counted { service: service.into(), operation: operation.into(), unit: unit.into(), total }
    }
}

/// What the processes of a run counted together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How it was measured, in words.
    pub how: String,
    /// Events that were sent.
    pub events: u64,
    /// Time over which they were sent.
    pub seconds: f64,
    pub counts: Vec<Counted>,
}

impl Run {
    /// # Errors
    /// A file that can't be read, or says nothing of events.
    pub fn read(path: &Path) -> anyhow::Result<Run> {
        let context = || format!("read the units in {}", path.display());
        let bytes = std::fs::metadata(path).with_context(context)?.len();
        ensure!(bytes <= FILE_BYTES_MAX, "{} has {bytes} bytes: no file of units", path.display());
        Run::parse(&std::fs::read_to_string(path).with_context(context)?).with_context(context)
    }

    fn parse(text: &str) -> anyhow::Result<Run> {
        let run: Run = serde_json::from_str(text)?;
        ensure!(run.events > 0, "no events");
        ensure!(run.seconds.is_finite() && run.seconds > 0.0, "{} seconds", run.seconds);
        Ok(run)
    }

    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    /// What a million events took, the same unit of several processes added up.
    pub fn used(&self) -> Vec<Used> {
        let mut used: Vec<Used> = Vec::new();
        for Counted { service, operation, unit, total } in &self.counts {
            let per_million = *total as f64 * MILLION / self.events as f64;
            let same =
                |used: &&mut Used| used.service == *service && used.operation == *operation && used.unit == *unit;
            match used.iter_mut().find(same) {
                Some(same) => same.per_million += per_million,
                None => used.push(Used::new(service, operation, unit, per_million)),
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(total: u64) -> Counted {
        Counted::from(&aws::Count { service: "dynamodb", operation: "PutItem", unit: "write_units", total })
    }

    #[test]
    fn counts_of_several_processes_add_up_for_a_million_events() {
        let run = Run { how: "by hand".into(), events: 500_000, seconds: 250.0, counts: vec![counted(10), counted(5)] };
        let written = serde_json::to_string(&run).unwrap();
        let read = Run::parse(&written).unwrap();
        assert_eq!(read.used(), [Used::new("dynamodb", "PutItem", "write_units", 30.0)]);
        assert_eq!(read.events_per_second(), 2000.0);
    }

    #[test]
    fn a_run_without_events_or_time_says_nothing() {
        for text in [
            r#"{"how":"","events":0,"seconds":1,"counts":[]}"#,
            r#"{"how":"","events":1,"seconds":0,"counts":[]}"#,
            r#"{"how":"","events":1,"counts":[]}"#,
        ] {
            assert!(Run::parse(text).is_err(), "{text}");
        }
    }
}
