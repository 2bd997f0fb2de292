//! A panic inside a transaction closes its connection, or ends the server.
//!
//! A panic is a bug, and runtimes close the connection that it came from. That is enough as long as
//! nothing of the transaction stays behind. Half a transaction must not: it would be in memory and not
//! in the log, and the next start would disagree with what clients were told. So whoever runs a
//! transaction keeps a [`Watch`] on it. When it is left by a panic, while its shards are still locked,
//! the storage is asked what stays ([`Tx::left_by_panic`]):
//!
//! - nothing, and nothing was being logged: the transaction is undone, the server goes on;
//! - something: whether it is whole and logged, or half and not, nobody can tell. The engine refuses
//!   everything from then on, and the process around it is told to end ([`Host::fail_stop`]). The next
//!   start has what the log says: all of the transaction or nothing.
//!
//! [`Host::fail_stop`]: crate::Host::fail_stop

use crate::command::{CommandEntry, Flag, Group};
use crate::engine::{Engine, Gate};
use crate::session::state::Queued;
use storage::{Backend, Left, Locks, Result, Tx};

/// Whose transaction it is.
#[derive(Clone, Copy)]
pub(crate) enum Doing<'w> {
    /// One command's.
    Command(&'w CommandEntry),
    /// `EXEC`'s.
    Queue(&'w [Queued]),
    /// The engine's own work.
    Work(&'static str),
}

/// Looks after a transaction. To be ended by [`Watch::end`]; dropped, it was left by a panic.
pub(crate) struct Watch<'w> {
    /// The transaction.
    pub tx: &'w mut (dyn Tx + 'w),
    /// Its effects are being logged: they may be in the log already.
    pub logging: bool,
    engine: &'w Engine,
    doing: Doing<'w>,
}

impl<'w> Watch<'w> {
    /// Begins to look after `tx`.
    #[inline(always)]
    pub fn new(engine: &'w Engine, doing: Doing<'w>, tx: &'w mut (dyn Tx + 'w)) -> Self {
        Watch { tx, logging: false, engine, doing }
    }

    /// The transaction ends as it should. Costs nothing.
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
            // Libraries are not in the storage, and do not go with its changes.
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
    /// As [`Backend::transact`], for the engine's own work and the process's: when `body` panics and
    /// leaves something behind, everything ends.
    ///
    /// # Errors
    /// As [`Backend::transact`].
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

    /// Refuses everything from now on, and has the process end: data and log may not agree.
    #[cold]
    pub(crate) fn fail_stop(&self, cause: &str) {
        self.set_gate(Gate::BROKEN, true);
        self.environment.host.fail_stop(cause);
    }

    /// A transaction could not be committed. If the log has it, the data must not go on without.
    #[cold]
    pub(crate) fn not_committed(&self, error: &storage::Error, writes: bool) {
        if writes && !matches!(error, storage::Error::Busy) && self.journal().is_some() {
            let cause = format!("the storage cannot commit what is in the log already: {error}");
            self.fail_stop(&cause);
        }
    }
}
