//! What every process does the same way: telemetry, settings, tasks and shutdown, health, time and randomness.

pub mod admin;
pub mod env;
pub mod files;
pub mod health;
pub mod memory;
pub mod metrics;
pub mod otlp;
pub mod process;
pub mod rules;
pub mod settings;
pub mod tasks;
pub mod telemetry;
pub mod traces;

pub use env::{Clock, Env, Random};
pub use health::{Health, Part};
pub use process::Process;
pub use rules::{Rule, Rules};
pub use tasks::{Halt, Misconfigured, Stop, Tasks};
pub use traces::Traces;
