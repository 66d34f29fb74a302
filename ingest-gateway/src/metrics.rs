//! What the gateway counts. One set for the process, since the registry is one for the process.

use crate::Config;
use crate::answer::Answer;
use crate::budget::Budget;
use crate::pack::Submission;
use crate::surge::Sources;
use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use schema::Reason;
use service::metrics::{Bound, Level, Set, show_bound};
use std::sync::{Arc, LazyLock};
use tokio::sync::mpsc;

/// Upper ends of the classes of latency, in seconds: from a flush of a fast disk to the longest a record is resent.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What stands for the source where no keys are asked for.
const ANY: &str = "any";

const SOURCE: &str = "source";

/// Statuses that are shown before there is an answer with them: those of the alerts.
const SHOWN: [StatusCode; 3] =
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE];

/// What is read from files that may change meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reloaded {
    Certificate,
    Keys,
}

impl Reloaded {
    const ALL: [Reloaded; 2] = [Reloaded::Certificate, Reloaded::Keys];

    /// As its label has it.
    fn name(self) -> &'static str {
        match self {
            Reloaded::Certificate => "certificate",
            Reloaded::Keys => "keys",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    accepted: IntCounterVec,
    quarantined: IntCounterVec,
    /// Of both, those where no keys are asked for: found without looking for the source.
    anybody: Events,
    requests: IntCounterVec,
    /// Of `requests`, those that nearly all are.
    accepted_requests: IntCounter,
    pub(crate) shed: IntCounter,
    pub(crate) body_bytes: IntCounter,
    pub(crate) ack_seconds: Histogram,
    pub(crate) connections: IntGauge,
    pub(crate) in_flight_bytes: IntGauge,
    pub(crate) reload_failed: IntGaugeVec,
    pub(crate) flushes: IntCounter,
    pub(crate) records: IntCounter,
    pub(crate) record_bytes: IntCounter,
    pub(crate) resent: IntCounter,
    pub(crate) refused_records: IntCounter,
    pub(crate) strayed: IntCounter,
    /// 1 while records go straight to the queue.
    pub(crate) overflow_open: IntGauge,
    pub(crate) overflowed: IntCounter,
    pub(crate) overflow_refused: IntCounter,
    pub(crate) overflow_drained: IntCounter,
    pub(crate) overflow_foreign: IntCounter,
    pub(crate) overflow_messages: IntGauge,
}

/// Events of one source.
#[derive(Debug)]
struct Events {
    accepted: IntCounter,
    quarantined: [IntCounter; Reason::ALL.len()],
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Registers everything that the gateway counts.
pub fn register() {
    LazyLock::force(&METRICS);
}

/// Shows how near the gateway is to what it takes.
pub(crate) fn show_bounds(budget: &Arc<Budget>, inbox: &mpsc::Sender<Submission>, config: &Config) {
    let (budget, bytes_max) = (budget.clone(), config.in_flight_bytes_max as f64);
    show_bound(Bound::GatewayInFlightBytes, move || {
        let used = budget.used();
        METRICS.in_flight_bytes.set(used as i64);
        Level { used: used as f64, limit: bytes_max }
    });
    // A weak one: the packer may end once nobody can send.
    let (inbox, requests_max) = (inbox.downgrade(), inbox.max_capacity() as f64);
    let waiting = move || inbox.upgrade().map_or(0, |inbox| inbox.max_capacity() - inbox.capacity());
    show_bound(Bound::GatewayInboxRequests, move || Level { used: waiting() as f64, limit: requests_max });
    let connections_max = (config.connections_max.get() + config.grpc_connections_max.get()) as f64;
    let used = || METRICS.connections.get() as f64;
    show_bound(Bound::GatewayConnections, move || Level { used: used(), limit: connections_max });
}

impl Metrics {
    /// Counts the events of a request that are durable.
    pub(crate) fn count(&self, source: Option<&str>, answer: &Answer) {
        match source {
            None => self.anybody.accepted.inc_by(answer.accepted()),
            Some(source) => self.accepted.with_label_values(&[source]).inc_by(answer.accepted()),
        }
        for (reason, count) in answer.reasons() {
            match source {
                None => self.anybody.quarantined[reason as usize].inc_by(count),
                Some(source) => self.quarantined.with_label_values(&[reason.as_str(), source]).inc_by(count),
            }
        }
    }

    /// Shows what a source sends, from before it sends anything.
    pub(crate) fn expect(&self, source: &str) {
        drop(Events::of(&self.accepted, &self.quarantined, source));
    }

    /// Whether the file of this could be used when it was last looked at.
    pub(crate) fn reloaded(&self, what: Reloaded, could_be_used: bool) {
        self.reload_failed.with_label_values(&[what.name()]).set(i64::from(!could_be_used));
    }

    /// What each source has sent, as it is counted here.
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources::new();
        for (source, events) in counted(&self.accepted) {
            sources.entry(source).or_default().accepted += events;
        }
        for (source, events) in counted(&self.quarantined) {
            sources.entry(source).or_default().quarantined += events;
        }
        sources
    }

