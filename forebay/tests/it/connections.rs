//! More connections than the system has files for.

use crate::pipeline::Pipeline;
use bytes::Bytes;
use forebay::generate::client::{Client, Target, Url, Verdict};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Files that the process may have open.
const OPEN_FILES: u32 = 128;

/// Clients that connect and say nothing, and how long each of them tries: beyond what waits to be accepted, the system takes
/// none.
const IDLE: usize = 200;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// Characters of a property that does not compress, and events with one in a request.
const PROPERTY_CHARS: u64 = 200_000;
const EVENTS: u64 = 20;

/// Requests after which a segment is full several times over.
const REQUESTS_MAX: u64 = 60;

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>
fn drawn(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn event(number: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let chars = number * PROPERTY_CHARS..(number + 1) * PROPERTY_CHARS;
    let noise: String = chars.map(|place| char::from(ALPHABET[drawn(place) as usize % ALPHABET.len()])).collect();
    format!(
        r#"{{"event_id":"0192f0c1-7b6d-7e1a-8a3b-{number:012x}","event_name":"file:open","created_at":1700000000,"noise":"{noise}"}}"#
    )
}

fn request(number: u64) -> Bytes {
    let events: Vec<String> = (number * EVENTS..(number + 1) * EVENTS).map(event).collect();
    Bytes::from(events.join("\n"))
}

fn idle_connections(pipeline: &Pipeline) -> Vec<TcpStream> {
    let address: SocketAddr = pipeline.address().parse().expect("an address");
    (0..IDLE).filter_map(|_| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()).collect()
}

#[tokio::test]
async fn idle_connections_leave_files_for_the_log() {
    let pipeline = Pipeline::new();
    let up = pipeline.up_with_open_files(OPEN_FILES, &[]);
    assert!(pipeline.log("up").contains("--connections-max"), "no warning:\n{}", pipeline.log("up"));
    let url: Url = format!("http://{}", pipeline.address()).parse().expect("a URL");
    let mut client = Client::new(Arc::new(Target::new(&url, None, None).expect("a target")));
    let mut post = async |number: u64| {
        let (status, verdict) = client.post(request(number)).await.expect("an answer");
        assert!(matches!(verdict, Verdict::Acknowledged(_)), "{status} {verdict:?}");
    };
    post(0).await;
    let idle = idle_connections(&pipeline);
    assert!(idle.len() > OPEN_FILES as usize, "only {} connections", idle.len());
    let next_segment = pipeline.data_dir().join("log/00000002.log");
    let mut sent = 1;
    while sent < REQUESTS_MAX && !next_segment.exists() {
        post(sent).await;
        sent += 1;
    }
    assert!(next_segment.exists(), "no second segment after {sent} requests");
    post(sent).await;
    drop((idle, client));
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let audit = pipeline.audit(&[]);
    audit.assert_clean();
    assert_eq!(audit.figure("live"), (sent + 1) * EVENTS, "{}", audit.text);
}
