//! OTLP: the collector that a process tells of itself, and who it says it is.

use crate::settings::duration;
use crate::tasks::Misconfigured;
use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use std::time::Duration;

/// The shortest pause between two sendings of metrics: each of them is all of them.
pub const METRICS_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Where a process sends what it tells of itself.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "otlp")]
#[command(next_help_heading = "Telemetry")]
pub struct Settings {
    /// The collector that gets spans, and metrics if they are to be sent, by OTLP over gRPC, as in http://127.0.0.1:4317
    /// [default: none]
    #[arg(long, env = "FOREBAY_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// How often all metrics are sent there, as in 60s [default: never; /metrics shows them]
    #[arg(long, env = "FOREBAY_OTLP_METRICS_EVERY", value_name = "TIME", value_parser = duration)]
    pub otlp_metrics_every: Option<Duration>,
}

impl Settings {
    /// Where metrics are sent and with which pause, if they are.
    ///
    /// # Errors
    /// A pause that is too short, or that comes without a collector.
    pub(crate) fn metrics(&self) -> Result<Option<(&str, Duration)>, Misconfigured> {
        let Some(every) = self.otlp_metrics_every else { return Ok(None) };
        if every < METRICS_PAUSE_MIN {
            return Err(Misconfigured::because(format!(
                "--otlp-metrics-every {every:?} is shorter than {METRICS_PAUSE_MIN:?}"
            )));
        }
        let Some(endpoint) = &self.otlp_endpoint else {
            return Err(Misconfigured::because(
                "--otlp-metrics-every sends metrics to --otlp-endpoint, which is missing",
            ));
        };
        Ok(Some((endpoint, every)))
    }
}

/// An endpoint that is none.
pub(crate) fn refused(endpoint: &str, error: &dyn std::fmt::Display) -> Misconfigured {
    Misconfigured::because(format!("--otlp-endpoint {endpoint}: {error}"))
}

/// Who sends: by `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and by what they leave out.
pub(crate) fn resource(service: &str) -> Resource {
    /// What the SDK calls a service that nobody has named.
    const NAMELESS: &str = "unknown_service";
    let version = || KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let found = Resource::builder().with_attribute(version()).build();
    let name = found.get(&"service.name".into()).map(|name| name.to_string());
    if name.is_some_and(|name| !name.starts_with(NAMELESS)) {
        return found;
    }
    Resource::builder().with_attribute(version()).with_service_name(service.to_owned()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_need_a_collector_and_a_pause() {
        let settings = |endpoint: Option<&str>, seconds: Option<u64>| Settings {
            otlp_endpoint: endpoint.map(str::to_owned),
            otlp_metrics_every: seconds.map(Duration::from_secs),
        };
        let url = "http://127.0.0.1:4317";
        let read = settings(Some(url), Some(60));
        assert_eq!(read.metrics().unwrap(), Some((url, Duration::from_secs(60))));
        assert_eq!(settings(Some(url), None).metrics().unwrap(), None);
        assert_eq!(settings(None, None).metrics().unwrap(), None);
        let error = |settings: Settings| settings.metrics().unwrap_err().to_string();
        assert!(error(settings(None, Some(60))).contains("--otlp-endpoint"));
        assert!(error(settings(Some(url), Some(0))).contains("--otlp-metrics-every"));
    }
}