    /// Requests that were answered with `status`.
    pub(crate) fn requests(&self, status: StatusCode) -> IntCounter {
        match status {
            StatusCode::ACCEPTED => self.accepted_requests.clone(),
            _ => self.requests.with_label_values(&[status.as_str()]),
        }
    }

    fn register() -> Metrics {
        let set = Set::new("gateway");
        let requests = set.counters("requests_total", &["status"], "Requests by the HTTP status of their answer");
        SHOWN.iter().for_each(|status| drop(requests.with_label_values(&[status.as_str()])));
        let accepted = set.counters("events_accepted_total", &[SOURCE], "Valid events, durable");
        let help = "Invalid events, durable in quarantine";
        let quarantined = set.counters("events_quarantined_total", &["reason", SOURCE], help);
        let help =
            "1 while the file of this can't be used, and what was read before is still in use: `certificate`, `keys`";
        let reload_failed = set.gauges("reload_failed", &["what"], help);
        Reloaded::ALL.iter().for_each(|what| drop(reload_failed.with_label_values(&[what.name()])));
        Metrics {
            anybody: Events::of(&accepted, &quarantined, ANY),
            accepted,
            quarantined,
            accepted_requests: requests.with_label_values(&[StatusCode::ACCEPTED.as_str()]),
            requests,
            shed: set.counter("requests_shed_total", "Requests refused because too much was in flight"),
            body_bytes: set.counter("body_bytes_total", "Bytes of bodies as sent"),
            ack_seconds: set.histogram("ack_seconds", &SECONDS, "From the body's last byte to everything durable"),
            connections: set.gauge("connections", "Open connections"),
            in_flight_bytes: set.gauge("in_flight_bytes", "Bytes of requests that are held now"),
            reload_failed,
            flushes: set.counter("flushes_total", "Appends to the raw stream"),
            records: set.counter("records_total", "Records that became durable"),
            record_bytes: set.counter("record_bytes_total", "Bytes of records that became durable"),
            resent: set.counter("records_resent_total", "Records that were sent again"),
            refused_records: set.counter("records_refused_total", "Records whose requests got 503"),
            strayed: set.counter("records_strayed_total", "Records that landed on another shard than expected"),
            overflow_open: set.gauge("overflow_open", "1 while records go straight to the overflow queue"),
            overflowed: set.counter("overflow_records_total", "Records that went to the overflow queue"),
            overflow_refused: set.counter("overflow_refused_total", "Records that the overflow queue did not take"),
            overflow_drained: set
                .counter("overflow_drained_total", "Records that went from the overflow queue to the stream"),
            overflow_foreign: set
                .counter("overflow_foreign_total", "Messages left in the overflow queue: no records of ours"),
            overflow_messages: set.gauge("overflow_messages", "Messages in the overflow queue, about"),
        }
    }
}

/// Each count of a counter, with its source.
fn counted(counter: &IntCounterVec) -> Vec<(String, u64)> {
    let families = counter.collect();
    let counts = families.iter().flat_map(|family| family.get_metric());
    let counted = |count: &prometheus::proto::Metric| {
        let source = count.get_label().iter().find(|label| label.name() == SOURCE)?;
        Some((source.value().to_owned(), count.get_counter().get_value() as u64))
    };
    counts.filter_map(counted).collect()
}

impl Events {
    fn of(accepted: &IntCounterVec, quarantined: &IntCounterVec, source: &str) -> Events {
        Events {
            accepted: accepted.with_label_values(&[source]),
            quarantined: Reason::ALL.map(|reason| quarantined.with_label_values(&[reason.as_str(), source])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;
    use crate::flush::Arrival;
    use crate::shards::Routes;
    use schema::{HashRange, ShardId};
    use service::Health;
    use stream::Shard;
    use tokio::time::Instant;

    fn shown(name: &str) -> Option<f64> {
        let text = service::metrics::text(&Health::default()).map_err(|error| error.to_string()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }

    #[test]
    fn requests_that_wait_for_the_packer_show_in_the_bound_and_showing_them_holds_no_inbox_open() {
        let shard = Shard { id: ShardId::new("s"), range: HashRange::ALL, parents: vec![], closed: false };
        let routes = Arc::new(Routes::of(vec![shard]).unwrap());
        let arrival = Arrival { received_at: 0, at: Instant::now() };
        let (sender, mut inbox) = mpsc::channel(4);
        show_bounds(&Budget::new(1), &sender, &parse(&[]).unwrap());
        let used = || shown(r#"forebay_bound_used{bound="gateway_inbox_requests"}"#);
        assert_eq!((used(), shown(r#"forebay_bound_limit{bound="gateway_inbox_requests"}"#)), (Some(0.0), Some(4.0)));
        for _ in 0..3 {
            sender.try_send(Submission { routes: routes.clone(), arrival, fragments: vec![] }).unwrap();
        }
        assert_eq!(used(), Some(3.0));
        inbox.try_recv().unwrap();
        assert_eq!(used(), Some(2.0));
        drop(sender);
        assert!(inbox.try_recv().is_ok() && inbox.try_recv().is_ok());
        assert_eq!((used(), inbox.try_recv().unwrap_err()), (Some(0.0), mpsc::error::TryRecvError::Disconnected));
    }
}
