//! Who is told when a key changes: watchers, and keyspace events.

use crate::clients::Client;
use crate::config::keyspace_events as bits;
use crate::session::Watched;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use storage::Db;

/// Classes of keyspace events; the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// `g`: commands for any type.
    Generic = bits::GENERIC as u32,
    /// `$`
    String = bits::STRING as u32,
    /// `l`
    List = bits::LIST as u32,
    /// `s`
    Set = bits::SET as u32,
    /// `h`
    Hash = bits::HASH as u32,
    /// `z`
    SortedSet = bits::ZSET as u32,
    /// `x`
    Expired = bits::EXPIRED as u32,
    /// `e`
    Evicted = bits::EVICTED as u32,
    /// `t`
    Stream = bits::STREAM as u32,
    /// `m`: a key that was looked for and not there.
    KeyMiss = bits::KEY_MISS as u32,
    /// `d`: module types.
    Module = bits::MODULE as u32,
    /// `n`: a new key.
    New = bits::NEW as u32,
}

/// Among the bits of [`Keyspace`]'s events: some keys are held.
const HOLDING: u32 = 1 << 31;

type Watchers = HashMap<Watched, Vec<Arc<Client>>>;

/// The registry of those who want to know.
#[derive(Default)]
pub struct Keyspace {
    /// Number of reasons to look any further: watched keys, awaited keys, clients that track, and
    /// one for keyspace events being on. Zero on the ordinary path.
    interest: AtomicU32,
    /// `notify-keyspace-events` as bits, and [`HOLDING`].
    event_flags: AtomicU32,
    watchers: Mutex<Watchers>,
}

impl Keyspace {
    /// Whether a change concerns anybody.
    #[inline]
    pub fn has_interest(&self) -> bool {
        self.interest.load(Ordering::Relaxed) != 0
    }

    /// Adds a reason to announce changes; to be taken back with [`Keyspace::release_interest`].
    pub fn add_interest(&self) {
        self.interest.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one reason back.
    pub fn release_interest(&self) {
        let before = self.interest.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "interest released more often than added");
    }

    /// The bits of `notify-keyspace-events`.
    pub fn event_flags(&self) -> u32 {
        self.event_flags.load(Ordering::Relaxed) & !HOLDING
    }

    /// Whether there is more to a command than its handler: see [`Keyspace::announces_new`] and
    /// [`Keyspace::is_holding`].
    #[inline]
    pub(crate) fn is_attended(&self) -> bool {
        self.event_flags.load(Ordering::Relaxed) & (Class::New as u32 | HOLDING) != 0
    }

    /// Whether keys are held: see [`crate::holds`].
    pub(crate) fn is_holding(&self) -> bool {
        self.event_flags.load(Ordering::SeqCst) & HOLDING != 0
    }

    /// Says whether keys are held.
    pub(crate) fn set_holding(&self, holding: bool) {
        match holding {
            true => self.event_flags.fetch_or(HOLDING, Ordering::SeqCst),
            false => self.event_flags.fetch_and(!HOLDING, Ordering::SeqCst),
        };
    }

    /// Whether somebody may listen to keys being made: what has to be looked at before a command.
    #[inline]
    pub fn announces_new(&self) -> bool {
        self.event_flags() & Class::New as u32 != 0
    }

    /// Sets the bits of `notify-keyspace-events`.
    pub fn set_event_flags(&self, flags: u32) {
        let merge = |before| Some(before & HOLDING | flags & !HOLDING);
        let (order, load) = (Ordering::SeqCst, Ordering::SeqCst);
        let before = self.event_flags.fetch_update(order, load, merge).unwrap_or_default();
        let before = before & !HOLDING;
        match (before != 0, flags != 0) {
            (false, true) => self.add_interest(),
            (true, false) => self.release_interest(),
            _ => {}
        }
    }

    /// Has `client`'s transaction fail if the key changes from now on. The caller holds the key's
    /// shard, so no change slips in between its look at the key and this call.
    pub fn watch(&self, watched: Watched, client: Arc<Client>) {
        self.add_interest();
        self.watchers.lock().entry(watched).or_default().push(client);
    }

    /// Takes one [`Keyspace::watch`] back.
    pub fn unwatch(&self, watched: &Watched, client: &Arc<Client>) {
        let mut watchers = self.watchers.lock();
        let Some(clients) = watchers.get_mut(watched) else { return };
        let Some(at) = clients.iter().position(|c| Arc::ptr_eq(c, client)) else { return };
        clients.swap_remove(at);
        if clients.is_empty() {
            watchers.remove(watched);
        }
        self.release_interest();
    }

    /// Number of clients' watches.
    pub fn watched_keys(&self) -> usize {
        self.watchers.lock().len()
    }

    /// A key was changed: fails the transactions of those who watch it.
    pub fn modified(&self, db: Db, key: &[u8]) {
        let watchers = self.watchers.lock();
        if watchers.is_empty() {
            return;
        }
        let watched = Watched { db, key: key.into() };
        watchers.get(&watched).into_iter().flatten().for_each(|client| client.fail_transaction());
    }

    /// Whole databases were changed (`FLUSHALL`, `SWAPDB`): fails every transaction watching a key
    /// in one of them. Redis spares watchers of keys that existed neither before nor after; here
    /// the watch fails, which a client must expect at any time.
    pub fn databases_modified(&self, dbs: impl Fn(Db) -> bool) {
        for (_, clients) in self.watchers.lock().iter().filter(|(watched, _)| dbs(watched.db)) {
            clients.iter().for_each(|client| client.fail_transaction());
        }
    }
}
