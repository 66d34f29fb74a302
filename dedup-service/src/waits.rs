//! How late a copy of an event may come.

use std::time::Duration;
use stream::Stream;

/// How long a record waits at most in a raw stream that keeps what nobody has read: as long as in one that is on AWS and
/// was told nothing. Source: <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
const UNBOUNDED_RAW: Duration = Duration::from_secs(24 * 3600);

/// Longest times for which a copy may wait until the dedup stage reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// In the raw stream, each time that it is put there.
    pub raw: Duration,
    /// In the overflow queue; zero where there is none.
    pub overflow: Duration,
}

impl Waits {
    /// Those of a data directory, and the shortest there are.
    pub const SHORTEST: Waits = Waits { raw: UNBOUNDED_RAW, overflow: Duration::ZERO };

    /// `overflow` is for how long the overflow queue keeps records. A raw stream's retention counts as far as it may be
    /// raised.
    pub fn of(raw: &dyn Stream, overflow: Duration) -> Waits {
        Waits { raw: raw.kept_for_at_most().unwrap_or(UNBOUNDED_RAW), overflow }
    }

    /// From the overflow queue into the raw stream, and into it once more as a stray (PROTOCOL rule 10a).
    pub(crate) fn longest(&self) -> Duration {
        self.overflow.saturating_add(self.raw.saturating_mul(2))
    }
}
