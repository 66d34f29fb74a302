//! The promise as a test: the services' real code over streams, ledger and lake in memory, where every call may go wrong.
//!
//! A **world** is a function of its seed: one thread, no clock of this machine, no randomness but the seed's. Its
//! **actors** are producers, owners of shards and compactors, driven by hand: several owners of one shard at once, each
//! with settings of its own, starved or killed at any await. Calls are refused, applied with the answer lost, or land much
//! later; streams reshard all the time. When the trouble ends, the **verdict** looks at what is really in the lake.

mod backends;
mod clients;
mod compactors;
#[cfg(test)]
mod contracts;
mod dice;
mod events;
mod evidence;
mod lakes;
mod ledger;
mod network;
mod owners;
mod run;
mod scenario;
mod scheduler;
mod search;
mod streams;
mod verdict;
mod world;

pub use run::{Report, run};
pub use scenario::{Keys, Off, PROTOCOL, SWITCHED_OFF, Scenario, Windows};
pub use search::{first_that_shows, for_each_seed, schedule_of};
pub use world::{Keep, Statistics};
