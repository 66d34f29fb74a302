//! What may happen to the calls to a service on a bad day.

use crate::fleet::eventually;
use standins::Server;
use standins::proxy::{Fault, FaultProxy, Faults};
use std::time::Duration;

/// Which calls meet which faults.
const SEED: u64 = 7;

/// How often each fault happens beyond its first times. Many operations come a few times only.
const OFTEN: f64 = 0.02;

/// When a held call arrives: its caller has long repeated it.
const HELD: Duration = Duration::from_secs(8);

/// A held call that arrives when the test says so: whoever sent it has ended, and others have gone on.
const HELD_ON: Duration = Duration::MAX;

/// Faults that any call can meet.
const ANY: [Fault; 3] = [Fault::Refuse, Fault::ServerError, Fault::Throttle];

/// Faults after which a write is undecided to whoever made it, or takes effect twice.
const WRITES: [Fault; 4] = [Fault::DropAnswer, Fault::Hold(HELD), Fault::Hold(HELD_ON), Fault::Twice];

/// A service, what writes to it, and what else may happen to such a write.
pub(crate) struct Climate {
    pub(crate) server: Server,
    pub(crate) writes: &'static [&'static str],
    pub(crate) own: &'static [Fault],
}

impl Climate {
    fn faults_of_writes(&self) -> impl Iterator<Item = (&'static str, Fault)> {
        let each = |write: &'static &'static str| {
            ANY.into_iter().chain(WRITES).chain(self.own.iter().copied()).map(|fault| (*write, fault))
        };
        self.writes.iter().flat_map(each)
    }

    /// Each fault once for certain, and then by the seed.
    pub(crate) fn faults(&self) -> Faults {
        let once = |faults: Faults, (write, fault)| faults.next(1, write, fault);
        let often = |faults: Faults, (write, fault)| faults.with(write, fault, OFTEN);
        let to_any = |faults: Faults, fault| faults.with_any(fault, OFTEN);
        let of_writes = self.faults_of_writes().filter(|(_, fault)| !ANY.contains(fault));
        let faults = self.faults_of_writes().fold(Faults::none(), once);
        ANY.into_iter().fold(of_writes.fold(faults, often), to_any)
    }

    async fn endpoint(&self) -> standins::Endpoint {
        match self.server {
            Server::Kinesis | Server::KinesisFast => standins::kinesis().await,
            Server::DynamoDb => standins::dynamodb().await,
            Server::S3 => standins::s3().await,
            Server::Queue => standins::queue().await,
        }
    }

    /// A proxy in front of the service, with these faults.
    pub(crate) async fn begin(&self) -> FaultProxy {
        FaultProxy::start(&self.endpoint().await, self.faults(), SEED).await
    }

    /// Faults of writes that have not happened yet.
    pub(crate) fn missing(&self, proxy: &FaultProxy) -> Vec<String> {
        let counts = proxy.counts();
        let missing = self.faults_of_writes().filter(|&(write, fault)| counts.of(write, fault) == 0);
        missing.map(|(write, fault)| format!("{write}: {}", fault.name())).collect()
    }

    /// Ends the faults, and has everything arrive that is held.
    pub(crate) async fn deliver_late(&self, proxy: &FaultProxy) {
        proxy.set(Faults::none());
        proxy.deliver_held();
        for write in self.writes {
            let held = proxy.counts().of(write, Fault::Hold(HELD));
            let arrived = || proxy.counts().delivered(write) >= held;
            eventually(&format!("{held} times a {write} is delivered late"), arrived).await;
        }
    }
}
