//! List prices, from a TOML file that says when and where each was read.

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The prices that come with the binary.
const US_EAST_1: &str = include_str!("../prices/us-east-1.toml");

/// What so much of a unit costs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    dollars: f64,
    per: f64,
    pub unit: String,
    pub source: String,
}

impl Price {
    /// Dollars for an amount of the unit.
    pub fn of(&self, amount: f64) -> f64 {
        self.dollars * amount / self.per
    }

    fn check(&self) -> anyhow::Result<()> {
        let Price { dollars, per, unit, source } = self;
        ensure!(dollars.is_finite() && *dollars >= 0.0, "{dollars} dollars for {unit}");
        ensure!(per.is_finite() && *per > 0.0, "a price for {per} of {unit}");
        ensure!(source.starts_with("https://"), "the price of {unit} has no source");
        Ok(())
    }
}

/// A stream's prices: on-demand, on-demand with the account's Advantage switched on, provisioned.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kinesis {
    pub on_demand_stream: Price,
    pub on_demand_in: Price,
    pub on_demand_out: Price,
    pub on_demand_fan_out: Price,
    pub advantage_in: Price,
    pub advantage_out: Price,
    pub shard: Price,
    pub payload_unit: Price,
    pub fan_out_consumer: Price,
    pub fan_out: Price,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamoDb {
    pub write_unit: Price,
    pub read_unit: Price,
    pub storage: Price,
    pub point_in_time_recovery: Price,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    pub put: Price,
    pub get: Price,
    pub storage: Price,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqs {
    pub request: Price,
}

/// All prices of a region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    /// When the prices were read: year and month.
    pub date: String,
    pub kinesis: Kinesis,
    pub dynamodb: DynamoDb,
    pub s3: S3,
    pub sqs: Sqs,
}

impl Prices {
    /// # Panics
    /// Never: the file was read in a test.
    pub fn us_east_1() -> Prices {
        Prices::parse(US_EAST_1).expect("the file that comes with the binary is sound")
    }

    /// # Errors
    /// A price that is missing, unknown, negative, for nothing, or without a source.
    pub fn parse(text: &str) -> anyhow::Result<Prices> {
        let prices: Prices = toml::from_str(text).context("read the prices")?;
        prices.all().into_iter().try_for_each(Price::check).context("read the prices")?;
        Ok(prices)
    }

    fn all(&self) -> Vec<&Price> {
        let Prices { region: _, date: _, kinesis, dynamodb, s3, sqs } = self;
        let Kinesis { on_demand_stream, on_demand_in, on_demand_out, on_demand_fan_out, .. } = kinesis;
        let Kinesis { advantage_in, advantage_out, shard, payload_unit, fan_out_consumer, fan_out, .. } = kinesis;
        let DynamoDb { write_unit, read_unit, storage, point_in_time_recovery } = dynamodb;
        vec![
            on_demand_stream,
            on_demand_in,
            on_demand_out,
            on_demand_fan_out,
            advantage_in,
            advantage_out,
            shard,
            payload_unit,
            fan_out_consumer,
            fan_out,
            write_unit,
            read_unit,
            storage,
            point_in_time_recovery,
            &s3.put,
            &s3.get,
            &s3.storage,
            &sqs.request,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prices_that_come_with_the_binary_are_sound() {
        let prices = Prices::us_east_1();
        assert_eq!((prices.region.as_str(), prices.date.as_str()), ("us-east-1", "2026-11"));
        assert_eq!(prices.dynamodb.write_unit.of(1e6), 0.625);
        assert_eq!(prices.s3.put.of(1000.0), 0.005);
    }

    #[test]
    fn prices_that_cannot_be_meant_are_refused() {
        let cases = [
            ("dollars = 0.625", "dollars = -0.625"),
            ("per = 1_000\n", "per = 0\n"),
            ("dollars = 0.40", "cents = 40"),
            ("[sqs.request]", "[sqs.requests]"),
            ("source = \"https://aws.amazon.com/sqs/pricing/\"", "source = \"\""),
        ];
        for (sound, unsound) in cases {
            assert!(US_EAST_1.contains(sound), "{sound}");
            assert!(Prices::parse(&US_EAST_1.replace(sound, unsound)).is_err(), "{unsound}");
        }
    }
}
