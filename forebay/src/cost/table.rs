//! Bills as text.

use super::bill::{Bill, Line};
use aws::Plan;
use std::fmt;

const SERVICES: [&str; 4] = ["kinesis", "dynamodb", "s3", "sqs"];

/// What the ledger may cost for a million events.
const LEDGER_DOLLARS_MAX: f64 = 0.03;

/// What all services may cost for a million events on demand, from a rate on; below the first, hours decide.
const DOLLARS_MAX: [(f64, f64); 2] = [(300_000.0, 0.10), (1_000_000.0 / 3600.0, 0.25)];

/// What a bill may be, and whether it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub what: &'static str,
    pub dollars: f64,
    pub dollars_max: f64,
}

impl Target {
    pub fn is_met(&self) -> bool {
        self.dollars <= self.dollars_max
    }
}

/// The targets at the bill's rate.
pub fn targets(bill: &Bill) -> Vec<Target> {
    let ledger = bill.dollars(Plan::OnDemand, Some("dynamodb"));
    let mut targets = Vec::new();
    if let Some((_, dollars_max)) = DOLLARS_MAX.into_iter().find(|(from, _)| bill.events_per_second >= *from) {
        targets.push(Target { what: "dynamodb", dollars: ledger, dollars_max: LEDGER_DOLLARS_MAX });
        let dollars = bill.dollars(Plan::OnDemand, None);
        targets.push(Target { what: "all services, on demand", dollars, dollars_max });
    }
    targets
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bill { events_per_second, shards, lines } = self;
        let rate = grouped(*events_per_second);
        let month = self.millions_per_month();
        writeln!(f, "{rate} events/s: {} million a month, {shards} shards a stream", grouped(month))?;
        writeln!(f, "{:54}{:>13}{:^21}{:^21}{:^21}", "", "", "on-demand", "provisioned", "advantage")?;
        write!(f, "{:<10}{:<19}{:<25}{:>13}", "service", "operation", "unit", "per million")?;
        writeln!(f, "{0:>10}{1:>11}{0:>10}{1:>11}{0:>10}{1:>11}", "$/M", "$/month")?;
        for line in lines {
            write_line(f, line, month)?;
        }
        for service in SERVICES {
            write_total(f, service, Plan::ALL.map(|plan| self.dollars(plan, Some(service))), month)?;
        }
        write_total(f, "all", Plan::ALL.map(|plan| self.dollars(plan, None)), month)?;
        for target in targets(self) {
            let Target { what, dollars, dollars_max } = target;
            let verdict = if target.is_met() { "met" } else { "MISSED" };
            writeln!(f, "target: {what} at most ${dollars_max:.2} per million events: ${dollars:.4}, {verdict}")?;
        }
        Ok(())
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, line: &Line, month: f64) -> fmt::Result {
    let used = &line.used;
    write!(f, "{:<10}{:<19}{:<25}{:>13}", used.service, used.operation, used.unit, grouped(used.per_million))?;
    if line.is_unknown {
        return writeln!(f, "  no price known");
    }
    for dollars in line.dollars {
        match dollars {
            Some(dollars) => write!(f, "{dollars:>10.4}{:>11}", grouped(dollars * month))?,
            None => write!(f, "{:>10}{:>11}", "-", "-")?,
        }
    }
    writeln!(f)
}

fn write_total(f: &mut fmt::Formatter<'_>, what: &str, dollars: [f64; Plan::ALL.len()], month: f64) -> fmt::Result {
    write!(f, "{:<67}", format!("total {what}"))?;
    for dollars in dollars {
        write!(f, "{dollars:>10.4}{:>11}", grouped(dollars * month))?;
    }
    writeln!(f)
}

/// A number with commas: whole from a hundred on, with two places below.
pub(super) fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::units::Used;
    use super::*;
    use aws::Prices;

    fn bill(events_per_second: f64, write_units: f64) -> Bill {
        let used = [Used::new("dynamodb", "PutItem", "write_units", write_units)];
        Bill::new(&Prices::us_east_1(), events_per_second, 4, &used)
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0.0, 0.016, 99.5, 100.0, 1234.4, 1_234_567.0].map(grouped);
        assert_eq!(shown, ["0.00", "0.02", "99.50", "100", "1,234", "1,234,567"]);
    }

    #[test]
    fn a_target_that_is_missed_is_shown_as_missed() {
        let cheap = bill(300.0, 20_000.0).to_string();
        assert!(cheap.contains("dynamodb at most $0.03") && !cheap.contains("MISSED"), "{cheap}");
        let dear = bill(300.0, 1_000_000.0).to_string();
        assert_eq!(dear.matches("MISSED").count(), 2, "{dear}");
    }

    #[test]
    fn slow_installations_have_no_target() {
        assert_eq!([1.0, 300.0, 300_000.0].map(|rate| targets(&bill(rate, 1.0)).len()), [0, 2, 2]);
    }

    #[test]
    fn totals_are_the_sums_of_their_lines() {
        let bill = bill(300.0, 20_000.0);
        let sum: f64 = SERVICES.iter().map(|service| bill.dollars(Plan::OnDemand, Some(service))).sum();
        assert!((sum - bill.dollars(Plan::OnDemand, None)).abs() < 1e-12);
        assert!(bill.to_string().contains("total all"));
    }
}
