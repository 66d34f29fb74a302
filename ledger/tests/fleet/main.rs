//! Many workers that share the pieces of a stage by leases.
//!
//! The clock is paused: minutes pass at once, and only where everybody waits.

#![allow(clippy::unwrap_used)] // A test that can't be set up may panic.

mod floor;
mod wire;

use floor::{Floor, Worker};
use ledger::keeper::{LEASE_TERM, Terms};
use ledger::{Entry, LedgerError, Patience, append_until_decided};
use schema::ChainId;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wire::{Trouble, Wire};

const MINUTE: Duration = Duration::from_secs(60);

/// One look at which nobody answers, and less than two.
const LOOK: Duration = Duration::from_secs(16);

/// Two looks: one to hand off or to notice, one to take; and the drain between them.
const TWO_LOOKS: Duration = Duration::from_secs(13);

#[tokio::test(start_paused = true)]
async fn pieces_are_spread_evenly_within_a_minute_of_a_worker_coming_or_going() {
    let floor = Floor::new(8);
    let one = floor.worker("one");
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [8]);
    let (two, _three) = (floor.worker("two"), floor.worker("three"));
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [2, 3, 3]);
    two.leave().await;
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [4, 4]);
    one.die();
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [8]);
    assert!(floor.account().doubled.is_empty(), "{:?}", floor.account().doubled);
}

#[tokio::test(start_paused = true)]
async fn many_pieces_are_spread_as_fast_as_few() {
    let floor = Floor::new(200);
    let (one, _two) = (floor.worker("one"), floor.worker("two"));
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [100, 100]);
    let _newcomers = [floor.worker("three"), floor.worker("four")];
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [50, 50, 50, 50]);
    one.die();
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [66, 67, 67]);
    assert!(floor.account().doubled.is_empty(), "{:?}", floor.account().doubled);
}

#[tokio::test(start_paused = true)]
async fn pieces_rest_where_they_are_once_they_are_spread() {
    for (pieces, workers, spread) in [(2, 5, vec![1, 1]), (9, 4, vec![2, 2, 2, 3]), (8, 8, vec![1; 8])] {
        let floor = Floor::new(pieces);
        let _workers: Vec<Worker> = (0..workers).map(|worker| floor.worker(&format!("worker-{worker}"))).collect();
        sleep(MINUTE).await;
        assert_eq!(floor.spread(), spread);
        let starts = floor.account().starts;
        sleep(20 * MINUTE).await;
        assert_eq!((floor.spread(), floor.account().starts), (spread, starts));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_can_not_renew_stops_before_others_take_its_pieces() {
    let floor = Floor::new(8);
    let (mute, _other) = (floor.worker("mute"), floor.worker("other"));
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [4, 4]);
    mute.meets(Trouble::Silence);
    sleep(LEASE_TERM).await;
    assert_eq!(floor.working("mute"), 0, "its own clock tells it");
    sleep(MINUTE).await;
    assert_eq!(floor.working("other"), 8);
    mute.meets(Trouble::None);
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [4, 4]);
    assert!(floor.account().doubled.is_empty(), "{:?}", floor.account().doubled);
}

