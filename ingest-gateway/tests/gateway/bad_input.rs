//! Input that no producer should send: each is answered as documented, and the gateway goes on serving.

use crate::client;
use crate::house::{House, event, lines};
use flate2::Compression;
use flate2::read::{GzEncoder, ZlibEncoder};
use std::io::Read;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

/// 200 MiB of spaces, as Brotli has them; the decoder that is used here comes without an encoder.
const SPACES_BR: &[u8] = include_bytes!("spaces.br");

#[tokio::test]
async fn bodies_that_are_not_what_they_claim_are_refused_as_a_whole() {
    let house = House::open(&[]).await;
    let cases: [(&str, &[u8], u16, &str); 12] = [
        (JSON, b"", 400, "line 1, column 1: expected a value, and the text ends"),
        (JSON, b"{\"event_id\":", 400, "line 1, column 13: expected a value, and the text ends"),
        (JSON, b"[{},\n {]", 400, "line 2, column 3: expected a key in double quotes"),
        (JSON, b"{} {}", 400, "line 1, column 4: expected nothing after the value"),
        (JSON, b"{\"a\":01}", 400, "line 1, column 7: expected `,` or `}`"),
        (JSON, b"{\"a\":\"\x00\"}", 400, "line 1, column 7: expected no raw control character within a string"),
        (JSON, b"{\"a\":\"\\x\"}", 400, "line 1, column 8: expected a valid escape"),
        (JSON, b"\xff\xfe{}", 400, "line 1, column 1: expected a value"),
        ("text/plain", b"hello\nworld", 400, "line 1, column 1: expected a value"),
        (
            "application/x-protobuf",
            b"\x0a\x7f",
            400,
            "the body is not an EventBatch message: the message ends within a field",
        ),
        ("text/html", b"{}", 415, "Content-Type `text/html` is none of"),
        ("multipart/form-data", b"{}", 415, "Content-Type `multipart/form-data` is none of"),
    ];
    for (content_type, body, status, detail) in cases {
        let answer = house.post(content_type, body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{shown}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(detail), "{shown}: {}", answer.text());
        assert_eq!(answer.json()["status"], status);
        assert!(house.still_serves().await);
    }
    assert!(house.stream.quarantined().is_empty());
}

#[tokio::test]
async fn events_that_break_the_contract_are_in_quarantine_with_their_reason() {
    let house = House::open(&[]).await;
    let with = |from: &str, to: &str| event(1).replace(from, to).into_bytes();
    let mut not_utf8 = with("\"k\"", "\"?\"");
    let at = not_utf8.iter().rposition(|&byte| byte == b'?').unwrap();
    not_utf8[at] = 0xff;
    let deep = |depth: usize| with("{\"k\": 1}", &format!("{{\"k\":{}{}}}", "[".repeat(depth), "]".repeat(depth)));
    let cases: [(&str, Vec<u8>, &str); 16] = [
        (JSON, b"7".to_vec(), "bad_type"),
        (JSON, b"null".to_vec(), "bad_type"),
        (JSON, b"\"text\"".to_vec(), "bad_type"),
        (LINES, b"[]".to_vec(), "bad_type"),
        (LINES, b"{\"event_id\":".to_vec(), "bad_json"),
        (LINES, b"{\"a\":\x00}".to_vec(), "bad_json"),
        (JSON, with("page:view", "\\ud800"), "bad_json"),
        (JSON, not_utf8.clone(), "bad_utf8"),
        (LINES, not_utf8, "bad_utf8"),
        (JSON, deep(63), "too_deep"),
        (JSON, deep(100_000), "too_deep"),
        (JSON, with("\"2026-11-20T08:29:59Z\"", &"9".repeat(5000)), "bad_timestamp"),
        (JSON, with("\"2026-11-20T08:29:59Z\"", "1e999999999"), "bad_timestamp"),
        (JSON, with("\"properties\":", "\"event_id\":1,\"properties\":"), "duplicate_field"),
        (JSON, with("\"properties\":", "\"k\":1,\"properties\":"), "duplicate_field"),
        (JSON, with("1}", &format!("\"{}\"}}", "x".repeat(300_000))), "too_large"),
    ];
    for (at, (content_type, body, reason)) in cases.into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let answer = house.post(content_type, body.clone()).await;
        assert_eq!(answer.status, 422, "{shown}");
        assert_eq!(answer.json()["quarantined"][0]["reason"], reason, "{shown}");
        let quarantined = house.stream.quarantined();
        assert_eq!(quarantined.len(), at + 1);
        assert_eq!(quarantined[at].1.original, body, "{shown}");
        assert!(house.still_serves().await);
    }
}

