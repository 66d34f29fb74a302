//! What a process has spent, for its end.

use crate::charge::{Charge, Plan, charge};
use crate::{Count, Prices};
use std::fmt;

/// Counts with what they cost, streams on demand.
#[derive(Clone, Debug)]
pub struct Summary {
    date: String,
    dollars: f64,
    /// What is billed, with its dollars.
    billed: Vec<(Count, f64)>,
    /// What has no price that is known.
    unknown: Vec<Count>,
}

impl Summary {
    pub fn of(counts: &[Count], prices: &Prices) -> Summary {
        let mut summary = Summary { date: prices.date.clone(), dollars: 0.0, billed: Vec::new(), unknown: Vec::new() };
        for count in counts {
            match charge(prices, Plan::OnDemand, count.service, count.operation, count.unit) {
                Charge::Free => {}
                Charge::Unknown => summary.unknown.push(count.clone()),
                each @ Charge::Each(..) => summary.add(count.clone(), each.dollars(count.total as f64)),
            }
        }
        summary
    }

    fn add(&mut self, count: Count, dollars: f64) {
        self.dollars += dollars;
        self.billed.push((count, dollars));
    }
}

impl fmt::Display for Summary {
    /// One line: `$0.000012 at list prices of 2026-11: dynamodb PutItem 16 write_units $0.000010, …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.6} at list prices of {}", self.dollars, self.date)?;
        for (place, (Count { service, operation, unit, total }, dollars)) in self.billed.iter().enumerate() {
            let before = if place == 0 { ": " } else { ", " };
            write!(f, "{before}{service} {operation} {total} {unit} ${dollars:.6}")?;
        }
        for Count { service, operation, unit, total } in &self.unknown {
            write!(f, "; no price is known of {service} {operation} {total} {unit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(counts: &[(&'static str, u64)]) -> String {
        let count =
            |&(unit, total): &(&'static str, u64)| Count { service: "dynamodb", operation: "PutItem", unit, total };
        Summary::of(&counts.iter().map(count).collect::<Vec<_>>(), &Prices::us_east_1()).to_string()
    }

    #[test]
    fn a_process_says_what_its_calls_cost() {
        let spent = said(&[("requests", 3), ("write_units", 1_000_000), ("read_units", 8)]);
        assert_eq!(
            spent,
            "$0.625001 at list prices of 2026-11: dynamodb PutItem 1000000 write_units $0.625000, \
             dynamodb PutItem 8 read_units $0.000001"
        );
    }

    #[test]
    fn a_process_says_what_it_cannot_price() {
        assert!(said(&[("furlongs", 1)]).ends_with("no price is known of dynamodb PutItem 1 furlongs"));
    }
}
