//! A stream that is away, and the queue that takes its place for a while.

use crate::faulty_queue::FaultyQueue;
use crate::house::{House, arguments, env, event, lines};
use crate::memory::{Fault, MemoryStream};
use bytes::Bytes;
use ingest_gateway::{Gateway, Overflow};
use queue::Queue;
use schema::EventId;
use service::Health;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Overflow at the first failure.
const AT_ONCE: [&str; 2] = ["--overflow-after", "0s"];

fn distinct(stream: &MemoryStream) -> HashSet<EventId> {
    stream.events().into_iter().map(|(id, _)| id).collect()
}

async fn wait_for_events(stream: &MemoryStream, count: usize) {
    while distinct(stream).len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_stream_refuses_is_acknowledged_and_lands_once_it_is_back() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.keep_failing(Some(Fault::Throttle));
    let requests = (0..40).map(|k| house.post("application/x-ndjson", lines(k * 50..(k + 1) * 50)));
    let answers = futures::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    assert!(house.stream.landed().is_empty() && queue.taken() > 0);
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 2000).await;
    queue.wait_for_depth(0).await;
}

#[tokio::test]
async fn records_go_to_the_stream_again_once_it_is_back() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 1).await;
    let overflowed = queue.taken();
    assert_eq!(house.post("application/json", event(2)).await.status, 202);
    assert_eq!((distinct(&house.stream).len(), queue.taken()), (2, overflowed));
}

#[tokio::test]
async fn producers_do_not_wait_one_by_one_for_a_stream_that_hangs() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&["--overflow-after", "50ms"], &queue).await;
    house.stream.close_gate();
    for k in 0..30 {
        assert_eq!(house.post("application/json", event(k)).await.status, 202);
    }
    assert_eq!(queue.taken(), 30);
    let tried = house.stream.appends().len();
    assert!(tried < 30, "{tried} appends");
    house.stream.open_gate();
    wait_for_events(&house.stream, 30).await;
    queue.wait_for_depth(0).await;
}

#[tokio::test]
async fn a_gateway_whose_queue_stands_in_for_its_stream_is_ready() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&["--overflow-after", "100ms"], &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    for k in 0..5 {
        let (answer, ready) = tokio::join!(house.post("application/json", event(k)), house.get("/readyz"));
        assert_eq!((answer.status, ready.status), (202, 200));
        assert_eq!(house.get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn with_both_away_producers_get_503_and_a_time_to_come_back() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&["--overflow-after", "20ms", "--resend-for", "60ms"], &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    queue.take_nothing(true);
    let answer = house.post("application/json", event(1)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(house.get("/readyz").await.status, 503);
    queue.take_nothing(false);
    assert_eq!(house.post("application/json", event(2)).await.status, 202);
    assert_eq!(house.get("/readyz").await.status, 200);
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 1).await;
}

#[tokio::test]
async fn an_open_breaker_without_a_queue_behind_it_gives_503_as_well() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&["--overflow-after", "0s", "--resend-for", "50ms"], &queue).await;
    house.stream.keep_failing(Some(Fault::Throttle));
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    queue.take_nothing(true);
    let answer = house.post("application/json", event(2)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 1).await;
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn what_waits_for_a_stream_that_hangs_stays_within_the_budget() {
    let queue = FaultyQueue::open();
    let bounds = ["--body-bytes-max", "64KiB", "--in-flight-bytes-max", "64KiB", "--overflow-after", "50ms"];
    let house = House::with_overflow(&bounds, &queue).await;
    house.stream.close_gate();
    let requests = (0..10).map(|k| house.post("application/x-ndjson", lines(k * 200..(k + 1) * 200)));
    let answers = futures::future::join_all(requests).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(count(202) >= 1 && count(429) >= 1 && count(202) + count(429) == 10, "{answers:?}");
    assert_eq!(house.post("application/x-ndjson", lines(0..200)).await.status, 202, "room came back");
    house.stream.open_gate();
    wait_for_events(&house.stream, count(202) * 200).await;
}

#[tokio::test]
async fn a_drainer_that_dies_between_append_and_ack_only_makes_a_copy() {
    let queue = FaultyQueue::open();
    queue.lose_acks();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 1).await;
    house.task.abort();
    let queue = queue.once_nobody_holds_anything();
    let house = House::before(&AT_ONCE, house.stream.clone(), Some(&queue)).await;
    queue.wait_for_depth(0).await;
    assert_eq!((house.stream.events().len(), distinct(&house.stream).len()), (2, 1));
}

#[tokio::test]
async fn what_one_gateway_left_in_the_queue_is_drained_by_another() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    assert_eq!(house.post("application/x-ndjson", lines(0..100)).await.status, 202);
    house.stop.cancel();
    assert!(house.task.await.unwrap().is_ok());
    // A drainer that stops while a message is on its way to it leaves that one hidden for a while.
    let queue = queue.once_nobody_holds_anything();
    let other = House::with_overflow(&AT_ONCE, &queue).await;
    wait_for_events(&other.stream, 100).await;
    queue.wait_for_depth(0).await;
}

#[tokio::test]
async fn messages_of_somebody_else_stay_in_the_queue_and_stop_nothing() {
    let queue = FaultyQueue::open();
    queue.send(vec![Bytes::from_static(b"{\"event_id\":1}")]).await.remove(0).unwrap();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.fail([Fault::Unavailable]);
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    wait_for_events(&house.stream, 1).await;
    queue.wait_for_depth(1).await;
}

/// Letters that no compressor makes much shorter.
fn noise(bytes: usize) -> String {
    let mut state = 1u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(state >> 58) as usize])
    };
    (0..bytes).map(|_| letter()).collect()
}

#[tokio::test]
async fn an_item_too_large_for_the_queue_waits_for_the_stream() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&["--overflow-after", "0s", "--resend-for", "100ms"], &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    let item = format!(r#"{{"event_name":"{}"}}"#, noise(1_000_000));
    assert_eq!(house.post("application/json", item.clone()).await.status, 503);
    assert_eq!(queue.taken(), 0);
    house.stream.keep_failing(None);
    assert_eq!(house.post("application/json", item).await.status, 422);
    assert_eq!(house.stream.quarantined().len(), 1);
}

#[tokio::test]
async fn large_requests_are_packed_so_that_the_queue_takes_them() {
    let queue = FaultyQueue::open();
    let house = House::with_overflow(&AT_ONCE, &queue).await;
    house.stream.keep_failing(Some(Fault::Unavailable));
    let padding = noise(200 << 10);
    let padded = |k| event(k).replace("{\"k\"", &format!("{{\"padding\":\"{padding}\",\"k\"")) + "\n";
    let body: String = (0..40).map(padded).collect();
    assert_eq!(house.post("application/x-ndjson", body).await.status, 202);
    house.stream.keep_failing(None);
    wait_for_events(&house.stream, 40).await;
}

#[tokio::test]
async fn a_queue_that_keeps_records_beyond_the_dedup_window_is_refused_at_the_start() {
    let day = Duration::from_secs(24 * 3600);
    let overflow = Overflow { queue: FaultyQueue::open(), retention: Some(day) };
    let stream = Arc::new(MemoryStream::new(1));
    let refused = Gateway::new(arguments(&[]), stream.clone(), Some(overflow.clone()), env(), Health::default());
    assert!(refused.unwrap_err().to_string().contains("--dedup-window"));
    let longer = arguments(&["--dedup-window", "25h"]);
    assert!(Gateway::new(longer, stream, Some(overflow), env(), Health::default()).is_ok());
}
