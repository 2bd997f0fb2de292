//! [`Cx`]: the context of a handler: its arguments, the locked keys, the reply, and the reports of
//! what it did.
//!
//! | module | contents |
//! | --- | --- |
//! | `reports` | the seven reports of a handler of what it did |
//! | `operations` | operations on more than keys, which report what they did themselves |

mod operations;
mod reports;

use crate::command::CommandEntry;
use crate::engine::Engine;
use crate::execute::{Call, Changes, Invocation};
use crate::failure::{Failure, wrong_arity};
use crate::notify::blocking::{Block, LateReply};
use crate::peers::Errand;
use crate::session::state::SessionState;
use crate::text::args::{Args, is_word};
use resp::{Reply, Request};
use runtime::{Flow, Now};
use storage::{Key, Locks, Tx};

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

impl<'a> Cx<'a> {
    /// The context of an invocation, once its shards are locked.
    #[inline(always)]
    pub(crate) fn new(
        engine: &'a Engine,
        invocation: Invocation<'a>,
        locks: &'a Locks<'a>,
        tx: &'a mut (dyn Tx + 'a),
    ) -> Self {
        let Invocation { call, session, out, now, changes } = invocation;
        let reply = Reply::new(out, session.proto);
        Cx { args: call.request, tx, reply, session, engine, now, call, locks, changes }
    }

    /// The context of another call within this one. It replies to the same client, and its changes
    /// are collected in `changes`.
    pub(crate) fn within<'c>(&'c mut self, call: &'c Call<'c>, changes: &'c mut Changes) -> Cx<'c> {
        let (session, out, now) = (&mut *self.session, self.reply.output(), self.now);
        let invocation = Invocation { call, session, out, now, changes };
        Cx::new(self.engine, invocation, self.locks, self.tx)
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
            self.engine.peers.holds.hold(&self.engine.notify.keyspace, &errand.keys);
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
