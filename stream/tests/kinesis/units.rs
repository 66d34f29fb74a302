//! What appending and reading are billed by.

use crate::house::{append, aws, make, open, read};
use aws::Aws;
use schema::{HashKey, Position};
use stream::{NewRecord, Stream};

fn counted(aws: &Aws, operation: &str, unit: &str) -> u64 {
    let of = |count: &&aws::Count| count.operation == operation && count.unit == unit;
    aws.meter.counts().iter().find(of).map_or(0, |count| count.total)
}

#[tokio::test]
async fn five_hundred_and_one_records_are_two_calls() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    let numbers: Vec<String> = (0..501).map(|number| number.to_string()).collect();
    let placed = append(&stream, &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!((counted(&aws, "PutRecords", "requests"), counted(&aws, "PutRecords", "records")), (2, 501));
    let records = read(&stream, &placed[0].shard, &Position::start(), 501).await;
    for (number, placed) in numbers.iter().zip(&placed) {
        let record = records.iter().find(|record| record.position == placed.position).unwrap();
        assert_eq!(record.bytes, number.as_bytes());
    }
}

#[tokio::test]
async fn units_are_counted_for_each_record_by_itself() {
    let aws = aws().await;
    let name = make(&aws, 1).await;
    let stream = open(&aws, &name).await;
    let sizes = [1, 1024, 1025, 25 * 1024, 25 * 1024 + 1];
    let records = sizes.map(|bytes| NewRecord { point: HashKey(0), bytes: vec![7; bytes].into() });
    let placed = stream.append(records.into()).await.remove(0).unwrap();
    let put = |unit| counted(&aws, "PutRecords", unit);
    assert_eq!((put("records"), put("payload_units_25kb"), put("ingested_kb")), (5, 6, 1 + 1 + 2 + 25 + 26));
    read(&stream, &placed.shard, &Position::start(), 5).await;
    assert_eq!(counted(&aws, "GetRecords", "retrieved_kb"), 1 + 1 + 2 + 25 + 26);
}
