//! The lake as others read it: DuckDB and pyarrow.

use crate::pipeline::{Pipeline, said};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What reads the lake, from PyPI.
const READERS: [&str; 2] = ["duckdb==2.0.0", "pyarrow==26.0.1"];

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lake.py");

#[track_caller]
fn ran(command: &mut Command, what: &str) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("install python3 with its venv module, 3.10 or later: {what}: {error}"));
    assert!(output.status.success(), "{what}: {}{}", said(&output.stdout), said(&output.stderr));
    output
}

/// A Python that has the readers; installed on first use.
fn python() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readers-{}", READERS.join("-").replace("==", "-")));
    fs::create_dir_all(&folder).expect("a folder below the target folder");
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("nobody holds it for long");
    let (python, installed) = (folder.join("venv/bin/python"), folder.join("installed"));
    if !installed.exists() {
        let venv = folder.join("venv");
        ran(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), "make a venv");
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--only-binary", ":all:"]);
        ran(pip.args(READERS), "install DuckDB and pyarrow");
        fs::write(installed, READERS.join("\n")).expect("a marker");
    }
    python
}

#[track_caller]
fn number(found: &Value, name: &str) -> u64 {
    found[name].as_u64().unwrap_or_else(|| panic!("no {name} in {found}"))
}

#[test]
fn duckdb_and_pyarrow_read_what_was_acknowledged() {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--shards", "3"]);
    pipeline.generate_all("4000", &["--duplicates", "6%", "--invalid", "3%", "--late", "20%", "--seed", "5"]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let compacted = pipeline.run("compact", &["--all"]);
    assert!(compacted.status.success(), "{}", said(&compacted.stderr));
    let audit = pipeline.audit_acked(&[]);
    audit.assert_clean();
    assert!(audit.figure("duplicates") > 100, "{}", audit.text);

    let mut script = Command::new(python());
    let output = ran(script.arg(SCRIPT).arg(pipeline.lake()), "read the lake");
    let found: Value = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    let acked = forebay::acked::read(&pipeline.acked()).expect("the generator's own lines");
    for (table, expected) in [("events", acked.accepted.len() as u64), ("quarantine", acked.quarantined.len() as u64)] {
        assert!(expected > 0);
        for root in ["live", "final"] {
            let found = &found[format!("{root}/{table}")];
            for reader in ["duckdb", "pyarrow"] {
                let rows = (number(&found[reader], "rows"), number(&found[reader], "ids"));
                assert_eq!(rows, (expected, expected), "{root}/{table} by {reader}");
            }
            assert_eq!(found["proof"], Value::Array(Vec::new()), "{root}/{table}: the proof query finds something");
            assert_eq!(number(&found["duckdb"], "misplaced"), 0, "{root}/{table}");
        }
    }
    assert_eq!(number(&found["live/events"]["duckdb"], "origins"), 3);
    assert_types(&found);
}

#[track_caller]
fn assert_types(found: &Value) {
    let expected = [
        ("event_id", "VARCHAR", "string"),
        ("event_type", "VARCHAR", "string"),
        ("created_at", "TIMESTAMP WITH TIME ZONE", "timestamp[us, tz=UTC]"),
        ("received_at", "TIMESTAMP WITH TIME ZONE", "timestamp[us, tz=UTC]"),
        ("properties", "VARCHAR", "string"),
        ("ordinal", "BIGINT", "int64"),
    ];
    for root in ["live/events", "final/events"] {
        for (column, by_duckdb, by_pyarrow) in expected {
            assert_eq!(found[root]["duckdb"]["types"][column], by_duckdb, "{root} {column}");
            assert_eq!(found[root]["pyarrow"]["types"][column], by_pyarrow, "{root} {column}");
        }
    }
    assert_eq!(found["live/quarantine"]["pyarrow"]["types"]["original"], "binary");
}
