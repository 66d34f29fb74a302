//! What a run has sent and what came of it.

use hdrhistogram::Histogram;
use hyper::StatusCode;
use indicatif::HumanCount;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Latencies are counted in µs up to an hour, to three digits.
const LATENCY_MAX: Duration = Duration::from_secs(3600);
const LATENCY_DIGITS: u8 = 3;

/// Most failures that are told one by one; the rest is counted.
const FAILURES_SHOWN_MAX: usize = 10;

/// Counts of all connections together.
#[derive(Debug)]
pub struct Tally(Mutex<Counts>);

/// Counts at one moment.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Events of acknowledged batches, and how many of them the gateway accepted and put into quarantine.
    pub acknowledged: u64,
    pub accepted: u64,
    pub quarantined: u64,
    /// Copies among the acknowledged.
    pub copies: u64,
    pub batches: u64,
    /// Events of batches that were given up when the run stopped: taken or not, nobody knows.
    pub unacknowledged: u64,
    /// Answers by status, those that asked to send again included.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer: refused or broken connections, timeouts.
    pub unanswered: u64,
    /// From when a batch was due to its acknowledgement, in µs: what a producer that doesn't wait would see.
    pub latency_from_due: Histogram<u64>,
    /// From when a batch was first sent to its acknowledgement, in µs.
    pub latency_from_sent: Histogram<u64>,
    pub failures: Vec<String>,
    pub failures_untold: u64,
}

/// An acknowledged batch.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    pub accepted: u64,
    pub quarantined: u64,
    pub copies: u64,
    pub from_due: Duration,
    pub from_sent: Duration,
}

impl Default for Tally {
    fn default() -> Tally {
        let histogram = Histogram::new_with_bounds(1, micros(LATENCY_MAX), LATENCY_DIGITS).expect("sound bounds");
        Tally(Mutex::new(Counts {
            acknowledged: 0,
            accepted: 0,
            quarantined: 0,
            copies: 0,
            batches: 0,
            unacknowledged: 0,
            answers: BTreeMap::new(),
            unanswered: 0,
            latency_from_due: histogram.clone(),
            latency_from_sent: histogram,
            failures: Vec::new(),
            failures_untold: 0,
        }))
    }
}

impl Tally {
    pub fn answered(&self, status: StatusCode) {
        self.change(|counts| *counts.answers.entry(status.as_u16()).or_default() += 1);
    }

    pub fn unanswered(&self) {
        self.change(|counts| counts.unanswered += 1);
    }

    pub fn acknowledged(&self, batch: Acknowledged) {
        self.change(|counts| {
            counts.batches += 1;
            counts.acknowledged += batch.accepted + batch.quarantined;
            counts.accepted += batch.accepted;
            counts.quarantined += batch.quarantined;
            counts.copies += batch.copies;
            counts.latency_from_due.saturating_record(micros(batch.from_due));
            counts.latency_from_sent.saturating_record(micros(batch.from_sent));
        });
    }

    pub fn unacknowledged(&self, events: u64) {
        self.change(|counts| counts.unacknowledged += events);
    }

    pub fn failed(&self, failure: String) {
        self.change(|counts| {
            if counts.failures.len() < FAILURES_SHOWN_MAX {
                counts.failures.push(failure);
            } else {
                counts.failures_untold += 1;
            }
        });
    }

    pub fn counts(&self) -> Counts {
        self.0.lock().expect("no holder panics").clone()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().expect("no holder panics"));
    }
}

impl Counts {
    /// `202: 9,900  503: 12  none: 4`
    pub fn answers_text(&self) -> String {
        let answers = self.answers.iter().map(|(status, count)| format!("{status}: {}", HumanCount(*count)));
        let none = (self.unanswered > 0).then(|| format!("none: {}", HumanCount(self.unanswered)));
        let text = answers.chain(none).collect::<Vec<_>>().join("  ");
        if text.is_empty() { "none yet".to_string() } else { text }
    }
}

/// `p50 1.2 ms  p99 8.0 ms  max 33.1 ms`
pub(super) fn latency_text(latency: &Histogram<u64>) -> String {
    if latency.is_empty() {
        return "none yet".to_string();
    }
    let ms = |micros: u64| format!("{:.1} ms", micros as f64 / 1000.0);
    let at = |quantile| ms(latency.value_at_quantile(quantile));
    format!("p50 {}  p99 {}  max {}", at(0.5), at(0.99), ms(latency.max()))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Summary {
    pub seed: u64,
    pub took: Duration,
    pub ledger: Option<PathBuf>,
    pub counts: Counts,
}

impl Summary {
    /// Whether all that was sent was answered as it should be.
    pub fn is_clean(&self) -> bool {
        self.counts.failures.is_empty()
    }

    /// Acknowledged events a second.
    pub fn events_per_second(&self) -> f64 {
        self.counts.acknowledged as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            f,
            "acknowledged     {} events in {} batches",
            HumanCount(counts.acknowledged),
            HumanCount(counts.batches)
        )?;
        writeln!(f, "  accepted       {} ({} of them copies)", HumanCount(counts.accepted), HumanCount(counts.copies))?;
        writeln!(f, "  quarantined    {}", HumanCount(counts.quarantined))?;
        if counts.unacknowledged > 0 {
            writeln!(f, "unacknowledged   {} events, given up at the end", HumanCount(counts.unacknowledged))?;
        }
        writeln!(f, "answers          {}", counts.answers_text())?;
        writeln!(f, "latency          {} (from when a batch was due)", latency_text(&counts.latency_from_due))?;
        writeln!(f, "                 {} (from when it was sent)", latency_text(&counts.latency_from_sent))?;
        writeln!(f, "rate             {:.1} events/s over {:.1} s", self.events_per_second(), self.took.as_secs_f64())?;
        writeln!(f, "seed             {}", self.seed)?;
        if let Some(path) = &self.ledger {
            writeln!(f, "ledger           {}", path.display())?;
        }
        for failure in &counts.failures {
            writeln!(f, "FAILED           {failure}")?;
        }
        if counts.failures_untold > 0 {
            writeln!(f, "FAILED           {} more", HumanCount(counts.failures_untold))?;
        }
        Ok(())
    }
}
