//! The product's own audit of a world: what `forebay audit --ledger --deep` says of it.

use super::Findings;
use crate::backends::Backends;
use crate::events::BooksState;
use forebay::acked::Ledger;
use forebay::audit::{Finding, Report, of_ports};
use forebay::embedded::Embedded;
use schema::{EventId, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Examples of each kind of finding: one is enough to see it again.
const EXAMPLES_MAX: usize = 1;

/// What producers have receipts for. An event that was given up is an alarm of its own, with its id on record: here it is
/// not expected, so that nothing else hides behind it.
pub(super) fn receipts(books: &BooksState, given_up: &BTreeSet<EventId>) -> Ledger {
    let expected = |id: &&EventId| !given_up.contains(*id);
    let is_event = |id: &EventId| books.events[id].kind == Kind::Events;
    let (accepted, quarantined) = books.acknowledged.iter().filter(expected).partition(|id| is_event(id));
    Ledger { accepted, quarantined, ..Ledger::default() }
}

/// Audits a world in which nothing goes on meanwhile.
pub(super) async fn audit(backends: &Backends, receipts: Ledger) -> Findings {
    let ports = Embedded {
        raw: Arc::new(backends.raw.clone()),
        clean: Arc::new(backends.clean.clone()),
        ledger: Arc::new(backends.ledger.clone()),
        lake: Arc::new(backends.lake.clone()),
    };
    match of_ports(&ports, receipts, EXAMPLES_MAX, &backends.env()).await {
        Ok(report) => findings(&report),
        Err(error) => Findings::from([format!("forebay audit: can't read the evidence: {error:#}")]),
    }
}

/// What is wrong in a world at rest: there nothing is on its way either.
fn findings(report: &Report) -> Findings {
    let mut findings: Findings = report.findings.kinds().map(|(kind, finding)| told(kind, finding)).collect();
    let in_flight = report.figures.in_flight;
    if in_flight > 0 {
        findings.insert(format!("forebay audit: in flight: {in_flight}"));
    }
    if findings.is_empty() && !report.is_clean() {
        findings.insert(format!("forebay audit: not clean, and it does not say why: {:?}", report.figures));
    }
    findings
}

fn told(kind: &str, finding: &Finding) -> String {
    let example = finding.examples.first().map_or("", String::as_str);
    format!("forebay audit: {kind}: {}, as {example}", finding.count)
}
