//! The promise from outside: the real binary, killed, drained, audited, and read by others.

mod audit;
mod compact;
mod conservation;
mod disk;
mod kill;
mod logs;
mod metrics;
mod pipeline;
mod readers;
mod traces;
mod trimmed;
mod up;
