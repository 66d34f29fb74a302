//! Tells a packer that leaves requests in its inbox when enough of them wait.
//!
//! Whoever puts a request there looks at how many wait, which is all that it costs; only who sees the crowd together wakes the
//! packer, once.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Nobody waits for a crowd.
const NEVER: usize = usize::MAX;

#[derive(Debug)]
pub(crate) struct Crowd {
    wanted: AtomicUsize,
    came: Notify,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { wanted: AtomicUsize::new(NEVER), came: Notify::new() }
    }
}

impl Crowd {
    /// Has [`Crowd::came`] resolve once so many requests wait. Look at how many do after this call: those that came before
    /// it are told to nobody.
    pub(crate) fn expect(&self, requests: usize) {
        self.wanted.store(requests, Ordering::SeqCst);
    }

    /// So many wait by now.
    pub(crate) fn waits(&self, requests: usize) {
        let wanted = self.wanted.load(Ordering::SeqCst);
        let is_together = requests >= wanted;
        if is_together && self.wanted.compare_exchange(wanted, NEVER, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            self.came.notify_one();
        }
    }

    /// Resolves when what was expected has come; now and then for nothing, where it was taken in the meantime.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn the_packer_is_woken_once_for_a_crowd_and_never_for_what_nobody_expects() {
        let crowd = Crowd::default();
        let came = || crowd.came().now_or_never().is_some();
        crowd.waits(1000);
        assert!(!came());
        crowd.expect(3);
        crowd.waits(2);
        assert!(!came());
        // Two may put theirs before either looks.
        crowd.waits(4);
        crowd.waits(4);
        assert!(came() && !came());
    }
}
