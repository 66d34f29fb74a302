//! Why an event is not taken into the lake: codes that producers, quarantine and dashboards share.
//!
//! A code, once published, keeps its name and its meaning.

use std::fmt;

/// Why an event went to quarantine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// The text is not one JSON value.
    BadJson,
    /// The bytes are not UTF-8.
    BadUtf8,
    /// The bytes are not an `Event` message.
    BadProtobuf,
    /// Objects and arrays nest deeper than [`crate::validate::DEPTH_MAX`].
    TooDeep,
    /// The event has more bytes than an event may have.
    TooLarge,
    /// A field is given twice: two values, and no telling which was meant.
    DuplicateField,
    /// A required field is absent or null.
    MissingField,
    /// `event_id` is not a UUID, or the nil or max UUID, which identify nothing.
    BadUuid,
    /// `event_name` is not `type:subtype`, or too long.
    BadEventName,
    /// `created_at` is neither RFC 3339 nor a Unix time in s, ms or µs.
    BadTimestamp,
    /// `created_at` is later than the clock and the tolerance allow.
    InTheFuture,
    /// `created_at` is before 2000, or older than an event may be.
    TooOld,
    /// A field, or the event itself, is of another type than the contract says.
    BadType,
}

impl Reason {
    pub const ALL: [Reason; 13] = [
        Reason::BadJson,
        Reason::BadUtf8,
        Reason::BadProtobuf,
        Reason::TooDeep,
        Reason::TooLarge,
        Reason::DuplicateField,
        Reason::MissingField,
        Reason::BadUuid,
        Reason::BadEventName,
        Reason::BadTimestamp,
        Reason::InTheFuture,
        Reason::TooOld,
        Reason::BadType,
    ];

    /// The code as it is answered, stored and counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::BadJson => "bad_json",
            Reason::BadUtf8 => "bad_utf8",
            Reason::BadProtobuf => "bad_protobuf",
            Reason::TooDeep => "too_deep",
            Reason::TooLarge => "too_large",
            Reason::DuplicateField => "duplicate_field",
            Reason::MissingField => "missing_field",
            Reason::BadUuid => "bad_uuid",
            Reason::BadEventName => "bad_event_name",
            Reason::BadTimestamp => "bad_timestamp",
            Reason::InTheFuture => "in_the_future",
            Reason::TooOld => "too_old",
            Reason::BadType => "bad_type",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_at_its_own_place() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert_eq!(Reason::ALL.iter().filter(|other| other.as_str() == reason.as_str()).count(), 1);
        }
    }
}
