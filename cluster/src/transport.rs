//! [`Transport`]: how messages leave a node; [`Inbox`]: how events reach its driver.

use crate::wire::weight;
use consensus::{GroupId, Message, NodeId, SnapshotReader};
use crossbeam_channel::{Receiver, Sender, bounded};
use member::{Captured, Fatal, Kept, Packet, Restored, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Sends messages to other nodes. A message that cannot be sent at once is lost; the group
/// tolerates that.
pub trait Transport: Send {
    /// Sends a message or loses it. Never blocks.
    fn send(&self, packet: Packet);

    /// Sends a snapshot of a group, which is read on another thread. Tells the driver
    /// ([`Event::SnapshotSent`]) whether it has arrived. Never blocks.
    fn send_snapshot(&self, group: GroupId, message: Message, snapshot: SnapshotReader);

    /// Whether there is a connection to a node and the node answers.
    fn reaches(&self, node: NodeId) -> bool;
}

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The current count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of messages between this node and others.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that were handed to a connection.
    pub sent: Count,
    /// Messages that arrived and were accepted.
    pub received: Count,
    /// Messages that were lost: there was no connection, or a queue was full.
    pub lost: Count,
    /// Greetings and messages that were refused, because of their sender or because they were
    /// invalid.
    pub refused: Count,
}

/// An event for the driver.
pub enum Event {
    /// A message has arrived.
    Packet(Box<Packet>),
    /// A snapshot was captured.
    Captured(Captured),
    /// A snapshot of this node was written, or could not be.
    Kept(Kept),
    /// A snapshot was loaded, or could not be.
    Restored(Restored),
    /// Something that ran on another thread failed, so that the node cannot go on.
    Failed(Fatal),
    /// A snapshot of a group for another node has arrived there (true), or will not (false).
    SnapshotSent(GroupId, NodeId, bool),
    /// Found the groups here, as part of this cluster. The function is told whether that was done.
    Found(u64, Box<dyn FnOnce(bool) + Send>),
    /// Hand over the leadership of each group that this node leads. If this is repeated, to another
    /// node than before.
    HandOver,
    /// This node is to lead these groups.
    TakeOver(Vec<GroupId>),
    /// A group, which is led here, is to take a unit of slots from the group that has it.
    Move(u16, GroupId),
    /// The groups that are led here no longer want a unit of slots.
    Stay(u16),
    /// End the driver.
    Stop,
}

/// The highest number of events in the queue.
const EVENTS_MAX: usize = 16_384;

/// The highest number of bytes of messages in the queue.
const BYTES_MAX: usize = 256 << 20;

/// The sending end of the driver's queue, for any thread.
#[derive(Clone)]
pub struct Inbox {
    events: Sender<Event>,
    kick: Sender<()>,
    bytes: Arc<AtomicUsize>,
}

/// The receiving end of the driver's queue.
pub struct Outlet {
    /// The events.
    pub events: Receiver<Event>,
    /// Says that there is work.
    pub kick: Receiver<()>,
    bytes: Arc<AtomicUsize>,
}

/// Creates both ends of the queue.
pub fn inbox() -> (Inbox, Outlet) {
    let ((events, receiver), (kick, kicked)) = (bounded(EVENTS_MAX), bounded(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet { events: receiver, kick: kicked, bytes: bytes.clone() };
    (Inbox { events, kick, bytes }, outlet)
}

fn bytes_of(packet: &Packet) -> usize {
    let state = match &packet.data {
        Some(State::Bytes(data)) => data.len(),
        Some(State::Written { .. }) | None => 0,
    };
    weight(&packet.message) + state
}

impl Inbox {
    /// Passes a message to the driver. Returns whether there was room for it; for a snapshot there
    /// is room whatever its size.
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

    /// Passes an event that must not be lost. It waits for room, so it must not be called on a
    /// thread that serves clients. Returns whether the driver still runs.
    pub fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Like [`Inbox::tell`], but never blocks. Returns false if there is no room.
    pub fn try_tell(&self, event: Event) -> bool {
        self.events.try_send(event).is_ok()
    }

    /// Tells the driver that there is work.
    pub fn kick(&self) {
        // If it is full, the driver knows already.
        let _ = self.kick.try_send(());
    }
}

impl Outlet {
    /// Frees the room of a message that is about to be handled.
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
        Packet { group: 1, message, data: None }
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
