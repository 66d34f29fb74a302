//! Units times prices, for each way to pay for streams.
//!
//! **Standing**: what is paid by the hour or the month, whether or not an event comes; shared out over the events of that
//! time.

use super::model::{LAKE_BYTES_PER_EVENT, shards_for};
use super::units::{MILLION, Used, sum};
use aws::{Charge, KB_PER_GB, Plan, Price, Prices, charge};

/// A month as AWS counts it. Source: <https://calculator.aws/>
const MONTH_HOURS: f64 = 730.0;
const HOUR_SECONDS: f64 = 3600.0;
const MONTH_DAYS: f64 = MONTH_HOURS / 24.0;

/// Raw and clean.
const STREAMS: f64 = 2.0;

const BYTES_PER_GB: f64 = KB_PER_GB * 1024.0;

/// What an account with On-demand Advantage pays for at least, in and out alike, in KB per second.
/// Source: <https://aws.amazon.com/kinesis/data-streams/pricing/>
const ADVANTAGE_KB_PER_SECOND: f64 = 25.0 * 1024.0;

/// How long decisions stay in the ledger unless set otherwise: a window of 24 h and an hour's delay, twice the 7 d that
/// streams keep records, and 12 h of the overflow queue. Other entries, which are few bytes, go after 7 d.
const LEDGER_DAYS: f64 = 15.5;

/// One unit, and what a million events pay for it in each plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub used: Used,
    /// `None` where the plan does not bill it.
    pub dollars: [Option<f64>; Plan::ALL.len()],
    pub is_unknown: bool,
}

/// What events cost at a rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    pub events_per_second: f64,
    /// Of each stream.
    pub shards: u64,
    pub lines: Vec<Line>,
}

impl Bill {
    /// # Panics
    /// If there is no rate.
    pub fn new(prices: &Prices, events_per_second: f64, shards: u64, used: &[Used]) -> Bill {
        assert!(events_per_second > 0.0, "a rate of {events_per_second}");
        let hours = MILLION / events_per_second / HOUR_SECONDS;
        let mut lines: Vec<Line> = used.iter().map(|used| counted(prices, used)).collect();
        lines.extend(standing(prices, hours, shards, used));
        Bill { events_per_second, shards, lines }
    }

    /// Dollars for a million events, of one service or of all.
    pub fn dollars(&self, plan: Plan, service: Option<&str>) -> f64 {
        let lines = self.lines.iter().filter(|line| service.is_none_or(|service| line.used.service == service));
        lines.filter_map(|line| line.dollars[plan as usize]).sum()
    }

    pub fn millions_per_month(&self) -> f64 {
        self.events_per_second * MONTH_HOURS * HOUR_SECONDS / MILLION
    }
}

/// Shards that measured units need at a rate.
pub(super) fn shards_of(used: &[Used], events_per_second: f64, shards_min: u64) -> u64 {
    let per_second = |unit| sum(used, |used| used.unit == unit) / STREAMS * events_per_second / MILLION;
    shards_for(per_second("ingested_kb"), per_second("records")).max(shards_min)
}

fn counted(prices: &Prices, used: &Used) -> Line {
    let Used { service, operation, unit, per_million } = used;
    let charges = Plan::ALL.map(|plan| charge(prices, plan, service, operation, unit));
    let dollars = charges.map(|charge| matches!(charge, Charge::Each(..)).then(|| charge.dollars(*per_million)));
    Line { used: used.clone(), dollars, is_unknown: charges.contains(&Charge::Unknown) }
}

fn standing(prices: &Prices, hours: f64, shards: u64, used: &[Used]) -> Vec<Line> {
    let Prices { kinesis, dynamodb, s3, .. } = prices;
    let shard_hours = STREAMS * shards as f64 * hours;
    let mut lines = vec![
        line("kinesis", "streams", "stream_hours", STREAMS * hours, Plan::OnDemand, &kinesis.on_demand_stream),
        line("kinesis", "shards", "shard_hours", shard_hours, Plan::Provisioned, &kinesis.shard),
    ];
    if used.iter().any(|used| used.operation == "SubscribeToShard") {
        let price = &kinesis.fan_out_consumer;
        lines.push(line("kinesis", "consumers", "consumer_shard_hours", shard_hours, Plan::Provisioned, price));
    }
    for (unit, price) in [("ingested_kb", &kinesis.advantage_in), ("retrieved_kb", &kinesis.advantage_out)] {
        let least = ADVANTAGE_KB_PER_SECOND * hours * HOUR_SECONDS;
        let unused = (least - sum(used, |used| used.unit == unit)).max(0.0) / KB_PER_GB;
        let operation = if unit == "ingested_kb" { "unused, in" } else { "unused, out" };
        lines.push(line("kinesis", operation, "gb", unused, Plan::Advantage, price));
    }
    let ledger = kept_kb(used) / KB_PER_GB * LEDGER_DAYS / MONTH_DAYS;
    lines.push(everywhere("dynamodb", "storage", ledger, &dynamodb.storage));
    lines.push(everywhere("dynamodb", "recovery", ledger, &dynamodb.point_in_time_recovery));
    let lake = MILLION * LAKE_BYTES_PER_EVENT / BYTES_PER_GB;
    lines.push(everywhere("s3", "storage, a month", lake, &s3.storage));
    lines
}

