//! What the `forebay` binary does, one module a command.

pub mod acked;
pub mod audit;
pub mod backfill;
mod background;
pub mod bench;
pub mod compact;
pub mod control;
pub mod cost;
pub mod embedded;
pub mod forward_again;
pub mod generate;
pub mod quarantine;
pub mod setup;
pub mod source;
pub mod up;
