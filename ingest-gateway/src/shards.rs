//! Which shard an event goes to, as far as this gateway knows.
//!
//! **Routes**: the open shards at one moment. Routes may be stale: a record then lands on another shard than expected,
//! which is harmless and makes the gateway look again.

use schema::{HashKey, ShardId};
use service::{Part, Stop};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use stream::{ReadError, Shard, Stream};
use tokio::sync::Notify;

/// How often the shards are looked up without a reason.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// How long after a look-up that failed, or that an answer asked for, the next one comes at the earliest.
const REFRESH_PAUSE: Duration = Duration::from_millis(500);

/// How long the first requests wait for the shards to be looked up.
const FIRST_LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// The open shards at one moment, by the start of their ranges; at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    shards: Vec<(HashKey, ShardId)>,
}

impl Routes {
    /// `None` where no shard is open.
    pub(crate) fn of(shards: Vec<Shard>) -> Option<Routes> {
        let open = shards.into_iter().filter(|shard| !shard.closed);
        let mut shards: Vec<_> = open.map(|shard| (shard.range.low, shard.id)).collect();
        shards.sort_unstable_by_key(|&(low, _)| low);
        (!shards.is_empty()).then_some(Routes { shards })
    }

    /// Place of the shard that covers `point`, or of the nearest one below where none does.
    pub(crate) fn place(&self, point: HashKey) -> usize {
        self.shards.partition_point(|&(low, _)| low <= point).saturating_sub(1)
    }

    pub(crate) fn shard(&self, place: usize) -> &ShardId {
        &self.shards[place].1
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }
}

/// The routes as they are known now.
#[derive(Debug)]
pub(crate) struct ShardMap {
    stream: Arc<dyn Stream>,
    routes: RwLock<Option<Arc<Routes>>>,
    stale: Notify,
}

impl ShardMap {
    pub(crate) fn new(stream: Arc<dyn Stream>) -> Arc<ShardMap> {
        Arc::new(ShardMap { stream, routes: RwLock::new(None), stale: Notify::new() })
    }

    /// `None` until the shards were looked up for the first time.
    pub(crate) fn routes(&self) -> Option<Arc<Routes>> {
        self.routes.read().expect("no holder panics").clone()
    }

    /// Asks for another look-up, because an answer of the stream did not fit the routes.
    pub(crate) fn mark_stale(&self) {
        self.stale.notify_one();
    }

    /// Looks the shards up before the first request is taken. A stream that does not answer in time is not waited for: then
    /// requests are refused until [`ShardMap::keep_fresh`] knows the shards.
    pub(crate) async fn look_up_first(&self, stop: Stop) {
        tokio::select! {
            () = stop.cancelled() => {}
            looked_up = tokio::time::timeout(FIRST_LOOK_UP_MAX, self.refresh()) => {
                if !matches!(looked_up, Ok(Ok(()))) {
                    tracing::warn!(?looked_up, "the shards of the raw stream are not known yet: requests are refused until they are");
                }
            }
        }
    }

    /// Keeps the routes fresh until `stop`.
    pub(crate) async fn keep_fresh(&self, part: Part, stop: Stop) -> anyhow::Result<()> {
        loop {
            let wait = match self.refresh().await {
                Ok(()) => {
                    part.ready();
                    REFRESH_INTERVAL
                }
                Err(error) => {
                    tracing::warn!(%error, "the shards of the raw stream can't be looked up");
                    if self.routes().is_none() {
                        part.not_ready(&error.to_string());
                    }
                    REFRESH_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
                () = self.stale.notified() => tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(REFRESH_PAUSE) => {}
                },
            }
        }
    }

    async fn refresh(&self) -> Result<(), ReadError> {
        let no_shard = || ReadError::Unavailable("no shard is open".into());
        let routes = Routes::of(self.stream.shards().await?).ok_or_else(no_shard)?;
        let mut known = self.routes.write().expect("no holder panics");
        if known.as_deref() != Some(&routes) {
            tracing::info!(shards = routes.len(), "routing to the open shards of the raw stream");
            *known = Some(Arc::new(routes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::HashRange;

    fn shard(id: &str, range: HashRange, closed: bool) -> Shard {
        Shard { id: ShardId::new(id), range, parents: vec![], closed }
    }

    #[test]
    fn a_point_goes_to_the_open_shard_that_covers_it() {
        let [low, high] = HashRange::even(2)[..] else { panic!("two ranges") };
        let shards = vec![shard("old", HashRange::ALL, true), shard("high", high, false), shard("low", low, false)];
        let routes = Routes::of(shards).expect("open shards");
        for (point, id) in [(low.low, "low"), (low.high, "low"), (high.low, "high"), (high.high, "high")] {
            assert_eq!(routes.shard(routes.place(point)), &ShardId::new(id));
        }
    }

    #[test]
    fn a_point_that_no_open_shard_covers_still_has_a_place() {
        let [_, high] = HashRange::even(2)[..] else { panic!("two ranges") };
        let routes = Routes::of(vec![shard("high", high, false)]).expect("an open shard");
        assert_eq!(routes.place(HashKey(0)), 0);
        assert_eq!(Routes::of(vec![shard("old", HashRange::ALL, true)]), None);
    }
}
