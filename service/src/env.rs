//! Time, randomness and where spans go, handed in: the same code runs on a real machine and in a seeded simulation.

use crate::traces::{Settings, Traces};
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock. Stamps events and measures graces; never decides ownership or order.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Unix time in microseconds.
    fn now(&self) -> i64;
}

/// A source of numbers nobody else draws.
pub trait Random: Send + Sync + fmt::Debug {
    fn next(&self) -> u128;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // The one place where the wall clock enters.
    fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system has randomness");
        u128::from_ne_bytes(bytes)
    }
}

/// The world as a service sees it.
#[derive(Clone, Debug)]
pub struct Env {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub traces: Traces,
}

impl Env {
    pub fn system() -> Env {
        Env::of(Arc::new(SystemClock), Arc::new(SystemRandom))
    }

    /// A world in which nothing is traced.
    pub fn of(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Env {
        Env { clock, random, traces: Traces::off() }
    }

    /// The same world, in which a fraction of requests is traced, where the settings say so.
    ///
    /// # Errors
    /// As [`Traces::open`].
    pub fn traced(self, settings: &Settings, service: &str) -> anyhow::Result<Env> {
        let traces = Traces::open(settings, service, &self)?;
        Ok(Env { traces, ..self })
    }

    /// Unix time in microseconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    pub fn nonce(&self) -> u128 {
        self.random.next()
    }
}
