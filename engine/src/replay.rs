//! [`Replayer`]: runs logged effects again, at start.

use crate::dispatch::Call;
use crate::engine::Engine;
use crate::session::SessionState;
use crate::session::special;
use resp::{Output, Request};
use smallvec::SmallVec;
use std::sync::Arc;
use storage::{Db, Position};

/// Applies the effects of a log to an engine's storage: nothing is logged again, nothing expires,
/// nobody is told.
pub struct Replayer<'e> {
    engine: &'e Engine,
    session: SessionState,
    out: Output,
}

impl<'e> Replayer<'e> {
    /// A replayer for one log.
    pub fn new(engine: &'e Engine) -> Self {
        let mut session = SessionState::new(Arc::new(engine.clients.unlisted()));
        session.set_special(special::SOURCE | special::NO_BLOCK, true);
        Replayer { engine, session, out: Output::new() }
    }

    /// Runs one effect in `db`.
    ///
    /// # Errors
    /// As [`Replayer::record`].
    pub fn apply<'r>(&mut self, db: Db, request: Request<'r>) -> Result<(), String>
    where
        'e: 'r,
    {
        self.record(None, [(db, request)])
    }

    /// Runs the effects of one record of a log, in one transaction. `at` is the record's position:
    /// what a persistent backend already holds is passed over.
    ///
    /// # Errors
    /// The error a command answered with, or why it cannot be run: the log is damaged, or was
    /// written by a server with other commands.
    pub fn record<'r>(
        &mut self,
        at: Option<Position>,
        effects: impl IntoIterator<Item = (Db, Request<'r>)>,
    ) -> Result<(), String>
    where
        'e: 'r,
    {
        let mut calls = SmallVec::<[_; 1]>::new();
        for (db, request) in effects {
            calls.push((db, self.call(request)?));
        }
        let ran = self.engine.run_record(at, &calls, &mut self.session, &mut self.out);
        let outcome = match ran {
            Ok(true) => Ok(()),
            Ok(false) => Err(last_error(&self.out.to_vec())),
            Err(error) => Err(error.to_string()),
        };
        self.out.release();
        outcome
    }

    fn call<'r>(&self, request: Request<'r>) -> Result<Call<'r>, String>
    where
        'e: 'r,
    {
        let entry = self.engine.commands.resolve(request).ok_or_else(|| {
            format!("unknown command '{}'", String::from_utf8_lossy(request.arg(0)))
        })?;
        if !entry.accepts(request.len()) {
            return Err(format!("wrong number of arguments for '{}'", entry.full_name));
        }
        let hash = entry.first_key.and_then(|at| request.get(at));
        let hash = hash.map(|key| self.engine.backend.hash(key));
        Ok(Call { entry, request, hash })
    }
}

/// The text of the error that a list of replies ends with.
fn last_error(replies: &[u8]) -> String {
    let text = String::from_utf8_lossy(replies);
    text.trim_end().rsplit("\r\n").next().unwrap_or_default().trim_start_matches('-').to_owned()
}
