//! [`Receiver`]: handles the requests of other nodes.

use crate::hub::Hub;
use crate::service::Peers;
use crate::transport::Inbox;
use crate::wire::{Batch, Chunk, Done, Greeting, Raft};
use bytes::Bytes;
use consensus::{Message, MessageKind};
use member::Packet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::codegen::BoxFuture;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};

/// The largest snapshot, in bytes. It is held in memory while it arrives.
const SNAPSHOT_MAX: u64 = 64 << 30;

/// The longest time between two pieces of a snapshot.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes messages and snapshots of other nodes to the driver.
pub struct Receiver {
    hub: Arc<Hub>,
    inbox: Inbox,
    /// Whether a snapshot is arriving. Only one is accepted at a time.
    busy: AtomicBool,
}

/// An IP address as a host in an announced address.
pub fn host_of(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

/// The hosts at both ends of a request's connection.
fn ends<T>(request: &Request<T>) -> (String, String) {
    let ends = request.extensions().get::<TcpConnectInfo>();
    let host = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(String::new, |address| host_of(address.ip()))
    };
    let (remote, local) = ends.map_or((None, None), |it| (it.remote_addr(), it.local_addr()));
    (host(remote), host(local))
}

impl Receiver {
    /// Passes everything to `inbox`.
    pub fn new(hub: Arc<Hub>, inbox: Inbox) -> Receiver {
        Receiver { hub, inbox, busy: AtomicBool::new(false) }
    }

    fn refuse(&self, from: u64, host: &str, why: crate::book::Stranger) -> Status {
        Status::permission_denied(self.hub.refuse(from, host, why).to_string())
    }

    /// Passes a message to the driver. Returns whether the queue had room for it.
    fn deliver(&self, packet: Packet) -> bool {
        let taken = self.inbox.deliver(packet);
        let counts = &self.hub.counts;
        if taken {
            counts.received.add(1)
        } else {
            counts.lost.add(1)
        }
        taken
    }

    /// Decodes and checks a message.
    fn message(&self, raft: Raft, from: u64, host: &str) -> Result<Message, Status> {
        let garbage = || self.refuse(from, host, crate::book::Stranger::Garbage);
        raft.message(from, self.hub.id()).ok_or_else(garbage)
    }

    fn batch(&self, batch: Batch, host: &str) -> Result<(), Status> {
        let Batch { version, cluster, from, messages } = batch;
        let admitted = self.hub.admits(version, cluster, from);
        admitted.map_err(|why| self.refuse(from, host, why))?;
        for raft in messages {
            let message = self.message(raft, from, host)?;
            // A snapshot without its data must not be accepted. It comes in a stream of its own.
            if message.kind == MessageKind::Snapshot {
                return Err(self.refuse(from, host, crate::book::Stranger::Garbage));
            }
            self.deliver(Packet { message, data: None });
        }
        Ok(())
    }

    /// Checks the first piece of a snapshot. Returns its message and the size of the snapshot.
    fn first(&self, chunk: &mut Chunk, host: &str) -> Result<(Message, u64), Status> {
        let admitted = self.hub.admits(chunk.version, chunk.cluster, chunk.from);
        admitted.map_err(|why| self.refuse(chunk.from, host, why))?;
        let raft = chunk.message.take().unwrap_or_default();
        let message = self.message(raft, chunk.from, host)?;
        match chunk.total <= SNAPSHOT_MAX && message.snapshot.is_some() {
            true => Ok((message, chunk.total)),
            false => Err(self.refuse(chunk.from, host, crate::book::Stranger::Garbage)),
        }
    }

    async fn collect(&self, request: Request<Streaming<Chunk>>) -> Result<Packet, Status> {
        let (host, _) = ends(&request);
        let mut chunks = request.into_inner();
        let short = || Status::invalid_argument("the snapshot is not complete");
        let mut chunk = next(&mut chunks).await?.ok_or_else(short)?;
        let (message, total) = self.first(&mut chunk, &host)?;
        let mut data = chunk.data.to_vec();
        while (data.len() as u64) < total {
            let chunk = next(&mut chunks).await?.filter(|chunk| !chunk.data.is_empty());
            data.extend_from_slice(&chunk.ok_or_else(short)?.data);
        }
        match data.len() as u64 == total {
            true => Ok(Packet { message, data: Some(Bytes::from(data)) }),
            false => Err(short()),
        }
    }
}

/// The next piece. If it takes too long, the snapshot is given up, so that another node can send
/// one.
async fn next(chunks: &mut Streaming<Chunk>) -> Result<Option<Chunk>, Status> {
    let next = tokio::time::timeout(PATIENCE, chunks.message()).await;
    next.map_err(|_| Status::deadline_exceeded("the snapshot does not go on"))?
}

impl Peers for Receiver {
    fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        let (remote, local) = ends(&request);
        let mut said = request.into_inner();
        if said.your_host.is_empty() {
            said.your_host = local;
        }
        let heard = self.hub.hear(said, &remote);
        heard.map_err(|why| Status::permission_denied(why.to_string()))?;
        Ok(Response::new(self.hub.book().greeting(&remote)))
    }

    fn messages(
        self: Arc<Self>,
        request: Request<Streaming<Batch>>,
    ) -> BoxFuture<Response<Done>, Status> {
        Box::pin(async move {
            let (host, _) = ends(&request);
            let mut batches = request.into_inner();
            while let Some(batch) = batches.message().await? {
                self.batch(batch, &host)?;
            }
            Ok(Response::new(Done {}))
        })
    }

    fn snapshot(
        self: Arc<Self>,
        request: Request<Streaming<Chunk>>,
    ) -> BoxFuture<Response<Done>, Status> {
        Box::pin(async move {
            if self.busy.swap(true, Ordering::SeqCst) {
                return Err(Status::resource_exhausted("another snapshot is on its way"));
            }
            let _free = Free(self.clone());
            let packet = self.collect(request).await?;
            match self.deliver(packet) {
                true => Ok(Response::new(Done {})),
                false => Err(Status::resource_exhausted("too much waits here")),
            }
        })
    }
}

/// Permits the next snapshot when dropped, however this one ended.
struct Free(Arc<Receiver>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}
