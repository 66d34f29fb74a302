//! What the last night should have compacted, and has not.

use crate::house::{DAY, House, row};
use compactor::Backlog;
use lake::Lake;
use schema::{Day, Table};
use std::sync::atomic::Ordering::SeqCst;

const HOUR: i64 = 3_600_000_000;

/// Compaction begins ten minutes after midnight; an hour after it, it has begun.
fn after(day: Day) -> i64 {
    Day(day.0 + 1).start_micros() + HOUR
}

async fn backlog(house: &House) -> Backlog {
    house.compactor().backlog().await.unwrap()
}

async fn bytes(house: &House, keys: &[&str]) -> u64 {
    let mut bytes = 0;
    for key in keys {
        bytes += house.lake.head(key).await.unwrap().bytes;
    }
    bytes
}

#[tokio::test]
async fn days_that_are_over_are_due_from_the_night_on_until_they_are_compacted() {
    let house = House::new();
    let a = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let b = house.write_of(Table::Quarantine, Day(DAY.0 - 1), 1, &[row(2, "", 5, "q", 0)]).await;
    assert_eq!(backlog(&house).await, Backlog::default(), "no night has begun since");
    house.clock.0.store(after(DAY), SeqCst);
    assert_eq!(backlog(&house).await, Backlog { days: 2, bytes: bytes(&house, &[&a, &b]).await });
    house.compact().await;
    assert_eq!(backlog(&house).await, Backlog { days: 1, bytes: bytes(&house, &[&b]).await });
    house.compactor().compact_day(Table::Quarantine, Day(DAY.0 - 1)).await.unwrap();
    assert_eq!(backlog(&house).await, Backlog::default());
}

#[tokio::test]
async fn rows_that_come_late_are_due_from_the_next_night_on() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.clock.0.store(after(DAY), SeqCst);
    house.compact().await;
    let late = house.write(0, &[row(2, "page", 6, "a", 1)]).await;
    assert_eq!(backlog(&house).await, Backlog::default());
    house.clock.0.store(after(Day(DAY.0 + 1)), SeqCst);
    assert_eq!(backlog(&house).await, Backlog { days: 1, bytes: bytes(&house, &[&late]).await });
}

#[tokio::test]
async fn a_plan_that_nobody_has_carried_out_is_still_due() {
    let house = House::new();
    let key = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.clock.0.store(after(DAY), SeqCst);
    let tasks = house.queue("tasks");
    house.compactor().plan(compactor::Selection::Past, &*tasks, &service::Stop::new()).await.unwrap();
    assert_eq!(tasks.depth().await.unwrap(), 1);
    assert_eq!(backlog(&house).await, Backlog { days: 1, bytes: bytes(&house, &[&key]).await });
}
