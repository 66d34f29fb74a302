//! Owners of shards as actors, each with settings of its own, as if each were of another release.

use crate::backends::{Backends, ended, gave_up, halted};
use crate::dice::Dice;
use crate::scenario::{ENDLESS, HOUR, Windows};
use crate::scheduler::{Role, Scheduler};
use crate::world::World;
use ::ledger::LedgerError;
use schema::v1::{DedupEntry, WriterEntry, dedup_entry, writer_entry};
use service::{Env, Random, Stop};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;
use stream::Shard;

/// Ids that fit a window which is not cramped: more than there are.
pub(crate) const ROOM: usize = 1_000_000;

/// Longest pause of an owner between two reads that found little.
const LINGER_MILLIS_MAX: u64 = 300;

/// How far back a dedup owner has to know ids, and how many it has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) width: Duration,
    pub(crate) ids_max: usize,
}

/// Randomness of a dedup owner: whoever judges its entries can tell by their nonces what it had to go by.
#[derive(Debug)]
struct Signature {
    world: Arc<World>,
    memory: Memory,
}

impl Random for Signature {
    fn next(&self) -> u128 {
        let nonce = self.world.next();
        self.world.sign(nonce, self.memory);
        nonce
    }
}

impl Backends {
    pub(crate) fn start_deduper(&self, scheduler: &mut Scheduler, shard: Shard) {
        let config = self.deduper_config();
        let memory = Memory { width: config.window, ids_max: config.window_ids_max.get() };
        self.count_lingering(config.linger);
        let parts = dedup_service::Parts {
            raw: Arc::new(self.raw.clone()),
            clean: Arc::new(self.clean.clone()),
            ledger: Arc::new(self.ledger.clone()),
            env: Env::of(self.world.clone(), Arc::new(Signature { world: self.world.clone(), memory })),
            budget: dedup_service::budget::Budget::new(memory.ids_max),
            config,
            rules: self.world.rules(),
        };
        let (name, backends) = (format!("dedup {}", shard.id), self.clone());
        scheduler.start(Role::Service, &name, |stop| dedup(backends, parts, shard, stop));
    }

    pub(crate) fn start_writer(&self, scheduler: &mut Scheduler, shard: Shard) {
        let config = self.writer_config();
        self.count_lingering(config.linger);
        let parts = writer_service::Parts {
            clean: Arc::new(self.clean.clone()),
            ledger: Arc::new(self.ledger.clone()),
            lake: Arc::new(self.lake.clone()),
            env: self.env(),
            budget: writer_service::budget::Budget::new(config.memory_bytes_max),
            config,
            encode: writer_service::Encode::Inline,
            rules: self.world.rules(),
        };
        let (name, backends) = (format!("writer {}", shard.id), self.clone());
        scheduler.start(Role::Service, &name, |stop| write(backends, parts, shard, stop));
    }

    fn deduper_config(&self) -> dedup_service::Config {
        let windows = self.world.scenario.windows;
        self.world.draw(|dice| dedup_service::Config {
            window: match windows {
                Windows::Endless | Windows::Cramped => ENDLESS,
                Windows::Hour => HOUR,
                Windows::Varied => dice.pick(&[Duration::ZERO, HOUR, 5 * HOUR, ENDLESS]),
            },
            window_delay_max: dice.pick(&[Duration::ZERO, HOUR / 2, 3 * HOUR]),
            window_ids_max: count(if windows == Windows::Cramped { dice.between(2, 12) as usize } else { ROOM }),
            settle_after: Duration::from_millis(dice.between(50, 800)),
            linger: linger(dice),
            ahead_max: count(dice.between(1, 4) as usize),
            batch_bytes_max: dice.pick(&[1, 300, 2_000]),
            keep_decisions: None,
        })
    }

