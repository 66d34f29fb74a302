//! What the leases of all workers look like, and since when.

use crate::Lease;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// All leases of a stage as they last changed.
#[derive(Debug)]
pub(super) struct Watch {
    term: Duration,
    seen: BTreeMap<String, (Lease, Instant)>,
}

impl Watch {
    pub(super) fn new(term: Duration) -> Watch {
        Watch { term, seen: BTreeMap::new() }
    }

    /// Takes in all leases as they stand now. What is not among them is forgotten.
    pub(super) fn observe(&mut self, leases: Vec<Lease>) {
        let (mut before, now) = (std::mem::take(&mut self.seen), Instant::now());
        for lease in leases {
            let since = match before.remove(&lease.name) {
                Some((last, since)) if last == lease => since,
                _ => now,
            };
            self.seen.insert(lease.name.clone(), (lease, since));
        }
    }

    pub(super) fn lease(&self, name: &str) -> Option<&Lease> {
        Some(&self.seen.get(name)?.0)
    }

    /// Who holds a lease, as far as can be told: its counter went up within the last term, by this process' clock.
    ///
    /// A holder asks for a renewal before it can be seen here, and counts its term from when it asked: it has stopped
    /// before anybody finds no owner here.
    pub(super) fn owner(&self, name: &str) -> Option<&str> {
        let (lease, since) = self.seen.get(name)?;
        lease.owner.as_deref().filter(|_| since.elapsed() < self.term)
    }

    /// Names that start with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        self.seen.keys().map(String::as_str).filter(move |name| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(30);

    fn lease(owner: Option<&str>, counter: u64) -> Lease {
        Lease { name: "a".to_owned(), owner: owner.map(str::to_owned), counter }
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_whose_counter_stands_still_for_a_term_is_none() {
        let mut watch = Watch::new(TERM);
        for _ in 0..3 {
            watch.observe(vec![lease(Some("x"), 1)]);
            assert_eq!(watch.owner("a"), Some("x"));
            tokio::time::advance(TERM / 3).await;
        }
        assert_eq!(watch.owner("a"), None);
        watch.observe(vec![lease(Some("x"), 2)]);
        assert_eq!(watch.owner("a"), Some("x"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_has_no_owner_and_a_retired_one_is_forgotten() {
        let mut watch = Watch::new(TERM);
        watch.observe(vec![lease(None, 2)]);
        assert_eq!((watch.owner("a"), watch.lease("a")), (None, Some(&lease(None, 2))));
        watch.observe(Vec::new());
        assert_eq!((watch.lease("a"), watch.names("").count()), (None, 0));
    }
}
