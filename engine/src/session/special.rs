//! Requests that need a closer look than most: those that are refused, queued or held back, and those of a
//! session or a server about which something is unusual.

use super::admit::{Admission, admit};
use super::run::Planned;
use super::state::{ReplyMode, Special};
use super::timer::Timer;
use super::{Machine, Parked};
use crate::clients::{ClientFlags, NO_COMMAND, cross_protocol};
use crate::command::CommandEntry;
use crate::engine::Engine;
use crate::failure::{self, Failure};
use crate::gate::Gate;
use crate::notify::monitor::is_shown_first;
use resp::{Reply, Request};
use runtime::{Flow, Now};
use std::sync::atomic::Ordering;

impl Machine {
    /// Refuses a request with wrong arguments for its command.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        engine: &Engine,
        entry: &CommandEntry,
        request: Request<'_>,
        now: Now,
    ) {
        // A subcommand that does not exist has no statistics that could count the refusal.
        let counted = entry.subcommands.is_empty() || request.len() == 1;
        let failure = entry.refusal(request);
        self.reject(engine, counted.then_some(entry), failure, now);
    }

    /// Refuses a request for an unknown command. An HTTP request, which a web page may have made a
    /// browser send, ends the connection, and the input behind it is ignored.
    #[cold]
    pub(super) fn refuse_unknown(&mut self, engine: &Engine, request: Request<'_>, now: Now) {
        if cross_protocol::is_http(request) {
            engine.clients.cross_protocol.warn(&self.state.client().peer, now);
            self.state.flow = Flow::Abort;
            return;
        }
        self.reject(engine, None, failure::unknown_command(request), now);
    }

    /// Refuses a request before it runs. Inside `MULTI` the transaction will fail.
    #[cold]
    fn reject(
        &mut self,
        engine: &Engine,
        entry: Option<&CommandEntry>,
        mut failure: Failure,
        now: Now,
    ) {
        engine.observe.stats.rejected(entry.map(|e| e.id), failure.code());
        let reply = self.begin_reply();
        self.note_command(entry);
        if let Some(multi) = &mut self.state.multi {
            multi.failed = true;
        }
        if entry.is_some_and(|entry| entry.id == engine.known.exec) {
            let text = "EXECABORT Transaction discarded because of:";
            let reason = failure.as_str();
            let reason = reason.strip_prefix("ERR ").unwrap_or(reason);
            failure = Failure::text(format!("{text} {reason}"));
            self.state.end_multi();
            self.state.forget_watches(&engine.notify.keyspace);
        }
        self.end_caching(engine, entry);
        Reply::new(&mut self.out, self.state.proto).error(failure.as_str());
        self.silence(engine, reply, now);
    }

    /// Records the client's last command, if that does not run at once.
    fn note_command(&self, entry: Option<&CommandEntry>) {
        let command = entry.map_or(NO_COMMAND, |entry| u32::from(entry.id));
        self.state.client().last_command.store(command, Ordering::Relaxed);
    }

    /// Handles requests that need a closer look.
    #[inline(never)]
    pub(super) fn run_special<'r>(
        &mut self,
        engine: &Engine,
        entry: &CommandEntry,
        planned: Planned,
        request: Request<'r>,
        now: Now,
        timer: &mut Timer<'r>,
    ) {
        let captured = self.state.take_special(Special::CAPTURED);
        let admission = admit(engine, &mut self.state, entry, request, now);
        // Events that precede this request are handled before its reply.
        self.take_events(engine, now);
        match admission {
            Err(failure) => self.reject(engine, Some(entry), failure, now),
            Ok(Admission::Queue) => {
                self.capture(engine, entry, request, now);
                self.queue(engine, entry, request, now);
            }
            Ok(Admission::Pause(until_ms)) => self.pause(entry, until_ms, now),
            Ok(Admission::Hold) => self.hold(captured),
            Ok(Admission::Run) => {
                let reply = self.begin_reply();
                if !captured {
                    self.capture(engine, entry, request, now);
                }
                let first = is_shown_first(entry);
                if first {
                    self.show(engine, entry, request, now);
                }
                match engine.is_traced() || self.state.special.contains(Special::SAMPLED) {
                    true => self.run_watched::<true>(engine, entry, planned, request, now, timer),
                    false => self.run_watched::<false>(engine, entry, planned, request, now, timer),
                }
                if matches!(self.parked, Parked::Held) {
                    // The request comes again later, and passes all of this again.
                    return self.state.set_special(Special::CAPTURED, true);
                }
                if !first {
                    self.show(engine, entry, request, now);
                }
                self.silence(engine, reply, now);
                self.end_caching(engine, Some(entry));
            }
        }
    }

    /// Ends the effect of `CLIENT CACHING`, which lasts for one request or one transaction.
    pub(super) fn end_caching(&mut self, engine: &Engine, entry: Option<&CommandEntry>) {
        let is_client = entry.is_some_and(|entry| entry.is_within(engine, "client"));
        if self.state.is_caching() && !self.state.in_multi() && !is_client {
            self.state.set_caching(false);
        }
    }

    /// Shows a request to monitoring clients.
    fn show(&self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        if engine.gate().contains(Gate::MONITORED) {
            let source = self.state.client().peer.to_string();
            let seen_by = (&engine.commands, &engine.tuning);
            let from = (self.state.db, &*source);
            engine.notify.monitors.feed(seen_by, (entry, request), from, now);
        }
    }

    /// Records a request for clients that capture traffic.
    fn capture(&self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        if engine.gate().contains(Gate::CAPTURED) {
            let (client, db) = (self.state.client(), self.state.db);
            engine.notify.captures.request(&engine.commands, entry, request, client, db, now);
        }
    }

    /// Returns the state before a request that [`Machine::silence`] needs: the reply mode, and the
    /// offset in the output where the request's reply begins. Also clears the flag that `SKIP` was
    /// requested.
    pub(super) fn begin_reply(&mut self) -> (ReplyMode, usize) {
        self.state.skip_armed = false;
        (self.state.reply_mode, self.out.len())
    }

    /// `CLIENT REPLY`: removes the reply to a request, unless the request turned replies on. Pushed
    /// messages wait in the inbox meanwhile, and are sent nevertheless.
    pub(super) fn silence(&mut self, engine: &Engine, (mode, mark): (ReplyMode, usize), now: Now) {
        if mode == ReplyMode::On {
            return;
        }
        if self.state.reply_mode != ReplyMode::On {
            self.out.truncate(mark);
            self.forget_marks();
        }
        // The reply to a command that waits is the one to skip, when it comes.
        if !self.is_parked() {
            self.state.end_skip();
        }
        self.take_events(engine, now);
    }

    fn queue(&mut self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        let reply = self.begin_reply();
        let doomed = self.state.client().transaction_failed();
        self.note_command(Some(entry));
        if let Some(multi) = self.state.multi.as_mut().filter(|multi| !multi.failed && !doomed) {
            multi.push(entry.id, engine.scripting.request_flags(entry, request), request);
            let bytes = multi.bytes;
            if engine.clients.eviction.is_limited() {
                engine.clients.note_growth(
                    request.iter().map(<[u8]>::len).sum(),
                    &engine.config,
                    &engine.observe.stats,
                );
            }
            self.state.show_multi(self.state.multi.as_deref());
            self.check_query_limit(engine, bytes);
        }
        Reply::new(&mut self.out, self.state.proto).simple("QUEUED");
        self.silence(engine, reply, now);
    }

    /// Holds a request back until the pause is over; then it is parsed again.
    fn pause(&mut self, entry: &CommandEntry, until_ms: u64, now: Now) {
        if self.draining {
            // No client is there any more to wait for the end of the pause.
            self.state.flow = Flow::CloseAfterFlush;
            return;
        }
        self.note_command(Some(entry));
        // The current millisecond has begun already, so one more makes the pause long enough.
        let wait_us = (until_ms.saturating_sub(now.wall_ms) + 1).saturating_mul(1000);
        self.state.client().set_flag(ClientFlags::PAUSED, true);
        self.parked = Parked::Paused { until_us: now.mono_us.saturating_add(wait_us) };
    }

    /// Holds a request back until the session is woken: it is parsed again then.
    fn hold(&mut self, captured: bool) {
        self.state.set_special(Special::CAPTURED, captured);
        self.parked = Parked::Asking;
    }
}
