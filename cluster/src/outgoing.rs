//! [`Queue`], [`Outgoing`], [`read_pieces`]: what waits to be sent to another node, and the batches
//! and pieces of a snapshot that are made of it when the connection can take them.

use crate::book::Book;
use crate::wire::{Batch, Chunk, Post, Posts, Raft, VERSION, weight};
use consensus::{GroupId, Message, NodeId, SnapshotReader};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;

/// The highest number of messages that wait for one connection.
const QUEUE: usize = 8_192;

/// The highest number of bytes of messages that wait for one connection.
const QUEUE_BYTES: usize = 64 << 20;

/// The approximate number of messages and of bytes in one batch.
const BATCH: (usize, usize) = (256, 1 << 20);

/// The number of bytes in one piece of a snapshot.
const PIECE: usize = 1 << 20;

/// Something that waits to be sent to another node, together with others of its kind.
pub trait Waiting: Sized + Send + Unpin + 'static {
    /// Some of them on their way.
    type Batch: Send + 'static;
    /// The approximate number of bytes that one occupies.
    fn weight(&self) -> usize;
    /// Makes a batch of some.
    fn batch(cluster: u64, from: NodeId, some: Vec<Self>) -> Self::Batch;
}

impl Waiting for (GroupId, Message) {
    type Batch = Batch;

    fn weight(&self) -> usize {
        weight(&self.1)
    }

    fn batch(cluster: u64, from: NodeId, some: Vec<(GroupId, Message)>) -> Batch {
        let messages = some.into_iter().map(Raft::from).collect();
        Batch { version: VERSION, cluster, from, messages }
    }
}

impl Waiting for Post {
    type Batch = Posts;

    fn weight(&self) -> usize {
        64 + self.channel.len() + self.payload.len()
    }

    fn batch(cluster: u64, from: NodeId, posts: Vec<Post>) -> Posts {
        Posts { version: VERSION, cluster, from, posts }
    }
}

/// A bounded queue to another node. While there is no connection it takes nothing.
pub struct Queue<T> {
    sender: Mutex<Option<mpsc::Sender<T>>>,
    bytes: Arc<AtomicUsize>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { sender: Mutex::default(), bytes: Arc::default() }
    }
}

impl<T: Waiting> Queue<T> {
    /// Begins to take messages, which are sent by the stream that is returned.
    pub fn open(&self, book: &Book) -> Outgoing<T> {
        let (sender, messages) = mpsc::channel(QUEUE);
        self.bytes.store(0, Ordering::SeqCst);
        *self.sender.lock() = Some(sender);
        let (bytes, waiting) = (self.bytes.clone(), Vec::new());
        Outgoing { messages, bytes, cluster: book.cluster, from: book.me.id, waiting }
    }

    /// Takes nothing any more, and drops what waits.
    pub fn close(&self) {
        *self.sender.lock() = None;
        self.bytes.store(0, Ordering::SeqCst);
    }

    /// The number of bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes a message if there is a connection and room. Returns whether it did; one always fits.
    pub fn offer(&self, what: T) -> bool {
        let sender = self.sender.lock();
        let Some(sender) = &*sender else { return false };
        let weight = what.weight();
        let before = self.bytes.fetch_add(weight, Ordering::SeqCst);
        let fits = before == 0 || before + weight <= QUEUE_BYTES;
        let taken = fits && sender.try_send(what).is_ok();
        if !taken {
            self.bytes.fetch_sub(weight, Ordering::SeqCst);
        }
        taken
    }
}

/// A stream of batches, made of what waits in a [`Queue`].
pub struct Outgoing<T> {
    messages: mpsc::Receiver<T>,
    bytes: Arc<AtomicUsize>,
    cluster: u64,
    from: NodeId,
    waiting: Vec<T>,
}

impl<T: Waiting> Stream for Outgoing<T> {
    type Item = T::Batch;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T::Batch>> {
        let this = &mut *self;
        if this.waiting.is_empty() {
            let taken = this.messages.poll_recv_many(context, &mut this.waiting, BATCH.0);
            if ready!(taken) == 0 {
                return Poll::Ready(None);
            }
        }
        let mut bytes = 0;
        let fits = |message: &&T| {
            let before = bytes;
            bytes += message.weight();
            before < BATCH.1
        };
        let count = this.waiting.iter().take_while(fits).count();
        let some: Vec<T> = this.waiting.drain(..count).collect();
        let weight = some.iter().map(Waiting::weight).sum();
        // The end of a connection sets it to zero.
        let _ = this.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |bytes: usize| {
            Some(bytes.saturating_sub(weight))
        });
        Poll::Ready(Some(T::batch(this.cluster, this.from, some)))
    }
}

/// Reads a snapshot as fast as its pieces are sent. The last piece of a damaged one is never sent,
/// so its receiver knows that it is incomplete.
pub fn read_pieces(
    book: &Book,
    message: (GroupId, Message),
    mut snapshot: SnapshotReader,
    pieces: &mpsc::Sender<Chunk>,
) {
    let (mut first, total) = (Some(Raft::from(message)), snapshot.length());
    loop {
        let piece = match snapshot.piece(PIECE) {
            Ok(Some(piece)) => piece,
            // An empty snapshot has one empty piece.
            Ok(None) if first.is_some() => Vec::new(),
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "a snapshot cannot be sent"),
        };
        let total = if first.is_some() { total } else { 0 };
        let (message, data) = (first.take(), piece.into());
        let (version, cluster, from) = (VERSION, book.cluster, book.me.id);
        // Once the connection has ended nobody takes the pieces.
        if pieces.blocking_send(Chunk { version, cluster, from, message, total, data }).is_err() {
            return;
        }
    }
}
