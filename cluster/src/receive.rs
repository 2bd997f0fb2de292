//! [`Receiver`]: handles the requests of other nodes.

use crate::files::Folder;
use crate::hub::Hub;
use crate::links::Deliver;
use crate::service::Peers;
use crate::transport::Inbox;
use crate::wire::{Batch, Chunk, Done, Greeting, Posts, Raft};
use async_trait::async_trait;
use bytes::Bytes;
use consensus::{Base, FileError, Files as _, GroupId, Message, MessageKind, Snapshots};
use member::{Packet, State};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};

/// The largest snapshot, in bytes.
const SNAPSHOT_MAX: u64 = 1 << 40;

/// The number of pieces of a snapshot that may wait to be written.
const PIECES: usize = 4;

/// The longest time between two pieces of a snapshot.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes messages and snapshots of other nodes to the driver.
pub struct Receiver {
    hub: Arc<Hub>,
    inbox: Inbox,
    /// Held while a snapshot arrives: one at a time, in turn.
    turn: tokio::sync::Mutex<()>,
    /// The number of snapshots that have begun to arrive.
    snapshots: AtomicU64,
    deliver: Deliver,
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
    /// Passes published messages to `deliver`, and everything else to `inbox`.
    pub fn new(hub: Arc<Hub>, inbox: Inbox, deliver: Deliver) -> Receiver {
        let (turn, snapshots) = (tokio::sync::Mutex::new(()), AtomicU64::new(0));
        Receiver { hub, inbox, turn, snapshots, deliver }
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

    /// Decodes and checks a message of a group.
    fn message(&self, raft: Raft, from: u64, host: &str) -> Result<(GroupId, Message), Status> {
        let garbage = || self.refuse(from, host, crate::book::Stranger::Garbage);
        raft.message(from, self.hub.id()).ok_or_else(garbage)
    }

    fn batch(&self, batch: Batch, host: &str) -> Result<(), Status> {
        let Batch { version, cluster, from, messages } = batch;
        let admitted = self.hub.admits(version, cluster, from);
        admitted.map_err(|why| self.refuse(from, host, why))?;
        for raft in messages {
            let (group, message) = self.message(raft, from, host)?;
            // A snapshot without its data must not be accepted. It comes in a stream of its own.
            if message.kind == MessageKind::Snapshot {
                return Err(self.refuse(from, host, crate::book::Stranger::Garbage));
            }
            self.deliver(Packet { group, message, data: None });
        }
        Ok(())
    }

    /// Delivers published messages, on a thread on which no message of the group waits for that.
    async fn posts(&self, posts: Posts, host: &str) -> Result<(), Status> {
        let admitted = self.hub.admits(posts.version, posts.cluster, posts.from);
        admitted.map_err(|why| self.refuse(posts.from, host, why))?;
        let (deliver, count) = (self.deliver.clone(), posts.posts.len() as u64);
        let delivered = spawn_blocking(move || posts.posts.iter().for_each(|post| deliver(post)));
        delivered.await.map_err(|error| Status::internal(error.to_string()))?;
        self.hub.counts.received.add(count);
        Ok(())
    }

    /// Checks the first piece of a snapshot. Returns its group, its message and the base of the snapshot.
    fn first(&self, chunk: &mut Chunk, host: &str) -> Result<(GroupId, Message, Base), Status> {
        let admitted = self.hub.admits(chunk.version, chunk.cluster, chunk.from);
        admitted.map_err(|why| self.refuse(chunk.from, host, why))?;
        let raft = chunk.message.take().unwrap_or_default();
        let (group, message) = self.message(raft, chunk.from, host)?;
        match message.snapshot.clone().filter(|_| chunk.total <= SNAPSHOT_MAX) {
            Some(base) => Ok((group, message, base)),
            None => Err(self.refuse(chunk.from, host, crate::book::Stranger::Garbage)),
        }
    }

    /// Takes a snapshot, which is written while it arrives.
    async fn collect(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<(Packet, Received), Status> {
        let (host, _) = ends(&request);
        let mut chunks = request.into_inner();
        let mut chunk = next(&mut chunks).await?.ok_or_else(short)?;
        let (group, message, base) = self.first(&mut chunk, &host)?;
        let (total, number) = (chunk.total, self.snapshots.fetch_add(1, Ordering::Relaxed));
        let (pieces, waiting) = mpsc::channel(PIECES);
        let folder = self.hub.folder();
        let writing = spawn_blocking(move || write(folder, number, &base, total, waiting));
        let mut left = total;
        loop {
            left = left.checked_sub(chunk.data.len() as u64).ok_or_else(short)?;
            // Who writes no longer takes anything says why below.
            if pieces.send(chunk.data).await.is_err() || left == 0 {
                break;
            }
            let piece = next(&mut chunks).await?.filter(|chunk| !chunk.data.is_empty());
            chunk = piece.ok_or_else(short)?;
        }
        drop(pieces);
        let written = writing.await.map_err(|error| Status::internal(error.to_string()))?;
        let received = written.map_err(|error| refusal(&error, total, &host))?;
        let state = State::Written { name: received.name.clone(), bytes: total };
        Ok((Packet { group, message, data: Some(state) }, received))
    }
}

/// A snapshot that was written. Unless somebody takes it, it is removed when this is dropped: the
/// request may have ended before it was written.
struct Received {
    folder: Folder,
    name: String,
    is_taken: bool,
}

impl Drop for Received {
    fn drop(&mut self) {
        let name = &self.name;
        if !self.is_taken
            && let Err(error) = self.folder.remove(name)
        {
            tracing::warn!(%error, name, "a snapshot that nobody takes could not be removed");
        }
    }
}

fn short() -> Status {
    Status::invalid_argument("the snapshot is not as long as announced")
}

/// The answer to a node whose snapshot could not be written. It tries again.
fn refusal(error: &FileError, total: u64, host: &str) -> Status {
    tracing::warn!(%error, bytes = total, host, "a snapshot of another node cannot be written");
    match error {
        FileError::Full => Status::resource_exhausted("no space is left for the snapshot"),
        FileError::Failed(why) => Status::internal(why.clone()),
    }
}

/// Writes a snapshot, piece by piece. If it fails nothing stays.
fn write(
    mut folder: Folder,
    number: u64,
    base: &Base,
    total: u64,
    mut pieces: mpsc::Receiver<Bytes>,
) -> Result<Received, FileError> {
    let mut snapshots = Snapshots(&mut folder);
    let mut writer = snapshots.receive(number, base, total)?;
    while let Some(piece) = pieces.blocking_recv() {
        writer.write(&piece)?;
    }
    let name = writer.finish()?;
    Ok(Received { folder, name, is_taken: false })
}

/// The next piece. If it takes too long, the snapshot is given up, so that another node can send
/// one.
async fn next(chunks: &mut Streaming<Chunk>) -> Result<Option<Chunk>, Status> {
    let next = tokio::time::timeout(PATIENCE, chunks.message()).await;
    next.map_err(|_| Status::deadline_exceeded("the snapshot does not go on"))?
}

#[async_trait]
impl Peers for Receiver {
    fn greet(&self, request: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        let (remote, local) = ends(&request);
        let mut said = request.into_inner();
        if said.your_host.is_empty() {
            said.your_host = local;
        }
        let merged = self.hub.merge(said, &remote);
        merged.map_err(|why| Status::permission_denied(why.to_string()))?;
        Ok(Response::new(self.hub.book().greeting(&remote)))
    }

    async fn messages(
        self: Arc<Self>,
        request: Request<Streaming<Batch>>,
    ) -> Result<Response<Done>, Status> {
        let (host, _) = ends(&request);
        let mut batches = request.into_inner();
        while let Some(batch) = batches.message().await? {
            self.batch(batch, &host)?;
        }
        Ok(Response::new(Done {}))
    }

    async fn publish(
        self: Arc<Self>,
        request: Request<Streaming<Posts>>,
    ) -> Result<Response<Done>, Status> {
        let (host, _) = ends(&request);
        let mut batches = request.into_inner();
        while let Some(posts) = batches.message().await? {
            self.posts(posts, &host).await?;
        }
        Ok(Response::new(Done {}))
    }

    async fn snapshot(
        self: Arc<Self>,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Done>, Status> {
        // Who waits has sent what fits into the window of its stream.
        let _turn = self.turn.lock().await;
        let (packet, mut received) = self.collect(request).await?;
        received.is_taken = self.deliver(packet);
        match received.is_taken {
            true => Ok(Response::new(Done {})),
            false => Err(Status::resource_exhausted("too much waits here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Membership;
    use storage::testing::until;

    #[test]
    fn a_snapshot_whose_request_ends_before_it_is_written_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        let count = || folder.list().unwrap().len();
        let base = Base { index: 5, term: 1, members: Membership::of([1, 2]), seq: 0, time: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let write_in = |folder: Folder, number| {
            let (pieces, waiting) = mpsc::channel(PIECES);
            let base = base.clone();
            (pieces, runtime.spawn_blocking(move || write(folder, number, &base, 3, waiting)))
        };
        let (pieces, writing) = write_in(folder.clone(), 1);
        until("it is begun", || count() == 1);
        pieces.blocking_send(Bytes::from_static(b"abc")).unwrap();
        // Its last piece is there, and nobody waits for the result any more.
        drop(writing);
        drop(pieces);
        until("nothing of it stays", || count() == 0);
        let (pieces, writing) = write_in(folder.clone(), 2);
        pieces.blocking_send(Bytes::from_static(b"abc")).unwrap();
        drop(pieces);
        let mut received = runtime.block_on(writing).unwrap().unwrap();
        received.is_taken = true;
        drop(received);
        assert_eq!(count(), 1, "who takes it has it");
    }
}
