//! Clients that are notified when a key changes: those that watch it, and subscribers of keyspace
//! events.
//!
//! If a watched key expires, that is a change for a client that began to watch it before, but not
//! for one that began when it had expired already: for that client the key never existed.

use crate::clients::Client;
use crate::config::KeyspaceEvents;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use storage::{Db, Key, Presence, Tx};

/// Classes of keyspace events; the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// No event is published for the change, as in Redis.
    NoEvent = 0,
    /// `g`: commands for any type.
    Generic = KeyspaceEvents::GENERIC.bits(),
    /// `$`
    String = KeyspaceEvents::STRING.bits(),
    /// `l`
    List = KeyspaceEvents::LIST.bits(),
    /// `s`
    Set = KeyspaceEvents::SET.bits(),
    /// `h`
    Hash = KeyspaceEvents::HASH.bits(),
    /// `z`
    SortedSet = KeyspaceEvents::ZSET.bits(),
    /// `x`
    Expired = KeyspaceEvents::EXPIRED.bits(),
    /// `e`
    Evicted = KeyspaceEvents::EVICTED.bits(),
    /// `t`
    Stream = KeyspaceEvents::STREAM.bits(),
    /// `m`: a key that was not found.
    KeyMiss = KeyspaceEvents::KEY_MISS.bits(),
    /// `d`: module types.
    Module = KeyspaceEvents::MODULE.bits(),
    /// `n`: a new key.
    New = KeyspaceEvents::NEW.bits(),
}

/// A key of a database that clients watch or wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watched {
    /// The database.
    pub db: Db,
    /// The key.
    pub key: Box<[u8]>,
}

bitflags::bitflags! {
    /// Flags in the same word as [`KeyspaceEvents`], so that a command checks all of them at once.
    #[derive(Clone, Copy)]
    struct Marks: u32 {
        /// Some keys are held.
        const HOLDING = 1 << 31;
        /// [`Keyspace::hides_expired`].
        const HIDES_EXPIRED = 1 << 30;
        /// [`Keyspace::is_guarded`].
        const GUARDED = 1 << 29;
        /// [`Keyspace::is_profiled`].
        const PROFILED = 1 << 28;
    }
}

/// The bits that are marks rather than events.
const MARKS: u32 = Marks::all().bits();

/// A client that watches a key.
struct Watcher {
    client: Arc<Client>,
    /// Whether the key had expired when the watch began, and has not been deleted since.
    stale: bool,
}

type Watchers = HashMap<Watched, Vec<Watcher>>;

/// Watched keys, keyspace events, and whether anything must be announced at all.
#[derive(Default)]
pub struct Keyspace {
    /// The number of reasons to announce changes: watched keys, keys that clients wait for, clients
    /// that track keys, and one if keyspace events are on. Usually zero.
    interest: AtomicU32,
    /// [`KeyspaceEvents`] and [`Marks`].
    event_flags: AtomicU32,
    watchers: Mutex<Watchers>,
}

impl Keyspace {
    /// Whether any client may have to be notified of a change.
    #[inline]
    pub fn has_interest(&self) -> bool {
        self.interest.load(Ordering::Relaxed) != 0
    }

    /// Adds a reason to announce changes. [`Keyspace::release_interest`] removes it.
    pub fn add_interest(&self) {
        self.interest.fetch_add(1, Ordering::SeqCst);
    }

