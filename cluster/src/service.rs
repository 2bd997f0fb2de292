//! The gRPC service between nodes, `varve.Peers`. This is what `tonic-prost-build` would generate,
//! written by hand.
//!
//! `docs/decisions/0039-peers-by-hand.md` says why.

use crate::wire::{Batch, Chunk, Done, Greeting, Posts};
use async_trait::async_trait;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use subtle::ConstantTimeEq as _;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::AsciiMetadataValue;
use tonic::server::{ClientStreamingService, NamedService, UnaryService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The largest gRPC message, in bytes. A batch or a piece of a snapshot is smaller, but a single
/// entry may be as large as a client's largest value.
pub const MESSAGE_MAX: usize = 1 << 30;

const GREET: &str = "/varve.Peers/Greet";
const MESSAGES: &str = "/varve.Peers/Messages";
const SNAPSHOT: &str = "/varve.Peers/Snapshot";
const PUBLISH: &str = "/varve.Peers/Publish";

/// Handles the requests of other nodes. Each is made once for a connection, so a boxed future costs
/// nothing that counts.
#[async_trait]
pub trait Peers: Send + Sync + 'static {
    /// Two nodes exchange what they know of themselves and of other nodes.
    fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeting>, Status>;
    /// Takes messages until the stream ends.
    async fn messages(
        self: Arc<Self>,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<Done>, Status>;
    /// Takes a snapshot.
    async fn snapshot(
        self: Arc<Self>,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Done>, Status>;
    /// Takes published messages until the stream ends.
    async fn publish(
        self: Arc<Self>,
        request: Request<Streaming<Posts>>,
    ) -> Result<Response<Done>, Status>;
}

/// The secret that all nodes of a cluster share; empty if none is required.
pub type Secret = Arc<str>;

/// The request header with the secret. It is checked before anything is decoded.
const HEADER: &str = "varve-secret";

/// The server side of the service.
pub struct PeersServer<P>(pub Arc<P>, pub Secret);

impl<P> Clone for PeersServer<P> {
    fn clone(&self) -> Self {
        PeersServer(self.0.clone(), self.1.clone())
    }
}

impl<P> PeersServer<P> {
    /// Whether the request has the right secret.
    fn knows(&self, request: &http::Request<Body>) -> bool {
        let said = request.headers().get(HEADER).map_or(&b""[..], |said| said.as_bytes());
        said.ct_eq(self.1.as_bytes()).into()
    }
}

impl<P> NamedService for PeersServer<P> {
    const NAME: &'static str = "varve.Peers";
}

impl<P: Peers> UnaryService<Greeting> for PeersServer<P> {
    type Response = Greeting;
    type Future = std::future::Ready<Result<Response<Greeting>, Status>>;

    fn call(&mut self, request: Request<Greeting>) -> Self::Future {
        std::future::ready(self.0.greet(request))
    }
}

impl<P: Peers> ClientStreamingService<Batch> for PeersServer<P> {
    type Response = Done;
    type Future = BoxFuture<Response<Done>, Status>;

    fn call(&mut self, request: Request<Streaming<Batch>>) -> Self::Future {
        self.0.clone().messages(request)
    }
}

impl<P: Peers> ClientStreamingService<Chunk> for PeersServer<P> {
    type Response = Done;
    type Future = BoxFuture<Response<Done>, Status>;

    fn call(&mut self, request: Request<Streaming<Chunk>>) -> Self::Future {
        self.0.clone().snapshot(request)
    }
}

impl<P: Peers> ClientStreamingService<Posts> for PeersServer<P> {
    type Response = Done;
    type Future = BoxFuture<Response<Done>, Status>;

    fn call(&mut self, request: Request<Streaming<Posts>>) -> Self::Future {
        self.0.clone().publish(request)
    }
}

impl<P: Peers> Service<http::Request<Body>> for PeersServer<P> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if !self.knows(&request) {
            let refused = Status::unauthenticated("the secret of the cluster is another one");
            return Box::pin(async { Ok(refused.into_http()) });
        }
        let service = self.clone();
        match request.uri().path() {
            GREET => Box::pin(async move {
                let codec = ProstCodec::<Greeting, Greeting>::default();
                Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
            }),
            MESSAGES => Box::pin(async move {
                let codec = ProstCodec::<Done, Batch>::default();
                let grpc = tonic::server::Grpc::new(codec);
                let mut grpc = grpc.max_decoding_message_size(MESSAGE_MAX);
                Ok(grpc.client_streaming(service, request).await)
            }),
            SNAPSHOT => Box::pin(async move {
                let codec = ProstCodec::<Done, Chunk>::default();
                Ok(tonic::server::Grpc::new(codec).client_streaming(service, request).await)
            }),
            PUBLISH => Box::pin(async move {
                let codec = ProstCodec::<Done, Posts>::default();
                let grpc = tonic::server::Grpc::new(codec);
                let mut grpc = grpc.max_decoding_message_size(MESSAGE_MAX);
                Ok(grpc.client_streaming(service, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}

/// The client side of the service, on one connection.
#[derive(Clone)]
pub struct PeersClient(tonic::client::Grpc<Channel>, Option<AsciiMetadataValue>);

impl PeersClient {
    /// Uses the connection `channel`.
    pub fn new(channel: Channel, secret: &str) -> Self {
        let grpc = tonic::client::Grpc::new(channel).max_encoding_message_size(MESSAGE_MAX);
        // A secret that cannot be in a header was refused at start.
        PeersClient(grpc, secret.parse().ok().filter(|_| !secret.is_empty()))
    }

    /// A request with the secret in its header.
    fn request<T>(&self, what: T) -> Request<T> {
        let mut request = Request::new(what);
        if let Some(secret) = &self.1 {
            request.metadata_mut().insert(HEADER, secret.clone());
        }
        request
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }

    /// See [`Peers::greet`].
    pub async fn greet(&mut self, greeting: Greeting) -> Result<Greeting, Status> {
        self.ready().await?;
        let codec = ProstCodec::<Greeting, Greeting>::default();
        let path = PathAndQuery::from_static(GREET);
        let request = self.request(greeting);
        Ok(self.0.unary(request, path, codec).await?.into_inner())
    }

    /// See [`Peers::messages`].
    pub async fn messages(
        &mut self,
        batches: impl Stream<Item = Batch> + Send + 'static,
    ) -> Result<(), Status> {
        self.ready().await?;
        let codec = ProstCodec::<Batch, Done>::default();
        let path = PathAndQuery::from_static(MESSAGES);
        let request = self.request(batches);
        self.0.client_streaming(request, path, codec).await.map(drop)
    }

    /// See [`Peers::publish`].
    pub async fn publish(
        &mut self,
        posts: impl Stream<Item = Posts> + Send + 'static,
    ) -> Result<(), Status> {
        self.ready().await?;
        let codec = ProstCodec::<Posts, Done>::default();
        let path = PathAndQuery::from_static(PUBLISH);
        let request = self.request(posts);
        self.0.client_streaming(request, path, codec).await.map(drop)
    }

    /// See [`Peers::snapshot`].
    pub async fn snapshot(
        &mut self,
        chunks: impl Stream<Item = Chunk> + Send + 'static,
    ) -> Result<(), Status> {
        self.ready().await?;
        let codec = ProstCodec::<Chunk, Done>::default();
        let path = PathAndQuery::from_static(SNAPSHOT);
        let request = self.request(chunks);
        self.0.client_streaming(request, path, codec).await.map(drop)
    }
}
