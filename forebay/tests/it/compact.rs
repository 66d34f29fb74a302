//! Compaction on demand, whoever holds the data directory.

use crate::pipeline::{Pipeline, Running, files, said};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use store::{Options, Store};

const HALT: Option<i32> = Some(4);

fn socket(pipeline: &Pipeline) -> PathBuf {
    pipeline.data_dir().join("control.sock")
}

/// Checks that a command had `up` do the work; what it printed.
#[track_caller]
fn by(up: &Running, output: &Output) -> String {
    let (told, log) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{told}{log}");
    assert!(log.contains(&format!("process {} is at work", up.process())), "{log}");
    told
}

/// A pipeline whose live objects are all there.
fn settled() -> (Pipeline, Running) {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--shards", "2"]);
    pipeline.generate_all("2000", &["--duplicates", "5%", "--invalid", "2%", "--seed", "3"]);
    pipeline.audit_acked(&["--wait", "40s"]).assert_clean();
    (pipeline, up)
}

#[test]
fn a_running_pipeline_compacts_on_demand_and_takes_events_meanwhile() {
    let (pipeline, up) = settled();
    let made = fs::metadata(socket(&pipeline)).expect("a socket");
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    let generator = pipeline.generate(&["--rate", "500/s", "--batch", "10", "--seed", "4"]);

    let plan = by(&up, &pipeline.run("compact", &["--all", "--dry-run"]));
    assert!(plan.contains(": plan 0: ") && plan.contains(" rows in "), "{plan}");
    assert!(files(&pipeline.lake().join("final")).is_empty(), "a dry run does nothing");
    let done = by(&up, &pipeline.run("compact", &["--all"]));
    assert!(done.contains(" final objects, "), "{done}");
    assert!(!files(&pipeline.lake().join("final/events")).is_empty(), "{done}");
    // By now there is more to compact, unless the generator has not come that far.
    by(&up, &pipeline.run("compact", &["--all"]));

    assert!(generator.stop().success(), "{}", pipeline.log("generate"));
    let audit = pipeline.audit_acked(&["--wait", "40s", "--deep"]);
    audit.assert_clean();
    assert!(audit.figure("final") > 1900 && audit.figure("accepted") > 2000, "{}", audit.text);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    assert!(!socket(&pipeline).exists());
    let drained = pipeline.audit_acked(&[]);
    drained.assert_clean();
    assert_eq!(drained.figure("in flight"), 0, "{}", drained.text);
}

#[test]
fn a_socket_that_a_killed_pipeline_left_is_in_nobodys_way() {
    let (pipeline, up) = settled();
    up.kill();
    assert!(socket(&pipeline).exists());
    for args in [["--all", "--dry-run"].as_slice(), &["--all"]] {
        let here = pipeline.run("compact", args);
        assert!(here.status.success() && !said(&here.stderr).contains("is at work"), "{}", said(&here.stderr));
    }
    let up = pipeline.up(&["--shards", "2"]);
    by(&up, &pipeline.run("compact", &["--all"]));
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    pipeline.audit_acked(&[]).assert_clean();
}

#[test]
fn a_directory_that_something_else_holds_is_refused_by_its_name() {
    let (pipeline, up) = settled();
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let options = Options::new(Arc::new(|| 0), "forebay compact");
    let held = Store::open(&pipeline.data_dir(), options).expect("nobody holds it");
    let refused = pipeline.run("compact", &["--all"]);
    let told = said(&refused.stderr);
    assert!(!refused.status.success(), "{told}");
    let holder = format!("in use by process {}, forebay compact", std::process::id());
    assert!(told.contains(&holder) && told.contains("takes no calls"), "{told}");
    drop(held);
    assert!(pipeline.run("compact", &["--all"]).status.success());
}

#[test]
fn a_compaction_that_must_halt_ends_as_halted_wherever_it_is_done() {
    let (pipeline, up) = settled();
    fs::remove_file(&files(&pipeline.lake().join("live/events"))[0]).expect("an object");
    let asked = pipeline.run("compact", &["--all"]);
    let told = said(&asked.stderr);
    assert_eq!(asked.status.code(), HALT, "{told}");
    assert!(told.contains("halt: ") && told.contains("is not there"), "{told}");
    assert_eq!(up.wait().code(), HALT, "{}", pipeline.log("up"));
    let here = pipeline.run("compact", &["--all"]);
    assert_eq!(here.status.code(), HALT, "{}", said(&here.stderr));
}

#[test]
fn a_folder_that_is_no_data_directory_is_left_as_it_is() {
    let pipeline = Pipeline::new();
    for args in [["--all"].as_slice(), &["--all", "--dry-run"]] {
        let refused = pipeline.run("compact", args);
        assert!(!refused.status.success() && said(&refused.stderr).contains("--data-dir"), "{}", said(&refused.stderr));
    }
    assert!(!pipeline.data_dir().exists());
}
