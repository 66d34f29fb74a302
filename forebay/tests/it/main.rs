//! The promise from outside: the real binary, killed, drained, audited, and read by others.

mod audit;
mod compact;
mod disk;
mod kill;
mod pipeline;
mod readers;
mod trimmed;
mod up;
