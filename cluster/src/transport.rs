//! [`Transport`]: how messages leave a node, and [`Inbox`]: how they come in.

use crate::wire::weight;
use consensus::{Message, NodeId, SnapshotReader};
use crossbeam_channel::{Receiver, Sender, bounded};
use member::{Fatal, Kept, Packet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Takes messages to other nodes. Whatever it cannot take at once is lost: the group expects that.
pub trait Transport: Send {
    /// Sends a message, or loses it. Never waits.
    fn send(&self, packet: Packet);

    /// Sends a snapshot, which it reads in a thread of its own, and tells the driver ([`Event::SnapshotSent`]) once it has
    /// arrived, or will not. Never waits.
    fn send_snapshot(&self, message: Message, snapshot: SnapshotReader);

    /// Whether there is a connection to a node, which answers.
    fn reaches(&self, node: NodeId) -> bool;
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened between this node and the others.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were handed to a connection.
    pub sent: Count,
    /// Messages that came in and were taken.
    pub received: Count,
    /// Messages that were lost: no connection, or a queue that was full.
    pub lost: Count,
    /// Strangers, and what made no sense.
    pub refused: Count,
}

/// What the driver is told.
pub enum Event {
    /// A message has come.
    Packet(Box<Packet>),
    /// A snapshot was captured.
    Captured(Result<Vec<u8>, Fatal>),
    /// A snapshot of this node's own was written, or could not be.
    Kept(Kept),
    /// A snapshot for another node has arrived there, or will not.
    SnapshotSent(NodeId, bool),
    /// The group is to be founded here, as this cluster; who asked is told whether it was.
    Found(u64, Box<dyn FnOnce(bool) + Send>),
    /// The leadership is to be handed to somebody, if it is here: for the first time, or to another than before.
    HandOver,
    /// It is to end.
    Stop,
}

/// Events that wait, at most.
const EVENTS_MAX: usize = 16_384;

/// Bytes of messages that wait, at most.
const BYTES_MAX: usize = 256 << 20;

/// The way to the driver, from any thread. It never waits.
#[derive(Clone)]
pub struct Inbox {
    events: Sender<Event>,
    kick: Sender<()>,
    bytes: Arc<AtomicUsize>,
}

/// The driver's end of it.
pub struct Outlet {
    /// What it is told.
    pub events: Receiver<Event>,
    /// That there is something to do.
    pub kick: Receiver<()>,
    bytes: Arc<AtomicUsize>,
}

/// Both ends.
pub fn inbox() -> (Inbox, Outlet) {
    let ((events, receiver), (kick, kicked)) = (bounded(EVENTS_MAX), bounded(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet { events: receiver, kick: kicked, bytes: bytes.clone() };
    (Inbox { events, kick, bytes }, outlet)
}

fn bytes_of(packet: &Packet) -> usize {
    weight(&packet.message) + packet.data.as_ref().map_or(0, |data| data.len())
}

impl Inbox {
    /// A message has come. Whether there was room for it; one snapshot fits whatever its size.
    pub fn deliver(&self, packet: Packet) -> bool {
        let (bytes, is_snapshot) = (bytes_of(&packet), packet.data.is_some());
        let before = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let fits = before == 0 || is_snapshot || before + bytes <= BYTES_MAX;
        let taken = fits && self.events.try_send(Event::Packet(Box::new(packet))).is_ok();
        if !taken {
            self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
        taken
    }

    /// Tells the driver something that must not be lost: waits for room, so never from a thread that
    /// serves clients. Whether it still listens.
    pub fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// [`Inbox::tell`], for threads that serve clients: if there is no room, it is not told. Whether it was.
    pub fn try_tell(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// There is something to do.
    pub fn kick(&self) {
        // If it is full, the driver knows already.
        let _ = self.kick.try_send(());
    }
}

impl Outlet {
    /// A message that was received is about to be worked on: its room is free.
    pub fn free(&self, packet: &Packet) {
        self.bytes.fetch_sub(bytes_of(packet), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use consensus::{Entry, EntryKind, Message, MessageKind};

    fn packet(bytes: usize) -> Packet {
        let data = Bytes::from(vec![0; bytes]);
        let entry = Entry { index: 1, term: 1, kind: EntryKind::Normal, data };
        let message = Message {
            kind: MessageKind::Append,
            to: 1,
            from: 2,
            term: 1,
            log_term: 0,
            index: 0,
            entries: vec![entry],
            commit: 0,
            commit_term: 0,
            snapshot: None,
            request_snapshot: 0,
            reject: false,
            reject_hint: 0,
            context: Bytes::new(),
            priority: 0,
        };
        Packet { message, data: None }
    }

    #[test]
    fn an_inbox_is_bounded_in_bytes_and_in_messages() {
        let (inbox, outlet) = inbox();
        assert!(inbox.deliver(packet(BYTES_MAX)), "one always fits");
        assert!(!inbox.deliver(packet(1)));
        let Ok(Event::Packet(first)) = outlet.events.recv() else { panic!("it is there") };
        outlet.free(&first);
        for _ in 0..EVENTS_MAX {
            assert!(inbox.deliver(packet(0)));
        }
        assert!(!inbox.deliver(packet(0)));
        inbox.kick();
        inbox.kick();
        assert_eq!(outlet.kick.len(), 1);
    }
}
