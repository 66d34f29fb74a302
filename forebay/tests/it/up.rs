//! Starting and stopping.

use crate::pipeline::{Pipeline, said};

#[test]
fn a_second_up_on_the_same_directory_is_refused_and_told_who_holds_it() {
    let pipeline = Pipeline::new();
    let first = pipeline.up(&[]);
    let second = pipeline.run("up", &["--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"]);
    let told = said(&second.stderr);
    assert!(!second.status.success(), "{told}");
    assert!(told.contains("process ") && told.contains("http://127.0.0.1:"), "{told}");
    assert!(first.stop().success());
}

#[test]
fn a_drained_pipeline_leaves_nothing_to_redo() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&[]);
    pipeline.generate_all("3000", &["--duplicates", "5%", "--invalid", "1%"]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert_eq!(audit.figure("in flight"), 0, "{}", audit.text);
    assert!(!audit.text.contains("on its way:"), "{}", audit.text);
}

/// Asked to stop as often as it takes to come between the greeting and what is done right after it.
const STOPS: u32 = 5;

#[test]
fn whoever_asks_it_to_stop_as_soon_as_it_is_up_sees_it_drain() {
    let pipeline = Pipeline::new();
    for _ in 0..STOPS {
        assert!(pipeline.up(&[]).stop().success(), "{}", pipeline.log("up"));
    }
}

#[test]
fn up_takes_events_for_a_while_after_it_has_said_that_it_drains() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--drain-notice", "30s"]);
    up.ask_to_stop();
    let mut answers = std::iter::repeat_with(|| pipeline.get("/readyz").expect("it still answers"));
    let said = answers.find(|answer| answer.contains("process: draining\n")).expect("it goes on until there is one");
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let event =
        r#"{"event_id":"6f1c1a86-6f0a-4b27-8f0c-2f0b7d6e0001","event_name":"page:view","created_at":1700000000}"#;
    assert_eq!(pipeline.post(event), Some(202));
    up.kill();
}

#[test]
fn every_command_explains_itself() {
    for command in ["up", "generate", "audit", "compact", "quarantine", "bench"] {
        let told = std::process::Command::new(env!("CARGO_BIN_EXE_forebay")).args([command, "--help"]).output();
        let told = told.expect("the binary runs");
        assert!(told.status.success() && said(&told.stdout).contains("Usage:"), "{command}: {}", said(&told.stderr));
    }
}

#[test]
fn settings_that_cannot_be_meant_are_refused_by_name() {
    let bad = [
        ("up", "--shards", "0"),
        ("up", "--flush-interval", "soon"),
        ("up", "--http-addr", "nowhere"),
        ("up", "--log-bytes-max", "many"),
        ("up", "--window", "-1h"),
        ("up", "--memory", "1KiB"),
        ("audit", "--wait", "never"),
        ("compact", "--date", "2026-13-40"),
        ("generate", "--rate", "fast"),
        ("generate", "--duplicates", "200%"),
    ];
    for (command, setting, value) in bad {
        let setting_is = format!("{setting}={value}");
        let told = std::process::Command::new(env!("CARGO_BIN_EXE_forebay")).args([command, &setting_is]).output();
        let told = told.expect("the binary runs");
        let said = said(&told.stderr);
        assert!(!told.status.success() && said.contains(setting), "{command} {setting_is}: {said}");
    }
}

/// Its address is taken, which nobody gets to know.
#[test]
fn settings_that_contradict_each_other_are_refused_before_a_socket_opens() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("it listens").to_string();
    let bad = [
        ("--in-flight-bytes-max", "1MiB"),
        ("--write-keys-file", "no-such-file"),
        ("--drain-notice", "1h"),
        ("--keep-decisions", "1h"),
    ];
    for (setting, value) in bad {
        let pipeline = Pipeline::new();
        let told = pipeline.run("up", &["--http-addr", &taken, "--grpc-addr", "127.0.0.1:0", setting, value]);
        let said = said(&told.stderr);
        assert!(told.status.code() == Some(2) && said.contains(setting), "{setting} {value}: {said}");
    }
}

#[test]
fn an_audit_without_a_data_directory_says_so() {
    let pipeline = Pipeline::new();
    let told = pipeline.audit(&[]);
    assert_ne!(told.code, Some(0));
    assert!(told.text.contains("--data-dir"), "{}", told.text);
}
