//! Owners that can't go on: somebody is told, lag grows as what waits gets older, and records are kept for longer.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

#[path = "../../ownership/tests/shared/aging.rs"]
mod aging;
#[path = "../../ownership/tests/shared/hands.rs"]
mod hands;

use aging::{Aging, DAY, until};
use bytes::Bytes;
use clap::Parser;
use dedup_service::budget::Budget;
use dedup_service::{Config, Deduper, Ending, Owner, Parts};
use hands::Hands;
use ledger::embedded::EmbeddedLedger;
use ledger::keeper::Terms;
use schema::body::BodyPacker;
use schema::stored::StoredEvent;
use schema::{EventId, HashKey, Kind, record};
use service::{Clock, Env, Health, Rules, Stop};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Options, Store};
use stream::embedded::EmbeddedStream;
use stream::{NewRecord, Shard, Stream};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span;

const HOUR: i64 = 3_600_000_000;

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    config: Config,
}

struct House {
    parts: Parts,
    raw: Arc<Aging>,
    clean: Arc<Aging>,
    clock: Arc<Hands>,
    shards: Vec<Shard>,
    _dir: TempDir,
}

/// A house whose raw stream has this name.
async fn house(name: &str, raw_shards: u32) -> House {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(Hands::default()));
    let arrivals = clock.clone();
    let options = Options::new(Arc::new(move || arrivals.now()), "a test");
    let store = Arc::new(Store::open(dir.path(), options).unwrap());
    let open = async |name: &str, shards: u32| {
        EmbeddedStream::open(&store, name, NonZeroU32::new(shards).unwrap(), "r1").await.unwrap()
    };
    let (raw, clean) = (Aging::new(open(name, raw_shards).await), Aging::new(open("clean", 1).await));
    let settings = "dedup --dedup-settle-after 20ms --dedup-linger 0s --dedup-ahead-max 1 --dedup-batch-bytes 1";
    let parts = Parts {
        raw: raw.clone(),
        clean: clean.clone(),
        ledger: Arc::new(EmbeddedLedger::new(store.clone())),
        env: Env { clock: clock.clone(), ..Env::system() },
        config: Only::parse_from(settings.split(' ')).config,
        budget: Budget::new(1_000),
        rules: Rules::default(),
    };
    House { parts, shards: raw.shards().await.unwrap(), raw, clean, clock, _dir: dir }
}

impl House {
    async fn put(&self, id: u128, point: HashKey) {
        let mut plain = Vec::new();
        StoredEvent { event_name: "a:b", ..Default::default() }.encode_delimited(&mut plain);
        let ids = EventId(id).to_bytes().to_vec();
        let bytes: Bytes = record::encode(&record::raw(Kind::Events, ids, 0, BodyPacker::default().pack(&plain, 1)));
        self.raw.append(vec![NewRecord { point, bytes }]).await.remove(0).unwrap();
    }

    /// Runs the owner of the first shard next to `then`, which gets what stops it.
    async fn run_while(&self, then: impl AsyncFnOnce(Stop)) -> Ending {
        let owner = Owner::open(self.parts.clone(), self.shards[0].clone()).await.unwrap();
        let stop = Stop::new();
        tokio::join!(owner.run(stop.clone()), then(stop)).0.unwrap()
    }

    /// What the gauge of the first shard says.
    fn share(&self) -> f64 {
        shown("forebay_dedup_lag_of_retention", Some(self.shards[0].id.as_str()))
    }

    /// Runs the whole stage next to `then`, as its process does.
    async fn run_stage_while(&self, then: impl AsyncFnOnce(Stop)) {
        let Parts { raw, clean, ledger, env, config, .. } = self.parts.clone();
        let deduper = Deduper::new(config, raw, clean, ledger, Duration::ZERO, env, &Health::default()).unwrap();
        let stop = Stop::new();
        tokio::join!(deduper.run(Terms::alone("a worker".to_owned()), stop.clone()), then(stop)).0.unwrap();
    }

