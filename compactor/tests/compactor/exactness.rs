//! Each row once, and which one of its copies.

use crate::house::{DAY, House, Row, row};
use compactor::{CompactError, Selection, snapshot};
use lake::Lake;
use lake::layout::{DROPPED, FINAL, LIVE};
use schema::{Day, Table};
use std::sync::atomic::Ordering::SeqCst;

/// Rows without the copies, by id: the one with the lowest origin and ordinal stays.
fn firsts(rows: &[Row]) -> Vec<Row> {
    let rank = |row: &Row| (row.id, row.origin.clone(), row.ordinal);
    let mut firsts = rows.to_vec();
    firsts.sort_by_key(rank);
    firsts.dedup_by_key(|row| row.id);
    firsts.sort();
    firsts
}

#[tokio::test]
async fn every_row_is_in_one_final_object_of_its_type() {
    let house = House::new();
    let types = ["page", "cart", "a/b é"];
    let rows: Vec<Row> = (0..300).map(|k| row(k, types[k as usize % 3], 300 - k as i64, "o", k as u64)).collect();
    for (shard, part) in rows.chunks(50).enumerate() {
        house.write(shard as u32 % 2, part).await;
    }
    let summary = house.compact().await;
    assert_eq!((summary.plans, summary.inputs, summary.rows, summary.dropped, summary.objects), (1, 6, 300, 0, 3));
    let mut found = house.rows_under(FINAL).await;
    found.sort();
    assert_eq!(found, firsts(&rows));
    let keys = house.keys(FINAL).await;
    assert!(keys.iter().any(|key| key.contains("event_type=a%2Fb%20%C3%A9/000000-0000.parquet")), "{keys:?}");
    assert_eq!(house.compact().await.plans, 0, "nothing is left to do");
    assert_eq!(house.spill_files(), 0);
}

#[tokio::test]
async fn of_copies_in_one_plan_the_lowest_origin_and_ordinal_stays() {
    let house = House::new();
    let rows =
        [row(1, "page", 9, "b", 0), row(1, "page", 9, "a", 7), row(1, "page", 9, "a", 3), row(2, "page", 1, "c", 0)];
    house.write(0, &rows[..2]).await;
    house.write(1, &rows[2..]).await;
    assert_eq!(house.compact().await.dropped, 2);
    assert_eq!(house.rows_under(FINAL).await, [rows[3].clone(), rows[2].clone()]);
    assert_eq!(house.rows_under(DROPPED).await, [rows[1].clone(), rows[0].clone()]);
}

#[tokio::test]
async fn late_rows_make_another_plan_and_copies_of_earlier_ones_are_dropped() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "b", 0), row(2, "cart", 5, "b", 1)]).await;
    house.compact().await;
    let before = house.made().await;
    house.write(0, &[row(1, "page", 5, "a", 0), row(3, "page", 4, "a", 1)]).await;
    house.write(1, &[row(2, "cart", 6, "c", 0)]).await;
    let summary = house.compact().await;
    assert_eq!((summary.plans, summary.dropped), (1, 2));
    let after = house.made().await;
    assert!(before.iter().all(|(key, rows)| after.get(key) == Some(rows)), "final objects never change");
    let final_ids: Vec<u128> = house.rows_under(FINAL).await.into_iter().map(|row| row.id).collect();
    assert_eq!(final_ids, [2, 1, 3]);
    let dropped: Vec<String> = house.rows_under(DROPPED).await.into_iter().map(|row| row.origin).collect();
    assert_eq!(dropped, ["c", "a"]);
}

#[tokio::test]
async fn a_plan_of_copies_only_makes_empty_objects() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.compact().await;
    house.write(0, &[row(1, "cart", 5, "a", 1)]).await;
    assert_eq!(house.compact().await.dropped, 1);
    let made = house.made().await;
    let cart = made.iter().find(|(key, _)| key.contains("event_type=cart")).unwrap();
    assert_eq!((cart.1.len(), house.rows_under(FINAL).await.len()), (0, 1));
}

