//! What the gateway counts. One set for the process, since the registry is one for the process.

use axum::http::StatusCode;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, register};
use schema::Reason;
use std::sync::LazyLock;

/// Upper ends of the classes of latency, in seconds: from a flush of a fast disk to the longest a record is resent.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) accepted: IntCounter,
    quarantined: [IntCounter; Reason::ALL.len()],
    requests: IntCounterVec,
    /// Of `requests`, those that nearly all are.
    accepted_requests: IntCounter,
    pub(crate) shed: IntCounter,
    pub(crate) body_bytes: IntCounter,
    pub(crate) ack_seconds: Histogram,
    pub(crate) flushes: IntCounter,
    pub(crate) records: IntCounter,
    pub(crate) record_bytes: IntCounter,
    pub(crate) resent: IntCounter,
    pub(crate) overflowed: IntCounter,
    pub(crate) overflow_refused: IntCounter,
    pub(crate) overflow_drained: IntCounter,
    pub(crate) overflow_foreign: IntCounter,
    /// 1 while records go straight to the queue.
    pub(crate) overflow_open: IntGauge,
    pub(crate) refused_records: IntCounter,
    pub(crate) strayed: IntCounter,
    pub(crate) in_flight_bytes: IntGauge,
    pub(crate) in_flight_bytes_max: IntGauge,
    pub(crate) connections: IntGauge,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

impl Metrics {
    pub(crate) fn quarantined(&self, reason: Reason) -> &IntCounter {
        &self.quarantined[reason as usize]
    }

    /// Requests that were answered with `status`.
    pub(crate) fn requests(&self, status: StatusCode) -> IntCounter {
        match status {
            StatusCode::ACCEPTED => self.accepted_requests.clone(),
            _ => self.requests.with_label_values(&[status.as_str()]),
        }
    }

    fn register() -> Metrics {
        let requests = counters("requests_total", "Requests by the HTTP status of their answer", "status");
        let quarantined = counters("events_quarantined_total", "Invalid events, durable in quarantine", "reason");
        Metrics {
            accepted: counter("events_accepted_total", "Valid events, durable"),
            quarantined: Reason::ALL.map(|reason| quarantined.with_label_values(&[reason.as_str()])),
            accepted_requests: requests.with_label_values(&[StatusCode::ACCEPTED.as_str()]),
            requests,
            shed: counter("requests_shed_total", "Requests refused because too many bytes were in flight"),
            body_bytes: counter("body_bytes_total", "Bytes of bodies as sent"),
            ack_seconds: seconds("ack_seconds", "From the body's last byte to everything durable"),
            flushes: counter("flushes_total", "Appends to the raw stream"),
            records: counter("records_total", "Records that became durable"),
            record_bytes: counter("record_bytes_total", "Bytes of records that became durable"),
            resent: counter("records_resent_total", "Records that were sent again"),
            overflowed: counter("overflow_records_total", "Records that went to the overflow queue"),
            overflow_refused: counter("overflow_refused_total", "Records that the overflow queue did not take"),
            overflow_drained: counter(
                "overflow_drained_total",
                "Records that went from the overflow queue to the stream",
            ),
            overflow_foreign: counter(
                "overflow_foreign_total",
                "Messages left in the overflow queue: no records of ours",
            ),
            overflow_open: gauge("overflow_open", "1 while records go straight to the overflow queue, else 0"),
            refused_records: counter("records_refused_total", "Records whose requests got 503"),
            strayed: counter("records_strayed_total", "Records that landed on another shard than expected"),
            in_flight_bytes: gauge("in_flight_bytes", "Bytes of requests that are held now"),
            in_flight_bytes_max: gauge("in_flight_bytes_max", "Bytes of requests that may be held"),
            connections: gauge("connections", "Open HTTP connections"),
        }
    }
}

const ONCE: &str = "every metric has a name of its own and is registered once";

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("forebay").subsystem("gateway")
}

fn counter(name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::with_opts(options(name, help)).expect(ONCE);
    register(Box::new(counter.clone())).expect(ONCE);
    counter
}

fn counters(name: &str, help: &str, label: &str) -> IntCounterVec {
    let counters = IntCounterVec::new(options(name, help), &[label]).expect(ONCE);
    register(Box::new(counters.clone())).expect(ONCE);
    counters
}

fn gauge(name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::with_opts(options(name, help)).expect(ONCE);
    register(Box::new(gauge.clone())).expect(ONCE);
    gauge
}

fn seconds(name: &str, help: &str) -> Histogram {
    let options = HistogramOpts { common_opts: options(name, help), buckets: SECONDS.to_vec() };
    let histogram = Histogram::with_opts(options).expect(ONCE);
    register(Box::new(histogram.clone())).expect(ONCE);
    histogram
}
