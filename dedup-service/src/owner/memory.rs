//! What an owner remembers: loading ids from the ledger, and making room for them.

use super::{Owner, ancestors};
use crate::chain;
use crate::metrics::METRICS;
use crate::voids::Voids;
use crate::window::minute_of;
use ledger::{Ledger, Walk};
use ownership::OwnerError;
use schema::ChainId;
use schema::v1::Decision;
use service::Rule;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two warnings of windows that are full: they stay so for hours.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Owner {
    /// Takes the ids received in the minutes `[from, below)` into memory, from this chain and all its ancestors, and what
    /// is void out of it. Gives the first minute of which no id can have been trimmed.
    pub(super) async fn load_window(&mut self, from: i32, below: i32) -> Result<i32, OwnerError> {
        let mut voids = Voids::default();
        let trimmed_to = self
            .for_each_decision_since(from, |owner, chain, entry| {
                chain::take_ids(&mut owner.state.windows, entry, &owner.state.range, from..below);
                owner.make_room();
                voids.note(chain, entry);
            })
            .await?;
        if !voids.is_empty() {
            voids.forget(&mut self.state.windows);
            let take_back = |owner: &mut Owner, chain: &ChainId, entry: &Decision| {
                voids.take_back(&mut owner.state.windows, chain, entry, &owner.state.range);
                owner.make_room();
            };
            self.for_each_decision_since(from, take_back).await?;
        }
        Ok(trimmed_to)
    }

    /// Shows the entries of this chain and all its ancestors that may hold an id received at or after `minute`, as far as
    /// they are not trimmed. Gives the first minute of which no id can have been trimmed.
    async fn for_each_decision_since(
        &mut self,
        minute: i32,
        mut each: impl FnMut(&mut Owner, &ChainId, &Decision),
    ) -> Result<i32, OwnerError> {
        let ledger = self.parts.ledger.clone();
        let mut chains = vec![self.state.chain.clone()];
        if self.parts.rules.keeps(Rule::WindowIsInherited) {
            chains.extend(ancestors(&*ledger, &self.genesis).await?);
        }
        let mut trimmed_to = i32::MIN;
        for chain in chains {
            match self.for_each_decision_of(&*ledger, &chain, minute, &mut each).await {
                Ok(through) => trimmed_to = trimmed_to.max(through),
                // A stream may have been made because the ledger lost chains of the old one.
                Err(OwnerError::Halt(halt)) if !chain::is_of(&*self.parts.raw, &chain) => {
                    tracing::warn!(ancestor = %chain, %halt, "copies of what this chain accepted from there on can't be told");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(trimmed_to)
    }

    /// The same for one of these chains.
    async fn for_each_decision_of(
        &mut self,
        ledger: &dyn Ledger,
        chain: &ChainId,
        minute: i32,
        each: &mut impl FnMut(&mut Owner, &ChainId, &Decision),
    ) -> Result<i32, OwnerError> {
        let mut trimmed_to = i32::MIN;
        let Some((head, _)) = chain::head(ledger, chain).await? else { return Ok(trimmed_to) };
        // What has filled the room meanwhile is newer.
        let minute = self.state.windows.room_from(minute);
        let mut expected = chain::first_entry_since(ledger, chain, minute, head).await?;
        let mut walk = Walk::new(ledger, chain, expected);
        while let Some(slot) = walk.next().await? {
            let entry = chain::decision(chain, slot.number, slot.entry.bytes)?;
            if slot.number > expected {
                // What is gone was received no later than this.
                trimmed_to = trimmed_to.max(minute_of(entry.newest_through).saturating_add(1));
            }
            expected = slot.number + 1;
            each(self, chain, &entry);
        }
        Ok(trimmed_to)
    }

    /// Loads older entries, so that an event that comes late can be judged (PROTOCOL rule 8).
    pub(super) async fn reach_back(&mut self, minute: i32) -> Result<(), OwnerError> {
        let floor = self.state.windows.floor();
        if self.state.windows.len() >= self.share.ids_max() {
            self.warn_of_full("late events are judged by a shorter window");
            return Ok(());
        }
        METRICS.reached_back.inc();
        let trimmed_to = self.load_window(minute, floor).await?;
        // What is in memory is known, whatever became of its entry.
        self.state.trimmed_to = self.state.trimmed_to.max(trimmed_to.min(floor));
        self.state.windows.loaded_from(minute);
        Ok(())
    }

    /// Lets the oldest ids go where there are more than this shard has room for. Copies of them that come later are
    /// judged by a shorter window, which entries write down.
    pub(super) fn make_room(&mut self) {
        let gone = self.state.windows.evict_beyond(self.share.ids_max());
        if gone > 0 {
            METRICS.evicted.inc_by(gone as u64);
            self.warn_of_full("its oldest ids leave early");
        }
        METRICS.window(&self.shard.id, self.state.windows.len());
    }

    fn warn_of_full(&mut self, what_follows: &str) {
        if self.told_full_at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.told_full_at = Some(Instant::now());
            let room = self.share.ids_max();
            tracing::warn!(room, "the window is full, {what_follows}: raise --window-ids-max");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Parts;
    use super::*;
    use crate::Config;
    use crate::budget::Budget;
    use clap::Parser;
    use ledger::embedded::EmbeddedLedger;
    use schema::body::BodyPacker;
    use schema::stored::StoredEvent;
    use schema::{EventId, HashKey, HashRange, Kind, record};
    use service::{Env, Rules, Stop};
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use store::{Options, Store};
    use stream::embedded::EmbeddedStream;
    use stream::{NewRecord, Shard, Stream};
    use tempfile::TempDir;

    const MINUTE: i64 = 60_000_000;

    const ROOM: usize = 1_000;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        config: Config,
    }

    struct House {
        parts: Parts,
        raw: EmbeddedStream,
        shards: Vec<Shard>,
        _dir: TempDir,
    }

    async fn house(shards: u32) -> House {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path(), Options::new(Arc::new(|| 0), "a test")).unwrap());
        let shards = NonZeroU32::new(shards).unwrap();
        let raw = EmbeddedStream::open(&store, "raw", shards, "r1").await.unwrap();
        let clean = EmbeddedStream::open(&store, "clean", NonZeroU32::MIN, "c1").await.unwrap();
        let parts = Parts {
            raw: Arc::new(raw.clone()),
            clean: Arc::new(clean),
            ledger: Arc::new(EmbeddedLedger::new(store)),
            env: Env::system(),
            config: Only::parse_from(["dedup", "--dedup-settle-after", "1ms", "--dedup-linger", "0s"]).config,
            budget: Budget::new(1_000_000),
            rules: Rules::default(),
        };
        House { parts, shards: raw.shards().await.unwrap(), raw, _dir: dir }
    }

    impl House {
        async fn open(&self, shard: usize, budget: &Budget) -> Owner {
            let parts = Parts { budget: budget.clone(), ..self.parts.clone() };
            Owner::open(parts, self.shards[shard].clone()).await.unwrap()
        }

        /// Puts ids that are at home in a shard, and has its owner decide them.
        async fn decide(&self, owner: &mut Owner, ids: impl Iterator<Item = u128>, received_at: i64) {
            let home: HashRange = owner.shard.range;
            let ids: Vec<EventId> = ids.map(EventId).filter(|id| home.covers(id.hash())).collect();
            let mut plain = Vec::new();
            let event = StoredEvent { event_name: "a:b", ..Default::default() };
            ids.iter().for_each(|_| event.encode_delimited(&mut plain));
            let body = BodyPacker::default().pack(&plain, ids.len() as u32);
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_bytes()).collect();
            let bytes = record::encode(&record::raw(Kind::Events, bytes, received_at, body));
            let point: HashKey = home.low;
            self.raw.append(vec![NewRecord { point, bytes }]).await.remove(0).unwrap();
            while owner.waiting.is_empty() {
                owner.read(&Stop::new()).await.unwrap();
            }
            owner.decide(&Stop::new()).await.unwrap();
            owner.forward().await.unwrap();
        }

        /// Each id with the times at which it was accepted, and the window that was recorded with it.
        async fn accepted(&self, owner: &Owner) -> BTreeMap<u128, Vec<(i64, i64)>> {
            let mut accepted: BTreeMap<u128, Vec<(i64, i64)>> = BTreeMap::new();
            let (ledger, chain) = (&*self.parts.ledger, &owner.state.chain);
            let mut walk = Walk::new(ledger, chain, 1);
            while let Some(slot) = walk.next().await.unwrap() {
                let entry = chain::decision(chain, slot.number, slot.entry.bytes).unwrap();
                let window = entry.window_seconds as i64 * 1_000_000;
                let lane = entry.events.unwrap();
                let times = lane.received.iter().flat_map(|run| vec![run.received_at; run.count as usize]);
                for (id, time) in record::ids(&lane.ids).zip(times) {
                    accepted.entry(id.0).or_default().push((time, window));
                }
            }
            accepted
        }
    }

    #[tokio::test]
    async fn a_window_that_is_full_stays_within_its_bound_and_tells_how_far_it_reaches() {
        let house = house(1).await;
        let mut roomy = house.open(0, &Budget::new(1_000_000)).await;
        for minute in 0..30 {
            house.decide(&mut roomy, 100 * minute..100 * (minute + 1), minute as i64 * MINUTE).await;
        }
        assert_eq!(roomy.state.windows.len(), 3_000);
        roomy.settle().await.unwrap();

        let evicted = METRICS.evicted.get();
        let mut owner = house.open(0, &Budget::new(ROOM)).await;
        let len = owner.state.windows.len();
        assert!(len <= ROOM && len > ROOM / 2, "{len}");
        assert!(METRICS.evicted.get() > evicted && owner.told_full_at.is_some());

        let (evicted, reached_back) = (METRICS.evicted.get(), METRICS.reached_back.get());
        for minute in 30..80 {
            // New ones, copies of what has just come, and copies of what is long gone.
            let ids = (100 * minute - 50..100 * (minute + 1)).chain(100 * (minute - 25)..100 * (minute - 25) + 5);
            house.decide(&mut owner, ids, minute as i64 * MINUTE).await;
            assert!(owner.state.windows.len() <= ROOM, "{}", owner.state.windows.len());
        }
        assert_eq!(METRICS.reached_back.get(), reached_back, "nothing is loaded of what has no room");
        assert!(METRICS.evicted.get() >= evicted + 4_000);

        let accepted = house.accepted(&owner).await;
        let again = accepted.values().filter(|times| times.len() > 1);
        assert_eq!(again.clone().count(), 250, "what is long gone is accepted again, and what has just come is not");
        for times in again {
            let [(first, _), (second, window)] = times[..] else { panic!("{times:?}") };
            assert!(second - first > window && window >= 5 * MINUTE, "{first} {second} {window}");
        }
    }

    #[tokio::test]
    async fn shards_share_the_room_as_they_come_and_go() {
        let (house, budget) = (house(2).await, Budget::new(ROOM));
        let mut first = house.open(0, &budget).await;
        for minute in 0..40 {
            house.decide(&mut first, 100 * minute..100 * (minute + 1), minute as i64 * MINUTE).await;
        }
        assert!(first.state.windows.len() > ROOM / 2);

        let mut second = house.open(1, &budget).await;
        for minute in 40..80 {
            let ids = 100 * minute..100 * (minute + 1);
            house.decide(&mut first, ids.clone(), minute as i64 * MINUTE).await;
            house.decide(&mut second, ids, minute as i64 * MINUTE).await;
            assert!(first.state.windows.len() + second.state.windows.len() <= ROOM);
        }
        second.settle().await.unwrap();
        drop(first);
        assert_eq!(second.share.ids_max(), ROOM);
        drop(second);
        let again = house.open(1, &budget).await;
        assert!(again.state.windows.len() > ROOM / 2, "{}", again.state.windows.len());
    }
}