    /// Moves the clock past half and then past four fifths of the retention.
    async fn grows_old(&self) {
        self.clock.0.store(13 * HOUR, SeqCst);
        until(|| self.share() > 0.5).await;
        assert_eq!(self.raw.kept_for(), Some(DAY));
        self.clock.0.store(20 * HOUR, SeqCst);
        until(|| self.raw.kept_for() == Some(2 * DAY)).await;
    }
}

/// The value of a metric of this process, and of a shard where it has any; 0 where it is not there.
fn shown(name: &str, shard: Option<&str>) -> f64 {
    let families = prometheus::gather();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    let mut found = metrics.filter(|metric| shard == metric.get_label().first().map(|label| label.value()));
    found.next().map_or(0.0, |metric| metric.get_gauge().get_value() + metric.get_counter().get_value())
}

/// How many decisions wait, and how many may, as a scrape has it.
fn ahead() -> (f64, f64) {
    let text = service::metrics::text(&Health::default()).map_err(|error| error.to_string()).unwrap();
    let value = |name: &str| {
        let name = format!("forebay_bound_{name}{{bound=\"dedup_ahead_decisions\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(-1.0, |value| value.parse().unwrap())
    };
    (value("used"), value("limit"))
}

/// Warnings of this thread.
#[derive(Clone, Debug, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn of(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|warning| warning.contains(what)).count()
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_an_owner_whose_records_nobody_takes_grows_and_retention_is_raised() {
    let (house, warnings) = (house("refused", 1).await, Warnings::default());
    let _told = tracing::subscriber::set_default(warnings.clone());
    for id in 1..6 {
        house.put(id, HashKey(0)).await;
    }
    house.clean.is_closed.store(true, SeqCst);
    let ending = house
        .run_while(async |stop| {
            house.grows_old().await;
            house.clean.is_closed.store(false, SeqCst);
            stop.cancel();
        })
        .await;
    assert_eq!(ending, Ending::Stopped);
    assert!(shown("forebay_dedup_forward_failures_total", None) > 2.0);
    let told = ["takes no records", "far behind", "retention was raised"].map(|what| warnings.of(what));
    assert_eq!(told, [1, 2, 1], "once at half of the retention, once at four fifths: {warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_strays_nobody_takes_says_so_and_leaves_when_it_is_asked_to() {
    let (house, warnings) = (house("astray", 2).await, Warnings::default());
    let _told = tracing::subscriber::set_default(warnings.clone());
    let home = house.shards[1].range;
    let astray = (1..).find(|&id| home.covers(EventId(id).hash())).unwrap();
    house.put(astray, HashKey(0)).await;
    house.raw.is_closed.store(true, SeqCst);
    let ending = house
        .run_while(async |stop| {
            house.grows_old().await;
            stop.cancel();
        })
        .await;
    assert_eq!(ending, Ending::Stopped);
    assert!(shown("forebay_dedup_stray_failures_total", None) > 2.0);
    let told = ["takes no strays", "far behind", "retention was raised"].map(|what| warnings.of(what));
    assert_eq!(told, [1, 2, 1], "once at half of the retention, once at four fifths: {warnings:?}");

    house.raw.is_closed.store(false, SeqCst);
    let sent = shown("forebay_dedup_strays_total", None);
    house.run_while(async |stop| stop.cancel()).await;
    assert_eq!(shown("forebay_dedup_strays_total", None), sent + 1.0, "nobody had decided it");
}

#[tokio::test(start_paused = true)]
async fn decisions_that_nobody_takes_show_in_the_bound_and_stay_within_it() {
    let mut house = house("ahead", 1).await;
    // More than the owners of other tests have, who count in the same process.
    house.parts.config.ahead_max = NonZeroUsize::new(3).unwrap();
    for id in 1..9 {
        house.put(id, HashKey(0)).await;
    }
    house.clean.is_closed.store(true, SeqCst);
    let failures = || shown("forebay_dedup_forward_failures_total", None);
    house
        .run_stage_while(async |stop| {
            until(|| ahead() == (3.0, 3.0)).await;
            let failed = failures();
            until(|| failures() > failed + 30.0).await;
            assert_eq!(ahead(), (3.0, 3.0), "nothing is decided beyond it");
            house.clean.is_closed.store(false, SeqCst);
            until(|| ahead().0 < 3.0).await;
            stop.cancel();
        })
        .await;
}
