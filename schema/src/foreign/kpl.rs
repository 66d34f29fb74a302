//! Records that the Kinesis Producer Library has joined.
//!
//! **Aggregate**: one record on the stream that carries many **user records**: a magic number, a protobuf message, and the
//! MD5 of the message. Source: <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>

use crate::record::RECORD_EVENTS_MAX;
use bytes::Bytes;
use md5::{Digest, Md5};
use prost::Message;

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

const CHECKSUM_BYTES: usize = 16;

/// What of the message matters here; its tables of keys do not.
#[derive(Clone, PartialEq, Message)]
struct Aggregate {
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

/// The user records of an aggregate, in order; `None` for anything else, and for one that is damaged or carries nothing,
/// or more than a record may.
pub(super) fn user_records(bytes: &[u8]) -> Option<Vec<Bytes>> {
    let (message, checksum) = bytes.strip_prefix(&MAGIC)?.split_last_chunk::<CHECKSUM_BYTES>()?;
    if Md5::digest(message).as_slice() != checksum {
        return None;
    }
    let aggregate = Aggregate::decode(message).ok()?;
    let is_sound = (1..=RECORD_EVENTS_MAX).contains(&aggregate.records.len());
    is_sound.then(|| aggregate.records.into_iter().map(|record| record.data).collect())
}

/// Joins user records as the library does.
#[cfg(test)]
pub(super) fn aggregate(records: &[&[u8]]) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct WithKeys {
        #[prost(string, repeated, tag = "1")]
        partition_keys: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        records: Vec<Keyed>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Keyed {
        #[prost(uint64, required, tag = "1")]
        partition_key_index: u64,
        #[prost(bytes = "vec", required, tag = "3")]
        data: Vec<u8>,
    }
    let records = records.iter().map(|data| Keyed { partition_key_index: 0, data: data.to_vec() }).collect();
    let message = WithKeys { partition_keys: vec!["key".into()], records }.encode_to_vec();
    let checksum = Md5::digest(&message);
    [&MAGIC[..], &message, checksum.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As another implementation of the format (ex_kpl, for Elixir) documents its output for the key `partition_key` and
    /// the data `data`.
    const ELSEWHERE: [u8; 43] = [
        243, 137, 154, 194, 10, 13, 112, 97, 114, 116, 105, 116, 105, 111, 110, 95, 107, 101, 121, 26, 8, 8, 0, 26, 4,
        100, 97, 116, 97, 208, 54, 153, 218, 90, 34, 47, 163, 33, 8, 173, 27, 217, 85,
    ];

    #[test]
    fn what_another_implementation_joined_is_parted() {
        let bytes = [&ELSEWHERE[..], &[161, 78]].concat();
        assert_eq!(user_records(&bytes), Some(vec![Bytes::from_static(b"data")]));
    }

    #[test]
    fn what_is_damaged_or_empty_or_too_much_is_no_aggregate() {
        let sound = aggregate(&[b"a", b"b"]);
        for place in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[place] ^= 1;
            assert_eq!(user_records(&damaged), None, "byte {place}");
        }
        assert_eq!(user_records(&aggregate(&[])), None);
        assert_eq!(user_records(&aggregate(&vec![&b""[..]; RECORD_EVENTS_MAX + 1])), None);
        assert_eq!(user_records(&MAGIC), None);
    }

    proptest! {
        #[test]
        fn user_records_come_out_as_they_went_in(records in proptest::collection::vec(any::<Vec<u8>>(), 1..20)) {
            let parts: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let parted = user_records(&aggregate(&parts)).expect("sound");
            prop_assert!(parted.iter().map(|data| data.as_ref()).eq(parts));
        }
    }
}
