//! Whether this process can do its work now, and if not, why.
//!
//! **Part**: one thing that must be well, named. The process is **ready** when all its parts are, and when it does not drain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// The part that stands for the process as a whole, which is well until it drains.
const PROCESS: &str = "process";

/// Readiness of all parts of a process.
#[derive(Debug, Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Health {
    fn default() -> Health {
        let parts = BTreeMap::from([(PROCESS.to_string(), None)]);
        Health { parts: Arc::new(Mutex::new(parts)), changed: Arc::default() }
    }
}

impl Health {
    /// The process takes no more work, or soon will not, and never will again.
    pub fn drain(&self) {
        self.set(PROCESS, Some("draining".to_string()));
    }

    /// A part that starts out not ready, because it is starting.
    pub fn part(&self, name: &str) -> Part {
        let part = Part { name: name.to_string(), health: self.clone() };
        part.not_ready("starting");
        part
    }

    /// Parts that are not ready, each with its reason; empty where the process is ready.
    pub fn reasons(&self) -> Vec<(String, String)> {
        let parts = self.parts.lock().expect("no holder panics");
        let unwell = |(name, reason): (&String, &Option<String>)| Some((name.clone(), reason.clone()?));
        parts.iter().filter_map(unwell).collect()
    }

    /// All parts, and whether each is ready.
    pub fn parts(&self) -> Vec<(String, bool)> {
        let parts = self.parts.lock().expect("no holder panics");
        parts.iter().map(|(name, reason)| (name.clone(), reason.is_none())).collect()
    }

    /// Wakes at each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn set(&self, name: &str, reason: Option<String>) {
        let mut parts = self.parts.lock().expect("no holder panics");
        if parts.get(name) != Some(&reason) {
            parts.insert(name.to_string(), reason);
            self.changed.send_modify(|version| *version += 1);
        }
    }
}

/// One thing that must be well.
#[derive(Debug, Clone)]
pub struct Part {
    name: String,
    health: Health,
}

impl Part {
    pub fn ready(&self) {
        self.health.set(&self.name, None);
    }

    pub fn not_ready(&self, reason: &str) {
        self.health.set(&self.name, Some(reason.to_string()));
    }
}

/// Serves the standard gRPC health protocol for the given service names, and for the empty name, until `stop`.
pub async fn report_to_grpc(
    health: Health,
    reporter: tonic_health::server::HealthReporter,
    names: Vec<String>,
    stop: crate::Stop,
) {
    use tonic_health::ServingStatus;
    let mut changes = health.changes();
    loop {
        changes.borrow_and_update();
        let ready = health.reasons().is_empty() && !stop.is_cancelled();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names.iter().map(String::as_str).chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        if stop.is_cancelled() {
            return;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_its_parts_are() {
        let health = Health::default();
        let (stream, ledger) = (health.part("stream"), health.part("ledger"));
        stream.ready();
        assert_eq!(health.reasons(), [("ledger".to_string(), "starting".to_string())]);
        ledger.ready();
        assert!(health.reasons().is_empty());
        stream.not_ready("throttled");
        assert_eq!(health.reasons(), [("stream".to_string(), "throttled".to_string())]);
    }
}
