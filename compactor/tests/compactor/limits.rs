//! Memory, files, partitions.

use crate::house::{House, Row, row};
use lake::layout::{DROPPED, FINAL, OTHER};
use std::collections::BTreeSet;

/// Rows in no order at all, some of them copies.
fn shuffled(count: u64) -> Vec<Row> {
    let types = ["page", "cart", "search", "login", "x"];
    let scramble = |k: u64| k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let one = |k: u64| {
        let dice = scramble(k);
        row(
            (dice % (count * 8)).into(),
            types[dice as usize % 5],
            (dice % 1000) as i64,
            ["a", "b"][k as usize % 2],
            k / 2,
        )
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn rows_and_ids_beyond_memory_go_to_disk_and_come_out_the_same() {
    let rows = shuffled(60_000);
    let (mut in_memory, mut spilling) = (House::new(), House::new());
    for house in [&mut in_memory, &mut spilling] {
        house.config.object_bytes = 50_000;
        for (k, part) in rows.chunks(3_000).enumerate() {
            house.write(k as u32 % 3, part).await;
        }
    }
    spilling.config.memory_bytes_max = 256 << 10;
    let (a, b) = (in_memory.compact().await, spilling.compact().await);
    assert_eq!(a, b);
    assert!(a.dropped > 1000 && a.objects > 5, "{a}");
    assert_eq!(in_memory.made().await, spilling.made().await);
    assert_eq!(spilling.spill_files(), 0, "what was spilled is gone");
    let mut all: Vec<Row> = spilling.rows_under(FINAL).await;
    all.extend(spilling.rows_under(DROPPED).await);
    all.sort();
    let mut expected = rows;
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn an_object_too_large_to_fetch_at_once_is_read_in_parts() {
    let mut house = House::new();
    house.config.object_bytes = 100_000;
    let rows = shuffled(150_000);
    house.write(0, &rows).await;
    let summary = house.compact().await;
    assert_eq!(summary.rows, 150_000);
    assert!(summary.objects > 5, "{summary}");
    let found = house.rows_under(FINAL).await.len() + house.rows_under(DROPPED).await.len();
    assert_eq!(found, 150_000);
}

#[tokio::test]
async fn beyond_five_hundred_types_a_day_the_rest_share_a_partition() {
    let house = House::new();
    let rows: Vec<Row> = (0..600).map(|k| row(k, &format!("t{k}"), 0, "a", k as u64)).collect();
    house.write(0, &rows).await;
    assert_eq!(house.compact().await.objects, 501);
    house.write(0, &[row(1000, "t0", 0, "a", 1000), row(1001, "late", 0, "a", 1001)]).await;
    assert_eq!(house.compact().await.objects, 2);
    let keys = house.keys(FINAL).await;
    let second: Vec<&String> = keys.iter().filter(|key| key.ends_with("000001-0000.parquet")).collect();
    assert!(second[0].contains(OTHER) && second[1].contains("event_type=t0/"), "{second:?}");
    let found: BTreeSet<u128> = house.rows_under(FINAL).await.into_iter().map(|row| row.id).collect();
    assert_eq!(found.len(), 602);
}

#[tokio::test]
async fn odd_types_keep_their_value_in_the_column() {
    let house = House::new();
    let long = "long".repeat(100);
    let odd = ["", OTHER, "..", "a=b/c", "é\u{0}\n", "__HIVE_DEFAULT_PARTITION__", &long, "page"];
    let rows: Vec<Row> = odd.iter().zip(0..).map(|(name, k)| row(k, name, 0, "a", k as u64)).collect();
    house.write(0, &rows).await;
    house.compact().await;
    let found: BTreeSet<String> = house.rows_under(FINAL).await.into_iter().map(|row| row.event_type).collect();
    assert_eq!(found, odd.iter().map(ToString::to_string).collect());
}
