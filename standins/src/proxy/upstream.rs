//! A connection to the stand-in: one for each of a client's, so that both are kept alive together.

use super::call::Call;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Where calls go on to.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Host and port.
    address: Arc<str>,
    open: Option<SendRequest<Full<Bytes>>>,
    // Moves the bytes of the open connection, and ends with it.
    driver: JoinSet<()>,
}

impl Upstream {
    pub(super) fn new(address: Arc<str>) -> Upstream {
        Upstream { address, open: None, driver: JoinSet::new() }
    }

    /// Passes a call on. The answer streams in as long as this lives.
    ///
    /// # Errors
    /// The upstream does not answer; whether it applied the call is open.
    pub(super) async fn send(&mut self, call: &Call) -> io::Result<Response<Incoming>> {
        // An idle connection may have been closed meanwhile, which is no fault: what it did not take goes over a new one.
        if let Some(open) = &mut self.open
            && open.ready().await.is_ok()
        {
            match open.try_send_request(call.request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.message().is_none() => return Err(io::Error::other(error.into_error())),
                Err(_) => {}
            }
        }
        self.connect().await?.send_request(call.request()).await.map_err(io::Error::other)
    }

    /// Passes a call on and takes in the whole answer.
    pub(super) async fn apply(&mut self, call: &Call) -> io::Result<(StatusCode, Bytes)> {
        let answer = self.send(call).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    }

    async fn connect(&mut self) -> io::Result<&mut SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.driver.abort_all();
        self.driver.spawn(async {
            // Whoever waits for an answer gets the error too.
            let _ = connection.await;
        });
        Ok(self.open.insert(sender))
    }
}
