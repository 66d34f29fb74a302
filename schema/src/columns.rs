//! The lake's tables: their columns, and where in a row each column comes from.
//!
//! **Table**: events or quarantine. **Part**: the piece of a row that a column shows. **Field**: a text or bytes of a
//! row, by its number in the table. A column's place in its table is its Parquet field id, from 1; places are for ever.

mod read;

pub use read::{ColumnError, Place, binary, numbers, places, rows_hash, text, times};

use crate::Kind;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Metadata of an Arrow field from which Parquet writers take the field id.
const FIELD_ID_KEY: &str = "PARQUET:field_id";

pub const EVENT_ID: &str = "event_id";
pub const EVENT_NAME: &str = "event_name";
pub const EVENT_TYPE: &str = "event_type";
pub const EVENT_SUBTYPE: &str = "event_subtype";
pub const CREATED_AT: &str = "created_at";
pub const RECEIVED_AT: &str = "received_at";
pub const SOURCE: &str = "source";
pub const USER_ID: &str = "user_id";
pub const SESSION_ID: &str = "session_id";
pub const PROPERTIES: &str = "properties";
pub const ORIGIN: &str = "origin";
pub const ORDINAL: &str = "ordinal";
pub const QUARANTINE_ID: &str = "quarantine_id";
pub const REASON: &str = "reason";
pub const FIELD: &str = "field";
pub const VALUE: &str = "value";
pub const MESSAGE: &str = "message";
pub const STAGE: &str = "stage";
pub const ORIGINAL: &str = "original";

/// A table of the lake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Table {
    Events,
    Quarantine,
}

/// The piece of a row that a column shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The id as canonical text.
    Id,
    CreatedAt,
    ReceivedAt,
    Origin,
    Ordinal,
    Text(usize),
    TextOrNull(usize),
    Binary(usize),
    /// What follows the first `:` of a text field.
    AfterColon(usize),
}

/// Fields of a row of events, in the order of its row bytes.
pub(crate) mod event_field {
    pub(crate) const NAME: usize = 0;
    pub(crate) const TYPE: usize = 1;
    pub(crate) const SOURCE: usize = 2;
    pub(crate) const USER: usize = 3;
    pub(crate) const SESSION: usize = 4;
    pub(crate) const PROPERTIES: usize = 5;
    pub(crate) const COUNT: usize = 6;
}

/// Fields of a row of quarantine, in the order of its row bytes.
pub(crate) mod quarantine_field {
    pub(crate) const EVENT_ID: usize = 0;
    pub(crate) const REASON: usize = 1;
    pub(crate) const FIELD: usize = 2;
    pub(crate) const VALUE: usize = 3;
    pub(crate) const MESSAGE: usize = 4;
    pub(crate) const STAGE: usize = 5;
    pub(crate) const SOURCE: usize = 6;
    pub(crate) const ORIGINAL: usize = 7;
    pub(crate) const COUNT: usize = 8;
}

/// Columns of a table in order, with the part of the row that each shows.
type Columns = [(&'static str, Part)];

const EVENTS: &Columns = &[
    (EVENT_ID, Part::Id),
    (EVENT_NAME, Part::Text(event_field::NAME)),
    (EVENT_TYPE, Part::Text(event_field::TYPE)),
    (EVENT_SUBTYPE, Part::AfterColon(event_field::NAME)),
    (CREATED_AT, Part::CreatedAt),
    (RECEIVED_AT, Part::ReceivedAt),
    (SOURCE, Part::TextOrNull(event_field::SOURCE)),
    (USER_ID, Part::TextOrNull(event_field::USER)),
    (SESSION_ID, Part::TextOrNull(event_field::SESSION)),
    (PROPERTIES, Part::Text(event_field::PROPERTIES)),
    (ORIGIN, Part::Origin),
    (ORDINAL, Part::Ordinal),
];

const QUARANTINE: &Columns = &[
    (QUARANTINE_ID, Part::Id),
    (EVENT_ID, Part::TextOrNull(quarantine_field::EVENT_ID)),
    (REASON, Part::Text(quarantine_field::REASON)),
    (FIELD, Part::Text(quarantine_field::FIELD)),
    (VALUE, Part::Text(quarantine_field::VALUE)),
    (MESSAGE, Part::Text(quarantine_field::MESSAGE)),
    (STAGE, Part::Text(quarantine_field::STAGE)),
    (SOURCE, Part::TextOrNull(quarantine_field::SOURCE)),
    (RECEIVED_AT, Part::ReceivedAt),
    (ORIGINAL, Part::Binary(quarantine_field::ORIGINAL)),
    (ORIGIN, Part::Origin),
    (ORDINAL, Part::Ordinal),
];

static EVENTS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(EVENTS));
static QUARANTINE_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(QUARANTINE));

