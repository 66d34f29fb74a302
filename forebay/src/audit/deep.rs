//! How closely objects are read.
//!
//! A **plain** audit reads who each row is: three columns. A **deep** one reads every column, and compares the rows with
//! the hash in the footer; that the footer's hash is the one that was announced is looked at either way.

use super::objects::Content;
use arrow_array::RecordBatch;
use lake::parquet_file::Identity;
use schema::Table;
use schema::columns::{ColumnError, EVENT_NAME, EVENT_SUBTYPE, rows_hash, text};
use std::fmt;

/// How closely objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Plain,
    Deep,
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Depth::Plain => "not deep: who each row is was read, and nothing else of it; --deep reads every column",
            Depth::Deep => "deep: every column of every object was read",
        })
    }
}

/// What the batches of an object have added up to so far.
#[derive(Debug, Default)]
pub(super) struct Sum {
    content: Content,
    /// The first row whose subtype is not that of its name, by its place in the object.
    misnamed: Option<u64>,
}

impl Sum {
    /// Adds rows; all columns of the table are needed.
    pub(super) fn add(&mut self, table: Table, batch: &RecordBatch) -> Result<(), ColumnError> {
        let Content { rows, hash } = self.content;
        if table == Table::Events && self.misnamed.is_none() {
            self.misnamed = misnamed(batch)?.map(|row| rows + row as u64);
        }
        self.content =
            Content { rows: rows + batch.num_rows() as u64, hash: hash.wrapping_add(rows_hash(table, batch)?) };
        Ok(())
    }

    /// Compares what was read with what the footer says.
    ///
    /// # Errors
    /// Says how they differ.
    pub(super) fn check(&self, footer: &Identity) -> Result<(), String> {
        let Content { rows, hash } = self.content;
        if (rows, hash) != (footer.rows, footer.rows_hash) {
            return Err(format!("its columns hold {rows} rows of hash {hash:032x}, while its footer says {footer}"));
        }
        self.misnamed.map_or(Ok(()), |row| Err(format!("{EVENT_SUBTYPE} of row {row} is not that of its {EVENT_NAME}")))
    }
}

/// The first row whose subtype is not what follows the first `:` of its name: the hash does not cover what is derived.
fn misnamed(batch: &RecordBatch) -> Result<Option<usize>, ColumnError> {
    let (names, subtypes) = (text(batch, EVENT_NAME)?, text(batch, EVENT_SUBTYPE)?);
    let derived = |name: &'_ str| name.find(':').map_or(name.len(), |colon| colon + 1);
    let is_wrong = |row: &usize| names.value(*row)[derived(names.value(*row))..] != *subtypes.value(*row);
    Ok((0..batch.num_rows()).find(is_wrong))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, StringArray};
    use std::sync::Arc;

    fn named(pairs: &[(&str, &str)]) -> RecordBatch {
        let column = |texts: Vec<&str>| Arc::new(StringArray::from(texts)) as ArrayRef;
        let names = column(pairs.iter().map(|(name, _)| *name).collect());
        let subtypes = column(pairs.iter().map(|(_, subtype)| *subtype).collect());
        RecordBatch::try_from_iter([(EVENT_NAME, names), (EVENT_SUBTYPE, subtypes)]).expect("two columns of one length")
    }

    #[test]
    fn a_subtype_that_is_not_that_of_its_name_is_found() {
        let right = [("page:view", "view"), ("a:b:c", "b:c")];
        assert_eq!(misnamed(&named(&right)), Ok(None));
        for wrong in [("page:view", "viev"), ("page:view", "page"), ("page:view", "")] {
            assert_eq!(misnamed(&named(&[right[0], right[1], wrong])), Ok(Some(2)));
        }
    }

    #[test]
    fn other_rows_than_the_footer_says_are_found() {
        let footer = |rows, rows_hash| Identity { rows, rows_hash, ..Identity::default() };
        let sum = Sum { content: Content { rows: 3, hash: 7 }, misnamed: None };
        assert_eq!(sum.check(&footer(3, 7)), Ok(()));
        assert!(sum.check(&footer(3, 8)).is_err());
        assert!(sum.check(&footer(2, 7)).is_err());
    }
}
