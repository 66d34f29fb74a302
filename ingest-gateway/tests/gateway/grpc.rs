//! The same over gRPC.

use crate::house::{House, NOW, id};
use bytes::Bytes;
use ingest_gateway::grpc::RawBatch;
use ingest_gateway::grpc::proto::ingest_client::IngestClient;
use prost::Message;
use schema::v1;
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
async fn the_health_service_says_that_it_serves() {
    let house = House::open(&[]).await;
    let mut health = HealthClient::new(channel(&house).await);
    for service in ["", "forebay.v1.Ingest"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(answer.into_inner().status, i32::from(ServingStatus::Serving), "{service}");
    }
}
