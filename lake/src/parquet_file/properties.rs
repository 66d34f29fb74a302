//! How each column is written. `examples/column_costs.rs` measures the choices.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use schema::Table;
use schema::columns::{CREATED_AT, MESSAGE, ORDINAL, ORIGINAL, PROPERTIES, RECEIVED_AT, SESSION_ID, USER_ID, VALUE};

/// zstd level. Level 3 took longer and came out larger on analytics events.
const LEVEL: i32 = 1;

/// Properties for objects of a table, cut into row groups of about `row_group_bytes`.
pub(super) fn of(table: Table, row_group_bytes: usize) -> WriterProperties {
    let compression = Compression::ZSTD(ZstdLevel::try_new(LEVEL).expect("level 1 exists"));
    let builder = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_bytes(Some(row_group_bytes))
        .set_sorting_columns(Some(sorting(table)));
    let builder =
        [table.id_column(), SESSION_ID, PROPERTIES, VALUE, MESSAGE, ORIGINAL].into_iter().fold(builder, opaque);
    let builder = [CREATED_AT, RECEIVED_AT, ORDINAL].into_iter().fold(builder, rising);
    builder.set_column_statistics_enabled(path(USER_ID), EnabledStatistics::None).build()
}

/// Values that hardly ever repeat and that nobody asks for by range: neither dictionary nor statistics pay. Lengths apart
/// from the texts compress better: 5 % of all bytes.
fn opaque(builder: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(path(column), false)
        .set_column_encoding(path(column), Encoding::DELTA_LENGTH_BYTE_ARRAY)
        .set_column_statistics_enabled(path(column), EnabledStatistics::None)
}

/// Numbers that mostly rise by little.
fn rising(builder: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(path(column), false)
        .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED)
}

fn sorting(table: Table) -> Vec<SortingColumn> {
    let schema = table.schema();
    let place = |name: &&str| schema.index_of(name).expect("a table is sorted by its own columns");
    let sorted = |place| SortingColumn { column_idx: place as i32, descending: false, nulls_first: false };
    table.sorted_by().iter().map(place).map(sorted).collect()
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::from(column)
}