#[tokio::test]
async fn rows_of_quarantine_are_told_apart_by_their_own_id_and_unreadable_ones_stay() {
    let house = House::new();
    let rows = [
        row(0, "", 1, "unregistered/x", 0),
        row(0, "", 2, "unregistered/x", 0),
        row(7, "", 3, "a", 0),
        row(7, "", 3, "a", 1),
    ];
    house.write_of(Table::Quarantine, DAY, 0, &rows).await;
    let summary = house.compactor().compact_day(Table::Quarantine, DAY).await.unwrap();
    assert_eq!((summary.rows, summary.dropped), (4, 1));
    assert_eq!(house.rows_under(FINAL).await, rows[..3]);
    assert!(house.keys(FINAL).await[0].ends_with("final/quarantine/event_date=2026-11-22/000000-0000.parquet"));
}

#[tokio::test]
async fn what_is_not_settled_is_not_planned() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let pending = house.announce_only(0).await;
    assert_eq!(house.compact().await.inputs, 1);
    let found = snapshot(&*house.ledger, &*house.lake).await.unwrap();
    assert!(found.objects().all(|key| key != pending));
}

#[tokio::test]
async fn a_settled_object_that_is_missing_is_a_halt() {
    let house = House::new();
    let key = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    house.lake.delete(&key).await.unwrap();
    let error = house.try_compact().await.unwrap_err();
    assert!(matches!(&error, CompactError::Halt(halt) if halt.0.contains(&key)), "{error}");
}

#[tokio::test]
async fn an_object_of_other_rows_than_announced_is_a_halt() {
    let house = House::new();
    let key = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let other = house.write(1, &[row(2, "page", 5, "a", 1)]).await;
    let bytes = house.lake.get(&other).await.unwrap();
    house.lake.delete(&key).await.unwrap();
    house.lake.create(&key, bytes).await.unwrap();
    assert!(matches!(house.try_compact().await, Err(CompactError::Halt(_))));
    assert!(house.keys(FINAL).await.is_empty());
}

#[tokio::test]
async fn days_are_selected_and_previewed() {
    let house = House::new();
    let tomorrow = Day(DAY.0 + 1);
    house.write(0, &[row(1, "page", 5, "a", 0), row(2, "cart", 5, "a", 1)]).await;
    house.write_of(Table::Events, tomorrow, 0, &[row(3, "page", 5, "a", 2)]).await;
    house.write_of(Table::Quarantine, DAY, 0, &[row(4, "", 5, "q", 0)]).await;
    house.clock.0.store(tomorrow.start_micros(), SeqCst);
    let compactor = house.compactor();
    let shown: Vec<String> =
        compactor.dry_run(Selection::Past).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2);
    assert!(
        shown[0].starts_with("events 2026-11-22: plan 0: 1 live objects, 2 rows -> 2 final objects\n"),
        "{}",
        shown[0]
    );
    assert!(house.made().await.is_empty(), "a dry run changes nothing");
    assert_eq!(compactor.compact(Selection::Past).await.unwrap().plans, 2);
    assert_eq!(compactor.compact(Selection::Past).await.unwrap().plans, 0);
    assert_eq!(compactor.compact(Selection::Day(tomorrow)).await.unwrap().plans, 1);
    house.write(1, &[row(9, "page", 5, "z", 0)]).await;
    assert_eq!(compactor.compact(Selection::All).await.unwrap().rows, 1);
}

#[tokio::test]
async fn a_snapshot_shows_each_row_once_at_any_moment() {
    let house = House::new();
    let live = house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let objects = || async {
        let found = snapshot(&*house.ledger, &*house.lake).await.unwrap();
        (found.finals, found.live, found.dropped.len())
    };
    assert_eq!(objects().await, (vec![], vec![live], 0));
    house.compact().await;
    let finals = house.keys(FINAL).await;
    assert_eq!(objects().await, (finals.clone(), vec![], 1));
    let late = house.write(0, &[row(2, "page", 6, "a", 1)]).await;
    assert_eq!(objects().await, (finals, vec![late], 1));
    assert_eq!(house.keys(LIVE).await.len(), 2, "inputs stay for their grace");
}

#[tokio::test]
async fn work_on_the_pool_comes_to_the_same() {
    let house = House::new();
    house.write(0, &[row(1, "page", 5, "a", 0)]).await;
    let parts = compactor::Parts { labour: compactor::Labour::OnPool, ..house.parts() };
    let compactor = compactor::Compactor::of(parts);
    assert_eq!(compactor.compact(Selection::All).await.unwrap().rows, 1);
}
