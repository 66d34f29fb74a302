//! A compactor that is stopped at any call, and others that come after it or meanwhile.

use crate::house::{DAY, House, Row, row};
use crate::network::{Gate, GatedLake, GatedLedger};
use compactor::{Compactor, Parts, snapshot};
use futures::{StreamExt, stream};
use lake::layout::{FINAL, LIVE};
use schema::Table;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Houses at the same time: each waits for its disk most of the time.
pub(crate) const AT_ONCE: usize = 16;

/// One complete plan, and rows for another, with copies within and across.
pub(crate) async fn house() -> House {
    let mut house = House::new();
    house.config.grace = Duration::ZERO;
    house.write(0, &[row(1, "page", 5, "a", 0), row(2, "cart", 6, "a", 1)]).await;
    house.compact().await;
    house.write(0, &[row(2, "cart", 6, "b", 0), row(3, "cart", 1, "b", 1), row(4, "page", 1, "b", 2)]).await;
    house.write(1, &[row(4, "page", 1, "a", 2), row(5, "page", 1, "a", 3)]).await;
    house
}

pub(crate) fn gated(house: &House, gate: &Arc<Gate>) -> Compactor {
    let lake = Arc::new(GatedLake(house.lake.clone(), gate.clone()));
    let ledger = Arc::new(GatedLedger(house.ledger.clone(), gate.clone()));
    Compactor::of(Parts { lake, ledger, ..house.parts() })
}

/// What an undisturbed compaction makes, and in how many moments.
async fn undisturbed() -> (BTreeMap<String, Vec<Row>>, u64) {
    let house = house().await;
    let gate = Gate::at(u64::MAX);
    gated(&house, &gate).compact_day(Table::Events, DAY).await.unwrap();
    (house.made().await, gate.moments())
}

#[tokio::test]
async fn whoever_comes_after_a_crash_finishes_what_was_planned() {
    let (expected, moments) = undisturbed().await;
    assert!(moments > 40, "{moments} moments are too few to be all of them");
    let crash = |moment| async move { (moment, crashed_at(moment).await) };
    let mut crashes = stream::iter(0..moments).map(crash).buffer_unordered(AT_ONCE);
    while let Some((moment, made)) = crashes.next().await {
        assert_eq!(made, expected, "after a crash at moment {moment}");
    }
}

/// What a crash and whoever came after it made.
async fn crashed_at(moment: u64) -> BTreeMap<String, Vec<Row>> {
    let house = house().await;
    let gate = Gate::at(moment);
    let crashing = gated(&house, &gate);
    tokio::select! {
        _ = crashing.compact_day(Table::Events, DAY) => panic!("it reaches moment {moment}"),
        () = gate.stopped.notified() => {}
    }
    let once = snapshot(&*house.ledger, &*house.lake).await.unwrap();
    assert_eq!(ids(&house, once.objects()).await, [1, 2, 3, 4, 5], "after a crash at moment {moment}");
    house.compact().await;
    house.made().await
}

/// Ids in objects; copies that are not dropped yet count once.
async fn ids(house: &House, keys: impl Iterator<Item = &str>) -> Vec<u128> {
    let mut ids = Vec::new();
    for key in keys {
        ids.extend(house.rows_of(key).await.into_iter().map(|row| row.id));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[tokio::test]
async fn a_compactor_that_was_paused_while_another_did_and_swept_everything_does_no_harm() {
    let (expected, moments) = undisturbed().await;
    let pause = |moment| async move { (moment, paused_at(moment).await) };
    let mut pauses = stream::iter(0..moments).map(pause).buffer_unordered(AT_ONCE);
    while let Some((moment, made)) = pauses.next().await {
        assert_eq!(made, expected, "paused at moment {moment}");
    }
}

/// What was made by a compactor that was paused, and by one that did everything meanwhile.
async fn paused_at(moment: u64) -> BTreeMap<String, Vec<Row>> {
    let house = house().await;
    house.clock.0.store(i64::MAX, SeqCst);
    let gate = Gate::at(moment);
    let paused = gated(&house, &gate);
    let meanwhile = async {
        gate.stopped.notified().await;
        house.compact().await;
        assert!(house.compactor().sweep().await.unwrap() > 0);
        gate.go_on.notify_one();
    };
    let (outcome, ()) = tokio::join!(paused.compact_day(Table::Events, DAY), meanwhile);
    outcome.unwrap_or_else(|error| panic!("paused at moment {moment}: {error}"));
    assert!(house.keys(LIVE).await.is_empty(), "paused at moment {moment}");
    house.made().await
}

#[tokio::test]
async fn two_at_once_make_the_same_objects() {
    let (expected, _) = undisturbed().await;
    for _ in 0..10 {
        let house = house().await;
        let (a, b) = (house.compactor(), house.compactor());
        let both = tokio::join!(a.compact_day(Table::Events, DAY), b.compact_day(Table::Events, DAY));
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        assert_eq!(house.made().await, expected);
    }
}

#[tokio::test]
async fn a_final_object_of_other_rows_is_a_halt() {
    let house = house().await;
    let gate = Gate::at(u64::MAX);
    let foreign = house.keys(FINAL).await.remove(0);
    let next = foreign.replace("000000-0000", "000001-0000");
    lake::Lake::create(&*house.lake, &next, lake::Lake::get(&*house.lake, &foreign).await.unwrap()).await.unwrap();
    let outcome = gated(&house, &gate).compact_day(Table::Events, DAY).await;
    assert!(matches!(outcome, Err(compactor::CompactError::Halt(_))), "{outcome:?}");
}
