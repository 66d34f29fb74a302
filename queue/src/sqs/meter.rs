//! What calls to SQS are billed by.

use aws::Meter;

/// Payload that one billed request pays for. Source: <https://aws.amazon.com/sqs/pricing/>, «every 64 KB chunk of a payload
/// is billed as 1 request».
const BILLED_BYTES: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct Billing(pub(super) Meter);

impl Billing {
    /// Counts a call whose messages have `bytes` of text in all; a call without any is billed as well.
    pub(super) fn count(&self, operation: &'static str, bytes: usize) {
        self.0.add("sqs", operation, "requests", 1);
        self.0.add("sqs", operation, "billed_requests", bytes.div_ceil(BILLED_BYTES).max(1) as u64);
    }
}