impl Table {
    pub const ALL: [Table; 2] = [Table::Events, Table::Quarantine];

    pub fn name(self) -> &'static str {
        match self {
            Table::Events => "events",
            Table::Quarantine => "quarantine",
        }
    }

    pub fn parse(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The table's columns with their Parquet field ids.
    pub fn schema(self) -> SchemaRef {
        match self {
            Table::Events => EVENTS_SCHEMA.clone(),
            Table::Quarantine => QUARANTINE_SCHEMA.clone(),
        }
    }

    /// The column of the 128-bit id under which a record's header carries the row.
    pub fn id_column(self) -> &'static str {
        self.columns()[0].0
    }

    /// The column whose UTC day is the row's partition.
    pub fn day_column(self) -> &'static str {
        match self {
            Table::Events => CREATED_AT,
            Table::Quarantine => RECEIVED_AT,
        }
    }

    /// Columns by which the rows of an object are sorted, ascending.
    pub fn sorted_by(self) -> &'static [&'static str] {
        match self {
            Table::Events => &[EVENT_TYPE, CREATED_AT, ORIGIN, ORDINAL],
            Table::Quarantine => &[RECEIVED_AT, ORIGIN, ORDINAL],
        }
    }

    pub(crate) fn columns(self) -> &'static Columns {
        match self {
            Table::Events => EVENTS,
            Table::Quarantine => QUARANTINE,
        }
    }

    pub(crate) fn field_count(self) -> usize {
        match self {
            Table::Events => event_field::COUNT,
            Table::Quarantine => quarantine_field::COUNT,
        }
    }
}

impl From<Kind> for Table {
    fn from(kind: Kind) -> Table {
        match kind {
            Kind::Events => Table::Events,
            Kind::Quarantine => Table::Quarantine,
        }
    }
}

impl From<Table> for Kind {
    fn from(table: Table) -> Kind {
        match table {
            Table::Events => Kind::Events,
            Table::Quarantine => Kind::Quarantine,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Part {
    fn data_type(self) -> DataType {
        match self {
            Part::CreatedAt | Part::ReceivedAt => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Part::Ordinal => DataType::Int64,
            Part::Binary(_) => DataType::Binary,
            Part::Id | Part::Origin | Part::Text(_) | Part::TextOrNull(_) | Part::AfterColon(_) => DataType::Utf8,
        }
    }
}

fn schema_of(columns: &Columns) -> SchemaRef {
    let fields = columns.iter().zip(1u32..).map(|(&(name, part), id)| {
        let nullable = matches!(part, Part::TextOrNull(_));
        let metadata = HashMap::from([(FIELD_ID_KEY.to_string(), id.to_string())]);
        Field::new(name, part.data_type(), nullable).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_row_is_shown_by_one_column() {
        for table in Table::ALL {
            let mut fields: Vec<usize> = table.columns().iter().filter_map(|&(_, part)| field_of(part)).collect();
            fields.sort_unstable();
            assert_eq!(fields, (0..table.field_count()).collect::<Vec<_>>(), "{table}");
        }
    }

    fn field_of(part: Part) -> Option<usize> {
        match part {
            Part::Text(field) | Part::TextOrNull(field) | Part::Binary(field) => Some(field),
            _ => None,
        }
    }

    #[test]
    fn sort_id_and_day_columns_exist() {
        for table in Table::ALL {
            let schema = table.schema();
            for name in table.sorted_by().iter().chain([&table.id_column(), &table.day_column()]) {
                assert!(schema.field_with_name(name).is_ok(), "{table}.{name}");
            }
            assert_eq!(Table::parse(table.name()), Some(table));
            assert_eq!(Table::from(Kind::from(table)), table);
        }
    }
}
