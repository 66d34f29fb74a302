//! Which operation a request is, as the API calls it.

use super::call::Service;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};

/// What the three JSON protocols call themselves before the dot.
const TARGETS: [(&str, Service); 3] =
    [("Kinesis_20131202", Service::Kinesis), ("DynamoDB_20120810", Service::DynamoDb), ("AmazonSQS", Service::Sqs)];

/// A request without a target that is known is one to S3.
pub(super) fn recognise(method: &Method, uri: &Uri, headers: &HeaderMap) -> (Service, String) {
    named(headers).unwrap_or_else(|| (Service::S3, of_s3(method, uri, headers).to_string()))
}

fn named(headers: &HeaderMap) -> Option<(Service, String)> {
    let (target, operation) = headers.get("x-amz-target")?.to_str().ok()?.split_once('.')?;
    let (_, service) = TARGETS.iter().find(|(name, _)| *name == target)?;
    Some((*service, operation.to_string()))
}

/// S3 has no names on the wire: an operation is a method on a bucket or an object, and the parameters that single it out.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>
fn of_s3(method: &Method, uri: &Uri, headers: &HeaderMap) -> &'static str {
    let has = |name: &str| parameters(uri).any(|(parameter, _)| parameter == name);
    let copies = headers.contains_key("x-amz-copy-source");
    let of_object = uri.path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match (method.as_str(), of_object) {
        ("PUT", true) if has("partNumber") && !copies => "UploadPart",
        ("PUT", true) if plain(uri) && !copies => "PutObject",
        ("GET", true) if has("uploadId") => "ListParts",
        ("GET", true) if plain(uri) => "GetObject",
        ("HEAD", true) => "HeadObject",
        ("POST", true) if has("uploads") => "CreateMultipartUpload",
        ("POST", true) if has("uploadId") => "CompleteMultipartUpload",
        ("DELETE", true) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) if plain(uri) => "DeleteObject",
        ("GET", false) if has("list-type") => "ListObjectsV2",
        ("GET", false) if has("uploads") => "ListMultipartUploads",
        ("POST", false) if has("delete") => "DeleteObjects",
        ("PUT", false) if plain(uri) => "CreateBucket",
        ("HEAD", false) => "HeadBucket",
        ("DELETE", false) if plain(uri) => "DeleteBucket",
        _ => "Other",
    }
}

/// Names no part of a bucket or object, as its tags, but the thing itself.
fn plain(uri: &Uri) -> bool {
    parameters(uri).all(|(name, _)| name == "x-id" || name == "versionId" || name.starts_with("response-"))
}

fn parameters(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use crate::proxy::call::Service;
    use crate::proxy::call::tests::{json_call, s3_call};

    #[test]
    fn a_target_names_service_and_operation() {
        for (target, service, operation) in [
            ("Kinesis_20131202.PutRecords", Service::Kinesis, "PutRecords"),
            ("DynamoDB_20120810.Query", Service::DynamoDb, "Query"),
            ("AmazonSQS.ReceiveMessage", Service::Sqs, "ReceiveMessage"),
        ] {
            let call = json_call(target);
            assert_eq!((call.service, call.operation.as_str()), (service, operation));
        }
    }

    #[test]
    fn operations_of_s3_are_told_by_their_shape() {
        for (method, uri, operation) in [
            ("PUT", "/b/a/k?x-id=PutObject", "PutObject"),
            ("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart"),
            ("PUT", "/b/k?tagging", "Other"),
            ("PUT", "/b", "CreateBucket"),
            ("PUT", "/b/", "CreateBucket"),
            ("PUT", "/b/?encryption", "Other"),
            ("GET", "/b/k?x-id=GetObject", "GetObject"),
            ("GET", "/b/?list-type=2&prefix=live%2F", "ListObjectsV2"),
            ("HEAD", "/b/k", "HeadObject"),
            ("HEAD", "/b/", "HeadBucket"),
            ("POST", "/b/k?uploads", "CreateMultipartUpload"),
            ("POST", "/b/k?uploadId=u", "CompleteMultipartUpload"),
            ("POST", "/b/?delete", "DeleteObjects"),
            ("DELETE", "/b/k?x-id=DeleteObject", "DeleteObject"),
            ("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload"),
        ] {
            assert_eq!(s3_call(method, uri, &[]).operation, operation, "{method} {uri}");
        }
    }
}