/// What the ledger keeps of a million events: what is deleted of them in the end, or as much as was written where nothing
/// was old enough to be deleted. A write unit is at most one KB.
fn kept_kb(used: &[Used]) -> f64 {
    let of = |operation| sum(used, |used| used.operation == operation && used.unit == "write_units");
    let deleted = of("BatchWriteItem");
    if deleted > 0.0 { deleted } else { of("PutItem") }
}

fn line(service: &str, operation: &str, unit: &str, per_million: f64, plan: Plan, price: &Price) -> Line {
    let mut dollars = [None; Plan::ALL.len()];
    dollars[plan as usize] = Some(price.of(per_million));
    Line { used: Used::new(service, operation, unit, per_million), dollars, is_unknown: false }
}

fn everywhere(service: &str, operation: &str, gb_months: f64, price: &Price) -> Line {
    let dollars = [Some(price.of(gb_months)); Plan::ALL.len()];
    Line { used: Used::new(service, operation, "gb_months", gb_months), dollars, is_unknown: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    fn bill(events_per_second: f64, used: &[Used]) -> Bill {
        Bill::new(&Prices::us_east_1(), events_per_second, 4, used)
    }

    #[test]
    fn two_streams_cost_their_hours_whatever_comes() {
        // A million events at 1,000,000 an hour: one hour.
        let bill = bill(1e6 / 3600.0, &[]);
        assert!(near(bill.dollars(Plan::OnDemand, Some("kinesis")), 0.08));
        assert!(near(bill.dollars(Plan::Provisioned, Some("kinesis")), 2.0 * 4.0 * 0.015));
    }

    #[test]
    fn a_unit_is_billed_where_its_plan_bills_it() {
        let gb = 1024.0 * 1024.0;
        let used = [
            Used::new("kinesis", "PutRecords", "ingested_kb", gb),
            Used::new("kinesis", "GetRecords", "retrieved_kb", gb),
            Used::new("kinesis", "PutRecords", "payload_units_25kb", 1e6),
        ];
        let (with, without) = (bill(1e9, &used), bill(1e9, &[]));
        let of = |plan| with.dollars(plan, None) - without.dollars(plan, None);
        assert!(near(of(Plan::OnDemand), 0.12) && near(of(Plan::Provisioned), 0.014));
        assert!((0.047..=0.048).contains(&of(Plan::Advantage)), "a little of it is within the minimum");
    }

    #[test]
    fn advantage_bills_its_minimum_where_less_is_used() {
        // Below 25 MiB/s in and out, it costs the same each month: 64,160 GB each.
        for rate in [3.0, 300.0] {
            let bill = bill(rate, &[]);
            let month = bill.dollars(Plan::Advantage, Some("kinesis")) * bill.millions_per_month();
            assert!((3079.0..3081.0).contains(&month), "{month}");
        }
    }

    #[test]
    fn records_that_are_pushed_cost_more_and_their_consumers_by_the_hour() {
        let used = [Used::new("kinesis", "SubscribeToShard", "retrieved_kb", 1024.0 * 1024.0)];
        let bill = bill(1e6 / 3600.0, &used);
        assert!(near(bill.dollars(Plan::OnDemand, Some("kinesis")), 0.08 + 0.05));
        assert!(near(bill.dollars(Plan::Provisioned, Some("kinesis")), 2.0 * (2.0 * 4.0 * 0.015) + 0.013));
    }

    #[test]
    fn a_unit_without_a_price_is_said_to_have_none() {
        let bill = bill(300.0, &[Used::new("dynamodb", "PutItem", "furlongs", 1.0)]);
        assert!(bill.lines[0].is_unknown);
        assert!(!bill.lines[1..].iter().any(|line| line.is_unknown));
    }

    #[test]
    fn measured_units_need_shards_for_their_bytes() {
        let used = [Used::new("kinesis", "PutRecords", "ingested_kb", 200.0 * 1024.0)];
        assert_eq!([300.0, 300_000.0].map(|rate| shards_of(&used, rate, 4)), [4, 60]);
    }
}
