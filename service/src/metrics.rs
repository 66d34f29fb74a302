//! What a process counts and shows, as `/metrics`.
//!
//! **Set**: the metrics of one part of a process. It is registered whole when that part starts, so that each of them is
//! shown before anything has happened. **Look**: what is read at each scrape, instead of being kept up to date meanwhile.
//! **Bound**: something that is limited, and how much of it is in use.

pub mod push;

use crate::Health;
use prometheus::core::{Collector, Opts};
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    TextEncoder,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

const VALID: &str = "every metric has a valid name of its own, and its set is registered once";

/// A metric as it is documented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

/// All metrics that were registered in this process, by name.
pub fn registered() -> Vec<Row> {
    let mut rows = ROWS.lock().expect("no holder panics").clone();
    rows.sort();
    rows
}

/// Registers the metrics of one part of a process.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    prefix: &'static str,
}

impl Set {
    /// The names of all its metrics start with `forebay_`, then `prefix`.
    pub const fn new(prefix: &'static str) -> Set {
        Set { prefix }
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        register("counter", IntCounter::with_opts(self.options(name, help)))
    }

    /// A counter of something that is not counted in wholes.
    pub fn sum(&self, name: &str, help: &str) -> Counter {
        register("counter", Counter::with_opts(self.options(name, help)))
    }

    pub fn counters(&self, name: &str, labels: &[&str], help: &str) -> IntCounterVec {
        register("counter", IntCounterVec::new(self.options(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        register("gauge", IntGauge::with_opts(self.options(name, help)))
    }

    /// A gauge of something that is not counted in wholes.
    pub fn level(&self, name: &str, help: &str) -> Gauge {
        register("gauge", Gauge::with_opts(self.options(name, help)))
    }

    pub fn gauges(&self, name: &str, labels: &[&str], help: &str) -> IntGaugeVec {
        register("gauge", IntGaugeVec::new(self.options(name, help), labels))
    }

    pub fn levels(&self, name: &str, labels: &[&str], help: &str) -> GaugeVec {
        register("gauge", GaugeVec::new(self.options(name, help), labels))
    }

    /// A histogram of times; `seconds` are the upper ends of its classes.
    pub fn histogram(&self, name: &str, seconds: &[f64], help: &str) -> Histogram {
        register("histogram", Histogram::with_opts(self.classes(name, seconds, help)))
    }

    /// As [`Set::histogram`], one for each value of the labels.
    pub fn histograms(&self, name: &str, labels: &[&str], seconds: &[f64], help: &str) -> HistogramVec {
        register("histogram", HistogramVec::new(self.classes(name, seconds, help), labels))
    }

    fn classes(&self, name: &str, seconds: &[f64], help: &str) -> HistogramOpts {
        HistogramOpts { common_opts: self.options(name, help), buckets: seconds.to_vec() }
    }

    fn options(&self, name: &str, help: &str) -> Opts {
        let name = if self.prefix.is_empty() { name.to_owned() } else { format!("{}_{name}", self.prefix) };
        Opts::new(name, help).namespace("forebay")
    }
}

fn register<M: Collector + Clone + 'static>(kind: &'static str, made: prometheus::Result<M>) -> M {
    let metric = made.expect(VALID);
    prometheus::register(Box::new(metric.clone())).expect(VALID);
    let row = |desc: &prometheus::core::Desc| Row {
        name: desc.fq_name.clone(),
        kind,
        labels: desc.variable_labels.clone(),
        help: desc.help.clone(),
    };
    ROWS.lock().expect("no holder panics").extend(metric.desc().into_iter().map(row));
    metric
}

/// What every process shows of itself.
#[derive(Debug)]
struct Process {
    build_info: IntGaugeVec,
    ready: IntGaugeVec,
    memory_resident_bytes: IntGauge,
    cpu_seconds: Counter,
    bound_used: GaugeVec,
    bound_limit: GaugeVec,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let set = Set::new("");
    Process {
        build_info: set.gauges("build_info", &["service", "version"], "1"),
        ready: set.gauges(
            "ready",
            &["part"],
            "1 where this part of the process can do its work now, else 0: what `/readyz` says",
        ),
        memory_resident_bytes: set.gauge("memory_resident_bytes", "Memory that the process holds"),
        cpu_seconds: set.sum("cpu_seconds_total", "Processor time of the process"),
        bound_used: set.levels("bound_used", &["bound"], "How much of a bound is in use"),
        bound_limit: set.levels("bound_limit", &["bound"], "What that bound is"),
    }
});

impl Process {
    fn look(&self, health: &Health) {
        for (part, is_ready) in health.parts() {
            self.ready.with_label_values(&[&part]).set(i64::from(is_ready));
        }
        if let Some(bytes) = memory_resident_bytes() {
            self.memory_resident_bytes.set(bytes);
        }
        let more = cpu_time().as_secs_f64() - self.cpu_seconds.get();
        self.cpu_seconds.inc_by(more.max(0.0));
    }
}

/// Registers what every process shows, and says which service this one is.
pub fn begin(service: &str) {
    PROCESS.build_info.with_label_values(&[service, env!("CARGO_PKG_VERSION")]).set(1);
}

/// Physical memory of this process; `None` where the system does not tell.
fn memory_resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<i64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Processor time of all threads of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Something that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    GatewayInFlightBytes,
    GatewayInboxRequests,
    GatewayConnections,
    DedupAheadDecisions,
    DedupWindowIds,
    WriterMemoryBytes,
    WriterOpenFiles,
    CompactorMemoryBytes,
    CompactorSpillBytes,
    LogBytes,
    DiskFreeBytes,
    LakeDiskFreeBytes,
}

