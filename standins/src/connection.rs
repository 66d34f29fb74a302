//! How a test, or a process that it starts, reaches a stand-in.

use crate::{Endpoint, Server};
use aws::{Aws, Settings};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

const REGION: &str = "us-east-1";

/// Both halves of the only key that the stand-ins know.
const KEY: &str = "test";

/// As `--aws-endpoint` and `--aws-region` would set it. Credentials are no setting: see [`connect`] and [`environment`].
pub fn settings(endpoint: &Endpoint) -> Settings {
    Settings { region: Some(REGION.into()), endpoint: Some(endpoint.url.clone()), ..Settings::default() }
}

/// What [`Aws::connect`] makes of these settings, with credentials that come from no environment.
pub fn connect(endpoint: &Endpoint) -> Aws {
    let found = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(&endpoint.url)
        .credentials_provider(credentials())
        .build();
    Aws::over(found, &settings(endpoint), 0)
}

/// The only ones that the stand-ins know.
pub fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(KEY, KEY, None, None, "stand-ins"))
}

/// By which a child process finds all four services. What is in front of one takes its place by its [`Server::variable`].
pub async fn environment() -> Vec<(String, String)> {
    let (kinesis, dynamodb, s3, queue) =
        futures::join!(crate::kinesis(), crate::dynamodb(), crate::s3(), crate::queue());
    let endpoints =
        [(Server::Kinesis, kinesis), (Server::DynamoDb, dynamodb), (Server::S3, s3), (Server::Queue, queue)];
    identity().into_iter().chain(endpoints.into_iter().map(located)).collect()
}

/// Region and credentials.
pub fn identity() -> [(String, String); 4] {
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    [
        pair("AWS_REGION", REGION),
        pair("AWS_ACCESS_KEY_ID", KEY),
        pair("AWS_SECRET_ACCESS_KEY", KEY),
        // Nobody answers there, and the SDK would wait for it.
        pair("AWS_EC2_METADATA_DISABLED", "true"),
    ]
}

fn located((server, endpoint): (Server, Endpoint)) -> (String, String) {
    (server.variable().to_string(), endpoint.url)
}
