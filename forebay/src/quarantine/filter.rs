//! Which items are meant: `reason=bad_uuid`, `day=2026-11-22`; several conditions must all hold.

use super::items::Item;
use schema::{Day, EventId};
use std::str::FromStr;

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Reason(String),
    Field(String),
    Stage(String),
    /// An empty text stands for no source.
    Source(String),
    /// The UTC day on which the item was received.
    Day(Day),
    QuarantineId(EventId),
}

impl Where {
    pub(super) fn holds(&self, item: &Item<'_>) -> bool {
        match self {
            Where::Reason(reason) => item.reason == reason,
            Where::Field(field) => item.field == field,
            Where::Stage(stage) => item.stage == stage,
            Where::Source(source) => item.source.unwrap_or_default() == source,
            Where::Day(day) => item.day() == *day,
            Where::QuarantineId(id) => EventId::parse(item.quarantine_id) == Some(*id),
        }
    }
}

/// Whether all conditions hold.
pub(super) fn all_hold(conditions: &[Where], item: &Item<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(item))
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Where, String> {
        let (key, value) = text.split_once('=').ok_or(format!("`{text}` is not KEY=VALUE, as in reason=bad_uuid"))?;
        let owned = || value.to_string();
        Ok(match key {
            "reason" => Where::Reason(owned()),
            "field" => Where::Field(owned()),
            "stage" => Where::Stage(owned()),
            "source" => Where::Source(owned()),
            "day" => Where::Day(Day::parse(value).ok_or(format!("`{value}` is no day as in 2026-11-22"))?),
            "quarantine_id" => Where::QuarantineId(EventId::parse(value).ok_or(format!("`{value}` is not a UUID"))?),
            _ => return Err(format!("`{key}` is none of reason, field, stage, source, day, quarantine_id")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: Item<'_> = Item {
        quarantine_id: "5f0c2a77-1d3b-8e21-a6a0-2f9f6f1f7d10",
        reason: "bad_uuid",
        field: "event_id",
        value: "x",
        message: "",
        stage: "gateway",
        source: None,
        received_at: 1_795_305_600_000_000,
        original: b"{}",
    };

    fn holds(conditions: &[&str]) -> bool {
        let conditions: Vec<Where> = conditions.iter().map(|text| text.parse().expect("a condition")).collect();
        all_hold(&conditions, &ITEM)
    }

    #[test]
    fn an_item_is_meant_when_every_condition_holds() {
        assert!(holds(&[]));
        for condition in [
            "reason=bad_uuid",
            "field=event_id",
            "stage=gateway",
            "source=",
            "day=2026-11-22",
            "quarantine_id=5F0C2A77-1D3B-8E21-A6A0-2F9F6F1F7D10",
        ] {
            assert!(holds(&[condition]), "{condition}");
            assert!(!holds(&[condition, "reason=too_old"]), "{condition}");
        }
        for condition in ["field=", "source=web", "day=2026-11-23", "stage=writer"] {
            assert!(!holds(&[condition]), "{condition}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "reason", "color=red", "day=today", "quarantine_id=7"] {
            assert!(text.parse::<Where>().is_err(), "{text}");
        }
    }
}
