//! [`Outgoing`], [`read_pieces`]: what is sent to another node, as it is asked for: batches of messages,
//! and pieces of a snapshot.

use crate::book::Book;
use crate::wire::{Batch, Chunk, Raft, VERSION, weight};
use consensus::{Message, NodeId, SnapshotReader};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;

/// The approximate number of messages and of bytes in one batch.
const BATCH: (usize, usize) = (256, 1 << 20);

/// The number of bytes in one piece of a snapshot.
const PIECE: usize = 1 << 20;

/// A stream of batches, made of the messages that wait.
pub struct Outgoing {
    messages: mpsc::Receiver<Message>,
    bytes: Arc<AtomicUsize>,
    cluster: u64,
    from: NodeId,
    waiting: Vec<Message>,
}

impl Outgoing {
    /// Batches of `messages`; `bytes` is how much of them waits.
    pub fn new(book: Book, messages: mpsc::Receiver<Message>, bytes: Arc<AtomicUsize>) -> Outgoing {
        Outgoing { messages, bytes, cluster: book.cluster, from: book.me.id, waiting: Vec::new() }
    }
}

impl Stream for Outgoing {
    type Item = Batch;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Batch>> {
        let this = &mut *self;
        if this.waiting.is_empty() {
            let taken = this.messages.poll_recv_many(context, &mut this.waiting, BATCH.0);
            if ready!(taken) == 0 {
                return Poll::Ready(None);
            }
        }
        let mut bytes = 0;
        let fits = |message: &&Message| {
            let before = bytes;
            bytes += weight(message);
            before < BATCH.1
        };
        let count = this.waiting.iter().take_while(fits).count();
        let messages: Vec<Message> = this.waiting.drain(..count).collect();
        let weight = messages.iter().map(weight).sum();
        // The end of a connection sets it to zero.
        let _ = this.bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |bytes: usize| {
            Some(bytes.saturating_sub(weight))
        });
        let messages = messages.into_iter().map(Raft::from).collect();
        let (cluster, from) = (this.cluster, this.from);
        Poll::Ready(Some(Batch { version: VERSION, cluster, from, messages }))
    }
}

/// Reads a snapshot as fast as its pieces are sent. The last piece of a damaged one is never sent,
/// so its receiver knows that it is incomplete.
pub fn read_pieces(
    book: &Book,
    message: Message,
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
