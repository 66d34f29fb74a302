//! What `up` prints works as it is printed, and so do the commands that send to it.

use crate::pipeline::{Pipeline, Running, said};
use std::process::Command;

const KEY: &str = "0123456789abcdef";
const KEYS: [&str; 2] = ["--write-keys", "web=0123456789abcdef"];

/// The line with `curl` that `up` prints next.
fn printed_line(pipeline: &Pipeline, up: &mut Running) -> String {
    up.line_with("curl ").unwrap_or_else(|| panic!("no line with curl:\n{}", pipeline.log("up")))
}

/// What a shell says to a line.
fn run(line: &str, env: &[(&str, &str)]) -> String {
    let mut shell = Command::new("sh");
    let told = shell.args(["-c", line.trim()]).env("NO_PROXY", "*").envs(env.iter().copied()).output();
    let told = told.expect("a shell");
    assert!(told.status.success(), "{line}{}{}", said(&told.stdout), said(&told.stderr));
    said(&told.stdout)
}

/// Writes a certificate for the address that `up` serves at, and its key; their files.
fn certificate(pipeline: &Pipeline) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]).expect("a certificate");
    [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())].map(|(name, pem)| {
        let file = pipeline.acked().with_file_name(name);
        std::fs::write(&file, pem).expect("a file");
        file.to_str().expect("a plain path").to_string()
    })
}

#[test]
fn the_printed_line_sends_an_event() {
    let pipeline = Pipeline::new();
    let mut up = pipeline.up(&[]);
    let answer = run(&printed_line(&pipeline, &mut up), &[]);
    assert!(answer.contains(r#""accepted":1"#), "{answer}");
}

#[test]
fn the_printed_line_has_the_header_for_a_write_key() {
    let pipeline = Pipeline::new();
    let mut up = pipeline.up(&KEYS);
    let answer = run(&printed_line(&pipeline, &mut up), &[("FOREBAY_KEY", KEY)]);
    assert!(answer.contains(r#""accepted":1"#), "{answer}");
}

#[test]
fn with_a_certificate_the_printed_line_and_the_commands_that_send_speak_tls() {
    let pipeline = Pipeline::new();
    let [certificate, key] = certificate(&pipeline);
    let mut up = pipeline.up(&[&["--tls-cert", &certificate, "--tls-key", &key], &KEYS[..]].concat());
    let env = [("FOREBAY_KEY", KEY), ("CURL_CA_BUNDLE", certificate.as_str())];
    let line = printed_line(&pipeline, &mut up);
    let answer = run(&line, &env);
    assert!(answer.contains(r#""accepted":1"#), "{answer}");
    let answer = run(&line.replace("page:view", "view"), &env);
    assert!(answer.contains("bad_event_name"), "{answer}");

    let url = format!("https://{}", pipeline.address());
    let guarded = ["--url", &url, "--key", KEY, "--ca-cert", &certificate];
    pipeline.generate_all("300", &guarded);
    let stranger =
        pipeline.run_as_told(&["generate", "--url", &url, "--key", KEY, "--total", "1", "--retry-for", "1s"]);
    assert!(!stranger.status.success(), "it believed a certificate that nobody vouches for");

    pipeline.audit(&["--wait", "40s"]).assert_clean();
    let data_dir = pipeline.data_dir();
    let source = ["quarantine", "replay", "--data-dir", data_dir.to_str().expect("a plain path")];
    let repair = ["--where", "reason=bad_event_name", "--patch", "event_name=page:view"];
    let replayed = pipeline.run_as_told(&[&source[..], &repair, &guarded].concat());
    let told = said(&replayed.stdout) + &said(&replayed.stderr);
    assert!(replayed.status.success(), "{told}");
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let audit = pipeline.audit(&[]);
    audit.assert_clean();
    assert_eq!((audit.figure("unique"), audit.figure("quarantined")), (302, 1), "{}", audit.text);
}
