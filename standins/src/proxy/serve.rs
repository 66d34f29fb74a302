//! Takes connections and calls, and asks for each what is to happen to it.

use super::call::Call;
use super::dice::Dice;
use super::faults::{Fault, Faults};
use super::forged::{Answer, too_large};
use super::late::{Late, Lates};
use super::tally::Tally;
use super::upstream::Upstream;
use crate::Endpoint;
use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Connections and held calls at a time: more than a fleet of test processes opens.
const TASKS_MAX: usize = 4096;

/// What all connections of a proxy have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tally: Tally,
    pub(super) lates: Lates,
    upstream: Arc<str>,
    seed: u64,
    faults: Mutex<Faults>,
    paused: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(upstream: &Endpoint, faults: Faults, seed: u64, lates: Lates) -> Shared {
        let address = upstream.url.trim_start_matches("http://").trim_end_matches('/');
        let (faults, paused) = (Mutex::new(faults), watch::Sender::new(false));
        Shared { tally: Tally::default(), lates, upstream: address.into(), seed, faults, paused }
    }

    pub(super) fn set(&self, faults: Faults) {
        *self.faults.lock().expect("no holder panics") = faults;
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Waits while the proxy is a black hole.
    async fn resumed(&self) {
        let mut paused = self.paused.subscribe();
        paused.wait_for(|paused| !paused).await.expect("the sender is here");
    }

    /// The answer to a call; an error breaks the connection.
    async fn answer(&self, request: Request<Incoming>, upstream: &mut Upstream) -> io::Result<Answer> {
        let call = match Call::read(request).await {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(too_large()),
            read => read?,
        };
        if *self.paused.borrow() {
            self.resumed().await;
            return Err(reset());
        }
        let mut dice = Dice::of_call(self.seed, &call.operation, self.tally.number(&call.operation));
        let answer = match self.choose(&call, &mut dice) {
            Some(fault) => self.commit(fault, &call, upstream, &mut dice).await,
            None => pass(&call, upstream).await,
        };
        self.resumed().await;
        answer
    }

    fn choose(&self, call: &Call, dice: &mut Dice) -> Option<Fault> {
        self.faults.lock().expect("no holder panics").choose(call, dice)
    }
}

/// What breaks a connection before there is an answer.
pub(super) fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Without a fault.
pub(super) async fn pass(call: &Call, upstream: &mut Upstream) -> io::Result<Answer> {
    Ok(upstream.send(call).await?.map(Either::Left).map(Either::Right))
}

/// Serves until it is dropped, and everything under way with it.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener, mut arrivals: mpsc::Receiver<Late>) {
    let mut tasks = JoinSet::new();
    loop {
        let room = tasks.len() < TASKS_MAX;
        tokio::select! {
            accepted = listener.accept(), if room => {
                if let Ok((stream, _)) = accepted {
                    tasks.spawn(converse(shared.clone(), stream));
                }
            }
            Some(late) = arrivals.recv(), if room => {
                tasks.spawn(deliver(shared.clone(), late));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// One connection of a client, to its end.
async fn converse(shared: Arc<Shared>, stream: TcpStream) {
    // Only fails where the client is gone already.
    let _ = stream.set_nodelay(true);
    let upstream = Arc::new(tokio::sync::Mutex::new(Upstream::new(shared.upstream.clone())));
    let service = service_fn(move |request| {
        let (shared, upstream) = (shared.clone(), upstream.clone());
        async move { shared.answer(request, &mut *upstream.lock().await).await }
    });
    let mut connection =
        http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // A reset, so that the client can't take it for an end that was meant.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Delivers a held call. Nobody learns the answer.
async fn deliver(shared: Arc<Shared>, late: Late) {
    let Late { call, delay, room, mut released } = late;
    // Either way its time has come.
    let _ = tokio::time::timeout(delay, released.changed()).await;
    if Upstream::new(shared.upstream.clone()).apply(&call).await.is_ok() {
        shared.tally.count_delivered(&call.operation);
    }
    drop(room);
}
