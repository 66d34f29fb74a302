//! Shows how a run goes: a bar on a terminal, a line now and then elsewhere.

use super::tally::{Counts, Tally, latency_text};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

const BAR_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows `tally` until dropped; `events` where the end is known.
pub(super) async fn show(tally: &Tally, events: Option<u64>) {
    let bar = std::io::stderr().is_terminal().then(|| bar(events));
    let mut ticks = tokio::time::interval(if bar.is_some() { BAR_EVERY } else { LINE_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut then, mut acknowledged) = (Instant::now(), 0);
    loop {
        ticks.tick().await;
        let counts = tally.counts();
        let rate = (counts.acknowledged - acknowledged) as f64 / then.elapsed().as_secs_f64();
        (then, acknowledged) = (Instant::now(), counts.acknowledged);
        match &bar {
            Some(bar) => {
                bar.set_position(counts.acknowledged);
                bar.set_message(line(&counts, rate));
            }
            None => eprintln!("{} events  {}", HumanCount(counts.acknowledged), line(&counts, rate)),
        }
    }
}

fn line(counts: &Counts, rate: f64) -> String {
    format!("{rate:.0}/s  {}  answers {}", latency_text(&counts.latency_from_due), counts.answers_text())
}

fn bar(events: Option<u64>) -> ProgressBar {
    let (bar, template) = match events {
        Some(events) => (ProgressBar::new(events), "{bar:20} {human_pos}/{human_len}  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {human_pos} events  {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("a sound template"))
}
