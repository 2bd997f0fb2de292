//! A reactor's connections, in reusable slots that are found by index.

use crate::timers::NEVER;
use crate::waker::ConnectionWaker;
use mio::Token;
use runtime::{Driver, Events};
use std::sync::Arc;

/// Identifies one connection of one reactor uniquely: a reused slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

/// Tokens from this value on are not connections, but listeners and the mailbox.
pub(crate) const SPECIAL_TOKENS: usize = usize::MAX - 0xFFFF;

impl Key {
    pub fn token(self) -> Token {
        Token(self.index as usize | (self.generation as usize) << 32)
    }

    pub fn from_token(token: Token) -> Key {
        Key { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

/// One connection and the reactor's state for it.
pub(crate) struct Slot {
    /// `None` while the connection is with a worker.
    pub driver: Option<Driver>,
    pub waker: Arc<ConnectionWaker>,
    /// The events since its last turn.
    pub events: Events,
    /// Whether it is in the reactor's ready queue.
    pub queued: bool,
    /// Whether it has received in this loop and is yet to transmit.
    pub to_transmit: bool,
    /// Whether the poller reports when the socket is writable. It is asked for that only once it
    /// was needed, because Unix-domain sockets report every reply that their peer takes.
    pub watches_writes: bool,
    /// The deadline for which a timer is set, [`NEVER`] if none.
    pub armed_us: u64,
}

struct VersionedSlot {
    generation: u32,
    slot: Option<Slot>,
}

/// The slots of one reactor.
#[derive(Default)]
pub(crate) struct Slots {
    entries: Vec<VersionedSlot>,
    free: Vec<u32>,
}

impl Slots {
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Reserves the key that the next [`Slots::insert`] will use.
    pub fn next_key(&mut self) -> Key {
        if self.free.is_empty() {
            self.free.push(self.entries.len() as u32);
            self.entries.push(VersionedSlot { generation: 0, slot: None });
        }
        let index = self.free[self.free.len() - 1];
        Key { index, generation: self.entries[index as usize].generation }
    }

    pub fn insert(&mut self, driver: Driver, waker: Arc<ConnectionWaker>) -> Key {
        let key = self.next_key();
        self.free.pop();
        self.entries[key.index as usize].slot = Some(Slot {
            driver: Some(driver),
            waker,
            events: Events::empty(),
            queued: false,
            to_transmit: false,
            watches_writes: false,
            armed_us: NEVER,
        });
        key
    }

    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Slot> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.slot.as_mut() } else { None }
    }

    pub fn remove(&mut self, key: Key) -> Option<Slot> {
        self.get_mut(key)?;
        let entry = &mut self.entries[key.index as usize];
        // Generations stay below the top bits, which mark the special tokens.
        entry.generation = (entry.generation + 1) & 0x7FFF_FFFF;
        self.free.push(key.index);
        entry.slot.take()
    }

    /// The keys of all connections.
    pub fn keys(&self) -> Vec<Key> {
        let with_index = self.entries.iter().zip(0u32..);
        with_index
            .filter(|(entry, _)| entry.slot.is_some())
            .map(|(entry, index)| Key { index, generation: entry.generation })
            .collect()
    }
}
