//! Serves clients that wait for keys. The session that made a key ready runs the commands that are
//! waiting for it.

use super::{Call, Changes, Invocation, Ready};
use crate::acl::Context;
use crate::clients::{Client, Event};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::notify::blocking::Waiter;
use crate::notify::tracking::Issuer;
use crate::session::state::SessionState;
use resp::{Output, Reply};
use runtime::Now;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use storage::Position;

impl Engine {
    /// Notifies everyone whom the changes concern, once the locks are released, unless a session
    /// does so itself. `by` is the client that made the changes. Returns the last position of the
    /// clients that were served.
    pub(crate) fn conclude(
        &self,
        mut changes: Changes,
        by: Option<&Arc<Client>>,
        now: Now,
    ) -> Option<Position> {
        let mut rest = changes.take_rest()?;
        match by {
            Some(by) => rest.tell(self, by, None),
            None => self.notify.tracking.tell_stale(&self.clients, rest.stale, None, None),
        }
        if rest.ready.is_empty() { None } else { self.serve(rest.ready, now) }
    }

    /// Serves clients that wait for the keys in `ready`, in the order in which they came, until no
    /// more can be served. A served command may itself make other keys ready.
    pub(crate) fn serve(&self, ready: Ready, now: Now) -> Option<Position> {
        let mut keys: VecDeque<_> = ready.into_iter().collect();
        let mut last = None;
        while let Some((db, key)) = keys.pop_front() {
            for waiter in self.notify.blocking.queue(db, &key) {
                self.serve_one(&waiter, now, |changes| {
                    last = changes.position.or(last);
                    keys.extend(changes.take_ready());
                });
            }
        }
        last
    }

    /// Runs the command of a waiting client on its behalf, if it is still waiting. `then` gets the
    /// changes of each try.
    pub(crate) fn serve_one(
        &self,
        waiter: &Arc<Waiter>,
        now: Now,
        mut then: impl FnMut(&mut Changes),
    ) {
        // A client that is about to be closed gets nothing more.
        if waiter.client.is_killed() || !waiter.claim() {
            return;
        }
        loop {
            let (mut changes, is_over) = self.serve_claimed(waiter, now);
            then(&mut changes);
            if is_over || waiter.release() {
                return;
            }
        }
    }

    /// Runs the command of a waiting client that this thread has claimed. Returns also whether the wait
    /// is over.
    fn serve_claimed(&self, waiter: &Arc<Waiter>, now: Now) -> (Changes, bool) {
        let mut session = SessionState::stand_in(waiter, &self.acl, &self.notify.tracking);
        let mut out = Output::new();
        if let Err(failure) = self.may_still_run(waiter, &mut session, now) {
            self.observe.stats.rejected(Some(waiter.command), failure.code());
            Reply::new(&mut out, session.proto).error(failure.as_str());
            self.end_wait(waiter, out, None);
            return (Changes::default(), true);
        }
        let run = || self.run_for(waiter, &mut session, &mut out, now);
        let Ok(mut changes) = catch_unwind(AssertUnwindSafe(run)) else {
            self.end_panicked(waiter);
            return (Changes::default(), true);
        };
        session.flush_counts(&self.observe.stats);
        // If its key is held, it is tried again when that has ended.
        let mut waits = changes.is_held();
        if let Some(rest) = changes.rare() {
            waits |= rest.waiter.take().is_some();
            let own = Issuer { client: &waiter.client, out: &mut out, subscribed: false };
            // A client that goes on waiting has no reply that messages could follow.
            rest.tell(self, &waiter.client, (!waits).then_some(own));
        }
        if !waits {
            self.observe.note_waited(&self.commands, waiter, now);
            self.end_wait(waiter, out, changes.position);
        }
        (changes, !waits)
    }

    /// Whether the command of a waiting client may still run, and on this server. Both may have
    /// changed while it waited.
    fn may_still_run(
        &self,
        waiter: &Waiter,
        session: &mut SessionState,
        now: Now,
    ) -> Result<(), Failure> {
        let (entry, request) = (self.commands.entry(waiter.command), waiter.request.view());
        self.check_permission(session, entry, request, Context::TopLevel, now.wall_ms)?;
        self.route(session, entry, request).map(drop)
    }

    /// Runs the command of a waiting client, and records the time that it takes.
    fn run_for(
        &self,
        waiter: &Waiter,
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
    ) -> Changes {
        let (entry, request) = (self.commands.entry(waiter.command), waiter.request.view());
        let hash = entry.first_key.and_then(|at| request.get(at)).map(|k| self.backend.hash(k));
        let call = Call { entry, request, hash };
        let mut changes = Changes::default();
        let begin = (self.environment.stopwatch)();
        self.run::<false>(Invocation { call: &call, session, out, now, changes: &mut changes });
        let took = (self.environment.stopwatch)().saturating_sub(begin);
        waiter.spend(took);
        self.observe.latency.note_command(entry, took, now);
        changes
    }

    /// Ends a wait whose command panicked. Its client is closed, as if it had run the command
    /// itself; the client that served it is not.
    fn end_panicked(&self, waiter: &Arc<Waiter>) {
        tracing::error!(client = waiter.client.id, "a waiting client's command panicked");
        self.notify.unpark(waiter);
        waiter.client.kill();
    }

    /// Ends a wait with a reply, which depends on `position`.
    fn end_wait(&self, waiter: &Arc<Waiter>, reply: Output, position: Option<Position>) {
        self.notify.unpark(waiter);
        waiter.client.send(Event::Served { reply, position }, 0);
    }
}
