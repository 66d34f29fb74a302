//! The lake in S3 keeps the contract of lakes, and what it promises beyond it.

use aws::{Aws, Calls};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use futures::future::join_all;
use lake::parquet_file::{Columns, ObjectReader, ObjectWriter};
use lake::s3::{S3Lake, S3Options, UploadSizes, setup};
use lake::{Created, Lake, LakeError, contract};
use parquet::file::metadata::ParquetMetaDataReader;
use schema::rows::{RowPlace, Rows};
use schema::stored::StoredEvent;
use schema::{ChainId, EventId, Kind, Origin, ShardId, Table};
use standins::Endpoint;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::Duration;

/// Creators that race for one key.
const RACERS: usize = 100;

const KEY: &str = "live/events/event_date=2026-11-22/w-0000000001-0000.parquet";

/// Sizes at which small objects go in parts: one part of any size is the last one, so S3 takes it.
///
/// Nothing here completes two uploads of one key at the same moment: S3 lets one of them make the object, this stand-in
/// any number (SeaweedFS 4.48).
const IN_PARTS: UploadSizes = UploadSizes { single_bytes_max: 0, part_bytes: 5 << 20 };

/// How long answers are waited for: the stand-in shares its processors with all other tests, and a call that is repeated
/// because its answer is late may find its own object.
const PATIENCE: Duration = Duration::from_secs(120);

/// Attempts at an object that is undecided: one fault makes one of them so.
const ATTEMPTS_MAX: u32 = 3;

async fn aws() -> Aws {
    patient(&standins::s3().await)
}

fn patient(endpoint: &Endpoint) -> Aws {
    let mut aws = standins::connect(endpoint);
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).build();
    (aws.config, aws.calls) = (aws.config.to_builder().timeout_config(timeouts).build(), Calls::new(PATIENCE, 0));
    aws
}

/// A bucket of nobody else's.
fn fresh() -> S3Options {
    S3Options { path_style: true, ..S3Options::of_bucket(standins::fresh_name("lake")) }
}

async fn open(options: S3Options) -> S3Lake {
    let aws = aws().await;
    setup(&aws, options.clone()).await.expect("a free name");
    S3Lake::open(&aws, options).await.expect("the bucket that was just created")
}

/// Bytes that differ from their neighbours.
fn content(bytes: usize, seed: usize) -> Bytes {
    (0..bytes).map(|k| ((k + seed) % 251) as u8).collect()
}

