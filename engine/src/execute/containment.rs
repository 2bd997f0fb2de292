//! A panic inside a transaction closes its connection, or ends the server.
//!
//! A panic is a bug, and runtimes close the connection from which it came. That is enough if
//! nothing of the transaction is left. Half a transaction must not be left: it would be in memory
//! and not in the log, and the next start would disagree with what clients were told. Therefore a
//! [`Watch`] guards each transaction. If a panic leaves it, the storage is asked, while its shards
//! are still locked, what is left of the transaction ([`Tx::left_by_panic`]):
//!
//! - Nothing, and nothing was being logged: the transaction is undone, and the server goes on.
//! - Something: it is not known whether that is whole and logged, or half and not logged. From then
//!   on the engine refuses every request, and the process is told to end ([`Host::fail_stop`]). The
//!   next start has the state of the log: all of the transaction, or nothing.
//!
//! [`Host::fail_stop`]: crate::Host::fail_stop

use crate::command::{CommandEntry, Flag, Group};
use crate::engine::Engine;
use crate::gate::Gate;
use crate::session::state::Queued;
use storage::{Backend, Left, Locks, Result, Tx};

/// The purpose of a transaction, for the report of a panic.
#[derive(Clone, Copy)]
pub(crate) enum Doing<'w> {
    /// It runs one command.
    Command(&'w CommandEntry),
    /// It runs the commands of `EXEC`.
    Queue(&'w [Queued]),
    /// It does the engine's own work.
    Work(&'static str),
}

/// Guards a transaction. [`Watch::end`] must be called at its end; if the guard is dropped instead,
/// a panic has left the transaction.
pub(crate) struct Watch<'w> {
    /// The transaction.
    pub tx: &'w mut (dyn Tx + 'w),
    /// Whether effects are being logged, so that they may be in the log already.
    pub logging: bool,
    engine: &'w Engine,
    doing: Doing<'w>,
}

impl<'w> Watch<'w> {
    /// Guards `tx`.
    #[inline(always)]
    pub fn new(engine: &'w Engine, doing: Doing<'w>, tx: &'w mut (dyn Tx + 'w)) -> Self {
        Watch { tx, logging: false, engine, doing }
    }

    /// Ends the guard of a transaction that has ended normally. Costs nothing.
    #[inline(always)]
    pub fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Watch<'_> {
    #[cold]
    fn drop(&mut self) {
        let reads = self.doing.only_reads(self.engine);
        let stays = match self.tx.left_by_panic() {
            // Libraries are not in the storage, so undoing its changes does not undo theirs.
            Left::Nothing if self.doing.changes_libraries(self.engine) => true,
            Left::Nothing => self.logging && !reads && self.engine.journal().is_some(),
            Left::Perhaps => !reads,
            Left::Something => true,
        };
        if stays {
            let what = self.doing.name();
            self.engine.fail_stop(&format!(
                "{what} panicked while it changed data; what it left may be half of what it does"
            ));
        }
    }
}

impl Doing<'_> {
    fn entries<'e>(&'e self, engine: &'e Engine) -> impl Iterator<Item = &'e CommandEntry> {
        let (one, queue) = match self {
            Doing::Command(entry) => (Some(*entry), &[][..]),
            Doing::Queue(queue) => (None, *queue),
            Doing::Work(_) => (None, &[][..]),
        };
        one.into_iter().chain(queue.iter().map(|queued| engine.commands.entry(queued.command)))
    }

    fn only_reads(&self, engine: &Engine) -> bool {
        !matches!(self, Doing::Work(_)) && self.entries(engine).all(|e| e.has(Flag::Readonly))
    }

    fn changes_libraries(&self, engine: &Engine) -> bool {
        let mut entries = self.entries(engine);
        entries.any(|e| e.spec.group == Group::Scripting && e.has(Flag::Write))
    }

    fn name(&self) -> String {
        match self {
            Doing::Command(entry) => format!("the command '{}'", entry.full_name),
            Doing::Queue(_) => "a transaction".to_owned(),
            Doing::Work(what) => (*what).to_owned(),
        }
    }
}

impl Engine {
    /// Like [`Backend::transact`], for work of the engine and the process themselves. If `body`
    /// panics and something is left of it, the process ends.
    ///
    /// # Errors
    /// Fails like [`Backend::transact`].
    pub fn transact(
        &self,
        what: &'static str,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()> {
        let backend: &dyn Backend = &*self.backend;
        backend.transact(locks, now_ms, &mut |tx| {
            let mut watch = Watch::new(self, Doing::Work(what), tx);
            watch.logging = true;
            body(watch.tx);
            watch.end();
        })
    }

    /// Refuses every request from now on, and tells the process to end: data and log may not agree.
    #[cold]
    pub(crate) fn fail_stop(&self, cause: &str) {
        self.set_gate(Gate::BROKEN, true);
        self.environment.host.fail_stop(cause);
    }

    /// Handles a transaction that could not be committed. If the log has it, the server must not go
    /// on without it.
    #[cold]
    pub(crate) fn not_committed(&self, error: &storage::Error, writes: bool) {
        if writes && !matches!(error, storage::Error::Busy) && self.journal().is_some() {
            let cause = format!("the storage cannot commit what is in the log already: {error}");
            self.fail_stop(&cause);
        }
    }
}
