//! A proxy between the SDK and a stand-in that does what AWS does on a bad day.
//!
//! **Fault**: what happens to one call. **Rule**: a fault, the operation it happens to and how often. **Upstream**: the
//! stand-in. **Reset**: the client's connection breaks before there is an answer, so that the call is undecided to it.
//! **Applied**: the upstream has answered, whatever the client gets to see.
//!
//! Which calls meet which faults is a function of the seed and of the number of the call among those of its operation.
//! Everything else reaches the upstream byte for byte, with the host that the client signed.

mod call;
mod commit;
mod dice;
mod faults;
mod forged;
mod late;
mod operation;
mod partial;
mod serve;
mod tally;
mod upstream;

pub use faults::{Fault, Faults};
pub use tally::Counts;

use crate::Endpoint;
use late::Lates;
use serve::Shared;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A running proxy; it ends when it is dropped, and what it holds is never delivered then.
///
/// It runs on the caller's runtime: a test that blocks its thread needs more than one.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Ends with the proxy.
    _serving: JoinSet<()>,
}

impl FaultProxy {
    /// # Panics
    /// Where loopback has no free port.
    pub async fn start(upstream: &Endpoint, faults: Faults, seed: u64) -> FaultProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (lates, arrivals) = Lates::new();
        let shared = Arc::new(Shared::new(upstream, faults, seed, lates));
        let mut serving = JoinSet::new();
        serving.spawn(serve::run(shared.clone(), listener, arrivals));
        FaultProxy { address, shared, _serving: serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint { url: self.url() }
    }

    /// Other rules from the next call on. Counts go on, and so do the numbers of calls.
    pub fn set(&self, faults: Faults) {
        self.shared.set(faults);
    }

    /// Becomes a black hole: connections are accepted, and nothing is passed on or answered. A call that comes meanwhile is
    /// never applied, and reset when this ends; an answer that is under way waits until then.
    pub fn pause(&self) {
        self.shared.pause(true);
    }

    pub fn resume(&self) {
        self.shared.pause(false);
    }

    /// Delivers all calls that are held now, however long they were to be.
    pub fn deliver_held(&self) {
        self.shared.lates.release();
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }
}
