//! One stream, as its API reaches it: every call is counted.

use aws::{Aws, Calls, Meter, Outcomes};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;

const SERVICE: &str = "kinesis";

/// What a provisioned stream bills a put by: each record in pieces of 25 KB.
/// Source: <https://aws.amazon.com/kinesis/data-streams/pricing/>
const PAYLOAD_UNIT_BYTES: usize = 25 * 1024;

/// What an on-demand stream bills by: each record in whole KB, in and out.
/// Source: <https://aws.amazon.com/kinesis/data-streams/pricing/>
const KB: usize = 1024;

/// Makes and counts the calls about one stream.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) client: Client,
    pub(super) stream: String,
    pub(super) calls: Calls,
    meter: Meter,
}

impl Api {
    pub(super) fn new(aws: &Aws, stream: String) -> Api {
        let config = Builder::from(&aws.config).interceptor(Outcomes).build();
        Api { client: Client::from_conf(config), stream, calls: aws.calls.clone(), meter: aws.meter.clone() }
    }

    /// Counts a call that is about to be made.
    pub(super) fn called(&self, operation: &'static str) {
        self.meter.add(SERVICE, operation, "requests", 1);
    }

    /// Counts a record that was taken.
    pub(super) fn put(&self, bytes: usize) {
        let add = |unit, count: usize| self.meter.add(SERVICE, "PutRecords", unit, count as u64);
        add("records", 1);
        add("payload_units_25kb", bytes.div_ceil(PAYLOAD_UNIT_BYTES).max(1));
        add("ingested_kb", bytes.div_ceil(KB).max(1));
    }

    /// Counts records that were given out.
    pub(super) fn retrieved(&self, operation: &'static str, records: &[aws_sdk_kinesis::types::Record]) {
        let kb = records.iter().map(|record| record.data.as_ref().len().div_ceil(KB).max(1)).sum::<usize>();
        self.meter.add(SERVICE, operation, "retrieved_kb", kb as u64);
    }
}
