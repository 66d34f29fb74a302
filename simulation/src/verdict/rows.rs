//! The lake against the chains, and against what was sent.

use super::Findings;
use crate::events::BooksState;
use crate::evidence::{Decided, Objects, Place, Row, Voided};
use lake::layout::{DROPPED, FINAL, LIVE};
use schema::{EventId, Kind};
use std::collections::BTreeSet;

/// What is in the lake is what was decided and did not become void, and that is what was sent.
pub(super) fn audit_lake(
    objects: &Objects,
    books: &BooksState,
    standing: &[Decided],
    voided: &[Voided],
    excused: &BTreeSet<EventId>,
) -> Findings {
    let under = |root: &str| -> Vec<&Row> {
        let of_root = objects.iter().filter(|(key, _)| key.split('/').next() == Some(root));
        of_root.flat_map(|(_, rows)| rows.iter()).collect()
    };
    let (live, last, dropped) = (under(LIVE), under(FINAL), under(DROPPED));
    // A further copy in quarantine may be of another day, where nobody looks for the first.
    let is_quarantined = |id: &&EventId| books.events.get(id).is_some_and(|event| event.kind == Kind::Quarantine);
    let excused_in_final = excused.iter().filter(is_quarantined).copied().collect();
    let given_up: BTreeSet<EventId> = voided.iter().map(|void| void.id).collect();
    let expected: BTreeSet<EventId> = books.acknowledged.difference(&given_up).copied().collect();
    let mut findings = audit_promise(LIVE, &live, &expected, excused);
    findings.extend(audit_promise(FINAL, &last, &expected, &excused_in_final));
    let unexcused = dropped.iter().find(|row| !excused.contains(&row.id));
    findings.extend(unexcused.map(|row| format!("audit: {} was dropped without need", row.id)));
    let chained: BTreeSet<(Place, EventId)> = standing.iter().map(|one| (one.place.clone(), one.id)).collect();
    findings.extend(audit_rows(LIVE, &live, &chained));
    findings.extend(audit_rows("final and dropped", &[last, dropped].concat(), &chained));
    findings
}

/// Every expected event is there, once, as it was sent.
fn audit_promise(root: &str, rows: &[&Row], expected: &BTreeSet<EventId>, excused: &BTreeSet<EventId>) -> Findings {
    let there: BTreeSet<EventId> = rows.iter().map(|row| row.id).collect();
    let twice = twice(rows.iter().map(|row| row.id));
    let lost = expected.difference(&there).next().map(|id| format!("loss {root}: {id} is not there"));
    let double = twice.difference(excused).next().map(|id| format!("dup {root}: {id} is there twice"));
    let invented = rows.iter().find(|row| row.copy == 0).map(|row| format!("invented {root}: {:?}", row.place));
    [lost, double, invented].into_iter().flatten().collect()
}

/// The rows are those that the chains have, each once.
fn audit_rows(what: &str, rows: &[&Row], chained: &BTreeSet<(Place, EventId)>) -> Option<String> {
    let held: BTreeSet<(Place, EventId)> = rows.iter().map(|row| (row.place.clone(), row.id)).collect();
    let fits = held == *chained && held.len() == rows.len();
    (!fits).then(|| format!("audit: {what} is not what the chains decided"))
}

/// What is there more than once.
pub(super) fn twice(ids: impl Iterator<Item = EventId>) -> BTreeSet<EventId> {
    let mut met = BTreeSet::new();
    ids.filter(|id| !met.insert(*id)).collect()
}
