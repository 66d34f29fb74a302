//! What was fed, and up to where: what people see of a run, and what another one goes on with.

use super::batch::Counts;
use indicatif::{HumanBytes, HumanCount};
use schema::{Position, ShardId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};
use stream::Stream;

const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Account {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    counts: Counts,
    /// Appends that were not acknowledged at once.
    put_again: u64,
    through: BTreeMap<ShardId, Position>,
}

impl Account {
    pub(super) fn new(through: BTreeMap<ShardId, Position>) -> Account {
        Account { kept: Mutex::new(Kept { through, ..Kept::default() }) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding it")
    }

    /// Up to where a shard was fed.
    pub(super) fn through(&self, shard: &ShardId) -> Position {
        self.kept().through.get(shard).cloned().unwrap_or_else(Position::start)
    }

    /// Notes that everything up to `through` was fed.
    pub(super) fn fed(&self, shard: &ShardId, through: &Position, counts: Counts) {
        let mut kept = self.kept();
        kept.counts.add(counts);
        kept.through.insert(shard.clone(), through.clone());
    }

    pub(super) fn put_again(&self, records: usize) {
        self.kept().put_again += records as u64;
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> Counts {
        self.kept().counts
    }

    /// The positions that another run goes on after, as the command line takes them.
    pub(super) fn places(&self) -> String {
        let places: Vec<String> =
            self.kept().through.iter().map(|(shard, through)| format!("{shard}:{through}")).collect();
        places.join(",")
    }

    /// Shows how it goes until dropped.
    pub(super) async fn show(&self) {
        loop {
            tokio::time::sleep(LINE_EVERY).await;
            eprintln!("{}", Fed(&self.kept().counts));
        }
    }

    pub(super) fn report(
        &self,
        from: &dyn Stream,
        to: &dyn Stream,
        is_complete: bool,
        is_rehearsal: bool,
        now: i64,
    ) -> String {
        let (counts, put_again) = {
            let kept = self.kept();
            (kept.counts, kept.put_again)
        };
        let (from, to) = (from.name(), to.name());
        let mut lines = vec![
            format!(
                "read       {} records of {from}, {} of them by other producers",
                count(counts.read),
                count(counts.foreign)
            ),
            format!("{}  {}, into {to}", if is_rehearsal { "would feed" } else { "fed      " }, Fed(&counts)),
        ];
        if put_again > 0 {
            lines.push(format!("put again  {} records that the stream had not taken at once", count(put_again)));
        }
        lines.extend(counts.oldest.map(|oldest| format!("oldest     received {}", Aged { oldest, now })));
        lines.push(match (is_complete, self.places()) {
            (true, _) => "complete: doing it again does no harm".to_string(),
            (false, _) if is_rehearsal => "NOT complete: there is more to feed".to_string(),
            (false, places) if places.is_empty() => "NOT complete: start again".to_string(),
            (false, places) => format!("NOT complete: start again, or go on with --after {places}"),
        });
        lines.join("\n") + "\n"
    }
}

fn count(count: u64) -> HumanCount {
    HumanCount(count)
}

struct Fed<'a>(&'a Counts);

impl fmt::Display for Fed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { fed, events, bytes, .. } = self.0;
        write!(f, "{} records with {} events, {}", count(*fed), count(*events), HumanBytes(*bytes))
    }
}

/// A time, and how long ago that is, in whole minutes.
struct Aged {
    oldest: i64,
    now: i64,
}

impl fmt::Display for Aged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        let minutes = micros(self.now.saturating_sub(self.oldest)).as_secs().div_ceil(60);
        let (at, ago) = (UNIX_EPOCH + micros(self.oldest), Duration::from_secs(60 * minutes));
        write!(f, "{}, {} ago", humantime::format_rfc3339_seconds(at), humantime::format_duration(ago))
    }
}
