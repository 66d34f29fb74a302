//! Chains that were trimmed prove as much as before, but for what only the trimmed entries could tell.

use crate::pipeline::{Pipeline, files};
use clap::Parser;
use compactor::Compactor;
use dedup_service::{Owned, Retention};
use forebay::embedded::{self, Embedded, LogConfig, Places};
use service::{Clock, Env, Health, Rules};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Longer than any setting keeps entries by default.
const EIGHT_DAYS_MICROS: i64 = 8 * 86_400_000_000;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    log: LogConfig,
    #[command(flatten)]
    dedup: dedup_service::Config,
    #[command(flatten)]
    compactor: compactor::Config,
}

/// The system's clock, eight days ahead.
#[derive(Debug)]
struct Ahead(Env);

impl Clock for Ahead {
    fn now(&self) -> i64 {
        self.0.now() + EIGHT_DAYS_MICROS
    }
}

/// Trims both kinds of chains as of eight days from now; how many entries of each went.
#[tokio::main]
async fn trim(pipeline: &Pipeline) -> (u64, u64) {
    let Settings { log, dedup, compactor } = Settings::parse_from(["trim", "--shards", "2"]);
    let env = Env { clock: Arc::new(Ahead(Env::system())), ..Env::system() };
    let places = Places { data_dir: pipeline.data_dir(), lake: None };
    let (Embedded { raw, clean, ledger, lake }, _store) =
        embedded::open(&places, &log, &env).await.expect("nobody holds it");
    let compactor = Compactor::new(compactor, ledger.clone(), lake, env.clone(), &Health::default());
    let (config, rules) = (dedup, Rules::default());
    let budget = dedup_service::budget::Budget::new(1);
    let parts = dedup_service::Parts { raw, clean, ledger, env, config, budget, rules };
    let decisions =
        Retention::new(&parts, Duration::ZERO, Owned::everything()).trim().await.expect("the chains are sound");
    (decisions, compactor.trim().await.expect("the chains are sound"))
}

fn compacted() -> Pipeline {
    let pipeline = Pipeline::new();
    // Every look at the clean stream makes an entry.
    let up = pipeline.up(&["--shards", "2", "--flush-interval", "1ms", "--writer-linger", "0s"]);
    for seed in ["11", "12", "13"] {
        pipeline.generate_all("400", &["--duplicates", "5%", "--invalid", "2%", "--seed", seed]);
    }
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    assert!(pipeline.run("compact", &["--all"]).status.success());
    pipeline
}

#[test]
fn a_trimmed_pipeline_is_proved_and_goes_on() {
    let pipeline = compacted();
    let before = pipeline.audit_acked(&[]);
    before.assert_clean();
    let (decisions, announcements) = trim(&pipeline);
    assert!(decisions > 0 && announcements > 0, "{decisions} and {announcements} entries went");

    let after = pipeline.audit_acked(&[]);
    after.assert_clean();
    for figure in ["unique", "quarantined", "final", "dropped", "in flight"] {
        assert_eq!(after.figure(figure), before.figure(figure), "{figure}:\n{}", after.text);
    }
    assert!(after.text.contains("chains were trimmed: of the first "), "{}", after.text);

    let up = pipeline.up(&["--shards", "3"]);
    pipeline.generate_all("600", &["--seed", "14"]);
    // The shards of the reshard are taken up one after the other.
    pipeline.audit_acked(&["--wait", "60s"]).assert_clean();
    assert!(up.stop().success(), "{}", pipeline.log("up"));
    assert!(pipeline.run("compact", &["--all"]).status.success());
    let more = pipeline.audit_acked(&[]);
    more.assert_clean();
    assert_eq!(more.figure("unique"), before.figure("unique") + 600, "{}", more.text);
}

#[test]
fn what_is_missing_is_found_although_the_entries_that_decided_it_are_gone() {
    let whole = compacted();
    trim(&whole);
    let case = whole.copy();
    let gone = files(&case.lake().join("final/events")).remove(0);
    fs::remove_file(gone).expect("an object");
    let audit = case.audit_acked(&[]);
    audit.assert_finds(&["missing object: 1", "missing: ", "acknowledged, not there", "as far back as the chains go"]);
    assert!(audit.figure("missing") > 0, "{}", audit.text);
}
