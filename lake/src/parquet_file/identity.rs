//! What makes two objects the same, and where it stands in a footer.

use super::read::{ObjectFile, damaged};
use super::{Columns, ObjectError, ObjectReader};
use crate::Lake;
use parquet::file::metadata::{FileMetaData, KeyValue};
use schema::{Table, columns};
use std::collections::BTreeMap;
use std::fmt;

const FORMAT_KEY: &str = "forebay.format";
const ROWS_KEY: &str = "forebay.rows";
const HASH_KEY: &str = "forebay.rows_hash";
const TYPES_KEY: &str = "forebay.types";

/// The one format version of objects that there is.
const FORMAT: &str = "1";

/// What an object holds, whatever its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    pub rows: u64,
    /// Sum of the rows' hashes modulo 2^128, as [`schema::rows::Rows::rows_hash`] and [`schema::columns::rows_hash`] have it.
    pub rows_hash: u128,
    /// Rows of each event type; empty for quarantine.
    pub types: BTreeMap<String, u64>,
}

impl Identity {
    /// What the footer says of the object.
    pub(super) fn metadata(&self) -> Vec<KeyValue> {
        let types = serde_json::to_string(&self.types).expect("a map of texts to numbers is JSON");
        let pair = |key: &str, value: String| KeyValue::new(key.to_string(), value);
        vec![
            pair(FORMAT_KEY, FORMAT.to_string()),
            pair(ROWS_KEY, self.rows.to_string()),
            pair(HASH_KEY, format!("{:032x}", self.rows_hash)),
            pair(TYPES_KEY, types),
        ]
    }

    /// Reads it from a footer.
    ///
    /// # Errors
    /// Says what is missing or wrong.
    pub(super) fn of_footer(footer: &FileMetaData) -> Result<Identity, String> {
        let format = value(footer, FORMAT_KEY)?;
        if format != FORMAT {
            return Err(format!("its format is {format:?}, while this version reads {FORMAT}"));
        }
        let wrong = |key| move || format!("its footer has a wrong {key}");
        let rows = value(footer, ROWS_KEY)?.parse().map_err(|_| wrong(ROWS_KEY)())?;
        if u64::try_from(footer.num_rows()) != Ok(rows) {
            return Err(format!("its footer counts {} rows and says {rows}", footer.num_rows()));
        }
        let rows_hash = u128::from_str_radix(value(footer, HASH_KEY)?, 16).map_err(|_| wrong(HASH_KEY)())?;
        let types = serde_json::from_str(value(footer, TYPES_KEY)?).map_err(|_| wrong(TYPES_KEY)())?;
        Ok(Identity { rows, rows_hash, types })
    }
}

fn value<'a>(footer: &'a FileMetaData, key: &str) -> Result<&'a str, String> {
    let pairs = footer.key_value_metadata().map_or(&[][..], Vec::as_slice);
    let found = pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    found.ok_or_else(|| format!("its footer has no {key}"))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows of hash {:032x} and {} types", self.rows, self.rows_hash, self.types.len())
    }
}

/// Reads what an object's footer says of it; nothing else of the object is read.
pub async fn identity(lake: &dyn Lake, key: &str) -> Result<Identity, ObjectError> {
    ObjectFile::open(lake, key).await?.identity()
}

/// Reads a whole object and checks that its rows are those that its footer names.
///
/// # Errors
/// [`ObjectError::Damaged`]: they are not.
pub async fn verify(lake: &dyn Lake, table: Table, key: &str) -> Result<Identity, ObjectError> {
    let mut reader = ObjectReader::open(lake, table, key, Columns::All).await?;
    let identity = reader.identity()?;
    let (mut rows, mut rows_hash) = (0, 0u128);
    while let Some(batch) = reader.next_batch(lake).await? {
        let hash = columns::rows_hash(table, &batch).map_err(|error| damaged(key, &error))?;
        rows += batch.num_rows() as u64;
        rows_hash = rows_hash.wrapping_add(hash);
    }
    if (rows, rows_hash) != (identity.rows, identity.rows_hash) {
        let detail = format!("it holds {rows} rows of hash {rows_hash:032x}, while its footer says {identity}");
        return Err(ObjectError::Damaged { key: key.to_string(), detail });
    }
    Ok(identity)
}
