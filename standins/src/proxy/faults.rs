//! What may happen to calls, and how often.

use super::call::Call;
use super::dice::Dice;
use std::time::Duration;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Reset before anything is passed on. Not applied.
    Refuse,
    /// The service's own 5xx. Not applied.
    ServerError,
    /// The service's own «too fast». Not applied.
    Throttle,
    /// Reset after the upstream has answered. Applied.
    DropAnswer,
    /// Reset at once; applied after the delay, if the proxy is still there.
    Hold(Duration),
    /// Applied, then applied again; the client gets the second answer.
    Twice,
    /// Some records of a PutRecords are applied, the others fail one by one. With a single record, none is applied.
    Split,
    /// 409 to a conditional write to S3. Not applied.
    Conflict,
    /// 412 to a conditional write to S3 that was applied, as a client gets it whose first attempt was repeated below it.
    ExistsAlready,
    /// The answer to a PutRecords says that its records were taken. Not applied.
    Lose,
    /// A GetShardIterator at a record gets one that begins after it, as where retention has removed that record.
    Trim,
    /// The answer to a GetRecords says that its reader is so far behind the tip. Applied.
    Behind(Duration),
    /// The answer to a DescribeStreamSummary says that its stream was made so much earlier. Applied.
    Older(Duration),
    /// The answer to a SubscribeToShard begins, then nothing more comes, nor its end. Applied.
    Mute,
}

impl Fault {
    /// Under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Refuse => "refuse",
            Fault::ServerError => "server error",
            Fault::Throttle => "throttle",
            Fault::DropAnswer => "drop answer",
            Fault::Hold(_) => "hold",
            Fault::Twice => "twice",
            Fault::Split => "split",
            Fault::Conflict => "conflict",
            Fault::ExistsAlready => "exists already",
            Fault::Lose => "lose",
            Fault::Trim => "trim",
            Fault::Behind(_) => "behind",
            Fault::Older(_) => "older",
            Fault::Mute => "mute",
        }
    }

    fn can_happen_to(self, call: &Call) -> bool {
        match self {
            Fault::Split | Fault::Lose => call.operation == "PutRecords",
            Fault::Conflict | Fault::ExistsAlready => call.is_conditional_write(),
            Fault::Trim => call.after_its_record().is_some(),
            Fault::Behind(_) => call.operation == "GetRecords",
            Fault::Older(_) => call.operation == "DescribeStreamSummary",
            Fault::Mute => call.operation == "SubscribeToShard",
            _ => true,
        }
    }
}

/// Rules; of those that fit a call, the first whose dice fall decides.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `None`: to every operation.
    operation: Option<String>,
    fault: Fault,
    probability: f64,
    /// How often it may happen yet.
    left: u64,
}

impl Faults {
    pub fn none() -> Faults {
        Faults::default()
    }

    /// To calls of one operation, called as in the API: `PutRecords`, `PutItem`, `PutObject`.
    ///
    /// # Panics
    /// The probability is not between 0 and 1.
    #[must_use]
    pub fn with(self, operation: &str, fault: Fault, probability: f64) -> Faults {
        self.and(Rule { operation: Some(operation.into()), fault, probability, left: u64::MAX })
    }

    /// To every call that it can happen to.
    ///
    /// # Panics
    /// The probability is not between 0 and 1.
    #[must_use]
    pub fn with_any(self, fault: Fault, probability: f64) -> Faults {
        self.and(Rule { operation: None, fault, probability, left: u64::MAX })
    }

    /// To the next `times` calls of an operation.
    #[must_use]
    pub fn next(self, times: u64, operation: &str, fault: Fault) -> Faults {
        self.and(Rule { operation: Some(operation.into()), fault, probability: 1.0, left: times })
    }

    fn and(mut self, rule: Rule) -> Faults {
        assert!((0.0..=1.0).contains(&rule.probability), "a probability is between 0 and 1: {rule:?}");
        self.rules.push(rule);
        self
    }

    pub(super) fn choose(&mut self, call: &Call, dice: &mut Dice) -> Option<Fault> {
        let chosen = self.rules.iter_mut().find(|rule| rule.fits(call) && dice.falls(rule.probability))?;
        chosen.left -= 1;
        Some(chosen.fault)
    }
}

impl Rule {
    fn fits(&self, call: &Call) -> bool {
        let named = self.operation.as_ref().is_none_or(|operation| *operation == call.operation);
        named && self.left > 0 && self.fault.can_happen_to(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::call::tests::{json_call, s3_call};

    fn chosen(faults: &mut Faults, call: &Call) -> Option<Fault> {
        faults.choose(call, &mut Dice::of_call(7, &call.operation, 0))
    }

    #[test]
    fn a_rule_of_so_many_times_ends() {
        let mut faults = Faults::none().next(2, "PutItem", Fault::Twice).with("PutItem", Fault::Throttle, 1.0);
        let put = json_call("DynamoDB_20120810.PutItem");
        let row = [(); 4].map(|()| chosen(&mut faults, &put));
        assert_eq!(row, [Fault::Twice, Fault::Twice, Fault::Throttle, Fault::Throttle].map(Some));
    }

    #[test]
    fn a_fault_happens_only_where_it_can() {
        let mut faults = Faults::none().with_any(Fault::Split, 1.0).with_any(Fault::Conflict, 1.0);
        assert_eq!(chosen(&mut faults, &json_call("Kinesis_20131202.PutRecords")), Some(Fault::Split));
        assert_eq!(chosen(&mut faults, &json_call("Kinesis_20131202.PutRecord")), None);
        assert_eq!(chosen(&mut faults, &s3_call("PUT", "/b/k", &[("if-none-match", "*")])), Some(Fault::Conflict));
        assert_eq!(chosen(&mut faults, &s3_call("PUT", "/b/k", &[])), None);
    }
}
