//! One request as it came, body and all.

use super::operation;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use hyper::{Method, Request, Uri};
use std::io;

/// A PutRecords has up to 10 MiB, which base64 makes 14; parts of uploads are smaller than this by choice of the lake.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Whose protocol a call speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Kinesis,
    DynamoDb,
    Sqs,
    S3,
}

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) service: Service,
    /// As the API calls it; `Other` where nobody asked for it yet.
    pub(super) operation: String,
    pub(super) body: Bytes,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Call {
    /// # Errors
    /// [`io::ErrorKind::FileTooLarge`]: the body is beyond the bound. Any other: the client went.
    pub(super) async fn read(request: Request<Incoming>) -> io::Result<Call> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| {
            let too_large = error.is::<LengthLimitError>();
            io::Error::new(if too_large { io::ErrorKind::FileTooLarge } else { io::ErrorKind::ConnectionReset }, error)
        })?;
        Ok(Call::new(head.method, head.uri, head.headers, body.to_bytes()))
    }

    fn new(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Call {
        let (service, operation) = operation::recognise(&method, &uri, &headers);
        Call { service, operation, body, method, uri, headers }
    }

    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The same call with another body. No longer what the client signed: only for services that don't look.
    pub(super) fn with_body(&self, body: Bytes) -> Call {
        let mut call = Call { body, ..self.clone() };
        call.headers.insert(CONTENT_LENGTH, HeaderValue::from(call.body.len()));
        call
    }

    /// For an iterator that begins at a record: the call for one that begins after it.
    pub(super) fn after_its_record(&self) -> Option<Call> {
        const AT: &str = r#""AT_SEQUENCE_NUMBER""#;
        const AFTER: &str = r#""AFTER_SEQUENCE_NUMBER""#;
        let body = str::from_utf8(&self.body).ok().filter(|body| body.contains(AT))?;
        (self.operation == "GetShardIterator").then(|| self.with_body(body.replace(AT, AFTER).into()))
    }

    /// A write to S3 that takes place only if the object is, or is not, there.
    pub(super) fn is_conditional_write(&self) -> bool {
        let writes = ["PutObject", "CompleteMultipartUpload"].contains(&self.operation.as_str());
        let conditional = self.headers.contains_key(IF_NONE_MATCH) || self.headers.contains_key(IF_MATCH);
        self.service == Service::S3 && writes && conditional
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hyper::header::HeaderName;

    pub(crate) fn json_call(target: &str) -> Call {
        Call::new(Method::POST, Uri::from_static("/"), headers(&[("x-amz-target", target)]), Bytes::new())
    }

    pub(crate) fn s3_call(method: &str, uri: &str, pairs: &[(&'static str, &str)]) -> Call {
        Call::new(method.parse().unwrap(), uri.parse().unwrap(), headers(pairs), Bytes::new())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn an_iterator_at_a_record_has_one_after_it_and_others_have_none() {
        let asking = |operation: &str, kind: &str| {
            let call = json_call(&format!("Kinesis_20131202.{operation}"));
            let body = format!(r#"{{"ShardIteratorType":"{kind}","StartingSequenceNumber":"7"}}"#);
            call.with_body(body.into()).after_its_record().map(|call| call.body)
        };
        let after = asking("GetShardIterator", "AT_SEQUENCE_NUMBER").unwrap();
        assert_eq!(after, r#"{"ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"7"}"#);
        assert!(asking("GetShardIterator", "TRIM_HORIZON").is_none());
        assert!(asking("GetRecords", "AT_SEQUENCE_NUMBER").is_none());
    }
}
