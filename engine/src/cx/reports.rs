//! The methods by which a handler reports what it did. Who is notified, and what is logged, follows
//! from them.

use super::Cx;
use crate::clients::Message;
use crate::command::Flag;
use crate::notify::keyspace::Class;
use crate::notify::tracking::Stale;
use smallvec::SmallVec;
use storage::Key;

impl Cx<'_> {
    /// Reports whether a reading command found `key`. Counts it (`keyspace_hits`,
    /// `keyspace_misses`), and publishes the event of a miss.
    #[inline]
    pub fn looked_up(&mut self, key: &Key<'_>, found: bool) {
        self.session.count_lookup(found);
        if !found && self.engine.notify.keyspace.has_interest() {
            self.announce_miss(key);
        }
    }

    /// Reports that the value of `key` was changed. Counts one change, and notifies all clients
    /// that watch, wait for, cache or listen to the key. `event` is Redis's name of the keyspace
    /// event.
    ///
    /// Every change must be reported; the command is logged only if it reported one.
    #[inline(always)]
    pub fn modified(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        self.modified_by(1, key, class, event);
    }

    /// Like [`Cx::modified`], if Redis counts `n` changes, one for each element. `n` must not be 0.
    #[inline]
    pub fn modified_by(&mut self, n: u64, key: &Key<'_>, class: Class, event: &'static str) {
        debug_assert!(n > 0, "{event}: what changed nothing is not told");
        self.changes.count += n;
        if self.engine.notify.keyspace.has_interest() {
            self.announce(key, class, event);
        }
    }

    /// Reports `n` changes that must be logged, but are not changes of a key's value, so that no
    /// client is notified: of the groups of a stream, or of libraries.
    #[inline]
    pub fn changed_silently(&mut self, n: u64) {
        self.changes.count += n;
    }

    /// Publishes a keyspace event in addition to a reported change (`del`, when the last element is
    /// gone), or for something that Redis announces although no value has changed.
    #[inline]
    pub fn notify(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        if self.engine.notify.keyspace.has_interest() {
            self.announce_event(key, class, event);
        }
    }

    /// Reports that a key was created; to be called before the change is reported. The first
    /// [`Cx::modified`] does this for a declared key that did not exist. For other keys, and if a
    /// key replaces another one by creating a new one, the handler must do it.
    pub fn created(&mut self, key: &Key<'_>) {
        if self.engine.notify.keyspace.announces_new() {
            self.announce_expired();
            self.changes.rest().absent.retain(|absent| **absent != *key.bytes);
            self.publish_event(key, Class::New, "new");
        }
    }

    /// Lets clients that are blocked on `key` look at it again, although its value has not changed.
    /// [`Cx::modified`] does this already.
    pub fn wake_blocked(&mut self, key: &Key<'_>) {
        if self.engine.notify.blocking.is_awaited(key.db, key.bytes) {
            self.changes.rest().ready.push((key.db, key.bytes.into()));
        }
    }

    /// Logs `effect` instead of the command itself. If it is called several times, all effects are
    /// logged, in order.
    pub fn log(&mut self, effect: &[&[u8]]) {
        if self.engine.journal().is_some() {
            self.changes.rest().effects.replace(self.session.db, effect);
        }
    }

    /// Like [`Cx::log`] of `words` and a last one, which is the number: only rendered if there is a log.
    #[inline]
    pub fn log_number(&mut self, words: &[&[u8]], number: u64) {
        if self.engine.journal().is_some() {
            let mut digits = itoa::Buffer::new();
            let mut effect: SmallVec<[&[u8]; 5]> = words.into();
            effect.push(digits.format(number).as_bytes());
            self.log(&effect);
        }
    }

    #[cold]
    fn announce(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        self.announce_expired();
        self.engine.notify.keyspace.modified(key.db, key.bytes);
        self.invalidate(key);
        self.announce_event(key, class, event);
        self.wake_blocked(key);
    }

    #[cold]
    fn announce_miss(&mut self, key: &Key<'_>) {
        if !self.call.entry.has(Flag::NoMissEvent) {
            self.announce_event(key, Class::KeyMiss, "keymiss");
        }
    }

    #[cold]
    fn announce_event(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        self.announce_expired();
        if self.engine.notify.keyspace.announces_new() && self.was_absent(key) && self.is_there(key)
        {
            self.created(key);
        }
        self.publish_event(key, class, event);
    }

    fn publish_event(&mut self, key: &Key<'_>, class: Class, event: &str) {
        let mut kept = Vec::new();
        let own = Some((self.session.client(), &mut kept));
        let engine = self.engine;
        engine.notify.event(&engine.tuning, (key.db, key.bytes), (class, event), own);
        self.keep_messages(kept);
    }

    /// Lets the session write messages to itself after its reply.
    pub(super) fn keep_messages(&mut self, mut messages: Vec<Message>) {
        if !messages.is_empty() {
            self.changes.rest().messages.append(&mut messages);
        }
    }

    pub(super) fn invalidate(&mut self, key: &Key<'_>) {
        if self.engine.notify.tracking.is_on() {
            let by = Some(self.session.client().id);
            let mut stale = Stale::default();
            let (tracking, clients) = (&self.engine.notify.tracking, &self.engine.clients);
            tracking.invalidate(clients, (key.hash, key.bytes), by, false, &mut stale);
            self.changes.make_stale(stale);
        }
    }

    fn was_absent(&mut self, key: &Key<'_>) -> bool {
        let absent = &self.changes.rest().absent;
        key.db == self.session.db && absent.iter().any(|absent| **absent == *key.bytes)
    }

    fn is_there(&mut self, key: &Key<'_>) -> bool {
        matches!(self.tx.kind(key), Ok(Some(_)))
    }

    /// Announces expired keys, so that listeners learn of them before they learn what the command
    /// did.
    pub(crate) fn announce_expired(&mut self) {
        if self.tx.met_expired() {
            self.engine.settle_expired(Some(self.session.client()), self.tx, self.changes);
        }
    }
}
