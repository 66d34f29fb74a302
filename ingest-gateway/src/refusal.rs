//! Requests that are refused as a whole: nothing of them is promised. The one table from refusals to statuses.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use schema::json::batch::BodyRefused;
use schema::stored::StoredError;
use serde::Serialize;
use thiserror::Error;

/// After which a producer may try again, in seconds. By then a flush or two have freed room, or a throttled shard has
/// a new second.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request is refused.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Walk(#[from] BodyRefused),
    #[error("the body is not an EventBatch message: {0}")]
    NotABatch(#[from] StoredError),
    #[error("the body does not decompress as {encoding}: {detail}")]
    NotCompressed { encoding: String, detail: String },
    #[error("the body ended early: {0}")]
    Incomplete(String),
    #[error("a valid write key is needed, as `Authorization: Bearer`, `X-Write-Key` or `?write_key=`")]
    Unauthorized,
    #[error("nothing is here; events go to POST /v1/events")]
    NotFound,
    #[error("only POST and OPTIONS are answered here")]
    Method,
    #[error("the body did not come within {seconds} s")]
    TooSlow { seconds: u64 },
    #[error("the body has more than the {bytes_max} bytes that are taken, as sent or decompressed")]
    BodyTooLarge { bytes_max: usize },
    #[error("Content-Type `{0}` is none of application/json, application/x-ndjson, application/x-protobuf, text/plain")]
    ContentType(String),
    #[error("Content-Encoding `{0}` is none of gzip, zstd, deflate, br, identity, and only one is taken")]
    ContentEncoding(String),
    #[error("too many bytes are in flight; send again in a moment")]
    Busy,
    #[error("the events could not be made durable: {0}; send again, repeating is safe")]
    NotDurable(String),
}

impl Refusal {
    pub(crate) fn status(&self) -> (StatusCode, tonic::Code) {
        use tonic::Code;
        match self {
            Refusal::Walk(BodyRefused::Syntax { .. })
            | Refusal::NotABatch(_)
            | Refusal::NotCompressed { .. }
            | Refusal::Incomplete(_) => (StatusCode::BAD_REQUEST, Code::InvalidArgument),
            Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
            Refusal::NotFound => (StatusCode::NOT_FOUND, Code::NotFound),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Refusal::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
            Refusal::Walk(BodyRefused::ItemTooLarge { .. } | BodyRefused::TooMany { .. })
            | Refusal::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::OutOfRange),
            Refusal::ContentType(_) | Refusal::ContentEncoding(_) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument)
            }
            Refusal::Busy => (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Refusal::NotDurable(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        }
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let (status, _) = self.status();
        let (line, column) = match self {
            Refusal::Walk(BodyRefused::Syntax { line, column, .. }) => (Some(*line), Some(*column)),
            _ => (None, None),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let problem =
            Problem { r#type: "about:blank", title, status: status.as_u16(), detail: self.to_string(), line, column };
        let body = serde_json::to_vec(&problem).expect("strings and numbers are JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
            }
            _ => {}
        }
        response
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> tonic::Status {
        let (_, code) = refusal.status();
        tonic::Status::new(code, refusal.to_string())
    }
}

/// Source of the fields: <https://www.rfc-editor.org/rfc/rfc9457>. `line` and `column` are ours.
#[derive(Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}
