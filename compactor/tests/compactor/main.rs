//! The compactor over an embedded ledger and a lake in a folder.

#![allow(clippy::unwrap_used)]

mod backlog;
mod command;
mod crash;
mod exactness;
mod fleet;
mod house;
mod limits;
mod network;
mod sweep;
mod trim;
