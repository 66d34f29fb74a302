//! What the owners of shards do the same way, whatever they do with a shard.
//!
//! **Owner**: works on one shard and writes its chain. **Stage**: the owners of all shards of a stream. A shard may be
//! owned once the chains of all its parents have their END, and never again once its own has.

mod error;
mod lag;
pub mod metrics;
mod notes;
mod orphans;
mod reading_on;
mod stage;
mod succession;
mod tip;

pub use error::OwnerError;
pub use lag::{Lag, age};
pub use notes::Notes;
pub use reading_on::ReadingOn;
pub use stage::{Shards, Stage};
pub use succession::Succession;
pub use tip::{recall_tip, should_say_anew, tip_at};

pub use ledger::PATIENCE;

use std::time::Duration;

/// An owner that has not loaded or appended for this long may not trust its memory (PROTOCOL rule 4).
pub const MEMORY_AGE_MAX: Duration = Duration::from_secs(3600);

/// Pause before something that failed is tried again.
pub const RETRY_PAUSE: Duration = PATIENCE.pause;
