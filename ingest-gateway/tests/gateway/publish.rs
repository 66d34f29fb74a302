//! What producers send, what they are answered, and what lands on the stream.

use crate::client;
use crate::house::{House, NOW, event, id, lines};
use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use prost::Message;
use schema::{EventId, HashRange, v1};
use serde_json::json;
use std::collections::HashSet;
use std::io::Read;

#[tokio::test]
async fn one_event_is_answered_with_202_and_lands_as_it_was_sent() {
    let house = House::open(&[]).await;
    let sent = event(1).replace("}}", r#"},"user_id":"u1","plan":  "pro"}"#);
    let answer = house.post("application/json", sent).await;
    assert_eq!((answer.status, answer.text()), (202, r#"{"accepted":1,"quarantined":[]}"#));
    assert_eq!(answer.header("content-type"), "application/json");
    let expected = v1::StoredEvent {
        event_name: "page:view".into(),
        created_at: NOW - 1_000_000,
        user_id: Some("u1".into()),
        properties: r#"{"k": 1,"plan":"pro"}"#.into(),
        ..Default::default()
    };
    assert_eq!(house.stream.events(), [(EventId::parse(&id(1)).unwrap(), expected)]);
    let raw = house.stream.landed()[0].raw();
    assert_eq!((raw.version, raw.hops, raw.received_at), (1, 0, NOW));
}

#[tokio::test]
async fn every_layout_and_encoding_is_understood() {
    let house = House::open(&[]).await;
    let batch = lines(0..3);
    let array = format!("[{}]", batch.trim_end().replace('\n', ","));
    let protobuf = v1::EventBatch { events: (0..3).map(message).collect() }.encode_to_vec();
    let layouts = [
        ("application/json", array.clone().into_bytes()),
        ("application/x-ndjson", batch.clone().into_bytes()),
        ("application/x-protobuf", protobuf),
        ("text/plain;charset=UTF-8", array.into_bytes()),
        ("text/plain", batch.into_bytes()),
    ];
    for (content_type, body) in layouts {
        for encoding in ["identity", "gzip", "deflate", "zstd", "br"] {
            let answer = house
                .post_with(&[("content-type", content_type), ("content-encoding", encoding)], encode(encoding, &body))
                .await;
            assert_eq!(
                (answer.status, answer.text()),
                (202, r#"{"accepted":3,"quarantined":[]}"#),
                "{content_type} {encoding}"
            );
        }
    }
    assert_eq!(house.stream.events().len(), 5 * 5 * 3);
}

fn encode(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    match encoding {
        "gzip" => GzEncoder::new(body, Compression::fast()).read_to_end(&mut encoded),
        "deflate" => ZlibEncoder::new(body, Compression::fast()).read_to_end(&mut encoded),
        "zstd" => return zstd::encode_all(body, 1).unwrap(),
        "br" => return brotli(body),
        _ => return body.to_vec(),
    }
    .unwrap();
    encoded
}

/// As RFC 7932 has it: one meta-block that is not compressed, and an empty last one.
fn brotli(body: &[u8]) -> Vec<u8> {
    const UNCOMPRESSED: u32 = 1 << 20;
    const LAST_AND_EMPTY: u8 = 0b11;
    let length = u32::from(u16::try_from(body.len() - 1).unwrap());
    let [first, second, third, _] = (UNCOMPRESSED | length << 4).to_le_bytes();
    [&[first, second, third], body, &[LAST_AND_EMPTY]].concat()
}

fn message(k: u32) -> v1::Event {
    v1::Event { event_id: id(k), event_name: "page:view".into(), created_at_micros: NOW, ..Default::default() }
}

#[tokio::test]
async fn invalid_events_go_to_quarantine_and_the_others_are_accepted() {
    let house = House::open(&[]).await;
    let bad_name = event(2).replace("page:view", "page");
    let body = format!("{}\n{bad_name}\n{{\"event_id\":\"{}\"\n{}", event(1), id(3), event(4));
    let answer = house.post("application/x-ndjson", body).await;
    assert_eq!(answer.status, 202);
    let quarantined = house.stream.quarantined();
    let quarantine_id = |original: &str| {
        let found = quarantined.iter().find(|(_, item)| item.original.as_ref() == original.as_bytes());
        found.expect("in quarantine").0.to_string()
    };
    let expected = json!({"accepted": 2, "quarantined": [
        {"index": 1, "event_id": id(2), "quarantine_id": quarantine_id(&bad_name), "reason": "bad_event_name",
         "field": "event_name", "message": "`event_name` is not of the form `type:subtype`"},
        {"index": 2, "event_id": id(3), "quarantine_id": quarantine_id(&format!("{{\"event_id\":\"{}\"", id(3))),
         "reason": "bad_json", "field": null, "message": "line 3, column 51: expected `,` or `}`, and the text ends"},
    ]});
    assert_eq!(answer.json(), expected);
    let item = &quarantined.iter().find(|(_, item)| item.field == "event_name").unwrap().1;
    assert_eq!((item.value.as_str(), item.stage.as_str(), item.event_id.as_str()), ("page", "gateway", id(2).as_str()));
}

#[tokio::test]
async fn where_nothing_is_valid_the_answer_is_422_and_repeats_itself() {
    let house = House::open(&[]).await;
    let first = house.post("application/json", "{}").await;
    let second = house.post("application/json", "[{}]").await;
    assert_eq!((first.status, second.status), (422, 422));
    assert_eq!(first.json()["quarantined"][0]["reason"], "missing_field");
    assert_eq!(first.json()["quarantined"][0]["quarantine_id"], second.json()["quarantined"][0]["quarantine_id"]);
    assert_eq!(house.stream.quarantined().len(), 2);
}

#[tokio::test]
async fn ten_thousand_events_land_on_the_shards_of_their_hashes() {
    let house = House::open(&[]).await;
    let answer = house.post("application/x-ndjson", lines(0..10_000)).await;
    assert_eq!((answer.status, answer.text()), (202, r#"{"accepted":10000,"quarantined":[]}"#));
    let ranges = HashRange::even(4);
    let mut seen = HashSet::new();
    for landed in house.stream.landed() {
        let ids = landed.ids();
        assert_eq!(landed.record.point, ids[0].hash());
        let range = ranges.iter().find(|range| range.covers(landed.record.point)).unwrap();
        assert!(ids.iter().all(|id| range.covers(id.hash())));
        assert!(landed.record.bytes.len() <= schema::record::RECORD_BYTES_MAX);
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 10_000);
}

#[tokio::test]
async fn write_keys_let_in_and_name_the_source() {
    let house = House::open(&["--write-keys", "web=0123456789abcdef,app=fedcba9876543210"]).await;
    let own_source = event(2).replace("}}", r#"},"source":"own"}"#);
    let body = format!("{}\n{own_source}\n{{}}", event(1));
    let answer =
        house.post_with(&[("content-type", "application/x-ndjson"), ("x-write-key", "fedcba9876543210")], body).await;
    assert_eq!(answer.status, 202);
    let mut sources: Vec<_> = house.stream.events().into_iter().map(|(_, event)| event.source).collect();
    sources.sort();
    assert_eq!(sources, [Some("app".to_string()), Some("own".to_string())]);
    assert_eq!(house.stream.quarantined()[0].1.source.as_deref(), Some("app"));

    let beacon = client::request("POST", "/v1/events?write_key=0123456789abcdef", &[("content-type", "text/plain")]);
    assert_eq!(client::send(house.http, beacon, event(3)).await.status, 202);
    for authorization in ["", "Bearer nobody", "Basic 0123456789abcdef"] {
        let answer =
            house.post_with(&[("content-type", "application/json"), ("authorization", authorization)], event(4)).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_send() {
    let house = House::open(&["--cors-origins", "https://shop.example"]).await;
    for (origin, allowed) in [("https://shop.example", "https://shop.example"), ("https://evil.example", "")] {
        let ask =
            client::request("OPTIONS", "/v1/events", &[("origin", origin), ("access-control-request-method", "POST")]);
        let answer = client::send(house.http, ask, "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, allowed));
        assert!(answer.header("access-control-allow-headers").contains("x-write-key"));
    }
    let answer = house.post_with(&[("origin", "https://shop.example"), ("content-type", "text/plain")], event(1)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (202, "https://shop.example"));
}

#[tokio::test]
async fn the_other_paths_say_what_this_is_and_how_it_is() {
    let house = House::open(&[]).await;
    assert_eq!(house.post("application/json", event(1)).await.status, 202);
    for (path, status, says) in [
        ("/", 200, "POST /v1/events"),
        ("/healthz", 200, "ok"),
        ("/readyz", 200, "ready"),
        ("/metrics", 200, "forebay_gateway_events_accepted_total"),
        ("/nothing", 404, "nothing is here"),
        ("/v1/events", 405, "only POST"),
    ] {
        let answer = house.get(path).await;
        assert!(answer.status == status && answer.text().contains(says), "{path}: {answer:?}");
    }
}
