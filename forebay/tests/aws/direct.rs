//! Events that come past all gateways, straight into the raw stream.

use crate::fleet::Fleet;

/// Arrays whose events belong to both shards make the dedup stage bring the others home.
#[tokio::test]
async fn events_that_a_producer_puts_into_the_raw_stream_are_in_the_lake_once() {
    let mut fleet = Fleet::set_up("direct").await;
    fleet.workers();
    let load = ["--total", "1000", "--batch", "50", "--max", "--duplicates", "5%", "--invalid", "3%"];
    let ledger = fleet.receipts();
    fleet.forebay(&[&["generate", "--to", "kinesis", "--ledger", &ledger], &load[..]].concat());
    fleet.audit_is_clean();
    fleet.stop_all();
}
