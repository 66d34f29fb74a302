//! What objects are called; the one place that knows.
//!
//! **Root**: `live`, `final` or `dropped`. **Partition**: the value of `event_type` in a path, percent-encoded there so
//! that Hive-style readers decode it; [`OTHER`] gathers the types that have no partition of their own.

use schema::{ChainId, Day, Table};
use std::fmt;

pub const LIVE: &str = "live";
pub const FINAL: &str = "final";
pub const DROPPED: &str = "dropped";

/// The partition of event types that have none of their own. Their rows keep the type in its column.
pub const OTHER: &str = "__other__";

/// Hive-style readers take this value for null, so it is never a partition.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Most bytes of an encoded partition value: with `event_type=` before it, it stays a legal file name (255 bytes).
const PARTITION_BYTES_MAX: usize = 200;

const DATE: &str = "event_date=";
const TYPE: &str = "event_type=";
const SUFFIX: &str = ".parquet";

/// The name of an object; its text is the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    pub table: Table,
    pub day: Day,
    pub role: Role,
}

/// Who made an object, and which one it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// From entry `entry` of a writer's chain; `writer` is that chain's [`ChainId::file_token`].
    Live { writer: String, entry: u64, part: u32 },
    /// From a plan of the day; events only have a partition.
    Final { partition: Option<Partition>, plan: u64, part: u32 },
    /// The further copies that a plan of the day found.
    Dropped { plan: u64 },
}

/// The value of `event_type` in a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition(String);

impl Partition {
    /// The partition of an event type; [`OTHER`] where the type can't be one: empty, too long, or null to readers.
    pub fn of(event_type: &str) -> Partition {
        let unfit = event_type.is_empty() || event_type == HIVE_NULL || encoded(event_type).len() > PARTITION_BYTES_MAX;
        Partition(if unfit { OTHER } else { event_type }.to_string())
    }

    pub fn other() -> Partition {
        Partition(OTHER.to_string())
    }

    /// The value as readers decode it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ObjectName {
    /// An object announced by a writer.
    pub fn live(table: Table, day: Day, writer: &ChainId, entry: u64, part: u32) -> ObjectName {
        ObjectName { table, day, role: Role::Live { writer: writer.file_token(), entry, part } }
    }

    /// An output of a plan for events.
    pub fn final_events(day: Day, partition: Partition, plan: u64, part: u32) -> ObjectName {
        ObjectName { table: Table::Events, day, role: Role::Final { partition: Some(partition), plan, part } }
    }

    /// An output of a plan for quarantine.
    pub fn final_quarantine(day: Day, plan: u64, part: u32) -> ObjectName {
        ObjectName { table: Table::Quarantine, day, role: Role::Final { partition: None, plan, part } }
    }

    /// Where a plan's further copies go.
    pub fn dropped(table: Table, day: Day, plan: u64) -> ObjectName {
        ObjectName { table, day, role: Role::Dropped { plan } }
    }

    pub fn key(&self) -> String {
        self.to_string()
    }

    /// Reads a key; `None` for any that these names don't produce.
    pub fn parse(key: &str) -> Option<ObjectName> {
        let (root, rest) = key.split_once('/')?;
        let (table, rest) = rest.split_once('/')?;
        let (date, rest) = rest.strip_prefix(DATE)?.split_once('/')?;
        let rest = rest.strip_suffix(SUFFIX)?;
        let role = match root {
            LIVE => parse_live(rest)?,
            FINAL => parse_final(rest)?,
            DROPPED => Role::Dropped { plan: rest.parse().ok()? },
            _ => return None,
        };
        let name = ObjectName { table: Table::parse(table)?, day: Day::parse(date)?, role };
        (name.key() == key).then_some(name)
    }
}

fn parse_live(rest: &str) -> Option<Role> {
    let (rest, part) = rest.rsplit_once('-')?;
    let (writer, entry) = rest.rsplit_once('-')?;
    Some(Role::Live { writer: writer.to_string(), entry: entry.parse().ok()?, part: part.parse().ok()? })
}