    fn writer_config(&self) -> writer_service::Config {
        self.world.draw(|dice| writer_service::Config {
            flush_interval: Duration::from_millis(dice.between(50, 1_500)),
            flush_bytes_max: dice.pick(&[200, 2_000, 1 << 20]),
            flush_rows_max: rows(dice.between(1, 12)),
            object_rows_max: rows(dice.between(1, 5)),
            memory_bytes_max: dice.pick(&[1, 1 << 20]),
            open_objects_max: count(dice.between(1, 4) as usize),
            settle_after: Duration::from_millis(dice.between(50, 800)),
            linger: linger(dice),
        })
    }

    fn count_lingering(&self, linger: Duration) {
        self.world.count_many("owners that linger", u64::from(!linger.is_zero()));
    }

    /// Counts the dedup owners that find something to forward again.
    fn count_forwarding_again(&self, shard: &Shard) {
        let chain = dedup_service::owner::chain_of(&self.raw, shard);
        let Some(head) = self.ledger.witness_head(&chain) else { return };
        if let Some(dedup_entry::Entry::Decision(entry)) =
            decode::<DedupEntry>(head.entry.bytes).and_then(|it| it.entry)
            && (entry.forwarded_through < head.number || entry.records > 0)
        {
            self.world.count("owners that forwarded again");
            let unsent = self.ledger.witness_chain(&chain).into_iter().skip(entry.forwarded_through as usize);
            let mut unsent = unsent.filter_map(|slot| decode::<DedupEntry>(slot.entry.bytes)?.entry);
            if unsent.any(|entry| matches!(entry, dedup_entry::Entry::Decision(it) if !it.voids.is_empty())) {
                self.world.count("owners that recalled voids");
            }
        }
    }

    /// Counts the writers that find objects which may not exist.
    fn count_deriving_again(&self, shard: &Shard) {
        let chain = writer_service::owner::chain_of(&self.clean, shard);
        let Some(head) = self.ledger.witness_head(&chain) else { return };
        if let Some(writer_entry::Entry::Announcement(entry)) =
            decode::<WriterEntry>(head.entry.bytes).and_then(|it| it.entry)
            && (entry.done_through < head.number || !entry.objects.is_empty())
        {
            self.world.count("owners that derived again");
        }
    }
}

/// Half of the owners read on at once.
fn linger(dice: &mut Dice) -> Duration {
    Duration::from_millis(if dice.percent(50.0) { 0 } else { dice.between(1, LINGER_MILLIS_MAX) })
}

fn decode<M: prost::Message + Default>(bytes: bytes::Bytes) -> Option<M> {
    M::decode(bytes).ok()
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("settings are drawn above zero")
}

fn rows(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count).expect("settings are drawn above zero")
}

async fn dedup(backends: Backends, parts: dedup_service::Parts, shard: Shard, stop: Stop) {
    backends.count_forwarding_again(&shard);
    let world: Arc<World> = backends.world;
    let outcome = match dedup_service::Owner::open(parts, shard).await {
        Ok(owner) => owner.run(stop).await.inspect_err(|error| {
            if matches!(error, dedup_service::OwnerError::Ledger(LedgerError::Unavailable(_))) {
                world.count("owners that lost patience");
            }
        }),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(outcome) => ended(&world, &outcome),
        Err(dedup_service::OwnerError::Halt(halt)) => halted(&world, &halt),
        Err(error) => gave_up(&world, &error),
    }
}

async fn write(backends: Backends, parts: writer_service::Parts, shard: Shard, stop: Stop) {
    backends.count_deriving_again(&shard);
    let world: Arc<World> = backends.world;
    let outcome = match writer_service::Owner::open(parts, shard).await {
        Ok(owner) => owner.run(stop).await.inspect_err(|error| {
            if matches!(error, writer_service::OwnerError::Ledger(LedgerError::Unavailable(_))) {
                world.count("owners that lost patience");
            }
        }),
        Err(error) => Err(error),
    };
    match outcome {
        Ok(outcome) => ended(&world, &outcome),
        Err(writer_service::OwnerError::Halt(halt)) => halted(&world, &halt),
        Err(error) => gave_up(&world, &error),
    }
}
