//! What goes from writers' chains, and that nobody misses it.

use crate::house::{DAY, House, row};
use bytes::Bytes;
use compactor::{CompactError, Selection, snapshot};
use lake::Lake;
use lake::layout::{FINAL, LIVE};
use ledger::{Entry, LedgerError};
use schema::{ChainId, Day, Table};
use std::sync::atomic::Ordering::SeqCst;

const DAY_MICROS: i64 = 86_400_000_000;

impl House {
    fn wait(&self, days: i64) {
        self.clock.0.fetch_add(days * DAY_MICROS, SeqCst);
    }

    /// Announces an object of the day with one row.
    async fn write_one(&self, id: u128) -> String {
        self.write(0, &[row(id, "page", 5, "a", id as u64)]).await
    }

    async fn chain(&self) -> ChainId {
        self.ledger.chains("writer/").await.unwrap().remove(0)
    }

    /// Numbers of the entries of the writer's chain.
    async fn numbers(&self) -> Vec<u64> {
        let slots = self.ledger.load(&self.chain().await, 0, 1000).await.unwrap();
        slots.into_iter().map(|slot| slot.number).collect()
    }

    async fn trim(&self) -> u64 {
        self.compactor().trim().await.unwrap()
    }
}

#[tokio::test]
async fn old_announcements_in_whole_plans_go_and_a_zombie_finds_their_slots_shut() {
    let house = House::new();
    for id in 0..3 {
        house.write_one(id).await;
    }
    house.compact().await;
    house.wait(6);
    house.write_one(3).await;
    house.compact().await;
    assert_eq!(house.trim().await, 0);
    house.wait(2);
    assert_eq!(house.trim().await, 3);
    assert_eq!(house.numbers().await, [0, 4]);
    let (chain, zombie) = (house.chain().await, Entry { nonce: 99, bytes: Bytes::from_static(b"late") });
    let refused = house.ledger.append(&chain, 2, zombie).await;
    assert_eq!(refused, Err(LedgerError::Taken { chain, number: 2 }));
    assert_eq!(house.trim().await, 0);
}

#[tokio::test]
async fn the_entry_before_what_is_done_stays_for_a_new_writer_to_go_on_from() {
    let house = House::new();
    for id in 0..3 {
        house.write_one(id).await;
    }
    house.compact().await;
    // The head announces nothing, and says that entries below 3 are done.
    let (chain, number) = house.next_entry(0).await;
    house.announce(&chain, number, Vec::new(), 3).await;
    house.wait(8);
    house.trim().await;
    assert_eq!(house.numbers().await, [0, 2, 3, 4]);
}

#[tokio::test]
async fn an_announcement_that_no_whole_plan_has_stays_and_so_do_those_after_it() {
    let house = House::new();
    house.write_one(0).await;
    house.write_of(Table::Events, Day(DAY.0 + 1), 0, &[row(1, "page", 5, "a", 1)]).await;
    for id in 2..4 {
        house.write_one(id).await;
    }
    house.compact().await;
    house.wait(8);
    let dropped = house.keys("dropped").await.remove(0);
    let mark = house.lake.get(&dropped).await.unwrap();
    house.lake.delete(&dropped).await.unwrap();
    assert_eq!(house.trim().await, 0, "the plan is open");
    house.lake.create(&dropped, mark).await.unwrap();
    let output = house.keys(FINAL).await.remove(0);
    let rows = house.lake.get(&output).await.unwrap();
    house.lake.delete(&output).await.unwrap();
    assert_eq!(house.trim().await, 0, "an output is missing");
    house.lake.create(&output, rows).await.unwrap();
    assert_eq!(house.trim().await, 1, "the other day is in no plan");
    assert_eq!(house.numbers().await, [0, 2, 3, 4]);
}

#[tokio::test]
async fn a_compactor_that_starts_anew_goes_on_after_a_trim() {
    let house = House::new();
    for id in 0..3 {
        house.write_one(id).await;
    }
    house.compact().await;
    house.wait(8);
    assert_eq!(house.trim().await, 2);
    let read = snapshot(&*house.ledger, &*house.lake).await.unwrap();
    assert_eq!((read.finals.len(), read.live.len()), (1, 0));

    // Late rows, one of them a copy, and another day, whose cursor has never been there.
    house.write(0, &[row(2, "page", 5, "b", 0), row(7, "page", 5, "b", 1)]).await;
    house.write_of(Table::Events, Day(DAY.0 + 1), 0, &[row(8, "page", 5, "b", 2)]).await;
    let summary = house.compactor().compact(Selection::All).await.unwrap();
    assert_eq!((summary.plans, summary.rows, summary.dropped), (2, 3, 1));
    let ids: Vec<u128> = house.rows_under(FINAL).await.into_iter().map(|row| row.id).collect();
    assert_eq!(ids, [0, 1, 2, 7, 8]);
    assert_eq!(house.compactor().compact(Selection::All).await.unwrap().plans, 0);
}

#[tokio::test]
async fn an_entry_that_is_gone_although_no_plan_has_its_object_halts() {
    let house = House::new();
    let lost = house.write_one(0).await;
    house.write_one(1).await;
    house.ledger.trim(&house.chain().await, 2).await.unwrap();
    let Err(CompactError::Halt(halt)) = house.try_compact().await else { panic!("a row is left out") };
    assert!(halt.0.contains(&lost), "{halt}");
    assert_eq!(house.keys(LIVE).await.len(), 2);
}
