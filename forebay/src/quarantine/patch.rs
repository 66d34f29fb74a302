//! A change to one top-level field: `event_name=page:view` sets it, `note=` removes it.
//!
//! A value that is JSON is taken as JSON, so `n=1` sets a number and `n="1"` a text; any other is taken as a text. An
//! empty text is `n=""`. **`@new`** is an id made from the item's quarantine id: another for each item, and the same one
//! however often the item is replayed.

use schema::EventId;
use serde_json::value::RawValue;
use std::str::FromStr;

const NEW_ID: &str = "@new";

/// Fields that identify an event: its canonical name and the aliases.
const ID_FIELDS: [&str; 4] = ["event_id", "event_uuid", "uuid", "messageId"];

/// A change to one field.
#[derive(Clone, Debug)]
pub(super) struct Patch {
    pub field: String,
    pub change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// To this JSON.
    Set(Box<RawValue>),
    SetNewId,
    Remove,
}

impl Patch {
    /// Whether it gives every item one and the same id: then only one of them gets into the lake.
    pub(super) fn makes_all_one_event(&self) -> bool {
        matches!(self.change, Change::Set(_)) && ID_FIELDS.contains(&self.field.as_str())
    }
}

impl FromStr for Patch {
    type Err = String;

    fn from_str(text: &str) -> Result<Patch, String> {
        let (field, value) = text.split_once('=').ok_or(format!("`{text}` is not FIELD=VALUE"))?;
        if field.is_empty() {
            return Err(format!("`{text}` names no field"));
        }
        let change = match value {
            "" => Change::Remove,
            NEW_ID => Change::SetNewId,
            _ => Change::Set(json(value)),
        };
        Ok(Patch { field: field.to_string(), change })
    }
}

fn json(value: &str) -> Box<RawValue> {
    serde_json::from_str(value).unwrap_or_else(|_| text_json(value))
}

/// A text as JSON.
pub(super) fn text_json(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text is JSON")
}

/// The id that `@new` stands for. Not the quarantine id: copies of that one are looked for, too, and it has its row.
pub(super) fn new_id(quarantine_id: EventId) -> EventId {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    EventId(quarantine_id.hash().0 & !VERSION & !VARIANT | 0x8 << 76 | 0b10 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<Patch>() {
            Ok(Patch { field, change: Change::Set(value) }) => format!("{field} := {value}"),
            Ok(Patch { field, change: Change::SetNewId }) => format!("{field} := new"),
            Ok(Patch { field, change: Change::Remove }) => format!("no {field}"),
            Err(_) => "refused".to_string(),
        }
    }

    #[test]
    fn a_value_is_json_where_it_can_be_and_text_otherwise() {
        for (text, meant) in [
            ("event_name=page:view", r#"event_name := "page:view""#),
            ("n=1", "n := 1"),
            (r#"n="1""#, r#"n := "1""#),
            (r#"n="""#, r#"n := """#),
            ("n=null", "n := null"),
            (r#"p={"a": [1]}"#, r#"p := {"a": [1]}"#),
            ("p={", r#"p := "{""#),
            ("a=b=c", r#"a := "b=c""#),
            ("n=", "no n"),
            ("event_id=@new", "event_id := new"),
            ("=x", "refused"),
            ("x", "refused"),
        ] {
            assert_eq!(shown(text), meant, "{text}");
        }
    }

    #[test]
    fn a_fixed_id_makes_all_one_event() {
        for (text, one) in
            [("event_id=x", true), ("uuid=x", true), ("event_id=@new", false), ("event_id=", false), ("n=x", false)]
        {
            assert_eq!(text.parse::<Patch>().expect("a patch").makes_all_one_event(), one, "{text}");
        }
    }

    #[test]
    fn a_new_id_is_a_uuid_that_stays() {
        let id = new_id(EventId(7));
        assert_eq!(id, new_id(EventId(7)));
        assert_ne!(id, new_id(EventId(8)));
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
    }
}
