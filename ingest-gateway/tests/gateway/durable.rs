//! The answer comes after the events are durable, and never instead.

use crate::house::{House, event, lines};
use crate::memory::Fault;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

const A_MOMENT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn no_answer_comes_before_the_stream_has_the_event() {
    let house = House::open(&[]).await;
    house.stream.close_gate();
    let mut answer = Box::pin(house.post("application/json", event(1)));
    assert!(timeout(A_MOMENT, &mut answer).await.is_err());
    house.stream.open_gate();
    assert_eq!(answer.await.status, 202);
}

#[tokio::test]
async fn requests_that_wait_together_share_records() {
    let house = House::open(&["--flushes-max", "1"]).await;
    house.stream.close_gate();
    let release = async {
        tokio::time::sleep(A_MOMENT).await;
        house.stream.open_gate();
    };
    let requests = (0..50).map(|k| house.post("application/json", event(k)));
    let (answers, ()) = tokio::join!(futures::future::join_all(requests), release);
    assert!(answers.iter().all(|answer| answer.status == 202));
    assert_eq!(house.stream.events().len(), 50);
    assert!(house.stream.landed().len() <= 12, "{:?}", house.stream.appends());
}

#[tokio::test]
async fn only_the_record_that_was_throttled_is_sent_again() {
    let house = House::open(&[]).await;
    house.stream.fail([Fault::ThrottleFirstRecord, Fault::Throttle]);
    let answer = house.post("application/x-ndjson", lines(0..100)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(house.stream.appends(), [4, 1, 1]);
    assert_eq!(house.stream.events().len(), 100);
}

#[tokio::test]
async fn a_stream_that_stays_away_gives_503_and_not_ready_until_it_is_back() {
    let house = House::open(&["--resend-for", "60ms"]).await;
    house.stream.fail(vec![Fault::Unavailable; 100]);
    let answer = house.post("application/json", event(1)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(house.get("/readyz").await.status, 503);
    let attempts = house.stream.appends().len();
    assert!((2..=6).contains(&attempts), "{attempts} attempts");
    while !house.still_serves().await {}
    assert_eq!(house.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_refused_with_429_and_room_comes_back() {
    let house = House::open(&["--body-bytes-max", "64KiB", "--in-flight-bytes-max", "64KiB"]).await;
    house.stream.close_gate();
    let release = async {
        tokio::time::sleep(A_MOMENT).await;
        house.stream.open_gate();
    };
    let requests = (0..10).map(|_| house.post("application/x-ndjson", lines(0..200)));
    let (answers, ()) = tokio::join!(futures::future::join_all(requests), release);
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(count(202) >= 1 && count(429) >= 1 && count(202) + count(429) == 10);
    assert_eq!(answers.iter().find(|answer| answer.status == 429).unwrap().header("retry-after"), "1");
    assert_eq!(house.post("application/x-ndjson", lines(0..200)).await.status, 202);
}

#[tokio::test]
async fn events_of_a_client_that_went_away_land_all_the_same() {
    let house = House::open(&["--flushes-max", "1"]).await;
    house.stream.close_gate();
    let mut first = Box::pin(house.post("application/json", event(1)));
    assert!(timeout(A_MOMENT, &mut first).await.is_err());
    assert!(timeout(A_MOMENT, house.post("application/json", event(2))).await.is_err());
    house.stream.open_gate();
    assert_eq!(first.await.status, 202);
    while house.stream.events().len() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let mut house = House::open(&[]).await;
    house.stream.close_gate();
    let address = house.http;
    let mut answer = Box::pin(house.post("application/json", event(1)));
    assert!(timeout(A_MOMENT, &mut answer).await.is_err());
    house.stop.cancel();
    tokio::time::sleep(A_MOMENT).await;
    house.stream.open_gate();
    assert_eq!(answer.await.status, 202);
    assert!((&mut house.task).await.unwrap().is_ok());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever_for_a_client_that_does_nothing() {
    let house = House::open(&["--drain-timeout", "100ms"]).await;
    let mut slow = TcpStream::connect(house.http).await.unwrap();
    slow.write_all(b"POST /v1/events HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n[").await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    house.stop.cancel();
    assert!(timeout(Duration::from_secs(5), house.task).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn events_are_taken_after_the_gateway_has_said_that_it_drains() {
    let house = House::open(&["--drain-notice", "1h"]).await;
    house.stop.cancel();
    let mut ready = house.get("/readyz").await;
    while ready.status == 200 {
        ready = house.get("/readyz").await;
    }
    assert_eq!((ready.status, ready.text()), (503, "process: draining\n"));
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    house.task.abort();
}

#[tokio::test]
async fn the_gateway_stops_when_its_notice_is_over() {
    let house = House::open(&["--drain-notice", "10ms"]).await;
    house.stop.cancel();
    assert!(house.task.await.unwrap().is_ok());
    assert!(TcpStream::connect(house.http).await.is_err());
}

#[tokio::test]
async fn a_record_that_lands_elsewhere_makes_the_gateway_look_at_the_shards_again() {
    let house = House::open(&[]).await;
    house.stream.reshard(64);
    for _ in 0..200 {
        assert_eq!(house.post("application/x-ndjson", lines(0..200)).await.status, 202);
        if house.stream.appends().last().is_some_and(|&records| records > 40) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the gateway still packs for the old shards");
}
