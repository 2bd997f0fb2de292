//! [`Collector`]: what receives spans in tests, with the code that other programs use for it.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
pub use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

type Received = Arc<Mutex<Vec<Span>>>;

/// A collector in this process, on a port of its own. It runs until the process ends.
pub struct Collector {
    address: SocketAddr,
    received: Received,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// Panics if it cannot listen.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it is bound");
        let received = Received::default();
        let service = TraceServiceServer::new(Service(received.clone()));
        std::thread::spawn(move || {
            let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
            executor.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let served = Server::builder().add_service(service);
                served.serve_with_incoming(TcpIncoming::from(listener)).await
            })
        });
        Collector { address, received }
    }

    /// Its address, as an exporter wants it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that it has received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Service(Received);

type Answer = Result<Response<ExportTraceServiceResponse>, Status>;

impl TraceService for Service {
    fn export<'s, 'a>(
        &'s self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        let spans = request.into_inner().resource_spans.into_iter();
        let spans = spans.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        Box::pin(std::future::ready(Ok(Response::new(ExportTraceServiceResponse::default()))))
    }
}
