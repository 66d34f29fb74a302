//! What the lake in S3 makes of answers that no server gives when it is asked to.

use bytes::Bytes;
use lake::s3::{S3Lake, S3Options, UploadSizes};
use lake::{Created, Lake, LakeError};
use standins::scripted::{Answer, Scripted};

const BUCKET: &str = "some-bucket";
const KEY: &str = "live/object.parquet";

/// Everything but an empty object goes in one part.
const IN_PARTS: UploadSizes = UploadSizes { single_bytes_max: 0, part_bytes: 5 << 20 };

const LIST: &str = "GET /some-bucket/?list-type=2";
const PUT: &str = "PUT /some-bucket/live/object.parquet?x-id=PutObject";
const HEAD: &str = "HEAD /some-bucket/live/object.parquet";
const BEGIN: &str = "POST /some-bucket/live/object.parquet?uploads";
const PART: &str = "PUT /some-bucket/live/object.parquet?x-id=UploadPart&partNumber=1&uploadId=up-1";
const COMPLETE: &str = "POST /some-bucket/live/object.parquet?uploadId=up-1";
const ABORT: &str = "DELETE /some-bucket/live/object.parquet?x-id=AbortMultipartUpload&uploadId=up-1";

const KMS_KEY: &str = "alias/some-key";

/// How an object is encrypted, with which key, and whether that is asked for once for many objects. Source:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>
const ENCRYPTION: [&str; 3] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
];

fn done() -> Answer {
    Answer::says(200, "")
}

fn error(status: u16, code: &str) -> Answer {
    Answer::says(status, format!("<Error><Code>{code}</Code><Message>said the script</Message></Error>"))
}

/// Answers to an upload up to its completion.
fn parts_are_sent() -> [Answer; 3] {
    let id = "<InitiateMultipartUploadResult><UploadId>up-1</UploadId></InitiateMultipartUploadResult>";
    [Answer::says(404, ""), Answer::says(200, id), done()]
}