fn parse_final(rest: &str) -> Option<Role> {
    let (partition, file) = match rest.strip_prefix(TYPE) {
        Some(rest) => {
            let (value, file) = rest.split_once('/')?;
            (Some(Partition(decoded(value)?)), file)
        }
        None => (None, rest),
    };
    let (plan, part) = file.split_once('-')?;
    Some(Role::Final { partition, plan: plan.parse().ok()?, part: part.parse().ok()? })
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectName { table, day, role } = self;
        match role {
            Role::Live { writer, entry, part } => {
                write!(f, "{}{writer}-{entry:010}-{part:04}{SUFFIX}", day_prefix(LIVE, *table, *day))
            }
            Role::Final { partition, plan, part } => {
                f.write_str(&day_prefix(FINAL, *table, *day))?;
                if let Some(partition) = partition {
                    write!(f, "{TYPE}{}/", encoded(partition.as_str()))?;
                }
                write!(f, "{plan:06}-{part:04}{SUFFIX}")
            }
            Role::Dropped { plan } => write!(f, "{}{plan:06}{SUFFIX}", day_prefix(DROPPED, *table, *day)),
        }
    }
}

/// Prefix of all objects of a table under a root.
pub fn table_prefix(root: &str, table: Table) -> String {
    format!("{root}/{table}/")
}

/// Prefix of all objects of one day of a table under a root.
pub fn day_prefix(root: &str, table: Table, day: Day) -> String {
    format!("{root}/{table}/{DATE}{day}/")
}

/// Leaves letters, digits and `_.-`; everything else becomes `%XX`.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::ShardId;

    fn day() -> Day {
        Day::parse("2026-11-22").expect("a day")
    }

    #[test]
    fn keys_look_as_documented() {
        let writer = ChainId::writer("a1b2", &ShardId::new("clean-0003"), 0);
        let live = ObjectName::live(Table::Events, day(), &writer, 17, 2);
        assert_eq!(live.key(), "live/events/event_date=2026-11-22/a1b2.clean-0003.0-0000000017-0002.parquet");
        let events = ObjectName::final_events(day(), Partition::of("page/view é"), 3, 0);
        let path = "final/events/event_date=2026-11-22/event_type=page%2Fview%20%C3%A9/000003-0000.parquet";
        assert_eq!(events.key(), path);
        let quarantine = ObjectName::final_quarantine(day(), 3, 1);
        assert_eq!(quarantine.key(), "final/quarantine/event_date=2026-11-22/000003-0001.parquet");
        let dropped = ObjectName::dropped(Table::Events, day(), 3);
        assert_eq!(dropped.key(), "dropped/events/event_date=2026-11-22/000003.parquet");
    }

    #[test]
    fn a_type_that_readers_would_take_for_null_goes_to_the_others() {
        for unfit in ["", HIVE_NULL, &"é".repeat(40)] {
            assert_eq!(Partition::of(unfit), Partition::other(), "{unfit}");
        }
        assert_eq!(Partition::of("page").as_str(), "page");
    }

    #[test]
    fn a_key_of_another_shape_has_no_name() {
        for key in [
            "",
            "live/events/event_date=2026-11-22/",
            "live/visits/event_date=2026-11-22/w-0000000017-0002.parquet",
            "live/events/event_date=2026-11-32/w-0000000017-0002.parquet",
            "live/events/event_date=2026-11-22/w-17-2.parquet",
            "final/events/event_date=2026-11-22/event_type=%zz/000003-0000.parquet",
            "final/events/event_date=2026-11-22/event_type=%/000003-0000.parquet",
            "final/events/event_date=2026-11-22/event_type=page/000003-0000.csv",
        ] {
            assert_eq!(ObjectName::parse(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back(days in 0i32..40_000, number: u64, part: u32, event_type in ".{0,60}", token in "[a-z0-9.-]{1,20}") {
            let day = Day(days);
            let writer = ChainId::new(format!("writer/{token}"));
            for name in [
                ObjectName::live(Table::Quarantine, day, &writer, number, part),
                ObjectName::final_events(day, Partition::of(&event_type), number, part),
                ObjectName::final_quarantine(day, number, part),
                ObjectName::dropped(Table::Events, day, number),
            ] {
                prop_assert_eq!(ObjectName::parse(&name.key()), Some(name.clone()));
                prop_assert!(name.key().split('/').all(|part| part.len() <= 255));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(key in ".{0,80}") {
            let _ = ObjectName::parse(&key);
            let _ = ObjectName::parse(&format!("final/events/event_date=2026-11-22/event_type={key}.parquet"));
        }
    }
}
