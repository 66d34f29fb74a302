//! What a counted unit costs.

use crate::prices::{Price, Prices};

/// As AWS bills bytes.
pub const KB_PER_GB: f64 = 1024.0 * 1024.0;

/// How streams are paid for. The rest is on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    OnDemand,
    Provisioned,
    Advantage,
}

impl Plan {
    pub const ALL: [Plan; 3] = [Plan::OnDemand, Plan::Provisioned, Plan::Advantage];
}

/// A price of a unit in one plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Charge<'p> {
    Free,
    /// So many of the price's own unit for each.
    Each(&'p Price, f64),
    /// Nobody has said what it costs.
    Unknown,
}

impl Charge<'_> {
    /// Dollars for so many of the unit.
    pub fn dollars(&self, count: f64) -> f64 {
        match self {
            Charge::Each(price, scale) => price.of(count * scale),
            Charge::Free | Charge::Unknown => 0.0,
        }
    }
}

/// What a unit costs, as the backends name it when they count.
pub fn charge<'p>(prices: &'p Prices, plan: Plan, service: &str, operation: &str, unit: &str) -> Charge<'p> {
    let Prices { kinesis, dynamodb, s3, sqs, .. } = prices;
    let is_pushed = operation == "SubscribeToShard";
    let gb = |price| Charge::Each(price, 1.0 / KB_PER_GB);
    match (service, unit, plan) {
        (_, "requests", _) | ("kinesis", "records", _) | ("s3", "bytes_in" | "bytes_out", _) => Charge::Free,
        ("kinesis", "ingested_kb", Plan::OnDemand) => gb(&kinesis.on_demand_in),
        ("kinesis", "ingested_kb", Plan::Advantage) => gb(&kinesis.advantage_in),
        ("kinesis", "ingested_kb", Plan::Provisioned) => Charge::Free,
        ("kinesis", "retrieved_kb", Plan::OnDemand) if is_pushed => gb(&kinesis.on_demand_fan_out),
        ("kinesis", "retrieved_kb", Plan::OnDemand) => gb(&kinesis.on_demand_out),
        ("kinesis", "retrieved_kb", Plan::Advantage) => gb(&kinesis.advantage_out),
        ("kinesis", "retrieved_kb", Plan::Provisioned) if is_pushed => gb(&kinesis.fan_out),
        ("kinesis", "retrieved_kb", Plan::Provisioned) => Charge::Free,
        ("kinesis", "payload_units_25kb", Plan::Provisioned) => Charge::Each(&kinesis.payload_unit, 1.0),
        ("kinesis", "payload_units_25kb", _) => Charge::Free,
        ("dynamodb", "write_units", _) => Charge::Each(&dynamodb.write_unit, 1.0),
        ("dynamodb", "read_units", _) => Charge::Each(&dynamodb.read_unit, 1.0),
        ("s3", "put_requests", _) => Charge::Each(&s3.put, 1.0),
        ("s3", "get_requests", _) => Charge::Each(&s3.get, 1.0),
        ("sqs", "billed_requests", _) => Charge::Each(&sqs.request, 1.0),
        _ => Charge::Unknown,
    }
}
