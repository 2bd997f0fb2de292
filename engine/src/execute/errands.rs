//! Errands: requests to other servers, and what is done when they end.

use super::{Call, Changes, Invocation};
use crate::clients::Event;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::gate::Gate;
use crate::notify::blocking::Waiter;
use crate::notify::tracking::Issuer;
use crate::peers::{Answers, Errand};
use crate::session::state::{SessionState, Special};
use crate::text::args::OwnedRequest;
use resp::{Output, Reply};
use runtime::Now;
use std::time::Duration;

impl Engine {
    /// Starts an errand, on another thread if there is one.
    pub(crate) fn begin_errand(&self, errand: Box<Errand>, now: Now) {
        if let Err(errand) = self.environment.host.run_aside(errand) {
            let answers = self.environment.host.exchange(&errand.target(), errand.requests());
            self.end_errand(*errand, &answers, now);
        }
    }

    /// Ends an errand: deletes the keys here that the other server has taken, releases all keys,
    /// and replies to the client. Locks shards, so it must not be called within a transaction.
    pub fn end_errand(&self, errand: Errand, answers: &Answers, now: Now) {
        let Errand { keys, copies, waiter: Some(waiter), .. } = errand else { return };
        let mut reply = Output::new();
        let taken = keys.iter().zip(&answers.done).filter(|(_, done)| **done);
        let taken: Vec<&[u8]> = taken.map(|(key, _)| &**key).collect();
        let mut changes = Changes::default();
        let mut failure = answers.failure();
        if !copies && !taken.is_empty() {
            let forgotten;
            (changes, forgotten) = self.forget(&taken, &waiter, now);
            failure = failure.or(forgotten);
        }
        let mut writer = Reply::new(&mut reply, waiter.client.proto());
        match failure {
            Some(failure) => writer.error(failure.as_str()),
            None => writer.ok(),
        }
        let mut ready = if copies {
            Default::default()
        } else {
            self.peers.holds.let_go(&self.notify.keyspace, &keys)
        };
        if let Some(rest) = changes.rare() {
            let own = Issuer { client: &waiter.client, out: &mut reply, subscribed: false };
            rest.tell(self, &waiter.client, Some(own));
            ready.append(&mut rest.ready);
        }
        self.observe.note_waited(&self.commands, &waiter, now);
        self.notify.unpark(&waiter);
        waiter.client.send(Event::Served { reply, position: changes.position }, 0);
        self.serve(ready, now);
    }

    /// Deletes keys that the other server has taken. As with `DEL`, this is logged and announced.
    fn forget(&self, keys: &[&[u8]], waiter: &Waiter, now: Now) -> (Changes, Option<Failure>) {
        const PATIENCE: Duration = Duration::from_millis(5);
        let words = [&b"DEL"[..]].into_iter().chain(keys.iter().copied());
        let request = OwnedRequest::new(words);
        let Some(entry) = self.commands.find_full(b"del") else { return Default::default() };
        let call = Call { entry, request: request.view(), hash: None };
        loop {
            let (mut out, mut changes) = (Output::new(), Changes::default());
            let mut session = SessionState::stand_in(waiter, &self.acl, &self.notify.tracking);
            session.set_special(Special::HOLDER, true);
            if let Err(failure) = self.route(&mut session, entry, request.view()) {
                return (changes, Some(failure));
            }
            self.run::<false>(Invocation {
                call: &call,
                session: &mut session,
                out: &mut out,
                now,
                changes: &mut changes,
            });
            session.flush_counts(&self.observe.stats);
            let reply = out.to_vec();
            let error = reply
                .strip_prefix(b"-")
                .map(|text| Failure::text(String::from_utf8_lossy(text).trim_end().to_owned()));
            // A script that runs too long holds a shard: the keys stay until it releases the shard.
            if error.is_none() || !self.gate().contains(Gate::BUSY) {
                return (changes, error);
            }
            self.environment.host.sleep(PATIENCE);
        }
    }
}
