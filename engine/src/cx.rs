//! [`Cx`]: the context of a handler: its arguments, the locked keys, the reply, and the reports of
//! what it did.

use crate::clients::Message;
use crate::command::CommandEntry;
use crate::engine::Engine;
use crate::execute::{Call, Changes, Turn};
use crate::failure::{Failure, wrong_arity};
use crate::notify::blocking::{Block, LateReply};
use crate::notify::keyspace::Class;
use crate::notify::tracking::Stale;
use crate::peers::Errand;
use crate::session::state::SessionState;
use crate::text::args::{Args, is_word};
use resp::{Reply, Request};
use runtime::{Flow, Now};
use storage::{Key, Locks, Presence, Tx};

/// The context of a handler for one request.
///
/// The fields are separate so that they can be borrowed separately: `cx.tx.string(&key)` and
/// `cx.reply.bulk(…)` can be used side by side.
pub struct Cx<'a> {
    /// The request; argument 0 is the name (and argument 1 the subcommand's).
    pub args: Request<'a>,
    /// The locked keys.
    pub tx: &'a mut (dyn Tx + 'a),
    /// The reply. Handlers must not write to its output in any other way.
    pub reply: Reply<'a>,
    /// The state of the client.
    pub session: &'a mut SessionState,
    /// The state that all sessions share.
    pub engine: &'a Engine,
    /// The time.
    pub now: Now,
    pub(crate) call: &'a Call<'a>,
    pub(crate) locks: &'a Locks<'a>,
    pub(crate) changes: &'a mut Changes,
}

/// The watched keys of a database, each with its presence before and after a change.
pub(crate) type Replaced = Vec<(Box<[u8]>, Presence, Presence)>;

