//! What the compactions of this process hold just now: memory for rows and ids, and disk for what does not fit there.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for rows and ids. What parts of an object take until they are written comes on top.
pub(crate) static MEMORY: AtomicUsize = AtomicUsize::new(0);

/// Disk for spilled rows and ids, and for objects on their way.
pub(crate) static DISK: AtomicUsize = AtomicUsize::new(0);

/// What one user holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: &'static AtomicUsize,
    bytes: usize,
}

impl Held {
    /// Nothing yet.
    pub(crate) fn nothing_of(of: &'static AtomicUsize) -> Held {
        Held { of, bytes: 0 }
    }

    /// Says how much this user holds by now.
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.of.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.of.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    pub(crate) fn add(&mut self, bytes: usize) {
        self.set(self.bytes + bytes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_hold_adds_up_and_is_given_back() {
        static BYTES: AtomicUsize = AtomicUsize::new(0);
        let (mut a, mut b) = (Held::nothing_of(&BYTES), Held::nothing_of(&BYTES));
        a.add(60);
        b.set(50);
        a.set(40);
        assert_eq!(BYTES.load(Ordering::Relaxed), 90);
        drop(a);
        b.add(5);
        assert_eq!((BYTES.load(Ordering::Relaxed), b.bytes()), (55, 55));
        drop(b);
        assert_eq!(BYTES.load(Ordering::Relaxed), 0);
    }
}
