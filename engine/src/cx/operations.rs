//! Operations on more than the value of one key. They report what they did themselves, so that a
//! handler cannot forget to.

use super::Cx;
use crate::cluster::Cluster;
use crate::command::Flag;
use crate::failure::{Failure, WRONG_TYPE};
use crate::notify::keyspace::{Class, Watched};
use crate::tuning::OutputClass;
use std::ops::Range;
use std::sync::atomic::Ordering;
use storage::journal::EVERY_SLOT;
use storage::{Db, Expired, Key, Kind, Presence, rdb};

/// The watched keys of a database, each with its presence before and after a change.
type Replaced = Vec<(Box<[u8]>, Presence, Presence)>;

impl Cx<'_> {
    /// The type of `key`, which is looked up and counted; `None` if it does not exist.
    ///
    /// # Errors
    /// `WRONGTYPE` if it is not among `accepted`, and the storage's errors.
    pub fn kind_among(
        &mut self,
        key: &Key<'_>,
        accepted: &[Kind],
    ) -> Result<Option<Kind>, Failure> {
        let kind = self.tx.kind(key)?;
        let refused = kind.is_some_and(|kind| !accepted.contains(&kind));
        // Whatever a reading command refuses for its type is counted for all of them (`Engine::handle`).
        if !refused || !self.entry().has(Flag::Readonly) {
            self.looked_up(key, kind.is_some());
        }
        if refused { Err(WRONG_TYPE) } else { Ok(kind) }
    }

    /// Deletes all keys of some databases (`FLUSHDB`, `FLUSHALL`). If a database was empty already,
    /// nothing is logged for it. Client-side caches are told that every key is gone, because they do
    /// not know databases.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn clear_databases(&mut self, databases: Range<Db>) -> Result<(), Failure> {
        if self.session.slot == EVERY_SLOT {
            return self.clear_served();
        }
        for db in databases {
            let watched = self.watched_in(db, None)?;
            if self.tx.clear(db)? > 0 {
                self.database_modified(db, watched);
            }
        }
        self.invalidate_every_key();
        Ok(())
    }

    fn invalidate_every_key(&mut self) {
        if self.engine.notify.tracking.is_on() {
            let by = self.session.client().id;
            self.engine.notify.tracking.invalidate_all(
                &self.engine.clients,
                by,
                &mut self.changes.rest().stale,
            );
        }
    }

    /// [`Cx::clear_databases`] where several groups of nodes have the slots: deletes the keys of those
    /// slots that this server decides about. Each group logs it for itself.
    fn clear_served(&mut self) -> Result<(), Failure> {
        const DB: Db = 0;
        let watched = self.watched_in(DB, None)?;
        let (engine, mut removed) = (self.engine, 0);
        for slots in engine.cluster().map(Cluster::served).unwrap_or_default() {
            if let Some(shards) = engine.backend.shards_of_slots(slots) {
                removed += self.tx.clear_in(DB, shards)?;
            }
        }
        if removed > 0 {
            if let Some(journal) = engine.journal() {
                let appended = journal.append(EVERY_SLOT, DB, &[b"FLUSHALL"]);
                let at = appended.map_err(|refusal| Failure::text(refusal.0))?;
                if let Some(journal) = &engine.tee.journal {
                    journal.parts(at, &mut |part| self.tx.set_last(part));
                }
            }
            self.database_modified(DB, watched);
            self.changes.rest().effects.suppress();
        }
        self.invalidate_every_key();
        Ok(())
    }

    /// Exchanges the keys of two databases (`SWAPDB`).
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn swap_databases(&mut self, a: Db, b: Db) -> Result<(), Failure> {
        let (of_a, of_b) = (self.watched_in(a, Some(b))?, self.watched_in(b, Some(a))?);
        self.tx.swap_dbs(a, b)?;
        self.database_modified(a, of_a);
        self.database_modified(b, of_b);
        Ok(())
    }

    /// The watched keys of `db`, before it is replaced by `other`, or emptied if that is `None`.
    fn watched_in(&mut self, db: Db, other: Option<Db>) -> Result<Replaced, Failure> {
        let mut replaced = Replaced::new();
        for bytes in self.engine.notify.keyspace.watched_in(db) {
            let key = self.key_in(db, &bytes);
            let was = self.tx.presence(&key)?;
            let is = match other {
                Some(db) => self.tx.presence(&Key { db, ..key })?,
                None => Presence::Absent,
            };
            replaced.push((bytes, was, is));
        }
        Ok(replaced)
    }

    /// Counts one change of a whole database, and notifies clients that watch or wait for its keys.
    fn database_modified(&mut self, db: Db, replaced: Replaced) {
        self.changed_silently(1);
        for (key, was, is) in replaced {
            self.engine.notify.keyspace.replaced(db, &key, was, is);
        }
        let awaited = self.engine.notify.blocking.awaited_keys(db);
        let ready = &mut self.changes.rest().ready;
        ready.extend(awaited.into_iter().map(|key| (db, key)));
    }

    /// Creates `key` with a decoded value, in place of any other value (`RESTORE`). As in Redis, an
    /// expired key whose expiry was not noticed is replaced silently: no client is notified that it
    /// expired, and for clients that watch it, it is as stale as before.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn restore(
        &mut self,
        key: &Key<'_>,
        object: rdb::Object,
        expiry_ms: Option<u64>,
    ) -> Result<(), Failure> {
        const EVENT: (Class, &str) = (Class::Generic, "restore");
        let unseen = self.tx.presence(key)? == Presence::Stale;
        self.tx.restore(key, object, expiry_ms)?;
        if !unseen {
            self.created(key);
            self.modified(key, EVENT.0, EVENT.1);
            return Ok(());
        }
        let is_it = |gone: &Expired| gone.db == key.db && *gone.key == *key.bytes;
        self.tx.expired().retain(|gone| !is_it(gone));
        self.created(key);
        self.changed_silently(1);
        if self.engine.notify.keyspace.has_interest() {
            self.engine.notify.keyspace.replaced(
                key.db,
                key.bytes,
                Presence::Stale,
                Presence::Stale,
            );
            self.invalidate(key);
            self.notify(key, EVENT.0, EVENT.1);
            self.wake_blocked(key);
        }
        Ok(())
    }

    /// Watches a key for the client (`WATCH`). A key in a shard that is not locked, because a slow
    /// script holds it, is taken to be live: if it was in fact stale, its removal fails the
    /// transaction, which does no harm.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn watch(&mut self, key: &Key<'_>) -> Result<(), Failure> {
        let mut presence = Presence::Live;
        if self.is_locked(self.engine.backend.shard_of(key.hash)) {
            presence = self.tx.presence(key)?;
            if presence == Presence::Live {
                // Expired fields are deleted now, so that this is not taken for a change.
                self.tx.kind(key)?;
                self.announce_expired();
            }
        }
        let watched = Watched { db: key.db, key: key.bytes.into() };
        if !self.session.watched.contains(&watched) {
            let (client, stale) = (self.session.client().clone(), presence == Presence::Stale);
            self.engine.notify.keyspace.watch(watched.clone(), client, stale);
            self.session.watched.push(watched);
            let count = self.session.watched.len() as u32;
            self.session.client().watched.store(count, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Publishes a message, to the subscribers of this server and of others in its cluster, and to its
    /// replicas. Returns the number of this server's subscribers. `shard` says whether the channel is a shard channel.
    pub fn publish(&mut self, shard: bool, channel: &[u8], message: &[u8]) -> usize {
        let limit = self.engine.tuning.push_limit(OutputClass::PubSub);
        let mut kept = Vec::new();
        let own = Some((self.session.client(), &mut kept));
        let count = self.engine.notify.pubsub.publish(shard, channel, message, limit, own);
        self.keep_messages(kept);
        if let Some(cluster) = self.engine.cluster() {
            cluster.publish(shard, channel, message);
        }
        if self.engine.is_fed() && !self.session.is_unlogged() {
            let name: &[u8] = if shard { b"SPUBLISH" } else { b"PUBLISH" };
            self.engine.feed_message(self.session.db, &[name, channel, message]);
        }
        count
    }
}
