//! What a log never tells.

use crate::pipeline::Pipeline;
use serde_json::Value;
use std::collections::BTreeSet;

const KEY: &str = "a-key-that-nobody-may-read-0123456789";
const MARKER: &str = "a-word-that-only-bodies-have";

#[test]
fn no_log_has_a_write_key_or_a_body_however_much_it_tells() {
    for format in ["text", "json"] {
        let pipeline = Pipeline::new();
        let up = pipeline.up_telling_all(&["--log-format", format, "--write-keys", &format!("shop={KEY}")]);
        let valid = format!(
            r#"{{"event_id":"6f1c1a86-6f0a-4b27-8f0c-2f0b7d6e0001","event_name":"page:view","created_at":1700000000,"note":"{MARKER}"}}"#
        );
        let invalid = format!(r#"{{"event_id":"{MARKER}","event_name":"{MARKER}","created_at":"{MARKER}"}}"#);
        let broken = format!(r#"{{"note":"{MARKER}"#);
        let key = format!("X-Write-Key: {KEY}\r\n");
        for (body, status) in [(&valid, 202), (&invalid, 422), (&broken, 400)] {
            assert_eq!(pipeline.post_with(&key, body), Some(status), "{body}: {}", pipeline.log("up"));
        }
        assert_eq!(pipeline.post_with(&format!("X-Write-Key: {KEY}x\r\n"), &valid), Some(401));
        assert!(up.stop().success(), "{}", pipeline.log("up"));
        let log = pipeline.log("up");
        assert!(log.contains("taking events"), "it tells nothing:\n{log}");
        for secret in [KEY, MARKER] {
            let told = log.lines().find(|line| line.contains(secret));
            assert_eq!(told, None, "{format}");
        }
    }
}

#[test]
fn every_line_of_an_owner_has_its_stage_shard_and_chain_as_json() {
    let pipeline = Pipeline::new();
    let up = pipeline.up_telling_all(&["--log-format", "json", "--window-ids-max", "100"]);
    pipeline.generate_all("1000", &[]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let log = pipeline.log("up");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let mut stages = BTreeSet::new();
    for line in lines.iter().filter(|line| is_of_an_owner(line)) {
        let owner = &line["spans"][0];
        let said = |name: &str| owner[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}"));
        let (stage, shard, chain) = (said("stage"), said("shard"), said("chain"));
        assert!(chain.starts_with(stage) && chain.contains(shard), "{line}");
        stages.insert(stage.to_string());
    }
    assert_eq!(stages, BTreeSet::from(["dedup".to_string(), "writer".to_string()]), "{log}");
}

fn is_of_an_owner(line: &Value) -> bool {
    let begins_or_ends = ["the shard is owned here from now on", "the shard is let go"];
    let message = line["fields"]["message"].as_str().unwrap_or_default();
    let target = line["target"].as_str().unwrap_or_default();
    begins_or_ends.contains(&message)
        || ["dedup_service::owner", "writer_service::owner"].iter().any(|of| target.starts_with(of))
}

#[test]
fn a_filter_of_lines_takes_no_shard_from_those_that_stay() {
    let pipeline = Pipeline::new();
    let up = pipeline.up_telling("dedup_service=warn", &["--window-ids-max", "100"]);
    pipeline.generate_all("1000", &[]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let log = pipeline.log("up");
    let warned: Vec<&str> = log.lines().filter(|line| line.contains("the window is full")).collect();
    assert!(!warned.is_empty(), "{log}");
    for line in warned {
        assert!(line.contains("owner{stage=\"dedup\" shard=\"raw-") && line.contains(" chain=\"dedup/"), "{line}");
    }
}