impl<'a> Cx<'a> {
    /// The context of a turn, once its shards are locked.
    #[inline(always)]
    pub(crate) fn new(
        engine: &'a Engine,
        turn: Turn<'a>,
        locks: &'a Locks<'a>,
        tx: &'a mut (dyn Tx + 'a),
    ) -> Self {
        let Turn { call, session, out, now, changes } = turn;
        let reply = Reply::new(out, session.proto);
        Cx { args: call.request, tx, reply, session, engine, now, call, locks, changes }
    }

    /// The context of another call within this one. It replies to the same client, and its changes
    /// are collected in `changes`.
    pub(crate) fn within<'c>(&'c mut self, call: &'c Call<'c>, changes: &'c mut Changes) -> Cx<'c> {
        let (session, out, now) = (&mut *self.session, self.reply.output(), self.now);
        let turn = Turn { call, session, out, now, changes };
        Cx::new(self.engine, turn, self.locks, self.tx)
    }

    /// Replies with an error, and counts it.
    #[cold]
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.engine.fail(self.call.entry, failure, self.session, self.reply.output());
    }

    /// Argument `index`, as a key of the current database.
    #[inline]
    pub fn key(&self, index: usize) -> Key<'a> {
        let bytes = self.args.arg(index);
        let hash = match self.call.hash {
            Some(hash) if self.call.entry.first_key == Some(index) => hash,
            _ => self.engine.backend.hash(bytes),
        };
        Key { db: self.session.db, hash, bytes }
    }

    /// Bytes as a key of the current database. It must be one of the declared keys.
    #[inline]
    pub fn key_of<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key { db: self.session.db, hash: self.engine.backend.hash(bytes), bytes }
    }

    /// Bytes as a key of another database.
    pub fn key_in<'k>(&self, db: storage::Db, bytes: &'k [u8]) -> Key<'k> {
        Key { db, hash: self.engine.backend.hash(bytes), bytes }
    }

    /// The row of the running command.
    pub fn entry(&self) -> &'a CommandEntry {
        self.call.entry
    }

    /// A cursor over the arguments from `index` on, for options in any order.
    #[inline]
    pub fn args_from(&self, index: usize) -> Args<'a> {
        Args::new(self.args, index)
    }

    /// Number of arguments, the name included.
    #[inline]
    pub fn argc(&self) -> usize {
        self.args.len()
    }

    /// Whether argument `index` is `word`, ignoring case.
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        is_word(self.args.arg(index), word)
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
        if self.engine.keyspace.has_interest() {
            self.announce(key, class, event);
        }
    }

    /// Reports `n` changes that must be logged, but of which no client that watches, waits for or
    /// caches a key is notified: of the groups of a stream, or of libraries.
    #[inline]
    pub fn changed_silently(&mut self, n: u64) {
        self.changes.count += n;
    }

    #[cold]
    fn announce(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        self.announce_expired();
        self.engine.keyspace.modified(key.db, key.bytes);
        self.invalidate(key);
        self.announce_event(key, class, event);
        self.ready(key);
    }

    /// Like [`Cx::modified`], for a value that replaces an expired key whose expiry was not
    /// noticed: no client is notified that it expired, and for clients that watch it, it is as
    /// stale as before.
    pub fn modified_unseen(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        let is_it = |gone: &storage::Expired| gone.db == key.db && *gone.key == *key.bytes;
        self.tx.expired().retain(|gone| !is_it(gone));
        self.changes.count += 1;
        if self.engine.keyspace.has_interest() {
            self.engine.keyspace.replaced(key.db, key.bytes, Presence::Stale, Presence::Stale);
            self.invalidate(key);
            self.notify(key, class, event);
            self.ready(key);
        }
    }

    /// Returns each watched key of `db` with its presence in `db` and in `other`. To be called
    /// before `db` is replaced by `other`, or emptied if that is `None`; the result is for
    /// [`Cx::database_modified`].
    pub fn watched_in(
        &mut self,
        db: storage::Db,
        other: Option<storage::Db>,
    ) -> Result<Replaced, Failure> {
        let mut replaced = Replaced::new();
        for bytes in self.engine.keyspace.watched_in(db) {
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

    /// Reports that a whole database was changed (`FLUSHDB`, `SWAPDB`). `replaced` says how that
    /// affects watched keys.
    pub fn database_modified(&mut self, db: storage::Db, replaced: Replaced) {
        self.changes.count += 1;
        for (key, was, is) in replaced {
            self.engine.keyspace.replaced(db, &key, was, is);
        }
        let awaited = self.engine.blocking.awaited_keys(db);
        let ready = &mut self.changes.rest().ready;
        ready.extend(awaited.into_iter().map(|key| (db, key)));
    }

    /// Reports that every key is gone (`FLUSHALL`). For client-side caches `FLUSHDB` is the same,
    /// because they do not know databases.
    pub fn everything_invalid(&mut self) {
        if self.engine.tracking.is_on() {
            let by = self.session.client().id;
            self.engine.invalidate_all(by, &mut self.changes.rest().stale);
        }
    }

    fn invalidate(&mut self, key: &Key<'_>) {
        if self.engine.tracking.is_on() {
            let by = Some(self.session.client().id);
            let mut stale = Stale::default();
            self.engine.invalidate(key.hash, key.bytes, by, false, &mut stale);
            self.changes.make_stale(stale);
        }
    }

    /// Publishes a keyspace event without a change (`keymiss`), or in addition to a reported change
    /// (`del`, when the last element is gone).
    #[inline]
    pub fn notify(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        if self.engine.keyspace.has_interest() {
            self.announce_event(key, class, event);
        }
    }

    #[cold]
    fn announce_event(&mut self, key: &Key<'_>, class: Class, event: &'static str) {
        self.announce_expired();
        if self.engine.keyspace.announces_new() && self.was_absent(key) && self.is_there(key) {
            self.created(key);
        }
        self.publish_event(key, class, event);
    }

    fn publish_event(&mut self, key: &Key<'_>, class: Class, event: &str) {
        let mut kept = Vec::new();
        let own = Some((self.session.client(), &mut kept));
        self.engine.notify_event(key.db, key.bytes, class, event, own);
        self.keep_messages(kept);
    }

    /// Lets the session write messages to itself after its reply.
    pub fn keep_messages(&mut self, mut messages: Vec<Message>) {
        if !messages.is_empty() {
            self.changes.rest().messages.append(&mut messages);
        }
    }

    /// Reports that a key was created; to be called before the change is reported. The first
    /// [`Cx::modified`] does this for a declared key that did not exist. For other keys, and if a
    /// key replaces another one by creating a new one, the handler must do it.
    pub fn created(&mut self, key: &Key<'_>) {
        if self.engine.keyspace.announces_new() {
            self.announce_expired();
            self.changes.rest().absent.retain(|absent| **absent != *key.bytes);
            self.publish_event(key, Class::New, "new");
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
    pub fn announce_expired(&mut self) {
        if !self.tx.met_expired() {
            return;
        }
        self.engine.settle_expired(Some(self.session.client()), self.tx, self.changes);
    }

    /// Records that blocked clients may be served from `key`. [`Cx::modified`] does this already.
    pub fn ready(&mut self, key: &Key<'_>) {
        if self.engine.blocking.is_awaited(key.db, key.bytes) {
            self.changes.rest().ready.push((key.db, key.bytes.into()));
        }
    }

    /// Reports whether a reading command found `key`. Counts it (`keyspace_hits`,
    /// `keyspace_misses`), and publishes the event of a miss.
    #[inline]
    pub fn looked_up(&mut self, key: &Key<'_>, found: bool) {
        self.session.count_lookup(found);
        if !found {
            self.notify(key, Class::KeyMiss, "keymiss");
        }
    }

    /// Whether this command may access keys of `shard`. For commands without declared keys
    /// (`SCAN`).
    pub fn is_locked(&self, shard: u32) -> bool {
        match self.locks {
            Locks::None => false,
            Locks::One(one) => *one == shard,
            Locks::Many(many) => many.binary_search(&shard).is_ok(),
            Locks::All => true,
        }
    }

    /// Logs `effect` instead of the command itself. If it is called several times, all effects are
    /// logged, in order.
    pub fn log(&mut self, effect: &[&[u8]]) {
        if self.engine.journal().is_some() {
            self.changes.rest().effects.replace(self.session.db, effect);
        }
    }

    /// Blocks the session until one of its keys becomes ready or its time is over. Closes it if its
    /// client has ended the sending side. Returns false inside `MULTI` and scripts, where nothing
    /// may block; the handler must then reply as if the time were over.
    pub fn block(&mut self, block: Block) -> bool {
        if self.session.may_not_block() {
            return false;
        }
        if self.session.is_leaving() {
            // No client would receive the reply, and the elements that it took would be lost.
            self.session.flow = Flow::CloseAfterFlush;
            return true;
        }
        self.changes.rest().block = Some(block);
        true
    }

    /// Like [`Cx::block`], but waits until replicas have acknowledged something.
    pub fn block_for_replicas(&mut self, block: Block, late: LateReply) -> bool {
        let blocks = self.block(block);
        if blocks {
            self.changes.rest().late = Some(late);
        }
        blocks
    }

    /// Sends keys to another server, and blocks the session until that has replied. Unless the keys
    /// are copied, they are held meanwhile. Must not be used where nothing may block.
    pub fn run_errand(&mut self, errand: Errand) {
        if !errand.copies {
            self.engine.hold(&errand.keys);
        }
        self.changes.rest().errand = Some(Box::new(errand));
        self.block(Block {
            keys: Vec::new(),
            timeout_us: None,
            on_timeout: |reply| reply.null(),
            request: None,
            needs_keys: false,
        });
    }

    /// Replies to `HELP`: the form of the container, its subcommands, and `HELP` itself.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        self.reply.array(lines.len() + 3);
        self.reply.simple(&format!(
            "{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        ));
        lines.iter().for_each(|line| self.reply.simple(line));
        self.reply.simple("HELP");
        self.reply.simple("    Prints this help.");
    }

    /// A random number. It depends only on the engine's seed, the client, and the number of its
    /// draws before.
    pub fn random(&mut self) -> u64 {
        self.session.random(self.engine.environment.seed)
    }

    /// The name of the running command as in error texts: `get`, `client|id`.
    pub fn command_name(&self) -> String {
        match self.engine.commands.resolve(self.args) {
            Some(entry) => entry.full_name.clone(),
            None => String::from_utf8_lossy(self.args.arg(0)).to_lowercase(),
        }
    }

    /// The error for a wrong number of arguments, where the row's arity is not precise enough.
    pub fn wrong_arity(&self) -> Failure {
        wrong_arity(&self.command_name())
    }
}
