//! The audit fails where it must: a check that can't fail is worth nothing.

use crate::pipeline::{Pipeline, files};
use std::fs;
use std::path::{Path, PathBuf};

/// A drained pipeline with live objects of several entries.
fn drained() -> Pipeline {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--shards", "2", "--flush-rows", "300"]);
    pipeline.generate_all("1200", &["--duplicates", "5%", "--invalid", "2%", "--seed", "11"]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    pipeline.audit_acked(&[]).assert_clean();
    pipeline
}

fn objects(pipeline: &Pipeline, folder: &str) -> Vec<PathBuf> {
    let objects = files(&pipeline.lake().join(folder));
    assert!(objects.len() > 1, "{folder} has {} objects", objects.len());
    objects
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a plain name")
}

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).expect("an object");
    bytes[place] ^= 0xff;
    fs::write(path, bytes).expect("an object");
}

#[test]
fn whatever_is_done_to_live_objects_is_found() {
    let whole = drained();

    let case = whole.copy();
    let gone = &objects(&case, "live/events")[0];
    fs::remove_file(gone).expect("an object");
    let audit = case.audit(&[]);
    audit.assert_finds(&["missing object: 1", name(gone), "entry ", "ordinal "]);
    assert!(audit.figure("missing") > 0, "{}", audit.text);
    case.audit_acked(&[]).assert_finds(&["acknowledged, not there"]);

    let case = whole.copy();
    let pair = objects(&case, "live/events");
    fs::copy(&pair[0], &pair[1]).expect("objects");
    let audit = case.audit(&[]);
    audit.assert_finds(&["foreign object: 1", name(&pair[1]), "twice: ", "missing: "]);
    assert!(audit.figure("twice") > 0 && audit.figure("missing") > 0, "{}", audit.text);

    let case = whole.copy();
    let one = &objects(&case, "live/events")[0];
    let more = one.with_file_name(name(one).replace("-0000.parquet", "-0777.parquet"));
    fs::copy(one, &more).expect("an object");
    let audit = case.audit(&[]);
    audit.assert_finds(&["stray object: 1", name(&more), "twice: "]);
    assert!(audit.figure("twice") > 0, "{}", audit.text);

    for place in [9, 4000] {
        let case = whole.copy();
        let hurt = &objects(&case, "live/events")[0];
        flip(hurt, place);
        case.audit(&[]).assert_finds(&[name(hurt), "NOT clean"]);
    }

    let case = whole.copy();
    let cut = &objects(&case, "live/events")[0];
    fs::write(cut, b"PAR1").expect("an object");
    case.audit(&[]).assert_finds(&["damaged object: 1", name(cut)]);

    whole.audit_acked(&[]).assert_clean();
}

#[test]
fn an_acknowledged_id_that_is_not_there_is_found() {
    let whole = drained();
    let nobody = "00000000-0000-4000-8000-000000000001";
    for mark in ["a", "q"] {
        let case = whole.copy();
        let acked = fs::read_to_string(case.acked()).expect("the ledger file");
        let reason = if mark == "q" { " bad_uuid" } else { "" };
        fs::write(case.acked(), format!("{acked}{mark} {nobody}{reason}\n")).expect("the ledger file");
        let audit = case.audit_acked(&[]);
        audit.assert_finds(&["acknowledged, not there: 1", nobody, "never decided"]);
        assert_eq!(audit.figure("missing"), 1, "{}", audit.text);
        case.audit(&[]).assert_clean();
    }
}

#[test]
fn whatever_is_done_to_final_objects_is_found() {
    let whole = drained();
    assert!(whole.run("compact", &["--all", "--shards", "2"]).status.success());
    let compacted = whole.audit_acked(&[]);
    compacted.assert_clean();
    assert_eq!(compacted.figure("live"), 0, "{}", compacted.text);

    let case = whole.copy();
    objects(&case, "live/events").iter().for_each(|covered| fs::remove_file(covered).expect("an object"));
    case.audit_acked(&[]).assert_clean();

    let case = whole.copy();
    let gone = &objects(&case, "final/events")[0];
    fs::remove_file(gone).expect("an object");
    case.audit_acked(&[]).assert_finds(&[
        "missing object: 1",
        name(gone),
        "plan 0",
        "missing: ",
        "acknowledged, not there",
    ]);

    let case = whole.copy();
    let one = &objects(&case, "final/events")[0];
    fs::copy(one, one.with_file_name("000000-0777.parquet")).expect("an object");
    case.audit(&[]).assert_finds(&["stray object: 1", "twice: "]);

    let case = whole.copy();
    let pair = objects(&case, "final/events");
    fs::copy(&pair[0], &pair[1]).expect("objects");
    case.audit(&[]).assert_finds(&["unbalanced plan: 1", "twice: ", "missing: "]);
}

#[test]
fn what_is_in_flight_is_not_missing_and_waiting_for_nobody_fails() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--flush-interval", "600s", "--flush-rows", "1000000"]);
    pipeline.generate_all("500", &[]);
    up.kill();
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert!(audit.text.contains("something is on its way:"), "{}", audit.text);
    let waited = pipeline.audit_acked(&["--wait", "300ms"]);
    assert_ne!(waited.code, Some(0), "{}", waited.text);
    assert!(waited.text.contains("not settled within 300ms: "), "{}", waited.text);
}
