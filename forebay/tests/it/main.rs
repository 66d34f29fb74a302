//! The promise from outside: the real binary, killed, drained, audited, and read by others.

mod audit;
mod bill;
#[path = "../../../service/tests/it/collector.rs"]
mod collector;
mod compact;
mod connections;
mod conservation;
mod damaged;
mod disk;
mod greeting;
mod kill;
mod logs;
mod metrics;
mod pipeline;
mod readers;
mod traces;
mod trimmed;
mod up;
