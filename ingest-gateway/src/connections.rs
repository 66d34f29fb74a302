//! New connections, a bounded number at a time, with TLS where it is set.

use crate::metrics::METRICS;
use service::Stop;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Pause after the system refused a new connection, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that holds its place among those that may be open.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    _place: Place,
}

/// A place among the connections that may be open.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(permit: OwnedSemaphorePermit) -> Place {
        METRICS.connections.inc();
        Place { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METRICS.connections.dec();
    }
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Somebody has connected, and nothing was said yet.
#[derive(Debug)]
pub(crate) struct Caller {
    socket: TcpStream,
    place: Place,
}

impl Caller {
    /// Agrees on TLS where it is set.
    pub(crate) async fn greet(self, tls: Option<&TlsAcceptor>) -> io::Result<Connection> {
        let Caller { socket, place } = self;
        let socket = match tls {
            None => Socket::Plain(socket),
            Some(tls) => {
                let greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket));
                Socket::Tls(Box::new(greeted.await.map_err(|_| io::ErrorKind::TimedOut)??))
            }
        };
        Ok(Connection { socket, _place: place })
    }
}

/// Waits for a place and then for somebody to take it; `None` once it is time to stop.
pub(crate) async fn next(listener: &TcpListener, places: &Arc<Semaphore>, stop: &Stop) -> Option<Caller> {
    let accept = async {
        let permit = places.clone().acquire_owned().await.expect("nobody closes the semaphore");
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    // Without it the last packet of an answer may wait for an acknowledgement; failing costs only that.
                    let _ = socket.set_nodelay(true);
                    return Caller { socket, place: Place::take(permit) };
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        caller = accept => Some(caller),
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.socket {
            Socket::Plain(socket) => socket.connect_info(),
            Socket::Tls(socket) => socket.get_ref().0.connect_info(),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }
}
