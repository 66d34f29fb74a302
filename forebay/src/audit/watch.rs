//! The audit that goes on: what the chains say of all events, shown as metrics.

use super::conservation::{Conservation, Conserved};
use crate::source::View;
use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec};
use service::metrics::{Set, look_at};
use service::{Env, Part, Stop};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug)]
struct Metrics {
    conserved: IntGaugeVec,
    missing: IntGauge,
    broken: IntGauge,
    age: Gauge,
    looks: IntCounter,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let set = Set::new("");
    let conserved = set.gauges(
        "conserved_events",
        &["state"],
        "Events that the chains know: `numbered` (accepted, each once), `live` (rows announced by the writer), \
         `quarantined` (the same, of invalid events), `void` (given up, with a reason on record), `in_flight` (numbered, \
         not yet written), `unknown` (of origins that ended long ago and are in no writer's set since before the first \
         look), `duplicate` (further copies)",
    );
    let missing = set.gauge(
        "missing_events",
        "Numbered events in no live object, though everything behind their number has been written for longer than \
         `--missing-after`; **must be 0**",
    );
    let broken = set.gauge(
        "ledger_broken_chains",
        "Chains that are gone, end earlier or hold other entries than at an earlier look, number less than writers have \
         taken, or are not right in themselves; **must be 0**",
    );
    let age_help = "How long ago the chains were read; an old figure proves nothing";
    let age = set.level("conservation_age_seconds", age_help);
    let looks = set.counter("conservation_looks_total", "How often the chains were read");
    let metrics = Metrics { conserved, missing, broken, age, looks };
    metrics.show(&Conserved::default());
    metrics
});

/// Registers what is shown of the chains.
pub fn register() {
    LazyLock::force(&METRICS);
}

impl Metrics {
    fn show(&self, conserved: &Conserved) {
        let &Conserved { numbered, live, quarantined, void, in_flight, missing, unknown, duplicate, broken } =
            conserved;
        for (state, events) in [
            ("numbered", numbered),
            ("live", live),
            ("quarantined", quarantined),
            ("void", void),
            ("in_flight", in_flight),
            ("unknown", unknown),
            ("duplicate", duplicate),
        ] {
            self.conserved.with_label_values(&[state]).set(whole(events));
        }
        self.missing.set(whole(missing));
        self.broken.set(whole(broken));
    }
}

fn whole(events: u64) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}

/// Reads the chains again and again.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) view: View,
    pub(crate) env: Env,
    /// Pause between two looks.
    pub(crate) every: Duration,
    pub(crate) missing_after: Duration,
    pub(crate) ready: Part,
}

impl Watch {
    /// Looks until `stop`, and shows what it sees, also to `each`; gives the last figures. While the chains can't be read,
    /// the figures stay and their age grows.
    pub(crate) async fn run(self, stop: Stop, each: fn(&Conserved)) -> Conserved {
        let Watch { view, env, every, missing_after, ready } = self;
        let read = show_age();
        let mut conservation = Conservation::new(view.ports.clone(), env, missing_after);
        let mut last = Conserved::default();
        while !stop.is_cancelled() {
            let look = async {
                view.refresh().await?;
                conservation.look().await
            };
            match stop.run_until_cancelled(look).await {
                None => break,
                Some(Ok(conserved)) => {
                    METRICS.show(&conserved);
                    each(&conserved);
                    METRICS.looks.inc();
                    *read.lock().expect("no holder panics") = Some(Instant::now());
                    last = conserved;
                    ready.ready();
                }
                Some(Err(error)) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the chains can't be read: trying again");
                    ready.not_ready(&error);
                }
            }
            stop.run_until_cancelled(sleep(every)).await;
        }
        last
    }
}

/// Writes the figures of a look into the log, for whoever makes metrics of lines.
pub(crate) fn log(conserved: &Conserved) {
    let accepted = conserved.accepted();
    let Conserved { numbered, live, quarantined, void, in_flight, missing, unknown, duplicate, broken } = *conserved;
    tracing::info!(
        accepted,
        duplicates = duplicate,
        numbered,
        live,
        quarantined,
        void,
        in_flight,
        missing,
        unknown,
        broken,
        "the chains were read"
    );
}

/// Shows how long ago what is given back was; what has never been read is infinitely old.
fn show_age() -> Arc<Mutex<Option<Instant>>> {
    let read = Arc::new(Mutex::new(None::<Instant>));
    let shown = read.clone();
    look_at("conservation", move || {
        let read = *shown.lock().expect("no holder panics");
        METRICS.age.set(read.map_or(f64::INFINITY, |read| read.elapsed().as_secs_f64()));
    });
    read
}
