//! What comes before a call's message is in memory: its key, its deadline, and the budget for its bytes.
//!
//! tonic collects a message before the service sees it. Without this, clients that send much and end nothing would hold
//! as much memory as they like.

use super::Publisher;
use super::proto::ingest_server::IngestServer;
use crate::accept::shed;
use crate::budget::{Charge, Exhausted};
use crate::keys::{self, Sender};
use crate::refusal::Refusal;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use hyper::body::{Body as HttpBody, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

/// The service, behind what is asked of each call.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) publisher: Arc<Publisher>,
    pub(super) server: IngestServer<Publisher>,
}

/// What a call brings along once it is admitted.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) sender: Sender,
    charge: Arc<Mutex<Charge>>,
}

impl Admitted {
    /// The charge for the bytes of the message, all of which have arrived.
    pub(super) fn take_charge(&self) -> Charge {
        self.charge.lock().expect("nobody panics while holding it").split(usize::MAX)
    }
}

impl NamedService for Admission {
    const NAME: &'static str = <IngestServer<Publisher> as NamedService>::NAME;
}

impl Service<Request<Body>> for Admission {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.server, cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match admit(&self.publisher, request) {
            Ok(admitted) => self.server.call(admitted),
            Err(refusal) => std::future::ready(Ok(tonic::Status::from(refusal).into_http())).boxed(),
        }
    }
}

fn admit(publisher: &Publisher, request: Request<Body>) -> Result<Request<Body>, Refusal> {
    let (mut head, body) = request.into_parts();
    let sender = publisher.keys.sender(keys::in_headers(&head.headers)).ok_or(Refusal::Unauthorized)?;
    let charge = Arc::new(Mutex::new(publisher.budget.open()));
    head.extensions.insert(Admitted { sender, charge: charge.clone() });
    let timeout = publisher.body_timeout;
    let body = Body::new(Charged { body, charge, timeout, until: Box::pin(sleep(timeout)) });
    Ok(Request::from_parts(head, body))
}

/// A body whose bytes are charged as they arrive, and which has to end in time.
#[derive(Debug)]
struct Charged {
    body: Body,
    charge: Arc<Mutex<Charge>>,
    timeout: Duration,
    until: Pin<Box<Sleep>>,
}

impl HttpBody for Charged {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.until.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Refusal::TooSlow { seconds: self.timeout.as_secs() }.into())));
        };
        let arrived =
            frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref).map_or(0, Bytes::len);
        let grown = self.charge.lock().expect("nobody panics while holding it").grow(arrived);
        Poll::Ready(match grown {
            Ok(()) => frame,
            Err(Exhausted) => Some(Err(shed().into())),
        })
    }
}
