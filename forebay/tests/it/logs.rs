//! What a log never tells.

use crate::pipeline::Pipeline;

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
