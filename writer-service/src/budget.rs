//! The memory that all shards of a process share.

use service::metrics::Level;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Parts smaller than this are not closed early: it would free next to nothing.
pub(crate) const EVICTED_BYTES_MIN: usize = 1 << 20;

/// How long a user waits for the one who holds the most to close a part. That one may be amid an upload; memory must stay
/// bounded all the same.
const OTHERS_PATIENCE: Duration = Duration::from_secs(2);

/// A bound on memory, and how much of it is in use.
#[derive(Clone, Debug)]
pub struct Budget {
    users: Arc<Mutex<Users>>,
    /// Told when a user holds less than before.
    freed: Arc<Notify>,
    bytes_max: usize,
    encoders: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Users {
    held: BTreeMap<u64, User>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct User {
    holds: Holds,
    asked: Arc<Notify>,
}

/// What a user holds: of two users, the greater one is to close a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holds {
    /// Bytes of its largest open part, if that is worth closing.
    largest: usize,
    /// What it can announce.
    gathered: usize,
    bytes: usize,
}

impl Holds {
    pub fn gathered(bytes: usize, largest: usize) -> Holds {
        Holds { largest: if largest < EVICTED_BYTES_MIN { 0 } else { largest }, gathered: bytes, bytes }
    }

    /// Of objects that are on their way, of which none can be given up.
    pub fn pending(bytes: usize) -> Holds {
        Holds { bytes, ..Holds::default() }
    }
}

impl Budget {
    pub fn new(bytes_max: usize) -> Budget {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let encoders = Arc::new(Semaphore::new(processors));
        Budget { users: Arc::default(), freed: Arc::default(), bytes_max, encoders }
    }

    /// One user's share, nothing at first.
    pub fn share(&self) -> Share {
        let asked = Arc::<Notify>::default();
        let mut users = self.users();
        let id = users.next;
        users.next += 1;
        users.held.insert(id, User { holds: Holds::default(), asked: asked.clone() });
        Share { budget: self.clone(), id, asked }
    }

    /// Waits for leave to encode: one for each processor, since an encoder needs memory beside its rows and more of them at a
    /// time are no faster.
    pub(crate) async fn encoder(&self) -> OwnedSemaphorePermit {
        self.encoders.clone().acquire_owned().await.expect("nobody closes the semaphore")
    }

    pub(crate) fn level(&self) -> Level {
        Level { used: self.users().bytes as f64, limit: self.bytes_max as f64 }
    }

    pub fn is_exceeded(&self) -> bool {
        self.users().bytes > self.bytes_max
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.users.lock().expect("nobody panics while holding it")
    }
}

impl Users {
    /// Who holds the most; of equals, who came first.
    fn greatest(&self) -> Option<(u64, &User)> {
        let users = self.held.iter().map(|(id, user)| (*id, user));
        users.max_by_key(|(id, user)| (user.holds, std::cmp::Reverse(*id)))
    }
}

/// What one user holds; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    id: u64,
    asked: Arc<Notify>,
}

impl Share {
    /// Says what this user holds by now.
    pub fn set(&self, holds: Holds) {
        let mut users = self.budget.users();
        let user = users.held.get_mut(&self.id).expect("it leaves when the share is dropped");
        let before = std::mem::replace(&mut user.holds, holds);
        users.bytes = users.bytes - before.bytes + holds.bytes;
        if holds.bytes < before.bytes {
            self.budget.freed.notify_waiters();
        }
    }

    /// Waits until another user has asked this one to close a part.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Whether the bound is exceeded and it is this user who is to close a part: who holds the most, and anybody where that one
    /// does not in time.
    pub async fn has_to_evict(&self) -> bool {
        tokio::time::timeout(OTHERS_PATIENCE, self.turn()).await.unwrap_or_else(|_| self.budget.is_exceeded())
    }

    /// Asks who holds the most until nobody has to close a part, or this user has.
    async fn turn(&self) -> bool {
        loop {
            let freed = self.budget.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            if !self.budget.is_exceeded() {
                return false;
            }
            match self.budget.users().greatest() {
                Some((id, user)) if id != self.id => user.asked.notify_one(),
                _ => return true,
            }
            freed.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(Holds::default());
        self.budget.users().held.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn holds(mib: usize) -> Holds {
        Holds::gathered(mib * MIB, mib * MIB)
    }

    #[test]
    fn shares_add_up_and_are_given_back() {
        let budget = Budget::new(100 * MIB);
        let (a, b) = (budget.share(), budget.share());
        a.set(holds(60));
        b.set(holds(50));
        assert!(budget.is_exceeded());
        a.set(holds(40));
        assert!(!budget.is_exceeded());
        b.set(holds(70));
        drop(b);
        assert!(!budget.is_exceeded());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_the_largest_part_is_asked_and_the_other_waits_for_it() {
        let budget = Budget::new(100 * MIB);
        let (quiet, busy) = (budget.share(), budget.share());
        quiet.set(holds(90));
        busy.set(holds(20));
        assert!(quiet.has_to_evict().await);
        let closes = async {
            quiet.asked().await;
            assert!(quiet.has_to_evict().await);
            quiet.set(Holds::gathered(10 * MIB, 0));
        };
        assert!(!tokio::join!(busy.has_to_evict(), closes).0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_closes_a_part_of_its_own() {
        let budget = Budget::new(100 * MIB);
        let (stuck, busy) = (budget.share(), budget.share());
        stuck.set(holds(90));
        busy.set(holds(20));
        assert!(busy.has_to_evict().await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_users_without_a_part_worth_closing_the_one_who_gathered_most_has_to_announce() {
        let budget = Budget::new(MIB);
        let (a, b, uploading) = (budget.share(), budget.share(), budget.share());
        a.set(Holds::gathered(MIB, EVICTED_BYTES_MIN - 1));
        b.set(Holds::gathered(2 * MIB, 0));
        uploading.set(Holds::pending(3 * MIB));
        let asks = async {
            tokio::select! {
                _ = a.has_to_evict() => panic!("it has to wait for the other"),
                () = b.asked() => {}
            }
        };
        asks.await;
        assert!(b.has_to_evict().await);
    }
}
