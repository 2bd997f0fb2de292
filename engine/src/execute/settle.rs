//! The steps that follow a handler while its shards are still locked: logging, announcing expired
//! keys, and blocking the session.

use super::Changes;
use super::logging::{log, log_deletion};
use crate::clients::Client;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::notify::blocking::Waiter;
use crate::notify::keyspace::Class;
use crate::observe::stages;
use crate::text::args::OwnedRequest;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Expired, Refusal, Tx};

impl Engine {
    /// Settles the changes of a call.
    #[inline]
    pub(super) fn settle<const TRACED: bool>(&self, cx: &mut Cx<'_>) {
        if cx.tx.met_expired() {
            cx.announce_expired();
        }
        if cx.changes.count > 0 {
            cx.session.counts.changes += cx.changes.count;
            if let Some(journal) = self.journal()
                && let Some(appended) = stages::spend::<TRACED, _>(
                    self,
                    |spent| &mut spent.journal,
                    || log(journal, cx.call, (cx.session.slot, cx.session.db), cx.changes),
                )
            {
                match self.note_appended(cx.tx, appended) {
                    Ok(position) => cx.changes.position = Some(position),
                    Err(refusal) => return self.refuse(cx, refusal),
                }
            }
        }
        if cx.changes.rare().is_some_and(|rest| rest.block.is_some()) {
            self.park_caller(cx);
        }
    }

    /// Replies that the journal has refused the effects of a command, which were rolled back.
    #[cold]
    pub(super) fn refuse(&self, cx: &mut Cx<'_>, refusal: Refusal) {
        // Listeners are not told of a change that did not happen. Telling caches does no harm.
        if let Some(rest) = cx.changes.take_rest() {
            cx.changes.make_stale(rest.stale);
        }
        let start = cx.changes.start;
        cx.reply.output().truncate(start);
        cx.fail(Failure::text(refusal.0));
    }

    /// Blocks the session as its handler asked.
    #[inline(never)]
    fn park_caller(&self, cx: &mut Cx<'_>) {
        let (request, call) = (cx.args, cx.call);
        let rest = cx.changes.rest();
        let Some(mut block) = rest.block.take() else { return };
        let sent = OwnedRequest::new(request.iter());
        let (request, sent) = match block.request.take() {
            Some(other) => (other, Some(sent)),
            None => (sent, None),
        };
        let client = cx.session.client().clone();
        let mut waiter = Waiter::new(client, cx.session.db, call.entry.id, request, &mut block);
        waiter.sent = sent;
        waiter.caching = cx.session.is_caching();
        waiter.late = rest.late;
        let waiter = Arc::new(waiter);
        // One that is being served is registered already: whoever wants to serve it meanwhile recalls it.
        if !cx.session.is_served() {
            self.notify.park(&waiter);
        }
        if let Some(errand) = &mut rest.errand {
            // Nothing else may end this wait, neither `CLIENT UNBLOCK` nor the client's
            // disconnecting.
            waiter.claim();
            errand.waiter = Some(waiter.clone());
        }
        rest.waiter = Some((waiter, block.timeout_us));
    }

    /// Logs and announces expired keys, and fields of hashes, that a transaction found and deleted.
    /// `by` is the client whose command runs.
    pub(crate) fn settle_expired(
        &self,
        by: Option<&Arc<Client>>,
        tx: &mut dyn Tx,
        changes: &mut Changes,
    ) {
        for expired in std::mem::take(tx.expired()) {
            let (class, event) = match expired.fields.is_empty() {
                true => {
                    self.observe.stats.expired_keys.fetch_add(1, Ordering::Relaxed);
                    (Class::Expired, "expired")
                }
                false => {
                    let count = expired.fields.len() as u64;
                    self.observe.stats.expired_fields.fetch_add(count, Ordering::Relaxed);
                    (Class::Hash, "hexpired")
                }
            };
            self.settle_deletion(&expired, (class, event), by, tx, changes);
        }
    }

    /// Logs a deletion that no request asked for, and notifies clients that watch or cache the key,
    /// wait for it, or listen to its events.
    pub(crate) fn settle_deletion(
        &self,
        deleted: &Expired,
        (class, event): (Class, &str),
        by: Option<&Arc<Client>>,
        tx: &mut dyn Tx,
        changes: &mut Changes,
    ) {
        let (db, key) = (deleted.db, &*deleted.key);
        if let Some(journal) = self.journal() {
            let appended = log_deletion(journal, self.slot_of(key), deleted);
            changes.position = self.note_taken(tx, appended).or(changes.position);
        }
        if self.notify.keyspace.has_interest() {
            match class {
                Class::Expired => self.notify.keyspace.expired(db, key),
                _ => self.notify.keyspace.modified(db, key),
            }
            let rest = changes.rest();
            let (hash, client) = (self.backend.hash(key), by.map(|by| by.id));
            let (tracking, clients) = (&self.notify.tracking, &self.clients);
            tracking.invalidate(clients, (hash, key), client, true, &mut rest.stale);
            let own = by.map(|by| (by, &mut rest.messages));
            self.notify.event(&self.tuning, (db, key), (class, event), own);
        }
        if self.notify.blocking.is_awaited(db, key) {
            changes.rest().ready.push((db, key.into()));
        }
    }
}
