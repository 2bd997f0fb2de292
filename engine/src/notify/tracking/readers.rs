//! Remembers which clients have read which keys, and notifies them.

use super::notice;
use super::table::Holders;
use super::{Issuer, Notice, Options, Stale, Tracker, Tracking};
use crate::clients::{Client, ClientFlags, Clients};
use crate::command::{Flag, Group};
use crate::config::Id;
use crate::engine::Engine;
use crate::execute::Call;
use crate::notify::keyspace::Keyspace;
use crate::session::state::SessionState;
use bytes::Bytes;
use resp::Reply;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Keys that one command may have to drop from a table that is too large.
const DROPS_MAX: usize = 100;

/// A key's list of clients is swept when it has grown to a power of two, from here on.
const SWEEP_FROM: usize = 16;

impl Tracking {
    /// Begins to track a client's keys, or changes how they are tracked. Prefixes are added to
    /// existing ones.
    pub fn begin(
        &self,
        keyspace: &Keyspace,
        session: &mut SessionState,
        options: Options,
        redirect: Option<u64>,
        mut prefixes: Vec<Bytes>,
    ) {
        let client = session.client().clone();
        let mut trackers = self.trackers.write();
        let before = trackers.get(&client.id).cloned();
        prefixes.extend(before.iter().flat_map(|before| before.prefixes.iter().cloned()));
        prefixes.sort_unstable();
        prefixes.dedup();
        let tracker = Arc::new(Tracker { client: client.clone(), options, redirect, prefixes });
        self.prefixes.replace(before.as_ref(), Some(&tracker));
        if trackers.insert(client.id, tracker.clone()).is_none() {
            self.count.fetch_add(1, Ordering::SeqCst);
            keyspace.add_interest();
        }
        drop(trackers);
        client.set_flag(ClientFlags::TRACKING, true);
        client.set_flag(ClientFlags::BROADCAST, options.broadcast);
        client.set_flag(ClientFlags::UNREACHABLE, false);
        session.set_tracker(Some(tracker));
    }

    /// Ends what [`Tracking::begin`] began (`CLIENT TRACKING off`, `RESET`, the end of the
    /// connection).
    pub fn end(&self, keyspace: &Keyspace, session: &mut SessionState) {
        if !session.client().has_flag(ClientFlags::TRACKING) {
            return;
        }
        session.set_tracker(None);
        let client = session.client();
        client.set_flag(
            ClientFlags::TRACKING | ClientFlags::BROADCAST | ClientFlags::UNREACHABLE,
            false,
        );
        let mut trackers = self.trackers.write();
        let Some(tracker) = trackers.remove(&client.id) else { return };
        self.prefixes.replace(Some(&tracker), None);
        self.count.fetch_sub(1, Ordering::SeqCst);
        keyspace.release_interest();
        if trackers.is_empty() {
            // Under the lock, so that a client that begins to track now does not lose the keys that
            // it reads.
            self.table.clear();
        }
    }

    /// Remembers the keys that a command read, under their locks. Returns the keys that this pushed
    /// out of the table. The caller must have announced expired keys before: a key that was deleted
    /// before it was read must not be forgotten afterwards.
    pub(crate) fn remember_keys(
        &self,
        engine: &Engine,
        tracker: &Tracker,
        caching: bool,
        call: &Call<'_>,
    ) -> Stale {
        let Call { entry, request, .. } = *call;
        // Of a script the commands it runs count, and channels are no keys.
        let keyless = matches!(entry.spec.group, Group::Scripting | Group::PubSub);
        if !entry.has(Flag::Readonly) || keyless || tracker.opted_out(caching) {
            return Stale::default();
        }
        let id = tracker.client.id;
        for key in entry.keys(request).unwrap_or_default() {
            let key = request.arg(key.index);
            let hash = engine.backend.hash(key);
            let holders = self.table.add(hash, key, id);
            if holders >= SWEEP_FROM && holders.is_power_of_two() {
                let trackers = self.trackers.read();
                self.table.sweep(hash, key, |holder| trackers.contains_key(&holder));
            }
        }
        self.limit(engine, Some(id))
    }

    /// Forgets keys until there are at most `tracking-table-max-keys`, or until enough were
    /// forgotten for now. Their clients are notified as if the keys had changed.
    pub(crate) fn limit(&self, engine: &Engine, by: Option<u64>) -> Stale {
        let mut stale = Stale::default();
        let limit = engine.config.integer(Id::TrackingTableMaxKeys) as usize;
        for _ in 0..DROPS_MAX {
            if limit == 0 || self.keys() <= limit {
                break;
            }
            let Some((key, holders)) = self.table.take_any(engine.random()) else {
                break;
            };
            self.tell_holders(&engine.clients, (&key, &holders), by, false, &mut stale);
        }
        stale
    }

