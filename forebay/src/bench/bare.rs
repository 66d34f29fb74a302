//! The least that a server can do: read the body, answer 202. What part c is held against.

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use service::tasks;
use tokio::net::TcpListener;

/// Serves on a free port, which it prints as `up` does, until it is asked to stop.
pub(super) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    println!("  HTTP     http://{}/v1/events", listener.local_addr()?);
    let listener = listener.tap_io(|socket| {
        // A connection without it is slower, and that is all.
        let _ = socket.set_nodelay(true);
    });
    let router = Router::new().route("/v1/events", post(accept));
    axum::serve(listener, router).with_graceful_shutdown(tasks::signal()).await.context("serve")
}

async fn accept(_body: Bytes) -> StatusCode {
    StatusCode::ACCEPTED
}
