//! The admin endpoints that every process has: `/healthz`, `/readyz`, `/metrics`.

use crate::health::report_to_grpc;
use crate::{Health, Stop, metrics};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Routes to merge into a process's HTTP server, or to serve alone.
pub fn routes(health: Health) -> Router {
    let told =
        |reasons: &[(String, String)]| reasons.iter().map(|(part, reason)| format!("{part}: {reason}\n")).collect();
    checks(health.clone(), told).route("/metrics", get(|| async move { shown(&health) }))
}

/// What may be seen by everybody: whether the process lives and is ready, and nothing of its inside.
pub fn public_routes(health: Health) -> Router {
    checks(health, |_| "not ready\n".to_string())
}

/// `told` makes the answer of a process that is not ready from the reasons.
fn checks(health: Health, told: fn(&[(String, String)]) -> String) -> Router {
    let ready = move || async move {
        let reasons = health.reasons();
        match reasons.is_empty() {
            true => "ready\n".into_response(),
            false => (StatusCode::SERVICE_UNAVAILABLE, told(&reasons)).into_response(),
        }
    };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// Serves the admin routes, and the gRPC health protocol for `service`, on an address of their own until it is dropped, or
/// until `closing` and nobody is left who watches. Once `stop` is signalled the process is no longer ready, and goes on saying
/// so while it drains.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    service: &str,
    stop: Stop,
    closing: Stop,
) -> anyhow::Result<()> {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let said = report_to_grpc(health.clone(), reporter, vec![service.to_owned()], stop.clone());
    let router = tonic::service::Routes::new(health_service).into_axum_router().merge(routes(health.clone()));
    let not_ready = async {
        stop.cancelled().await;
        health.drain();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // Before anybody can ask: the protocol's server takes a process of which it was told nothing for one that is ready.
        biased;
        // Who is told by gRPC that it is not ready finds the reason at /readyz.
        () = async { tokio::join!(biased; not_ready, said); } => {}
        served = axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned()) => served?,
    }
    Ok(())
}

fn shown(health: &Health) -> Response {
    let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    match metrics::text(health) {
        Ok(text) => (content_type, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
