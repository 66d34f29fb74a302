//! Files of the data directory that are not what was written.

use crate::pipeline::{BUSY, Pipeline, said};
use std::fs;
use std::path::PathBuf;

/// First bytes of a frame that holds a record, and of its log's name; the payload follows behind.
const RECORD: [u8; 6] = [0xfb, b'F', b'B', b'1', 1, 0];
const NAME_AT: usize = 48;
const NAME: &[u8] = b"raw/raw-0000";

/// A drained pipeline in whose raw stream one bit of one record is another; and the file.
fn flipped() -> (Pipeline, PathBuf) {
    let pipeline = Pipeline::new();
    let up = pipeline.up(&["--shards", "1"]);
    pipeline.generate_all("2000", &["--invalid", "1%"]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    pipeline.audit_acked(&[]).assert_clean();
    let file = pipeline.data_dir().join("log/00000001.log");
    let mut bytes = fs::read(&file).expect("a segment");
    let is_record = |at: &usize| bytes[*at..].starts_with(&RECORD) && bytes[at + NAME_AT..].starts_with(NAME);
    let record = (0..bytes.len()).filter(is_record).nth(1).expect("several records");
    bytes[record + NAME_AT + NAME.len() + 1] ^= 4;
    fs::write(&file, bytes).expect("a segment");
    (pipeline, file)
}

#[test]
fn a_flipped_bit_stops_the_start_and_is_named_and_nothing_else_is_lost() {
    let (pipeline, file) = flipped();
    let serve = [&BUSY[..], &["--shards", "1", "--http-addr", "127.0.0.1:0"]].concat();
    let refused = pipeline.run("up", &serve);
    let told = said(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    let named = format!("{}: ", file.display());
    assert!(told.contains(&named) && told.contains("are damaged: record 1 of raw/raw-0000"), "{told}");

    let up = pipeline.up(&["--shards", "1", "--set-aside-damaged"]);
    pipeline.generate_all("500", &[]);
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    let aside: Vec<_> = fs::read_dir(pipeline.data_dir().join("damaged")).expect("a folder").collect();
    assert_eq!(aside.len(), 1, "{aside:?}");

    let audit = pipeline.audit_acked(&[]);
    audit.assert_finds(&["damaged log: 1", &named, "record 1 of raw/raw-0000"]);
    assert_eq!((audit.figure("missing"), audit.figure("twice")), (0, 0), "{}", audit.text);
    assert_eq!(audit.figure("unique") + audit.figure("quarantined"), 2500, "{}", audit.text);
    assert_eq!(audit.figure("live"), 2500, "{}", audit.text);
}
