//! Settings of the connection to AWS.

use clap::Args;
use std::time::Duration;

/// Where AWS is and how long its answers are waited for.
///
/// Credentials are found as by every AWS tool. One service may be elsewhere: AWS_ENDPOINT_URL_KINESIS, _DYNAMODB, _S3, _SQS.
#[derive(Args, Clone, Debug)]
#[group(id = "aws")]
#[command(next_help_heading = "AWS")]
pub struct Settings {
    /// Region of all resources [default: AWS_REGION, or that of the profile]
    #[arg(id = "aws-region", long = "aws-region", env = "FOREBAY_AWS_REGION")]
    pub region: Option<String>,

    /// Endpoint of all services, for LocalStack and its like [default: AWS_ENDPOINT_URL, or AWS itself]
    #[arg(id = "aws-endpoint", long = "aws-endpoint", env = "FOREBAY_AWS_ENDPOINT")]
    pub endpoint: Option<String>,

    /// Longest wait for a connection
    #[arg(id = "aws-connect-timeout", long = "aws-connect-timeout", env = "FOREBAY_AWS_CONNECT_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Longest wait for one answer
    #[arg(id = "aws-call-timeout", long = "aws-call-timeout", env = "FOREBAY_AWS_CALL_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub call_timeout: Duration,

    /// How long a call is repeated before it counts as failed; with one more --aws-call-timeout, and with the 5 s for which an
    /// owner begins to append anew, it must stay below the term of a lease, 30 s
    #[arg(id = "aws-call-deadline", long = "aws-call-deadline", env = "FOREBAY_AWS_CALL_DEADLINE", default_value = "10s", value_parser = duration)]
    pub call_deadline: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            region: None,
            endpoint: None,
            connect_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            call_deadline: Duration::from_secs(10),
        }
    }
}
