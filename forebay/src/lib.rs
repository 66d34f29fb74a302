//! What the `forebay` binary does, one module a command.

pub mod acked;
pub mod audit;
pub mod bench;
pub mod compact;
pub mod embedded;
pub mod generate;
pub mod quarantine;
pub mod up;
