//! Settings of the writer.

use clap::Args;
use service::settings::{bytes, duration};
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

/// Settings of the writer.
#[derive(Args, Clone, Debug)]
#[group(id = "writer-service")]
#[command(next_help_heading = "Writer")]
pub struct Config {
    /// Longest time that an event waits for its lake object. 60s on AWS, where each object is paid for
    #[arg(long, env = "FOREBAY_FLUSH_INTERVAL", default_value = "10s", default_value_if("backend", "aws", "60s"), value_parser = duration)]
    pub flush_interval: Duration,

    /// Bytes of rows, as plain columns, after which a shard's objects are written
    #[arg(id = "flush-bytes", long = "flush-bytes", env = "FOREBAY_FLUSH_BYTES", default_value = "64MiB", value_parser = bytes)]
    pub flush_bytes_max: usize,

    /// Rows after which a shard's objects are written
    #[arg(id = "flush-rows", long = "flush-rows", env = "FOREBAY_FLUSH_ROWS", default_value = "1000000")]
    pub flush_rows_max: NonZeroU64,

    /// Most rows of one live object
    #[arg(
        id = "live-object-rows",
        long = "live-object-rows",
        env = "FOREBAY_LIVE_OBJECT_ROWS",
        default_value = "1000000"
    )]
    pub object_rows_max: NonZeroU64,

    /// Memory for rows that wait for their objects, over all shards; beyond it the largest object is closed early
    #[arg(id = "writer-memory", long = "writer-memory", env = "FOREBAY_WRITER_MEMORY", default_value = "112MiB", value_parser = bytes)]
    pub memory_bytes_max: usize,

    /// Most objects that a shard fills at the same time; beyond it they are written early
    #[arg(
        id = "writer-open-objects",
        long = "writer-open-objects",
        env = "FOREBAY_WRITER_OPEN_OBJECTS",
        default_value = "400"
    )]
    pub open_objects_max: NonZeroUsize,

    /// Quiet time after which it is written down that objects are complete
    #[arg(id = "writer-settle-after", long = "writer-settle-after", env = "FOREBAY_WRITER_SETTLE_AFTER", default_value = "500ms", value_parser = duration)]
    pub settle_after: Duration,

    /// Pause between two reads where the first found little: fewer and larger batches of rows for some freshness
    #[arg(id = "writer-linger", long = "writer-linger", env = "FOREBAY_WRITER_LINGER", default_value = "100ms", value_parser = duration)]
    pub linger: Duration,
}
