//! What goes, and when; and what happens by itself at night.

use crate::house::{DAY, House, row};
use compactor::{Compactor, Parts};
use lake::Lake;
use lake::layout::{FINAL, LIVE};
use schema::{Day, Table};
use service::{Clock, Env, Stop};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::time::Instant;

const HOUR_MICROS: i64 = 3_600_000_000;

#[tokio::test]
async fn inputs_go_after_the_grace_and_again_when_a_late_writer_brings_them_back() {
    let house = House::new();
    let key = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let bytes = house.lake.get(&key).await.unwrap();
    house.compact().await;
    let unplanned = house.write(0, &[row(2, "page", 5, "a", 1)]).await;
    let made = house.keys("dropped").await;
    let made_at = house.lake.head(&made[0]).await.unwrap().modified_at;

    house.clock.0.store(made_at + 23 * HOUR_MICROS, SeqCst);
    assert_eq!(house.compactor().sweep().await.unwrap(), 0);
    house.clock.0.store(made_at + 25 * HOUR_MICROS, SeqCst);
    assert_eq!(house.compactor().sweep().await.unwrap(), 1);
    assert_eq!(house.keys(LIVE).await, std::slice::from_ref(&unplanned));

    house.lake.create(&key, bytes).await.unwrap();
    assert_eq!(house.compactor().sweep().await.unwrap(), 1);
    assert_eq!(house.keys(LIVE).await, [unplanned]);
}

#[tokio::test]
async fn inputs_of_an_open_plan_stay() {
    let mut house = House::new();
    house.config.grace = Duration::ZERO;
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.compact().await;
    house.clock.0.store(i64::MAX, SeqCst);
    house.lake.delete(&house.keys("dropped").await[0]).await.unwrap();
    assert_eq!(house.compactor().sweep().await.unwrap(), 0);
    assert_eq!(house.compact().await.plans, 1, "the open plan is finished");
    assert_eq!(house.compactor().sweep().await.unwrap(), 1);
}

/// Runs with tokio's time.
#[derive(Debug)]
struct RunningClock(Instant, i64);

impl Clock for RunningClock {
    fn now(&self) -> i64 {
        self.1 + i64::try_from(self.0.elapsed().as_micros()).unwrap()
    }
}

impl House {
    /// Runs a compactor from a time of day on, until `watching` is over.
    async fn run_from(&self, micros: i64, watching: impl AsyncFnOnce()) {
        let env = Env { clock: Arc::new(RunningClock(Instant::now(), micros)), ..self.parts().env };
        let stop = Stop::new();
        let running = Compactor::of(Parts { env, ..self.parts() }).run(stop.clone());
        let watched = async {
            watching().await;
            stop.cancel();
        };
        tokio::join!(running, watched).0.unwrap();
    }

    /// Tokio's paused time runs on beside work on other threads: no span of it is long enough for a compaction.
    async fn until_something_is_compacted(&self) {
        while self.keys("dropped").await.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// [`DAY`] is compacted, into one object, and no other day is.
async fn assert_only_the_day_is_final(house: &House) {
    let days: Vec<String> = house.keys(FINAL).await;
    assert_eq!(days.len(), 1, "{days:?}");
    assert!(days[0].contains(&DAY.to_string()));
}

#[tokio::test(start_paused = true)]
async fn past_days_are_compacted_after_midnight() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.write_of(Table::Events, Day(DAY.0 + 1), 0, &[row(2, "page", 5, "a", 1)]).await;
    let evening = DAY.start_micros() + 23 * HOUR_MICROS;
    house
        .run_from(evening, async || {
            tokio::time::sleep(Duration::from_secs(69 * 60)).await;
            assert!(house.keys(FINAL).await.is_empty(), "before 00:10 nothing happens");
            tokio::time::sleep(Duration::from_secs(2 * 60)).await;
            house.until_something_is_compacted().await;
        })
        .await;
    assert_only_the_day_is_final(&house).await;
}

#[tokio::test(start_paused = true)]
async fn days_of_nights_in_which_nothing_ran_are_compacted_soon_after_the_start() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.write_of(Table::Events, Day(DAY.0 + 2), 0, &[row(2, "page", 5, "a", 1)]).await;
    let noon = Day(DAY.0 + 2).start_micros() + 12 * HOUR_MICROS;
    house
        .run_from(noon, async || {
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(house.keys(FINAL).await.is_empty(), "not while everything else begins");
            house.until_something_is_compacted().await;
        })
        .await;
    assert_only_the_day_is_final(&house).await;
}
