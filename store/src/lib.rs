//! The durable log in a data directory; the embedded streams, ledger and queue are views of it.
//!
//! **Frame**: one thing that was appended, behind a header that names it and carries checksums. **Segment**: a file of
//! frames, sealed when it is full. **Commit**: many waiting appends, one write, one sync; what it holds becomes visible
//! and is answered only then.
//!
//! What frames hold: **records** of a **log** (a shard), numbered densely; **slots** of a **chain**, each filled once;
//! **notes**, small values by key of which the last counts; **messages** of a queue until they are **acked**.
//!
//! **Torn tail**: what a kill or a power cut leaves of a commit that nobody was told of; cut off at open. **Damage**: bytes
//! that were durable once and can't be read now; named, and never passed over in silence. A later frame tells the two
//! apart, the next commit's or a **marker** soon after the last one: before it is there, damage to the very last commit
//! passes for a torn tail.
//! **Set aside**: a person's decision to go on without what was damaged.

mod chain;
mod commit;
mod damage;
mod draft;
mod error;
mod fetch;
mod frame;
mod index;
mod intake;
mod live;
mod lock;
mod log;
mod reader;
mod recover;
mod retention;
mod scan;
mod segment;
mod store;
mod view;

pub use commit::Stats;
pub use damage::Damage;
pub use draft::{Append, Refusal};
pub use error::{FetchError, StoreError};
pub use fetch::{Fetch, Fetched, Frame};
pub use frame::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
pub use reader::StoreReader;
pub use retention::Retained;
pub use segment::SEGMENT_BYTES;
pub use store::{Clock, Options, Store};
pub use view::{LogPage, Note, View};