#[tokio::test]
async fn harmless_oddities_pass() {
    let house = House::open(&[]).await;
    let with = |from: &str, to: &str| event(1).replace(from, to);
    let cases = [
        (JSON, with("{\"k\": 1}", "{\"k\":1e999,\"k\":-0.0}")),
        (JSON, with("{\"k\": 1}", "{\"\\u0000\":\"\\u0000\"}")),
        (JSON, format!("\u{feff} \r\n{}\t", event(1))),
        (LINES, format!("\n\n{}\r\n\r\n", event(1))),
        (JSON, format!("[{}]", event(1))),
    ];
    for (content_type, body) in cases {
        let answer = house.post(content_type, body.clone()).await;
        assert_eq!((answer.status, answer.text()), (202, r#"{"accepted":1,"quarantined":[]}"#), "{body}");
    }
    for (content_type, body) in
        [(JSON, "[]"), (JSON, " [ ] "), (LINES, ""), (LINES, "\n \n"), ("application/x-protobuf", "")]
    {
        let answer = house.post(content_type, body).await;
        assert_eq!((answer.status, answer.text()), (202, r#"{"accepted":0,"quarantined":[]}"#), "{body:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_413_and_the_client_sees_it() {
    let house = House::open(&["--batch-events-max", "100"]).await;
    let unkeepable = format!("\"{}\"", "x".repeat(schema::validate::ORIGINAL_BYTES_MAX));
    let cases = [
        (JSON, " ".repeat(100 << 20), "the body has more than the 16777216 bytes"),
        (JSON, format!("[{unkeepable}]"), "event 0 has"),
        (LINES, format!("{}\n{unkeepable}", event(1)), "event 1 has"),
        (LINES, lines(0..101), "more than 100 events"),
    ];
    for (content_type, body, detail) in cases {
        let answer = house.post(content_type, body).await;
        assert_eq!(answer.status, 413, "{detail}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with(detail), "{}", answer.text());
    }
    assert!(house.stream.landed().is_empty());
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_not_to_send() {
    let house = House::open(&[]).await;
    let mut socket = TcpStream::connect(house.http).await.unwrap();
    let head = "POST /v1/events HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: 104857600\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(read_some(&mut socket).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_that_never_says_how_long_it_is_stops_at_the_bound() {
    let house = House::open(&["--body-bytes-max", "1MiB"]).await;
    let mut socket = TcpStream::connect(house.http).await.unwrap();
    let head =
        "POST /v1/events HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..20 {
        socket.write_all(chunk.as_bytes()).await.unwrap();
    }
    assert!(read_some(&mut socket).await.starts_with("HTTP/1.1 413"));
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn a_zip_bomb_stops_at_the_bound_in_every_encoding() {
    let house = House::open(&[]).await;
    let spaces = vec![b' '; 200 << 20];
    let mut gzip = Vec::new();
    GzEncoder::new(spaces.as_slice(), Compression::fast()).read_to_end(&mut gzip).unwrap();
    let mut deflate = Vec::new();
    ZlibEncoder::new(spaces.as_slice(), Compression::fast()).read_to_end(&mut deflate).unwrap();
    let zstd = zstd::encode_all(spaces.as_slice(), 1).unwrap();
    for (encoding, bomb) in [("gzip", gzip), ("deflate", deflate), ("zstd", zstd), ("br", SPACES_BR.to_vec())] {
        let answer = house.post_with(&[("content-type", JSON), ("content-encoding", encoding)], bomb).await;
        assert_eq!(answer.status, 413, "{encoding}");
        assert!(house.still_serves().await);
    }
}

#[tokio::test]
async fn encodings_that_are_unknown_stacked_or_broken_are_refused() {
    let house = House::open(&[]).await;
    for (encoding, status) in [
        ("lzma", 415),
        ("gzip, gzip", 415),
        ("gzip,br", 415),
        ("gzip", 400),
        ("zstd", 400),
        ("br", 400),
        ("deflate", 400),
    ] {
        let answer = house.post_with(&[("content-type", JSON), ("content-encoding", encoding)], "not compressed").await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{encoding}");
    }
    let twice = [("content-type", JSON), ("content-encoding", "gzip"), ("content-encoding", "gzip")];
    assert_eq!(house.post_with(&twice, "x").await.status, 415);
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn header_floods_are_refused() {
    let house = House::open(&[]).await;
    let many: Vec<(String, String)> = (0..200).map(|k| (format!("x-{k}"), "v".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(house.post_with(&many, "{}").await.status, 431);
    let long = "v".repeat(100 << 10);
    assert_eq!(client::send(house.http, client::request("GET", "/", &[("x-long", &long)]), "").await.status, 431);
    assert!(house.still_serves().await);
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let house = House::open(&["--idle-timeout", "100ms", "--body-timeout", "100ms", "--connections-max", "8"]).await;
    let starts = ["", "POST /v1/ev", "POST /v1/events HTTP/1.1\r\nhost: g\r\ncontent-length: 100\r\n\r\n{"];
    let mut slow = Vec::new();
    for start in starts {
        for _ in 0..4 {
            let mut socket = TcpStream::connect(house.http).await.unwrap();
            socket.write_all(start.as_bytes()).await.unwrap();
            slow.push(socket);
        }
    }
    assert!(house.still_serves().await);
    let last = slow.last_mut().unwrap();
    assert!(read_some(last).await.starts_with("HTTP/1.1 408"));
    assert_eq!(read_some(&mut slow[0]).await, "");
}

async fn read_some(socket: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut bytes)).await.expect("an answer in time");
    String::from_utf8_lossy(&bytes[..read.unwrap_or(0)]).into_owned()
}
