//! The words that all services share: events, ids, records on the streams, entries in the chains, columns in the lake.
//!
//! Everything here is pure: no I/O, no clock, no randomness. What a function needs to know of the world is an argument.

pub mod body;
pub mod columns;
pub mod foreign;
pub mod hash;
pub mod id;
pub mod intervals;
pub mod json;
pub mod origin;
pub mod position;
pub mod protobuf;
pub mod reason;
pub mod record;
pub mod rows;
pub mod stored;
pub mod time;
pub mod timestamp;
pub mod validate;

/// The protobuf types, as `proto/forebay/v1/*.proto` describe them.
#[allow(missing_debug_implementations, clippy::large_enum_variant)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/forebay.v1.rs"));
}

pub use columns::Table;
pub use hash::{HashKey, HashRange};
pub use id::EventId;
pub use intervals::IntervalSet;
pub use origin::{ChainId, Origin, ShardId};
pub use position::Position;
pub use reason::Reason;
pub use time::Day;
pub use v1::Kind;