impl Bound {
    pub const ALL: [Bound; 12] = [
        Bound::GatewayInFlightBytes,
        Bound::GatewayInboxRequests,
        Bound::GatewayConnections,
        Bound::DedupAheadDecisions,
        Bound::DedupWindowIds,
        Bound::WriterMemoryBytes,
        Bound::WriterOpenFiles,
        Bound::CompactorMemoryBytes,
        Bound::CompactorSpillBytes,
        Bound::LogBytes,
        Bound::DiskFreeBytes,
        Bound::LakeDiskFreeBytes,
    ];

    /// As its label has it.
    pub fn name(self) -> &'static str {
        match self {
            Bound::GatewayInFlightBytes => "gateway_in_flight_bytes",
            Bound::GatewayInboxRequests => "gateway_inbox_requests",
            Bound::GatewayConnections => "gateway_connections",
            Bound::DedupAheadDecisions => "dedup_ahead_decisions",
            Bound::DedupWindowIds => "dedup_window_ids",
            Bound::WriterMemoryBytes => "writer_memory_bytes",
            Bound::WriterOpenFiles => "writer_open_files",
            Bound::CompactorMemoryBytes => "compactor_memory_bytes",
            Bound::CompactorSpillBytes => "compactor_spill_bytes",
            Bound::LogBytes => "log_bytes",
            Bound::DiskFreeBytes => "disk_free_bytes",
            Bound::LakeDiskFreeBytes => "lake_disk_free_bytes",
        }
    }
}

/// How much of a bound is in use, and what it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    pub used: f64,
    pub limit: f64,
}

/// Shows a bound from now on, as `level` has it at each scrape.
pub fn show_bound(bound: Bound, level: impl Fn() -> Level + Send + 'static) {
    let labels = [bound.name()];
    look_at(bound.name(), move || {
        let Level { used, limit } = level();
        PROCESS.bound_used.with_label_values(&labels).set(used);
        PROCESS.bound_limit.with_label_values(&labels).set(limit);
    });
}

type Look = Box<dyn Fn() + Send>;

static LOOKS: Mutex<BTreeMap<&'static str, Look>> = Mutex::new(BTreeMap::new());

fn looks() -> MutexGuard<'static, BTreeMap<&'static str, Look>> {
    LOOKS.lock().expect("no holder panics")
}

/// Calls `look` before each scrape, in place of the one that had this name before. It must not block.
pub fn look_at(name: &'static str, look: impl Fn() + Send + 'static) {
    looks().insert(name, Box::new(look));
}

/// Everything that this process shows, in Prometheus' text format.
///
/// # Errors
/// A metric that can't be written as text.
pub fn text(health: &Health) -> Result<String, impl fmt::Display + use<>> {
    TextEncoder::new().encode_to_string(&gather(health))
}

/// Everything that this process shows, as it is now.
fn gather(health: &Health) -> Vec<MetricFamily> {
    let looks = looks();
    looks.values().for_each(|look| look());
    PROCESS.look(health);
    prometheus::gather()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_shown_and_documented_before_anything_is_counted() {
        let counter = Set::new("test").counter("things_total", "Things");
        let row = registered().into_iter().find(|row| row.name == "forebay_test_things_total");
        let row = row.expect("it was registered");
        assert_eq!((row.kind, row.labels.len(), row.help.as_str()), ("counter", 0, "Things"));
        let shown = || text(&Health::default()).map_err(|error| error.to_string()).unwrap();
        assert!(shown().contains("\nforebay_test_things_total 0\n"));
        counter.inc();
        assert!(shown().contains("\nforebay_test_things_total 1\n"));
    }

    #[test]
    fn a_process_shows_its_health_its_bounds_and_what_it_takes_of_the_machine() {
        begin("a-test");
        let health = Health::default();
        let (well, _unwell) = (health.part("well"), health.part("unwell"));
        well.ready();
        show_bound(Bound::LogBytes, || Level { used: 3.0, limit: 4.0 });
        let text = text(&health).map_err(|error| error.to_string()).unwrap();
        for line in [
            r#"forebay_ready{part="well"} 1"#,
            r#"forebay_ready{part="unwell"} 0"#,
            r#"forebay_bound_used{bound="log_bytes"} 3"#,
            r#"forebay_bound_limit{bound="log_bytes"} 4"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "no {line} in\n{text}");
        }
        assert!(text.contains(r#"forebay_build_info{service="a-test""#), "{text}");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().parse::<f64>().unwrap_or_default()
        };
        assert!(value("forebay_cpu_seconds_total ") > 0.0, "{text}");
        #[cfg(target_os = "linux")]
        assert!(value("forebay_memory_resident_bytes ") > 0.0, "{text}");
    }
}
