//! The promise from outside: the real binary, killed, drained, audited, and read by others.

mod audit;
mod kill;
mod pipeline;
mod readers;
mod up;
