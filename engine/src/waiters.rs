//! Serving those who wait: whoever made a key ready runs the commands that are parked at it.

use crate::acl::Context;
use crate::affected::Ready;
use crate::blocking::Waiter;
use crate::clients::Event;
use crate::dispatch::{Aftermath, Call};
use crate::engine::Engine;
use crate::session::SessionState;
use crate::tracking::Own;
use resp::{Output, Reply};
use runtime::Now;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use storage::Position;

impl Engine {
    /// Serves those who wait for `ready` keys, first come first served, until nobody more can be:
    /// a served command may itself make further keys ready.
    pub(crate) fn serve(&self, ready: Ready, now: Now) -> Option<Position> {
        let mut keys: VecDeque<_> = ready.into_iter().collect();
        let mut last = None;
        while let Some((db, key)) = keys.pop_front() {
            for waiter in self.blocking.queue(db, &key) {
                let aftermath = self.serve_one(&waiter, now);
                last = aftermath.position.or(last);
                keys.extend(aftermath.rest.into_iter().flat_map(|rest| rest.affected.ready));
            }
        }
        last
    }

    /// Runs a waiter's command on its behalf, if it is still waiting.
    pub(crate) fn serve_one(&self, waiter: &Arc<Waiter>, now: Now) -> Aftermath {
        // Who is on the way out gets nothing more.
        if waiter.client.is_killed() || !waiter.claim() {
            return Aftermath::default();
        }
        let mut session = SessionState::stand_in(waiter, self);
        let mut out = Output::new();
        let entry = self.commands.entry(waiter.command);
        let request = waiter.request.view();
        // What it may do, and where, may have changed while it waited.
        let allowed =
            self.check_permission(&session, entry, request, Context::TopLevel, now.wall_ms);
        if let Err(failure) = allowed.and_then(|()| self.route(&mut session, entry, request)) {
            self.stats.rejected(Some(entry.id), failure.code());
            Reply::new(&mut out, session.proto).error(failure.as_str());
            self.unpark(waiter);
            waiter.client.send(Event::Served { reply: out, position: None }, 0);
            return Aftermath::default();
        }
        let hash = entry.first_key.and_then(|at| request.get(at)).map(|k| self.backend.hash(k));
        let mut aftermath = Aftermath::default();
        let call = Call { entry, request, hash };
        let begin = (self.environment.stopwatch)();
        let run = || self.run::<false>(&call, &mut session, &mut out, now, &mut aftermath);
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            // Whose command it was is closed, as if it had run it itself: not who served it.
            tracing::error!(client = waiter.client.id, "a waiting client's command panicked");
            self.unpark(waiter);
            waiter.client.kill();
            return Aftermath::default();
        }
        let took = (self.environment.stopwatch)().saturating_sub(begin);
        waiter.spend(took);
        self.note_moment(entry, took, now);
        session.flush_counts(&self.stats);
        if let Some(rest) = &mut aftermath.rest {
            let own = Own { client: &waiter.client, out: &mut out, subscribed: false };
            // Who waits on has no reply for them to follow.
            let own = (rest.waiter.is_none() && !rest.held).then_some(own);
            rest.affected.tell(self, &waiter.client, own);
        }
        if aftermath.is_held() {
            // It is tried again when the key is held no longer.
            waiter.show();
            waiter.release();
            return aftermath;
        }
        match aftermath.rest.as_mut().and_then(|rest| rest.waiter.take()) {
            // It would have to wait again: the second registration goes, the first stays.
            Some((again, _)) => {
                again.end();
                self.unpark(&again);
                waiter.show();
                waiter.release();
            }
            None => {
                self.note_waited(waiter, now);
                self.unpark(waiter);
                waiter.client.send(Event::Served { reply: out, position: aftermath.position }, 0);
            }
        }
        aftermath
    }
}
