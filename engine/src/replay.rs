//! [`Replayer`]: runs logged effects again, at start.

use crate::dispatch::Call;
use crate::engine::Engine;
use crate::session::SessionState;
use crate::session::special;
use resp::{Output, Request};
use runtime::Now;
use std::sync::Arc;
use storage::Db;

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
        session.set_special(special::REPLAY | special::NO_BLOCK, true);
        Replayer { engine, session, out: Output::new() }
    }

    /// Runs one effect in `db`.
    ///
    /// # Errors
    /// The error the command answered with, or why it cannot be run: the log is damaged, or was
    /// written by a server with other commands.
    pub fn apply(&mut self, db: Db, request: Request<'_>) -> Result<(), String> {
        self.session.db = db;
        let entry = self.engine.commands.resolve(request).ok_or_else(|| {
            format!("unknown command '{}'", String::from_utf8_lossy(request.arg(0)))
        })?;
        if !entry.accepts(request.len()) {
            return Err(format!("wrong number of arguments for '{}'", entry.full_name));
        }
        let hash = entry.first_key.and_then(|at| request.get(at));
        let hash = hash.map(|key| self.engine.backend.hash(key));
        let call = Call { entry, request, hash };
        let ran = self.engine.run(call, &mut self.session, &mut self.out, Now::default());
        let reply = self.out.to_vec();
        self.out.release();
        match ran.failed {
            true => Err(String::from_utf8_lossy(&reply).trim().trim_start_matches('-').to_owned()),
            false => Ok(()),
        }
    }
}
