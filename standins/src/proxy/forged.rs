//! Answers that no upstream gave, as the services give them.

use super::call::{Call, Service};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What the client gets: a forged answer, the upstream's as it streams in, or the beginning of it.
pub(super) type Answer = Response<Either<Full<Bytes>, Either<Incoming, Muted>>>;

/// An answer that falls silent after its first piece, and never ends.
#[derive(Debug)]
pub(super) struct Muted {
    from: Incoming,
    has_begun: bool,
}

impl Muted {
    pub(super) fn new(from: Incoming) -> Muted {
        Muted { from, has_begun: false }
    }
}

impl Body for Muted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.has_begun {
            // Whoever waits gives up by themselves.
            return Poll::Pending;
        }
        let frame = Pin::new(&mut self.from).poll_frame(cx);
        self.has_begun = frame.is_ready();
        frame
    }
}

/// Calls that shards limit; the others have a limit of their own. Source:
/// <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>
const LIMITED_BY_SHARD: [&str; 4] = ["GetRecords", "GetShardIterator", "PutRecord", "PutRecords"];

/// Too fast. Sources: the errors of each operation in the API references, as
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>,
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
pub(super) fn throttled(call: &Call) -> Answer {
    let by_shard = LIMITED_BY_SHARD.contains(&call.operation.as_str());
    let (code, status) = match call.service {
        Service::Kinesis if by_shard => ("ProvisionedThroughputExceededException", StatusCode::BAD_REQUEST),
        Service::Kinesis => ("LimitExceededException", StatusCode::BAD_REQUEST),
        Service::DynamoDb => ("ThrottlingException", StatusCode::BAD_REQUEST),
        Service::Sqs => ("RequestThrottled", StatusCode::BAD_REQUEST),
        Service::S3 => ("SlowDown", StatusCode::SERVICE_UNAVAILABLE),
    };
    error(call.service, status, code)
}

/// Something broke on the other side. Sources as with [`throttled`].
pub(super) fn server_error(call: &Call) -> Answer {
    let code = match call.service {
        Service::Kinesis | Service::Sqs => "InternalFailure",
        Service::DynamoDb => "InternalServerError",
        Service::S3 => "InternalError",
    };
    error(call.service, StatusCode::INTERNAL_SERVER_ERROR, code)
}

/// Another write to the same key was under way: nothing landed, repeat. Source:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
pub(super) fn conflict() -> Answer {
    error(Service::S3, StatusCode::CONFLICT, "ConditionalRequestConflict")
}

/// The object is there already.
pub(super) fn exists_already() -> Answer {
    error(Service::S3, StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
}

/// The proxy's own: a body beyond its bound.
pub(super) fn too_large() -> Answer {
    answer(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "beyond what the fault proxy takes".into())
}

/// An answer of Kinesis about each of some records.
pub(super) fn partial(body: Vec<u8>) -> Answer {
    answer(StatusCode::OK, "application/x-amz-json-1.1", body.into())
}

/// The answer to a PutRecords that all of its records were taken; nothing for what is none.
pub(super) fn taken(body: &[u8]) -> Option<Answer> {
    let given: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let records = given.get("Records")?.as_array()?;
    let taken = serde_json::json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
    let all = serde_json::json!({ "FailedRecordCount": 0, "Records": vec![taken; records.len()] });
    Some(partial(serde_json::to_vec(&all).expect("what is JSON has a text")))
}

/// The answer to a GetRecords, with another lag; nothing for what is none.
pub(super) fn behind(body: &[u8], lag: Duration) -> Option<Answer> {
    let mut given: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let millis = u64::try_from(lag.as_millis()).expect("no lag is that long");
    *given.get_mut("MillisBehindLatest")? = millis.into();
    Some(changed(&given))
}

/// The answer to a DescribeStreamSummary, of a stream that was made so much earlier; nothing for what is none.
pub(super) fn older(body: &[u8], by: Duration) -> Option<Answer> {
    let mut given: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let made_at = given.get_mut("StreamDescriptionSummary")?.get_mut("StreamCreationTimestamp")?;
    *made_at = (made_at.as_f64()? - by.as_secs_f64()).into();
    Some(changed(&given))
}

fn changed(given: &Map<String, Value>) -> Answer {
    let body = serde_json::to_vec(given).expect("what was JSON is JSON");
    answer(StatusCode::OK, "application/x-amz-json-1.1", body.into())
}

fn error(service: Service, status: StatusCode, code: &str) -> Answer {
    let json = format!(r#"{{"__type":"{code}","message":"the fault proxy says so"}}"#);
    let xml = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>the fault proxy says so</Message></Error>"#
    );
    match service {
        Service::Kinesis => answer(status, "application/x-amz-json-1.1", json.into()),
        Service::DynamoDb | Service::Sqs => answer(status, "application/x-amz-json-1.0", json.into()),
        Service::S3 => answer(status, "application/xml", xml.into()),
    }
}

fn answer(status: StatusCode, content: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    answer
}