    /// Removes a reason to announce changes.
    pub fn release_interest(&self) {
        let before = self.interest.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "interest released more often than added");
    }

    /// The value of `notify-keyspace-events`.
    pub fn events(&self) -> KeyspaceEvents {
        KeyspaceEvents::from_bits_retain(self.event_flags.load(Ordering::Relaxed) & !MARKS)
    }

    /// Whether more belongs to a command than its handler: see [`Keyspace::announces_new`],
    /// [`Keyspace::is_holding`], [`Keyspace::hides_expired`], [`Keyspace::is_guarded`] and
    /// [`Keyspace::is_profiled`].
    #[inline]
    pub(crate) fn is_attended(&self) -> bool {
        self.event_flags.load(Ordering::Relaxed) & (Class::New as u32 | MARKS) != 0
    }

    /// Whether keys are held: see [`crate::peers::holds`].
    pub(crate) fn is_holding(&self) -> bool {
        self.event_flags.load(Ordering::SeqCst) & Marks::HOLDING.bits() != 0
    }

    /// Whether a commit must be checked: where a request is executed, and on what its reply
    /// depends. See [`crate::commit`].
    pub(crate) fn is_guarded(&self) -> bool {
        self.event_flags.load(Ordering::Relaxed) & Marks::GUARDED.bits() != 0
    }

    /// Sets [`Keyspace::is_guarded`].
    pub(crate) fn set_guarded(&self, guarded: bool) {
        self.set_mark(Marks::GUARDED, guarded);
    }

    /// Whether it is measured what is spent on keys: see [`crate::observe::hot_keys`].
    pub(crate) fn is_profiled(&self) -> bool {
        self.event_flags.load(Ordering::Relaxed) & Marks::PROFILED.bits() != 0
    }

    /// Sets [`Keyspace::is_profiled`].
    pub(crate) fn set_profiled(&self, profiled: bool) {
        self.set_mark(Marks::PROFILED, profiled);
    }

    fn set_mark(&self, mark: Marks, on: bool) {
        match on {
            true => self.event_flags.fetch_or(mark.bits(), Ordering::SeqCst),
            false => self.event_flags.fetch_and(!mark.bits(), Ordering::SeqCst),
        };
    }

    /// Sets whether keys are held.
    pub(crate) fn set_holding(&self, holding: bool) {
        self.set_mark(Marks::HOLDING, holding);
    }

    /// Whether clients may listen to the creation of keys, so that missing keys must be recorded
    /// before a command.
    pub fn announces_new(&self) -> bool {
        self.events().contains(KeyspaceEvents::NEW)
    }

    /// Whether expired keys are not deleted because clients are paused.
    pub fn hides_expired(&self) -> bool {
        self.event_flags.load(Ordering::Relaxed) & Marks::HIDES_EXPIRED.bits() != 0
    }

    /// Sets [`Keyspace::hides_expired`].
    pub(crate) fn set_hides_expired(&self, keeps: bool) {
        self.set_mark(Marks::HIDES_EXPIRED, keeps);
    }

    /// Sets `notify-keyspace-events`.
    pub fn set_events(&self, events: KeyspaceEvents) {
        let merge = |before| Some(before & MARKS | events.bits());
        let (order, load) = (Ordering::SeqCst, Ordering::SeqCst);
        let before = self.event_flags.fetch_update(order, load, merge).unwrap_or_default();
        let before = before & !MARKS;
        match (before != 0, !events.is_empty()) {
            (false, true) => self.add_interest(),
            (true, false) => self.release_interest(),
            _ => {}
        }
    }

    /// Makes `client`'s transaction fail if the key changes from now on. `stale` means that the key
    /// has expired already. The caller holds the key's shard, so no change can happen between its
    /// look at the key and this call.
    pub(crate) fn watch(&self, watched: Watched, client: Arc<Client>, stale: bool) {
        self.add_interest();
        self.watchers.lock().entry(watched).or_default().push(Watcher { client, stale });
    }

    /// Whether a key's time has passed since `client` began to watch it; one that cannot be read
    /// counts as such. Fields of a hash whose time has passed go, and are noted.
    pub(crate) fn has_expired(
        &self,
        watched: &Watched,
        hash: u64,
        client: &Arc<Client>,
        tx: &mut dyn Tx,
    ) -> bool {
        let key = Key { db: watched.db, hash, bytes: &watched.key };
        match tx.presence(&key) {
            Ok(Presence::Stale) => !self.is_stale(watched, client),
            Ok(Presence::Absent) => false,
            Ok(Presence::Live) => tx.kind(&key).is_err(),
            Err(_) => true,
        }
    }

    /// Whether the key that `client` watches had expired before it did, and has not gone since.
    fn is_stale(&self, watched: &Watched, client: &Arc<Client>) -> bool {
        let watchers = self.watchers.lock();
        let of_key = watchers.get(watched).into_iter().flatten();
        of_key.into_iter().any(|watcher| watcher.stale && Arc::ptr_eq(&watcher.client, client))
    }

    /// Takes one [`Keyspace::watch`] back.
    pub(crate) fn unwatch(&self, watched: &Watched, client: &Arc<Client>) {
        let mut watchers = self.watchers.lock();
        let Some(of_key) = watchers.get_mut(watched) else { return };
        let is_it = |watcher: &Watcher| Arc::ptr_eq(&watcher.client, client);
        let Some(at) = of_key.iter().position(is_it) else { return };
        of_key.swap_remove(at);
        if of_key.is_empty() {
            watchers.remove(watched);
        }
        self.release_interest();
    }

    /// Number of clients' watches.
    pub fn watched_keys(&self) -> usize {
        self.watchers.lock().len()
    }

    /// A key was changed: fails the transactions of those who watch it.
    pub(crate) fn modified(&self, db: Db, key: &[u8]) {
        self.each_watcher(db, key, |watcher| watcher.client.fail_transaction());
    }

    /// A key whose time had passed is gone: fails the transactions of those who watched it alive.
    pub(crate) fn expired(&self, db: Db, key: &[u8]) {
        self.each_watcher(db, key, |watcher| match watcher.stale {
            true => watcher.stale = false,
            false => watcher.client.fail_transaction(),
        });
    }

    fn each_watcher(&self, db: Db, key: &[u8], then: impl FnMut(&mut Watcher)) {
        let mut watchers = self.watchers.lock();
        if watchers.is_empty() {
            return;
        }
        let watched = Watched { db, key: key.into() };
        watchers.get_mut(&watched).into_iter().flatten().for_each(then);
    }

    /// The keys of a database that clients watch.
    pub(crate) fn watched_in(&self, db: Db) -> Vec<Box<[u8]>> {
        let watchers = self.watchers.lock();
        watchers.keys().filter(|watched| watched.db == db).map(|w| w.key.clone()).collect()
    }

    /// A whole database was replaced by another (`SWAPDB`) or emptied (`FLUSHDB`). `was` and `is`
    /// are the presence of the key before and after.
    pub(crate) fn replaced(&self, db: Db, key: &[u8], was: Presence, is: Presence) {
        self.each_watcher(db, key, |watcher| {
            let there_before = was != Presence::Absent && !watcher.stale;
            if is == Presence::Live || there_before {
                watcher.client.fail_transaction();
            }
            watcher.stale = is == Presence::Stale;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Clients;
    use runtime::Peer;
    use std::task::Waker;

    /// Whether the transaction of a client that watches a key, stale or not, fails because of
    /// `change`.
    fn fails(stale: bool, change: impl Fn(&Keyspace)) -> bool {
        let (keyspace, clients) = (Keyspace::default(), Clients::default());
        let client = clients.add(Peer::Unix(String::new()), Waker::noop().clone(), 0);
        let watched = Watched { db: 0, key: b"key".as_slice().into() };
        keyspace.watch(watched.clone(), client.clone(), stale);
        change(&keyspace);
        keyspace.unwatch(&watched, &client);
        assert!(!keyspace.has_interest());
        client.transaction_failed()
    }

    #[test]
    fn what_had_expired_before_is_not_missed() {
        use Presence::{Absent, Live, Stale};
        let expired = |keyspace: &Keyspace| keyspace.expired(0, b"key");
        let modified = |keyspace: &Keyspace| keyspace.modified(0, b"key");
        assert!(!fails(true, expired) && fails(false, expired));
        assert!(fails(true, modified) && fails(false, modified));
        assert!(fails(true, |keyspace| (expired(keyspace), expired(keyspace)).0), "once only");
        for (stale, was, is, expected) in [
            (false, Absent, Absent, false),
            (false, Absent, Stale, false),
            (false, Absent, Live, true),
            (false, Stale, Absent, true),
            (false, Live, Absent, true),
            (false, Live, Live, true),
            (true, Stale, Absent, false),
            (true, Stale, Stale, false),
            (true, Stale, Live, true),
        ] {
            let failed = fails(stale, |keyspace| keyspace.replaced(0, b"key", was, is));
            assert_eq!(failed, expected, "watched stale: {stale}, {was:?} became {is:?}");
        }
        let later = |keyspace: &Keyspace| {
            keyspace.replaced(0, b"key", Absent, Stale);
            expired(keyspace);
        };
        assert!(!fails(false, later), "what was put there stale was never there");
    }
}
