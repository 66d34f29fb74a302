//! A collector of spans and metrics that listens on a port of its own.

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Takes spans and metrics by OTLP over gRPC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    spans: Arc<Mutex<Vec<ResourceSpans>>>,
    pub(crate) metrics: Arc<Mutex<Vec<ResourceMetrics>>>,
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.spans.lock().expect("no holder panics").extend(request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Taken {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().expect("no holder panics").extend(request.into_inner().resource_metrics);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

pub(crate) struct Collector {
    pub(crate) taken: Taken,
    pub(crate) endpoint: String,
    _serving: Runtime,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let (taken, runtime) = (Taken::default(), Runtime::new().expect("a runtime"));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = Server::builder()
            .add_service(TraceServiceServer::new(taken.clone()))
            .add_service(MetricsServiceServer::new(taken.clone()));
        runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Collector { taken, endpoint, _serving: runtime }
    }

    /// The spans that came until now, as they came.
    pub(crate) fn taken(&self) -> Vec<ResourceSpans> {
        self.taken.spans.lock().expect("no holder panics").clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let scopes = self.taken().into_iter().flat_map(|taken| taken.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }
}
