//! Master or replica: whom we follow, how that goes, and how it changes.
//!
//! A role changes while every shard is locked (`REPLICAOF` locks them, as does the start), so no effect
//! is half of one role and half of the other.

use super::feed::Recording;
use super::{Cut, Link, Source};
use crate::clients::ClientFlags;
use crate::config::{Id as Directive, by_id};
use crate::engine::Engine;
use crate::gate::Gate;
use crate::notify::tracking::Stale;
use replication::{History, Id};
use std::sync::atomic::Ordering;

/// The error for waiting clients of a master that becomes a replica.
const ROLE_CHANGED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed \
    (master -> replica?)";

impl Engine {
    /// Whether this server has a master.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.gate().contains(Gate::REPLICA)
    }

    /// Whether effects go into the stream.
    #[inline]
    pub fn is_fed(&self) -> bool {
        self.tee.is(Recording::FED)
    }

    /// Sends a published message to replicas. It is not an effect, and is not logged.
    pub(crate) fn feed_message(&self, db: storage::Db, words: &[&[u8]]) {
        let mut encoded = Vec::new();
        replication::command(words, &mut encoded);
        self.replication.out.append_message(db, &encoded);
        self.replication.wake();
    }

    /// Begins to put effects into the stream, because a replica wants to follow.
    pub(crate) fn begin_feeding(&self) {
        let replication = &self.replication;
        if !replication.out.is_active() {
            // Earlier effects are not held, and no replica can have them.
            let position = replication.out.end();
            let size = self.config.memory(Directive::ReplBacklogSize);
            replication.out.begin(History::new(self.new_history_id()), position, 0, Some(size));
        }
        if !self.is_replica() {
            self.tee.set(Recording::FED, true);
        }
    }

    /// Stops putting effects into the stream, and drops what is held, because there has been no
    /// replica for long.
    pub(super) fn end_feeding(&self) {
        let position = self.replication.out.end();
        self.tee.set(Recording::APART, true);
        self.tee.set(Recording::FED, false);
        let history = History::new(self.new_history_id());
        self.replication.out.begin(history, position, 0, None);
    }

    /// Becomes a replica. Every shard has to be locked. Returns which change this is, for [`Engine::set_link`].
    pub fn follow(&self, host: &str, port: u16, now_ms: u64) -> u64 {
        let replication = &self.replication;
        let was_replica = self.is_replica();
        self.tee.set(Recording::APART, true);
        self.tee.set(Recording::FED, false);
        // The successor has usually read what its master has written, so this server may be able to
        // continue there.
        let can_resume = match &*replication.source.lock() {
            Some(source) => source.can_resume,
            None => replication.out.is_active(),
        };
        let size = self.config.memory(Directive::ReplBacklogSize);
        replication.out.activate(size);
        let (link, host) = (Link::Down, host.to_owned());
        let source =
            Source { host, port, link, can_resume, down_since_ms: now_ms, ..Source::default() };
        *replication.source.lock() = Some(source);
        self.set_gate(Gate::REPLICA, true);
        self.notify.keyspace.set_hides_expired(true);
        self.update_stale_gate();
        let generation = replication.generation.fetch_add(1, Ordering::SeqCst) + 1;
        self.remember_source();
        if !was_replica {
            // Waits for keys are for writes, which are refused from now on.
            self.unblock_all();
        }
        generation
    }

    /// Ends the replication from a master; the history continues under a new id. Every shard must
    /// be locked. Returns false if there is no master.
    pub fn lead(&self) -> bool {
        let replication = &self.replication;
        if replication.source.lock().take().is_none() {
            return false;
        }
        replication.generation.fetch_add(1, Ordering::SeqCst);
        replication.out.branch(self.new_history_id());
        self.set_gate(Gate::REPLICA, false);
        self.notify.keyspace.set_hides_expired(self.gate().contains(Gate::PAUSED));
        self.update_stale_gate();
        self.tee.set(Recording::FED, replication.out.is_active());
        replication.out.begin_marks();
        // They are to learn that their history has another name now.
        self.drop_followers();
        self.remember_source();
        true
    }

    /// Closes the connections of all replicas, which will connect again.
    pub fn drop_followers(&self) {
        self.replication.followers.read().iter().for_each(|follower| follower.client.kill());
    }

    /// `replicaof` as `CONFIG GET` and `CONFIG REWRITE` show it.
    fn remember_source(&self) {
        let words = match self.replication.source() {
            Some(Source { host, port, .. }) => [host, port.to_string()],
            None => ["no".into(), "one".into()],
        };
        let words = words.each_ref().map(String::as_str);
        if let Err(reason) = self.config.load(by_id(Directive::Replicaof), &words) {
            tracing::warn!(reason, "replicaof cannot be kept in the configuration");
        }
    }

    pub(crate) fn new_history_id(&self) -> Id {
        let digits = crate::engine::hex_digits(self.random());
        Id::parse(digits.as_bytes()).unwrap_or(Id::NONE)
    }

    /// Records the state of the link to our master. Returns false if it is no longer our master.
    pub fn set_link(&self, generation: u64, link: Link, now_ms: u64) -> bool {
        let replication = &self.replication;
        let mut source = replication.source.lock();
        let Some(source_now) = source.as_mut().filter(|_| replication.is_current(generation))
        else {
            return false;
        };
        if source_now.link == Link::Up && link != Link::Up {
            source_now.down_since_ms = now_ms;
        }
        if link == Link::Up {
            source_now.can_resume = true;
        }
        source_now.link = link;
        source_now.last_io_ms = now_ms;
        (source_now.file_read, source_now.file_left) = (0, None);
        drop(source);
        self.update_stale_gate();
        true
    }

    /// Notes that the master was heard of, and how much of its file has come; false when it is not our
    /// master any more.
    pub fn note_master_contact(
        &self,
        generation: u64,
        now_ms: u64,
        file: Option<(u64, Option<u64>)>,
    ) -> bool {
        let replication = &self.replication;
        let mut source = replication.source.lock();
        let Some(source) = source.as_mut().filter(|_| replication.is_current(generation)) else {
            return false;
        };
        source.last_io_ms = now_ms;
        if let Some((read, left)) = file {
            (source.file_read, source.file_left) = (read, left);
        }
        true
    }

    /// Forgets the history that was followed: data are about to be replaced, so it cannot be gone on with.
    pub fn forget_history(&self) {
        if let Some(source) = &mut *self.replication.source.lock() {
            source.can_resume = false;
        }
        self.drop_followers();
    }

    /// All data were replaced, and not by a command: notifies clients that watch or cache keys.
    pub fn everything_replaced(&self) {
        for db in 0..self.databases() {
            let watched = self.notify.keyspace.watched_in(db);
            watched.iter().for_each(|key| self.notify.keyspace.modified(db, key));
        }
        if self.notify.tracking.is_on() {
            let mut stale = Stale::default();
            self.notify.tracking.invalidate_all(&self.clients, 0, &mut stale);
            self.notify.tracking.tell_stale(&self.clients, stale, None, None);
        }
    }

    /// All data have been loaded, and belong to this position of this history.
    pub fn adopt(&self, id: Id, position: u64, db: storage::Db) {
        let size = self.config.memory(Directive::ReplBacklogSize);
        self.replication.out.begin(History::new(id), position, db, Some(size));
    }

    /// The master goes on from where we are in the history that was asked for, perhaps under another name.
    pub fn go_on(&self, asked: Id, id: Option<Id>) {
        let out = &self.replication.out;
        let (history, id) = (out.history(), id.unwrap_or(asked));
        if id != history.id {
            let before = if id == asked { history.id } else { asked };
            out.rename(History { id, before: Some((before, out.end())) });
            self.drop_followers();
        }
    }

    /// The log goes on in another file, every shard is locked: says there where in the stream the data are.
    pub fn mark_log(&self) {
        if let Some(journal) = self.logging_journal() {
            self.replication.out.mark_place(journal, self.backend.persistent());
        }
    }

    /// Begins a new log whose data do not follow from the previous one; every shard is locked.
    /// Until the previous log is removed ([`Engine::log_began`]), a crash would leave both, so
    /// neither may be taken for a position in a stream.
    pub fn begin_log(&self) {
        self.set_logging(true);
        if let Some(journal) = self.logging_journal() {
            self.replication.out.end_marks(journal);
        }
    }

    /// The previous log was removed: the position in the stream is recorded again.
    pub fn log_began(&self) {
        if self.is_replica() || self.is_fed() {
            self.tee.set(Recording::APART, self.is_replica());
            self.replication.out.begin_marks();
        }
    }

    /// Takes up a history that was kept with the data, when the server starts.
    pub fn restore_history(&self, cut: Cut, follows: bool) {
        let size = self.config.memory(Directive::ReplBacklogSize);
        let Cut { id, position, db } = cut;
        if follows {
            self.replication.out.begin(History::new(id), position, db, Some(size));
            self.replication.out.begin_marks();
            self.tee.set(Recording::APART, true);
            if let Some(source) = &mut *self.replication.source.lock() {
                source.can_resume = true;
            }
            return;
        }
        let mut history = History::new(id);
        history.branch(self.new_history_id(), position);
        self.replication.out.begin(history, position, db, Some(size));
        self.replication.out.begin_marks();
        self.tee.set(Recording::FED, true);
    }

    /// Whether commands about data are refused because the master is away (`replica-serve-stale-data`).
    pub(crate) fn update_stale_gate(&self) {
        let source = self.replication.source.lock();
        let down = source.as_ref().is_some_and(|source| source.link != Link::Up);
        drop(source);
        self.set_gate(Gate::STALE, down && !self.config.boolean(Directive::ReplicaServeStaleData));
    }

    pub(crate) fn set_logged(&self, on: bool) {
        self.tee.set(Recording::LOGGED, on);
    }

    /// Ends every wait with an error.
    fn unblock_all(&self) {
        for client in
            self.clients.list().iter().filter(|client| client.has_flag(ClientFlags::BLOCKED))
        {
            self.notify.unblock(client.id, Some(ROLE_CHANGED));
        }
    }
}
