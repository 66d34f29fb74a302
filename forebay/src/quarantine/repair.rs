//! Originals with their patches. What no patch touches stays as the producer wrote it: order, numbers, nested text.

use super::items::Item;
use super::patch::{Change, Patch, new_id, text_json};
use schema::EventId;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

const SOURCE: &str = "source";

/// Patches can't be applied to it.
#[derive(Debug, Error)]
#[error("the original is not a JSON object: {0}")]
pub(super) struct NotRepairable(serde_json::Error);

/// The fields of an event in order, a name as often as it was sent.
#[derive(Debug)]
struct Fields<'a>(Vec<(String, Cow<'a, RawValue>)>);

/// Applies the patches to the original, and returns a JSON object on one line.
///
/// The source that the first write key named is kept, where neither the event nor a patch says anything of one.
pub(super) fn repaired(item: &Item<'_>, patches: &[Patch]) -> Result<Vec<u8>, NotRepairable> {
    let mut fields: Fields<'_> = serde_json::from_slice(item.original).map_err(NotRepairable)?;
    for patch in patches {
        fields.apply(patch, item);
    }
    let is_said = fields.has(SOURCE) || patches.iter().any(|patch| patch.field == SOURCE);
    if let Some(source) = item.source.filter(|_| !is_said) {
        fields.set(SOURCE, text_json(source));
    }
    Ok(fields.into_line())
}

impl Fields<'_> {
    fn apply(&mut self, Patch { field, change }: &Patch, item: &Item<'_>) {
        match change {
            Change::Remove => self.0.retain(|(name, _)| name != field),
            Change::Set(value) => self.set(field, value.clone()),
            Change::SetNewId => {
                let id = EventId::parse(item.quarantine_id).expect("rows of quarantine have UUIDs");
                self.set(field, text_json(&new_id(id).to_string()));
            }
        }
    }

    fn has(&self, field: &str) -> bool {
        self.0.iter().any(|(name, _)| name == field)
    }

    /// Sets a field at its first place, and takes away its other ones.
    fn set(&mut self, field: &str, value: Box<RawValue>) {
        let place = self.0.iter().position(|(name, _)| name == field).unwrap_or(self.0.len());
        self.0.retain(|(name, _)| name != field);
        self.0.insert(place, (field.to_string(), Cow::Owned(value)));
    }

    fn into_line(self) -> Vec<u8> {
        let mut line = vec![b'{'];
        for (place, (name, value)) in self.0.iter().enumerate() {
            if place > 0 {
                line.push(b',');
            }
            line.extend_from_slice(text_json(name).get().as_bytes());
            line.push(b':');
            line.extend_from_slice(value.get().as_bytes());
        }
        line.push(b'}');
        // Between the tokens only: within a JSON text they can't be.
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'de>, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    fields.push((name, Cow::Borrowed(value)));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5f0c2a77-1d3b-8e21-a6a0-2f9f6f1f7d10";

    fn item(original: &[u8]) -> Item<'_> {
        Item { quarantine_id: ID, original, ..Item::default() }
    }

    fn repair(item: &Item<'_>, patches: &[&str]) -> Option<String> {
        let patches: Vec<Patch> = patches.iter().map(|text| text.parse().expect("a patch")).collect();
        repaired(item, &patches).ok().map(|line| String::from_utf8(line).expect("JSON"))
    }

    #[test]
    fn patches_change_their_fields_and_nothing_else() {
        for (original, patches, expected) in [
            (r#"{"a":1,"b":2}"#, &["a=3"][..], r#"{"a":3,"b":2}"#),
            (r#"{"a":1,"b":2}"#, &["c=x"], r#"{"a":1,"b":2,"c":"x"}"#),
            (r#"{"a":1,"b":2}"#, &["a="], r#"{"b":2}"#),
            (r#"{"a":1}"#, &["b="], r#"{"a":1}"#),
            (r#"{"a":1}"#, &["a=", "a=2", "a=3"], r#"{"a":3}"#),
            (r#"{"b":0,"a":1,"a":2,"c":3}"#, &["a=9"], r#"{"b":0,"a":9,"c":3}"#),
            (r#"{"a":1,"a":2}"#, &[], r#"{"a":1,"a":2}"#),
            (
                r#"{"n":12345678901234567890.10,"x":"\u00e9"}"#,
                &["a=1"],
                r#"{"n":12345678901234567890.10,"x":"\u00e9","a":1}"#,
            ),
            ("{\n \"a\": {\r\n\"b\": \"\\n\"}\n}", &[], r#"{"a":{  "b": "\n"}}"#),
            ("{}", &["a\"b=1"], r#"{"a\"b":1}"#),
            (" {} ", &[], "{}"),
        ] {
            assert_eq!(
                repair(&item(original.as_bytes()), patches).as_deref(),
                Some(expected),
                "{original} {patches:?}"
            );
        }
    }

    #[test]
    fn what_is_not_an_object_is_not_repairable() {
        for original in [&b"[1]"[..], b"{", b"", b"7", b"null", b"{} {}", b"{\"a\":\"\xff\"}", b"{\"a\":\"\n\"}"] {
            assert_eq!(repair(&item(original), &["a=1"]), None, "{original:?}");
        }
    }

    #[test]
    fn a_new_id_is_made_from_the_quarantine_id() {
        let line = repair(&item(b"{}"), &["event_id=@new"]).expect("an object");
        let id = new_id(EventId::parse(ID).expect("a UUID"));
        assert_eq!(line, format!(r#"{{"event_id":"{id}"}}"#));
    }

    #[test]
    fn the_source_of_the_first_key_is_kept_unless_something_else_is_said() {
        let of = |original| Item { source: Some("web"), ..item(original) };
        assert_eq!(repair(&of(b"{}"), &[]).as_deref(), Some(r#"{"source":"web"}"#));
        assert_eq!(repair(&of(b"{\"source\":\"app\"}"), &[]).as_deref(), Some(r#"{"source":"app"}"#));
        assert_eq!(repair(&of(b"{}"), &["source=ios"]).as_deref(), Some(r#"{"source":"ios"}"#));
        assert_eq!(repair(&of(b"{}"), &["source="]).as_deref(), Some("{}"));
    }
}
