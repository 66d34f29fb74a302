//! The way out of quarantine.

use crate::fleet::Fleet;
use crate::http::exchange;
use std::net::SocketAddr;

const ID: &str = "7d0f3c52-9a5e-4a34-8d0e-5f1f5ad0c002";

#[tokio::test]
async fn an_invalid_event_is_listed_and_gets_into_the_lake_once_it_is_repaired() {
    let mut fleet = Fleet::set_up("quarantine").await;
    let gateway = fleet.gateway();
    fleet.workers();
    fleet.wait_until_ready(gateway).await;
    let without_a_type = format!(r#"{{"event_id":"{ID}","event_name":"view","created_at":1767225600}}"#);
    let quarantined = quarantine_id(&post(gateway, &without_a_type));
    std::fs::write(fleet.receipts(), format!("q {quarantined} bad_event_name\n")).unwrap();
    fleet.audit_is_clean();
    let listed = fleet.forebay(&["quarantine", "ls"]);
    assert!(listed.contains("bad_event_name") && listed.contains(&quarantined), "{listed}");

    let url = format!("http://{gateway}");
    let which = ["--where", "reason=bad_event_name", "--patch", "event_name=page:view", "--url", &url];
    let report = fleet.forebay(&[&["quarantine", "replay"], &which[..]].concat());
    assert_eq!(count(&report, "accepted"), Some(1), "{report}");
    std::fs::write(fleet.receipts(), format!("q {quarantined} bad_event_name\na {ID}\n")).unwrap();
    fleet.audit_is_clean();
    fleet.stop_all();
}

/// The number behind a word of a report.
fn count(report: &str, word: &str) -> Option<u64> {
    report.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok())
}

/// The body of the answer to an event.
fn post(gateway: SocketAddr, event: &str) -> String {
    let answer = exchange(gateway, "POST /v1/events HTTP/1.1\r\nContent-Type: application/json", event);
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// What an answer calls the only event that it quarantines.
fn quarantine_id(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    answer["quarantined"][0]["quarantine_id"].as_str().unwrap().to_owned()
}
