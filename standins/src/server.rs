//! The kinds of stand-in.

use clap::ValueEnum;

/// A stand-in, by the service it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    Kinesis,
    KinesisFast,
    #[value(name = "dynamodb")]
    DynamoDb,
    S3,
    Queue,
}

impl Server {
    pub const ALL: [Server; 5] = [Server::Kinesis, Server::KinesisFast, Server::DynamoDb, Server::S3, Server::Queue];

    /// As the supervisor calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Kinesis => "kinesis",
            Server::KinesisFast => "kinesis-fast",
            Server::DynamoDb => "dynamodb",
            Server::S3 => "s3",
            Server::Queue => "queue",
        }
    }

    /// By which the SDKs find the endpoint of this service alone. Source:
    /// <https://docs.aws.amazon.com/sdkref/latest/guide/ss-endpoints-table.html>
    pub fn variable(self) -> &'static str {
        match self {
            Server::Kinesis | Server::KinesisFast => "AWS_ENDPOINT_URL_KINESIS",
            Server::DynamoDb => "AWS_ENDPOINT_URL_DYNAMODB",
            Server::S3 => "AWS_ENDPOINT_URL_S3",
            Server::Queue => "AWS_ENDPOINT_URL_SQS",
        }
    }
}