#[tokio::test(start_paused = true)]
async fn a_worker_says_that_it_is_unable_while_nobody_answers_and_able_once_somebody_does() {
    let floor = Floor::new(4);
    let worker = floor.worker("one");
    sleep(MINUTE).await;
    assert_eq!(floor.unable("one"), None);
    worker.meets(Trouble::Silence);
    sleep(LOOK).await;
    assert_eq!(floor.unable("one"), None, "one look may fail by chance");
    sleep(MINUTE).await;
    let reason = floor.unable("one").expect("the ledger is gone");
    assert!(reason.contains("can't see the work and its leases"), "{reason}");
    worker.meets(Trouble::None);
    sleep(MINUTE).await;
    assert_eq!((floor.unable("one"), floor.spread()), (None, vec![4]));
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_unable_while_it_can_not_take_what_is_free_and_able_where_nothing_is() {
    let floor = Floor::new(2);
    let (one, two) = (floor.worker("one"), floor.worker("two"));
    sleep(MINUTE).await;
    let _idle = floor.worker("idle");
    sleep(MINUTE).await;
    assert_eq!((floor.unable("idle"), floor.working("idle")), (None, 0));
    two.meets(Trouble::NoChanges);
    one.die();
    sleep(2 * MINUTE).await;
    assert_eq!((floor.unable("idle"), floor.working("idle")), (None, 2), "it took them all");
    assert_eq!(floor.unable("two"), None, "nothing is free");
    let last = Floor::new(1);
    let worker = last.worker("one");
    worker.meets(Trouble::NoChanges);
    sleep(MINUTE).await;
    let reason = last.unable("one").expect("it is free and can't be taken");
    assert!(reason.contains("can't take the lease of 000"), "{reason}");
    worker.meets(Trouble::None);
    sleep(MINUTE).await;
    assert_eq!((last.unable("one"), last.spread()), (None, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_leaves_hands_its_pieces_over_within_a_look() {
    let floor = Floor::new(8);
    let olds = [floor.worker("old-1"), floor.worker("old-2")];
    sleep(MINUTE).await;
    let mut news = Vec::new();
    for (number, old) in olds.into_iter().enumerate() {
        news.push(floor.worker(&format!("new-{number}")));
        sleep(MINUTE).await;
        old.leave().await;
        sleep(TWO_LOOKS).await;
        assert_eq!(floor.working_in_all(), 8);
    }
    assert_eq!(floor.spread(), [4, 4]);
    let account = floor.account();
    assert!(account.doubled.is_empty(), "{:?}", account.doubled);
    assert_eq!(account.starts - account.drained, 8, "whatever was handed over had drained");
}

/// KCL: hand-offs that get stuck.
#[tokio::test(start_paused = true)]
async fn a_hand_off_whose_work_never_drains_is_ended() {
    let floor = Floor::new(8).draining_for(Duration::from_secs(86_400));
    let _one = floor.worker("one");
    sleep(MINUTE).await;
    let _two = floor.worker("two");
    sleep(2 * MINUTE).await;
    assert_eq!(floor.spread(), [4, 4]);
    assert!(floor.account().doubled.is_empty(), "{:?}", floor.account().doubled);
}

/// KCL: hand-offs whose lease expires while the former owner still drains.
#[tokio::test(start_paused = true)]
async fn a_hand_off_that_takes_longer_than_a_term_keeps_its_lease() {
    let floor = Floor::new(8).draining_for(Duration::from_secs(25));
    let terms = |worker: &str| Terms { term: Duration::from_secs(9), ..Terms::shared("stage", worker.to_owned()) };
    let _one = floor.worker_with(terms("one"));
    sleep(MINUTE).await;
    let _two = floor.worker_with(terms("two"));
    sleep(2 * MINUTE).await;
    assert_eq!(floor.spread(), [4, 4]);
    let account = floor.account();
    assert!(account.doubled.is_empty(), "{:?}", account.doubled);
    assert_eq!(account.drained, 4, "all that was handed off had its time");
}

/// KCL: throttling by DynamoDB that leads to duplicate processing.
#[tokio::test(start_paused = true)]
async fn throttling_leads_to_no_piece_worked_on_twice() {
    let floor = Floor::new(8);
    let workers = ["one", "two", "three"].map(|name| floor.worker(name));
    for worker in &workers {
        worker.meets(Trouble::Throttling);
    }
    sleep(20 * MINUTE).await;
    assert!(floor.account().doubled.is_empty(), "{:?}", floor.account().doubled);
    for worker in &workers {
        worker.meets(Trouble::None);
    }
    sleep(2 * MINUTE).await;
    assert_eq!(floor.spread(), [2, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_costs_no_piece() {
    let floor = Floor::new(4);
    let worker = floor.worker("one");
    worker.meets(Trouble::LostAnswers);
    sleep(MINUTE).await;
    assert_eq!(floor.spread(), [4]);
    let starts = floor.account().starts;
    sleep(20 * MINUTE).await;
    assert_eq!((floor.spread(), floor.account().starts), (vec![4], starts));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_one_piece() {
    let floor = Floor::new(4);
    let _worker = floor.worker("one");
    sleep(MINUTE).await;
    let seen = floor.ledger.leases("stage/pieces/002").await.unwrap().remove(0);
    floor.ledger.acquire(&seen.name, "a thief", Some(&seen)).await.unwrap();
    sleep(LEASE_TERM / 2).await;
    assert_eq!((floor.working("one"), floor.account().starts), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn the_seat_of_a_worker_that_died_is_cleared() {
    let floor = Floor::new(1);
    let (one, two, _three) = (floor.worker("one"), floor.worker("two"), floor.worker("three"));
    sleep(MINUTE).await;
    one.die();
    two.leave().await;
    sleep(2 * MINUTE).await;
    let seats = floor.ledger.leases("stage/seats/").await.unwrap();
    assert_eq!(seats.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>(), ["stage/seats/three"]);
}

#[tokio::test(start_paused = true)]
async fn an_append_without_an_answer_is_given_up_within_a_term() {
    let wire = Wire::new(Floor::new(1).ledger.clone());
    wire.meets(Trouble::Silence);
    let (started, entry) = (Instant::now(), Entry { nonce: 1, bytes: "1".into() });
    let patience = Patience { pause: Duration::from_millis(100), attempts_max: 50 };
    let appended = append_until_decided(&wire, &ChainId::new("dedup/a"), 0, entry, patience).await;
    assert!(matches!(appended, Err(LedgerError::Unavailable(_))), "{appended:?}");
    assert!(started.elapsed() < LEASE_TERM);
}

/// KCL: a checkpoint that moves backwards, when a former owner writes it late. There is none here: how far the work has
/// come is the head of the chain, and who is behind it can't append.
#[tokio::test]
async fn what_was_recorded_never_moves_backwards() {
    let (floor, chain) = (Floor::new(1), ChainId::new("dedup/a"));
    let ledger = &floor.ledger;
    let entry = |nonce: u128| Entry { nonce, bytes: nonce.to_string().into() };
    for (number, owner) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        ledger.append(&chain, number, entry(owner * 100 + u128::from(number))).await.unwrap();
    }
    let late = ledger.append(&chain, 2, entry(102)).await;
    assert_eq!(late, Err(LedgerError::Taken { chain: chain.clone(), number: 2 }));
    assert_eq!(ledger.head(&chain).await.unwrap().unwrap().entry, entry(203));
}
