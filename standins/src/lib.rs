//! The servers that stand in for AWS in tests: real ones, by third parties, on loopback, without Docker.
//!
//! **Stand-in**: a server that speaks the protocol of one AWS service. **Supervisor**: a small Python process that installs
//! the stand-ins under the target directory, starts each when a test first asks for it, and ends them soon after the last
//! test process is gone, however that ended. **Run**: all test processes that share one supervisor; as `cargo test` starts
//! one after the other, they find the servers of the first.
//!
//! A stand-in is not the oracle: none throttles, fails in part, answers late or loses an answer. The port contracts say what
//! is right, and a [`proxy::FaultProxy`] in front of a stand-in does what AWS does on a bad day.

mod connection;
mod fresh;
mod home;
mod lease;
pub mod proxy;
pub mod scripted;
mod server;

pub use connection::{connect, credentials, environment, identity, settings};
pub use fresh::{fresh_name, fresh_names};
pub use home::{Home, StandInError};
pub use lease::Lease;
pub use server::Server;

use std::sync::OnceLock;

/// Where a stand-in, or a proxy in front of it, listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a path: `http://127.0.0.1:4700`.
    pub url: String,
}

/// Kinesis as AWS has it: splits, merges, closed shards. Takes some hundred records a second.
///
/// # Panics
/// As all stand-ins: with one line that says what to install, or with the end of the log of a server that doesn't start.
pub async fn kinesis() -> Endpoint {
    shared(Server::Kinesis).await
}

/// Kinesis for load: thousands of records a second. A split deletes the parent here, so never reshard.
pub async fn kinesis_fast() -> Endpoint {
    shared(Server::KinesisFast).await
}

pub async fn dynamodb() -> Endpoint {
    shared(Server::DynamoDb).await
}

/// S3, with path-style addresses only. It checks signatures.
pub async fn s3() -> Endpoint {
    shared(Server::S3).await
}

/// SQS.
pub async fn queue() -> Endpoint {
    shared(Server::Queue).await
}

/// A stand-in as this process has it, or why it has none.
type Had = OnceLock<Result<Lease, String>>;

/// What this process uses, kept until it ends.
static HAD: [Had; Server::ALL.len()] = [const { Had::new() }; Server::ALL.len()];

async fn shared(server: Server) -> Endpoint {
    let asked = tokio::task::spawn_blocking(move || {
        let ask = || Home::shared().ask(server).map_err(|error| error.to_string());
        HAD[server as usize].get_or_init(ask).as_ref().map(Lease::endpoint)
    });
    match asked.await.expect("asking for a stand-in does not panic") {
        Ok(endpoint) => endpoint,
        Err(why) => panic!("{why}"),
    }
}