/// Calls of an operation that were counted.
fn counted(aws: &Aws, operation: &str, unit: &str) -> u64 {
    let of = |count: &&aws::Count| count.operation == operation && count.unit == unit;
    aws.meter.counts().iter().find(of).map_or(0, |count| count.total)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_a_lake() {
    contract::the_whole_contract_holds(&open(fresh()).await, "contract/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_in_a_bucket_is_a_lake() {
    let options = S3Options { prefix: "/some/where/".to_string(), ..fresh() };
    contract::the_whole_contract_holds(&open(options).await, "contract/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_whose_objects_come_in_parts_is_a_lake() {
    let options = S3Options { sizes: UploadSizes { single_bytes_max: 8, ..IN_PARTS }, ..fresh() };
    let lake = open(options).await;
    contract::an_object_reads_back(&lake, "read-back/").await;
    contract::exists_keeps_the_first_content(&lake, "exists/").await;
    contract::a_file_becomes_an_object_once(&lake, "file/").await;
    contract::odd_keys_survive(&lake, "odd/").await;
    contract::a_big_object_reads_back(&lake, "big/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_creators_wins() {
    let lake = open(fresh()).await;
    let racers = (0..RACERS).map(|racer| lake.create(KEY, content(1000, racer)));
    let outcomes = join_all(racers).await;
    let winners: Vec<usize> = (0..RACERS).filter(|&racer| outcomes[racer] == Ok(Created::New)).collect();
    let lost = |outcome: &&Result<Created, LakeError>| **outcome == Ok(Created::Exists);
    assert_eq!((winners.len(), outcomes.iter().filter(lost).count()), (1, RACERS - 1), "{outcomes:?}");
    assert_eq!(lake.get(KEY).await, Ok(content(1000, winners[0])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_parts_reads_back_and_is_not_sent_again() {
    let (aws, options) = (aws().await, S3Options { sizes: IN_PARTS, ..fresh() });
    setup(&aws, options.clone()).await.expect("a free name");
    let lake = S3Lake::open(&aws, options).await.expect("a bucket");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, whole) = (folder.path().join("object"), content((11 << 20) + 7, 0));
    std::fs::write(&file, &whole).expect("room");
    assert_eq!(lake.create_from_file(KEY, &file).await, Ok(Created::New));
    assert!(lake.get(KEY).await.expect("the object") == whole, "the content differs");
    assert_eq!(lake.create_from_file(KEY, &file).await, Ok(Created::Exists));
    assert_eq!(counted(&aws, "UploadPart", "requests"), 3);
    assert_eq!(counted(&aws, "UploadPart", "bytes_in"), whole.len() as u64);
    assert_eq!(counted(&aws, "CompleteMultipartUpload", "put_requests"), 1);
}

#[tokio::test]
async fn keys_are_the_same_bytes_in_the_bucket() {
    let options = S3Options { prefix: "p=%41".to_string(), ..fresh() };
    let lake = open(options.clone()).await;
    let key = "final/events/event_date=2026-11-22/event_type=a%3Ab%25 ü+&/000003-0000.parquet";
    lake.create(key, Bytes::from_static(b"x")).await.expect("a free key");
    let path = format!("p=%41/{key}");
    let whole = S3Lake::open(&aws().await, S3Options { prefix: String::new(), ..options }).await.expect("a bucket");
    assert_eq!(whole.get(&path).await, Ok(Bytes::from_static(b"x")));
    let paths: Vec<String> = whole.list("p=").await.expect("a bucket").into_iter().map(|meta| meta.key).collect();
    assert_eq!(paths, [path]);
    assert_eq!(lake.list("final/").await.expect("a lake")[0].key, key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_of_several_pages_is_complete() {
    let lake = open(fresh()).await;
    let keys: Vec<String> = (0..1203).map(|k| format!("live/{k:05}")).collect();
    for some in keys.chunks(50) {
        join_all(some.iter().map(async |key| lake.create(key, Bytes::new()).await.expect("a free key"))).await;
    }
    let listed: Vec<String> = lake.list("live/").await.expect("a lake").into_iter().map(|meta| meta.key).collect();
    assert_eq!(listed, keys);
}

#[tokio::test]
async fn keys_that_tools_cannot_reach_are_refused() {
    let lake = open(fresh()).await;
    let long = "x".repeat(1025);
    for key in ["", "/", "/a", "a//b", "a/", "a/../b", "./a", &long] {
        let refused = |outcome: Result<(), LakeError>| matches!(outcome, Err(LakeError::Refused { .. }));
        assert!(refused(lake.create(key, Bytes::new()).await.map(drop)), "create {key:?}");
        assert!(refused(lake.get(key).await.map(drop)), "get {key:?}");
        assert!(refused(lake.delete(key).await), "delete {key:?}");
    }
}

#[tokio::test]
async fn opening_a_bucket_that_is_not_there_names_it() {
    let options = fresh();
    let refused = S3Lake::open(&aws().await, options.clone()).await.expect_err("no bucket");
    assert!(matches!(refused, LakeError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&options.bucket) && refused.to_string().contains("NoSuchBucket"), "{refused}");
}

#[tokio::test]
async fn a_bucket_is_set_up_twice_and_keeps_its_objects() {
    let (aws, options) = (aws().await, fresh());
    let lake = open(options.clone()).await;
    lake.create(KEY, Bytes::from_static(b"kept")).await.expect("a free key");
    setup(&aws, options).await.expect("it is there already");
    assert_eq!(lake.get(KEY).await, Ok(Bytes::from_static(b"kept")));
}

#[tokio::test]
async fn every_call_is_counted_in_what_it_is_billed_by() {
    let (aws, options) = (aws().await, fresh());
    setup(&aws, options.clone()).await.expect("a free name");
    let lake = S3Lake::open(&aws, options).await.expect("a bucket");
    lake.create(KEY, content(1000, 0)).await.expect("a free key");
    lake.create(KEY, content(1000, 0)).await.expect("an answer");
    lake.get_range(KEY, 10..20).await.expect("the object");
    lake.head(KEY).await.expect("the object");
    lake.delete(KEY).await.expect("an answer");
    let count = |operation, unit| counted(&aws, operation, unit);
    assert_eq!((count("PutObject", "put_requests"), count("PutObject", "bytes_in")), (2, 2000));
    assert_eq!((count("GetObject", "get_requests"), count("GetObject", "bytes_out")), (1, 10));
    assert_eq!((count("HeadObject", "get_requests"), count("ListObjectsV2", "put_requests")), (1, 1));
    assert_eq!((count("DeleteObject", "requests"), count("DeleteObject", "put_requests")), (1, 0));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_told() {
    const SECRET: &str = "a-secret-that-is-nobody-elses-business";
    let (mut aws, options) = (aws().await, fresh());
    setup(&aws, options.clone()).await.expect("a free name");
    let wrong = Credentials::new("test", SECRET, None, None, "a test");
    let config = aws.config.to_builder().credentials_provider(SharedCredentialsProvider::new(wrong));
    aws.config = config.build();
    let refused = S3Lake::open(&aws, options.clone()).await.expect_err("a wrong secret");
    assert!(matches!(refused, LakeError::Refused { .. }), "{refused:?}");
    let text = format!("{refused} {refused:?}");
    assert!(text.contains(&options.bucket) && text.contains("SignatureDoesNotMatch"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

/// A Parquet object with rows that don't compress, in row groups of about `row_group_bytes`.
fn object(rows: u64, row_group_bytes: usize) -> Bytes {
    let origin = Origin::of(&ChainId::dedup("a1", &ShardId::new("raw-0000"), 0), Kind::Events);
    let mut made = Rows::new(Table::Events);
    for k in 0..rows {
        let noise: String =
            (0..8).map(|n| format!("{:016x}", (k * 8 + n).wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        let event = StoredEvent { event_name: "page:view", properties: &noise, ..StoredEvent::default() };
        made.push_event(&RowPlace { origin: &origin, ordinal: k, id: EventId(k.into()), received_at: 0 }, &event);
    }
    let mut writer = ObjectWriter::new(Table::Events, Vec::new(), row_group_bytes).expect("a new object");
    for batch in made.into_batches() {
        writer.write(&batch).expect("room");
    }
    Bytes::from(writer.finish().expect("room").0)
}

async fn rows_of(lake: &dyn Lake, columns: Columns<'_>) -> u64 {
    let mut reader = ObjectReader::open(lake, Table::Events, KEY, columns).await.expect("a footer");
    let mut rows = 0;
    while let Some(batch) = reader.next_batch(lake).await.expect("rows") {
        rows += batch.num_rows() as u64;
    }
    rows
}

#[tokio::test]
async fn reading_rows_takes_one_request_a_row_group_and_none_for_what_came_with_the_footer() {
    for (rows, row_group_bytes) in [(50, 1 << 20), (20_000, 8 << 20), (20_000, 1 << 20)] {
        let object = object(rows, row_group_bytes);
        let groups = ParquetMetaDataReader::new().parse_and_finish(&object).expect("a footer").num_row_groups();
        let gets = if rows < 100 { 1 } else { 1 + groups as u64 };
        let (aws, options) = (aws().await, fresh());
        setup(&aws, options.clone()).await.expect("a free name");
        let lake = S3Lake::open(&aws, options).await.expect("a bucket");
        lake.create(KEY, object).await.expect("a free key");
        assert_eq!(rows_of(&lake, Columns::All).await, rows);
        assert_eq!((counted(&aws, "HeadObject", "requests"), counted(&aws, "GetObject", "requests")), (1, gets));
        assert_eq!(rows_of(&lake, Columns::Only(&["event_id"])).await, rows);
        assert_eq!(counted(&aws, "GetObject", "requests"), 2 * gets);
    }
}

/// A lake that is reached through a proxy.
async fn behind(faults: Faults, sizes: UploadSizes) -> (FaultProxy, S3Lake) {
    let options = S3Options { sizes, ..fresh() };
    setup(&aws().await, options.clone()).await.expect("a free name");
    let proxy = FaultProxy::start(&standins::s3().await, faults, 1).await;
    let lake = S3Lake::open(&patient(&proxy.endpoint()), options).await.expect("a bucket");
    (proxy, lake)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_landed_unheard_is_found_with_its_content() {
    for (operation, sizes) in [("PutObject", UploadSizes::default()), ("CompleteMultipartUpload", IN_PARTS)] {
        let faults = Faults::none().next(1, operation, Fault::DropAnswer);
        let (proxy, lake) = behind(faults, sizes).await;
        assert_eq!(lake.create(KEY, content(1000, 0)).await, Ok(Created::Exists), "{operation}");
        assert_eq!(proxy.counts().of(operation, Fault::DropAnswer), 1);
        assert_eq!(lake.get(KEY).await, Ok(content(1000, 0)), "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_and_contested_creations_are_repeated_until_they_land() {
    for fault in [Fault::Throttle, Fault::ServerError, Fault::Conflict] {
        let (proxy, lake) = behind(Faults::none().next(2, "PutObject", fault), UploadSizes::default()).await;
        assert_eq!(lake.create(KEY, content(1000, 0)).await, Ok(Created::New), "{fault:?}");
        assert_eq!(proxy.counts().of("PutObject", fault), 2);
    }
}

/// Creates an object as one does who has announced it: again for as long as it is undecided.
async fn create_at_last(lake: &S3Lake, content: &Bytes) {
    for _ in 0..ATTEMPTS_MAX {
        match lake.create(KEY, content.clone()).await {
            Ok(_) => return,
            Err(LakeError::Unavailable { .. }) => {}
            Err(refused) => panic!("{refused:?}"),
        }
    }
    panic!("undecided after {ATTEMPTS_MAX} attempts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_in_parts_lands_whole_and_once_whatever_becomes_of_a_call_for_it() {
    let calls = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"];
    let any = calls.into_iter().flat_map(|call| [Fault::DropAnswer, Fault::Twice].map(|fault| (call, fault)));
    let completion = [Fault::Conflict, Fault::ExistsAlready].map(|fault| ("CompleteMultipartUpload", fault));
    let (first, second) = (content((5 << 20) + 7, 0), content((5 << 20) + 7, 1));
    for (call, fault) in any.chain(completion) {
        let (proxy, lake) = behind(Faults::none().next(1, call, fault), IN_PARTS).await;
        create_at_last(&lake, &first).await;
        assert_eq!(proxy.counts().of(call, fault), 1, "{call}: {fault:?}");
        assert_eq!(lake.create(KEY, second.clone()).await, Ok(Created::Exists), "{call}: {fault:?}");
        assert!(lake.get(KEY).await.expect("the object") == first, "{call}: {fault:?}: the content differs");
    }
}