fn completed() -> Answer {
    Answer::says(200, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
}

async fn lake(sizes: UploadSizes, answers: impl IntoIterator<Item = Answer>) -> (Scripted, S3Lake) {
    opened(S3Options { sizes, ..S3Options::of_bucket(BUCKET) }, answers).await
}

/// A lake that has been opened, and its server.
async fn opened(options: S3Options, answers: impl IntoIterator<Item = Answer>) -> (Scripted, S3Lake) {
    let server = Scripted::start([Answer::says(200, "<ListBucketResult></ListBucketResult>")]).await;
    let options = S3Options { path_style: true, ..options };
    let lake = S3Lake::open(&standins::connect(server.endpoint()), options).await.expect("the script's first answer");
    assert!(server.take_requests()[0].line.starts_with(LIST));
    server.then(answers);
    (server, lake)
}

/// The headers of its first request that says how to encrypt, and which request that is.
fn encryption(server: &Scripted) -> Option<(String, [String; 3])> {
    let request = server.take_requests().into_iter().find(|request| request.headers.contains_key(ENCRYPTION[0]))?;
    let headers = ENCRYPTION.map(|header| request.headers.get(header).cloned().unwrap_or_default());
    Some((request.line, headers))
}

fn asked(server: &Scripted) -> Vec<String> {
    server.take_requests().into_iter().map(|request| request.line).collect()
}

async fn create(lake: &S3Lake) -> Result<Created, LakeError> {
    lake.create(KEY, Bytes::from_static(b"content")).await
}

fn is_undecided(outcome: &Result<Created, LakeError>) -> bool {
    matches!(outcome, Err(LakeError::Unavailable { key, .. }) if key == KEY)
}

#[tokio::test]
async fn what_passes_is_repeated() {
    for passing in [error(503, "SlowDown"), error(500, "InternalError"), error(400, "BadDigest"), Answer::Nothing] {
        let (server, lake) = lake(UploadSizes::default(), [passing, done()]).await;
        assert_eq!(create(&lake).await, Ok(Created::New));
        assert_eq!(asked(&server), [PUT, PUT]);
    }
}

#[tokio::test]
async fn a_conflict_is_no_existing_object() {
    let (server, lake) = lake(UploadSizes::default(), [error(409, "ConditionalRequestConflict"), done()]).await;
    assert_eq!(create(&lake).await, Ok(Created::New));
    assert_eq!(asked(&server), [PUT, PUT]);
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_finds_that_the_object_exists() {
    let (server, lake) = lake(UploadSizes::default(), [Answer::Nothing, error(412, "PreconditionFailed")]).await;
    assert_eq!(create(&lake).await, Ok(Created::Exists));
    assert_eq!(asked(&server), [PUT, PUT]);
}

#[tokio::test]
async fn what_is_refused_names_bucket_and_key_and_is_not_repeated() {
    let (server, lake) = lake(UploadSizes::default(), [error(403, "AccessDenied")]).await;
    let refused = create(&lake).await.expect_err("access denied");
    let text = refused.to_string();
    assert!(matches!(refused, LakeError::Refused { .. }), "{refused:?}");
    assert!([BUCKET, KEY, "AccessDenied"].iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(asked(&server), [PUT]);
}

#[tokio::test]
async fn a_bucket_that_is_gone_is_no_absent_object() {
    let (_server, lake) = lake(UploadSizes::default(), [error(404, "NoSuchBucket"), error(404, "NoSuchKey")]).await;
    assert!(matches!(lake.get(KEY).await, Err(LakeError::Refused { .. })));
    assert_eq!(lake.get(KEY).await, Err(LakeError::NotFound(KEY.to_string())));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_read_again() {
    let (server, lake) =
        lake(UploadSizes::default(), [Answer::BreaksOff("0123456789".into()), Answer::says(206, "0123456789")]).await;
    assert_eq!(lake.get_range(KEY, 0..10).await, Ok(Bytes::from_static(b"0123456789")));
    assert_eq!(asked(&server).len(), 2);
}

#[tokio::test]
async fn a_server_that_ignores_the_range_is_refused() {
    let (_server, lake) = lake(UploadSizes::default(), [Answer::says(200, "the whole object")]).await;
    let refused = lake.get_range(KEY, 4..9).await;
    assert!(matches!(refused, Err(LakeError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_upload_that_comes_second_finds_the_object_and_is_aborted() {
    let answers = parts_are_sent().into_iter().chain([error(412, "PreconditionFailed"), Answer::says(204, "")]);
    let (server, lake) = lake(IN_PARTS, answers).await;
    assert_eq!(create(&lake).await, Ok(Created::Exists));
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, COMPLETE, ABORT]);
}

#[tokio::test]
async fn an_upload_that_met_a_conflict_is_undecided_and_begun_anew() {
    let answers = parts_are_sent().into_iter().chain([error(409, "ConditionalRequestConflict"), Answer::says(204, "")]);
    let (server, lake) = lake(IN_PARTS, answers).await;
    let undecided = create(&lake).await;
    assert!(is_undecided(&undecided), "{undecided:?}");
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, COMPLETE, ABORT]);
    server.then(parts_are_sent().into_iter().chain([completed()]));
    assert_eq!(create(&lake).await, Ok(Created::New));
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, COMPLETE]);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found_out() {
    let answers = [Answer::Nothing, error(404, "NoSuchUpload"), Answer::says(204, ""), done()];
    let (server, lake) = lake(IN_PARTS, parts_are_sent().into_iter().chain(answers)).await;
    let undecided = create(&lake).await;
    assert!(is_undecided(&undecided), "{undecided:?}");
    assert_eq!(create(&lake).await, Ok(Created::Exists));
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, COMPLETE, COMPLETE, ABORT, HEAD]);
}

#[tokio::test]
async fn a_completion_that_fails_under_a_status_of_success_is_repeated() {
    let answers = parts_are_sent().into_iter().chain([error(200, "InternalError"), completed()]);
    let (server, lake) = lake(IN_PARTS, answers).await;
    assert_eq!(create(&lake).await, Ok(Created::New));
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, COMPLETE, COMPLETE]);
}

#[tokio::test]
async fn an_upload_whose_part_is_refused_is_aborted() {
    let [absent, begun, _] = parts_are_sent();
    let (server, lake) = lake(IN_PARTS, [absent, begun, error(403, "AccessDenied"), Answer::says(204, "")]).await;
    assert!(matches!(create(&lake).await, Err(LakeError::Refused { .. })));
    assert_eq!(asked(&server), [HEAD, BEGIN, PART, ABORT]);
}

#[tokio::test]
async fn a_key_that_is_set_encrypts_every_object_however_it_is_sent() {
    let in_parts: Vec<Answer> = parts_are_sent().into_iter().chain([completed()]).collect();
    for (sizes, answers, begins) in [(UploadSizes::default(), vec![done()], PUT), (IN_PARTS, in_parts, BEGIN)] {
        let options = S3Options { sizes, kms_key: Some(KMS_KEY.to_string()), ..S3Options::of_bucket(BUCKET) };
        let (server, lake) = opened(options, answers).await;
        assert_eq!(create(&lake).await, Ok(Created::New));
        let expected = ["aws:kms", KMS_KEY, "true"].map(str::to_string);
        assert_eq!(encryption(&server), Some((begins.to_string(), expected)));
    }
}

#[tokio::test]
async fn without_a_key_the_bucket_says_how_objects_are_encrypted() {
    let in_parts: Vec<Answer> = parts_are_sent().into_iter().chain([completed()]).collect();
    for (sizes, answers) in [(UploadSizes::default(), vec![done()]), (IN_PARTS, in_parts)] {
        let (server, lake) = lake(sizes, answers).await;
        assert_eq!(create(&lake).await, Ok(Created::New));
        assert_eq!(encryption(&server), None);
    }
}