    /// Notifies all clients that may have cached `key` that it has changed, under its lock. `by` is
    /// the client whose command runs. If `expired`, that client did not cause the change.
    pub(crate) fn invalidate(
        &self,
        clients: &Clients,
        (hash, key): (u64, &[u8]),
        by: Option<u64>,
        expired: bool,
        stale: &mut Stale,
    ) {
        if !self.is_on() {
            return;
        }
        self.prefixes.collect(key, !expired, stale);
        let holders = self.table.take(hash, key);
        if !holders.is_empty() {
            self.tell_holders(clients, (key, &holders), by, !expired, stale);
        }
    }

    /// If `own`, the client `by` caused the change.
    fn tell_holders(
        &self,
        clients: &Clients,
        (key, holders): (&[u8], &Holders),
        by: Option<u64>,
        own: bool,
        stale: &mut Stale,
    ) {
        let keys = notice::array([key].into_iter());
        let trackers = self.trackers.read();
        for id in holders {
            // A client that has since changed to broadcasts no longer relies on keys that it read
            // before.
            let tracker = trackers.get(id).filter(|tracker| !tracker.options.broadcast);
            let Some(tracker) = tracker else { continue };
            match by == Some(*id) {
                true if own && tracker.options.no_loop => {}
                true => stale.own.push(Some(keys.clone())),
                false => hand(clients, tracker, Notice::Stale(Some(keys.clone())), &mut None),
            }
        }
    }

    /// Notifies all tracking clients that all keys have changed. The caller holds every lock.
    pub(crate) fn invalidate_all(&self, clients: &Clients, by: u64, stale: &mut Stale) {
        if !self.is_on() {
            return;
        }
        for (id, tracker) in &*self.trackers.read() {
            match by == *id {
                true => stale.own.push(None),
                false => hand(clients, tracker, Notice::Stale(None), &mut None),
            }
        }
        self.table.clear();
    }

    /// Sends what had to wait for the end of a command of the client `by`; `own` is its session,
    /// where that is at hand.
    #[inline(never)]
    pub(crate) fn tell_stale(
        &self,
        clients: &Clients,
        stale: Stale,
        by: Option<u64>,
        mut own: Option<Issuer<'_>>,
    ) {
        if !stale.own.is_empty()
            && let Some(tracker) = by.and_then(|by| self.of(by))
        {
            for keys in stale.own {
                hand(clients, &tracker, Notice::Stale(keys), &mut own);
            }
        }
        for (prefix, keys) in &stale.broadcast {
            let all = notice::array(keys.keys().map(|key| &**key));
            for tracker in self.prefixes.trackers(prefix) {
                if !tracker.options.no_loop || Some(tracker.client.id) != by {
                    hand(clients, &tracker, Notice::Stale(Some(all.clone())), &mut own);
                    continue;
                }
                let others: Vec<_> = keys.iter().filter(|(_, own)| !**own).collect();
                if !others.is_empty() {
                    let others = notice::array(others.iter().map(|(key, _)| &***key));
                    hand(clients, &tracker, Notice::Stale(Some(others)), &mut own);
                }
            }
        }
    }
}

/// Sends a notice to the client that is to receive it.
fn hand(clients: &Clients, tracker: &Tracker, notice: Notice, own: &mut Option<Issuer<'_>>) {
    let Some(redirect) = tracker.redirect else {
        return give(&tracker.client, notice, own, false);
    };
    match clients.get(redirect) {
        Some(receiver) => give(&receiver, notice, own, true),
        None => {
            tracker.client.set_flag(ClientFlags::UNREACHABLE, true);
            give(&tracker.client, Notice::Unreachable(redirect), own, false);
        }
    }
}

/// A RESP2 client cannot receive notices about its own cache.
fn give(receiver: &Arc<Client>, notice: Notice, own: &mut Option<Issuer<'_>>, redirected: bool) {
    let proto = receiver.proto();
    if proto == resp::Proto::Resp2 && !(redirected && receiver.has_flag(ClientFlags::PUBSUB)) {
        return;
    }
    match own {
        Some(own) if Arc::ptr_eq(own.client, receiver) => {
            notice.write(&mut Reply::new(own.out, proto), own.subscribed);
        }
        _ => receiver.send_notice(notice),
    }
}
