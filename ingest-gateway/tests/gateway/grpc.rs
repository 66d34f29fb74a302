//! The same over gRPC.

use crate::house::{House, NOW, id};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use ingest_gateway::grpc::RawBatch;
use ingest_gateway::grpc::proto::ingest_client::IngestClient;
use prost::Message;
use schema::v1;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn event(k: u32) -> Bytes {
    let event = v1::Event { event_id: id(k), event_name: "a:b".into(), created_at_micros: NOW, ..Default::default() };
    event.encode_to_vec().into()
}

async fn channel(house: &House) -> Channel {
    Endpoint::new(format!("http://{}", house.grpc)).unwrap().connect().await.unwrap()
}

async fn client(house: &House) -> IngestClient<Channel> {
    IngestClient::new(channel(house).await)
}

#[tokio::test]
async fn a_batch_is_published_and_a_broken_event_costs_only_itself() {
    let house = House::open(&[]).await;
    let broken = Bytes::from_static(b"\n\xff");
    let batch = RawBatch { events: vec![event(1), broken.clone(), event(2)] };
    let answer = client(&house).await.publish(batch).await.unwrap().into_inner();
    assert_eq!(answer.accepted, 2);
    assert_eq!((answer.quarantined[0].index, answer.quarantined[0].reason.as_str()), (1, "bad_protobuf"));
    assert_eq!(house.stream.events().len(), 2);
    assert_eq!(house.stream.quarantined()[0].1.original, broken);
}

#[tokio::test]
async fn keys_and_bounds_hold_here_too() {
    let house = House::open(&["--write-keys", "app=0123456789abcdef", "--batch-events-max", "2"]).await;
    let client = client(&house).await;
    let call = |key: &'static str, events: Vec<Bytes>| {
        let mut request = Request::new(RawBatch { events });
        request.metadata_mut().insert("x-write-key", key.parse().unwrap());
        let mut client = client.clone();
        async move { client.publish(request).await }
    };
    assert_eq!(call("wrong", vec![event(1)]).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(call("0123456789abcdef", vec![event(1); 3]).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(call("0123456789abcdef", vec![event(1)]).await.unwrap().into_inner().accepted, 1);
    assert_eq!(house.stream.events()[0].1.source.as_deref(), Some("app"));
}

#[tokio::test]
async fn header_floods_are_refused() {
    let house = House::open(&[]).await;
    let client = client(&house).await;
    for (bytes, is_taken) in [(30 << 10, true), (33 << 10, false)] {
        let mut request = Request::new(RawBatch { events: vec![event(1)] });
        request.metadata_mut().insert("x-long", "v".repeat(bytes).parse().unwrap());
        let answer = client.clone().publish(request).await;
        assert_eq!(answer.is_ok(), is_taken, "{bytes}: {answer:?}");
    }
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn the_health_service_says_that_it_serves() {
    let house = House::open(&[]).await;
    let mut health = HealthClient::new(channel(&house).await);
    for service in ["", "forebay.v1.Ingest"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status, i32::from(ServingStatus::Serving), "{service}");
    }
}

/// Sends the beginning of a message of 800,000 bytes, and no end.
async fn begin_message(house: &House, sent: usize) -> Option<String> {
    let mut start = vec![0];
    start.extend_from_slice(&800_000u32.to_be_bytes());
    start.resize(5 + sent, 0);
    let frames = stream::iter([Ok::<_, tonic::Status>(Frame::data(Bytes::from(start)))]).chain(stream::pending());
    let request = http::Request::post(format!("http://{}/forebay.v1.Ingest/Publish", house.grpc))
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(frames)))
        .unwrap();
    let mut channel = channel(house).await;
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let answer = channel.call(request).await.unwrap();
    answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
}

fn number(code: Code) -> Option<String> {
    Some((code as i32).to_string())
}

#[tokio::test]
async fn a_message_is_charged_while_it_arrives() {
    let house = House::open(&["--in-flight-bytes-max", "1MiB", "--body-bytes-max", "1MiB"]).await;
    let (first, second) = (begin_message(&house, 600_000), begin_message(&house, 600_000));
    let answered = tokio::select! {
        answered = first => answered,
        answered = second => answered,
    };
    assert_eq!(answered, number(Code::ResourceExhausted));
}

#[tokio::test]
async fn a_message_that_does_not_end_is_given_up_in_time() {
    let house = House::open(&["--body-timeout", "100ms"]).await;
    assert_eq!(begin_message(&house, 10).await, number(Code::DeadlineExceeded));
}

#[tokio::test]
async fn who_may_not_send_is_told_so_before_the_message_is_read() {
    let house = House::open(&["--write-keys", "app=0123456789abcdef"]).await;
    assert_eq!(begin_message(&house, 10).await, number(Code::Unauthenticated));
}

#[tokio::test]
async fn a_connection_too_many_waits_for_one_that_ends() {
    let house = House::open(&["--grpc-connections-max", "1"]).await;
    let mut first = client(&house).await;
    first.publish(RawBatch { events: vec![event(1)] }).await.unwrap();
    let mut waiting = client(&house).await;
    let waits = tokio::spawn(async move { waiting.publish(RawBatch { events: vec![event(2)] }).await });
    for k in 3..20 {
        first.publish(RawBatch { events: vec![event(k)] }).await.unwrap();
    }
    assert!(!waits.is_finished());
    drop(first);
    assert_eq!(waits.await.unwrap().unwrap().into_inner().accepted, 1);
}

#[tokio::test]
async fn who_watches_is_told_of_a_drain_while_events_are_still_taken() {
    let house = House::open(&["--drain-notice", "1h"]).await;
    let asked = HealthCheckRequest { service: "forebay.v1.Ingest".into() };
    let mut watch = HealthClient::new(channel(&house).await).watch(asked).await.unwrap().into_inner();
    let mut told = async || watch.message().await.unwrap().unwrap().status();
    while told().await != ServingStatus::Serving {}
    house.stop.cancel();
    assert_eq!(told().await, ServingStatus::NotServing);
    let batch = RawBatch { events: vec![event(1)] };
    assert_eq!(client(&house).await.publish(batch).await.unwrap().into_inner().accepted, 1);
    house.task.abort();
}
