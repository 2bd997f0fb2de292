//! [`SessionState`]: the state of a client that handlers may see and change.

use super::asked::Asked;
use crate::acl::{Account, Acl};
use crate::clients::overload::Passage;
use crate::clients::rate_limits::Buckets;
use crate::clients::unauthenticated::Pending;
use crate::clients::{Client, ClientFlags, capped};
use crate::command::{CommandId, Flags};
use crate::notify::blocking::Waiter;
use crate::notify::keyspace::Watched;
use crate::notify::pubsub::Space;
use crate::notify::tracking::{Tracker, Tracking};
use crate::observe::stats::Stats;
use crate::replication::{Announced, Follower};
use crate::text::args::OwnedRequest;
use bytes::Bytes;
use resp::{Proto, Request};
use runtime::spans::{self, Hold, Parent};
use runtime::{Flow, Now};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::Db;
use storage::random::mix;

bitflags::bitflags! {
    /// Reasons why requests of this session must be checked more closely.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Special: u32 {
        /// `MULTI` is in progress.
        const MULTI = 1;
        /// The client is subscribed in RESP2: only a few commands are permitted.
        const SUBSCRIBED = 1 << 1;
        /// The client has not authenticated.
        const UNAUTHENTICATED = 1 << 2;
        /// `CLIENT REPLY OFF` or `SKIP` is in force.
        const SILENT = 1 << 3;
        /// This state stands in for a parked session whose command is tried again.
        const SERVED = 1 << 4;
        /// Its requests were checked at their source: a log, or a master.
        const TRUSTED = 1 << 5;
        /// Nothing may block: this is inside `EXEC` or a script, or runs on behalf of a waiting
        /// client.
        const NO_BLOCK = 1 << 6;
        /// A script is running.
        const SCRIPT = 1 << 7;
        /// The client's user may not do everything.
        const RESTRICTED = 1 << 8;
        /// `CLIENT CACHING` applies to this request.
        const CACHING = 1 << 9;
        /// This state stands in for the operation that holds keys.
        const HOLDER = 1 << 10;
        /// Inside `EXEC`: the memory limit was exceeded when it began.
        const SHORT = 1 << 11;
        /// The request that comes again was captured the first time.
        const CAPTURED = 1 << 14;
        /// No input will follow: nothing may block on its behalf.
        const LEAVING = 1 << 12;
        /// The session serves a replica, to which the stream is sent.
        const FOLLOWER = 1 << 13;
        /// Time does not pass for it: its requests are taken as of the time when they were made.
        const TIMELESS = 1 << 15;
        /// Its effects are not logged or replicated here, because that is done elsewhere.
        const UNLOGGED = 1 << 16;
        /// A cluster has decided which server executes the running request.
        const ROUTED = 1 << 17;
        /// `READONLY`: in a cluster it may also read from a follower.
        const READONLY = 1 << 18;
        /// `CLIENT CONSISTENCY … READS INDEX`: whoever is asked answers what was agreed on by then.
        const READS_INDEX = 1 << 19;
        /// `CLIENT CONSISTENCY ASYNC`: no reply waits for others.
        const ASYNC = 1 << 20;
        /// A cluster has been asked about requests that wait ([`Asked`]).
        const ASKED = 1 << 21;
        /// It reports how long it waits for its next turn.
        const PROBED = 1 << 22;
        /// This turn is a sample: the times of its stages are recorded.
        const SAMPLED = 1 << 23;
        /// All properties of a log or a master as a source of requests.
        const SOURCE = Self::TRUSTED.bits() | Self::TIMELESS.bits() | Self::UNLOGGED.bits();
    }
}

/// A command queued by `MULTI`.
pub(crate) struct Queued {
    pub command: CommandId,
    pub request: OwnedRequest,
}

/// A transaction whose commands are being queued.
#[derive(Default)]
pub struct Multi {
    pub(crate) queue: Vec<Queued>,
    /// Whether a command could not be queued, so that `EXEC` will fail.
    pub(crate) failed: bool,
    /// The memory for the queue in bytes, as Redis counts it: the arguments, and a pointer for
    /// each.
    pub(crate) bytes: usize,
    /// The flags that at least one command has.
    pub(crate) has: Flags,
    /// The flags that at least one command lacks.
    pub(crate) lacks: Flags,
}

impl Multi {
    /// Queues a request whose command has these flags.
    pub(crate) fn push(&mut self, command: CommandId, flags: Flags, request: Request<'_>) {
        let bytes: usize = request.iter().map(|arg| arg.len() + size_of::<usize>()).sum();
        self.bytes += bytes;
        self.has |= flags;
        self.lacks |= !flags;
        self.queue.push(Queued { command, request: OwnedRequest::new(request.iter()) });
    }
}

/// Whether replies are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    #[default]
    On,
    /// No replies are sent.
    Off,
    /// The reply to the next command is not sent.
    SkipNext,
}

/// Counts since the last flush to [`Stats`]. They are flushed once per group of requests, so that a
/// command touches no shared cache line.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Keys that reading commands found.
    pub hits: u32,
    /// Keys that reading commands did not find.
    pub misses: u32,
    /// The number of changes, as Redis counts them.
    pub changes: u64,
}

/// The state of one client.
pub struct SessionState {
    client: Arc<Client>,
    /// Current database.
    pub db: Db,
    /// The cluster's slot of the running request's keys; 0 without a cluster.
    pub(crate) slot: u16,
    /// With [`Special::ROUTED`], the stream of that slot.
    stream: u16,
    /// The number of random numbers that were drawn.
    draws: u32,
    /// With [`Special::ROUTED`], the fence behind which the request runs.
    fence: u64,
    /// Protocol version.
    pub proto: Proto,
    pub(crate) special: Special,
    pub(crate) counts: Counts,
    /// Whether the connection stays open; changed by a handler that ends it.
    pub flow: Flow,
    /// The transaction in progress.
    pub multi: Option<Box<Multi>>,
    /// Watched keys.
    pub(crate) watched: Vec<Watched>,
    /// Whether replies are sent.
    pub reply_mode: ReplyMode,
    /// Whether the running request is `CLIENT REPLY SKIP`, so that the next reply is the one to
    /// skip.
    pub(crate) skip_armed: bool,
    /// Whether accesses leave the idle times of keys alone.
    pub(crate) no_touch: bool,
    /// Whether more belongs to a call than its handler: `no_touch`, or recording what it reads.
    pub(crate) is_attended: bool,
    rare: Option<Box<Rare>>,
}

/// The part of the state that few sessions ever need.
#[derive(Default)]
pub(crate) struct Rare {
    subscriptions: [BTreeSet<Bytes>; 3],
    tracker: Option<Arc<Tracker>>,
    /// The replica that the session serves.
    pub follower: Option<Arc<Follower>>,
    /// A replica's description of itself, before it has asked to follow.
    pub announced: Option<Box<Announced>>,
    /// The rate limiter's buckets for its requests; used only where a limit is set.
    pub buckets: Buckets,
    /// The client has never authenticated.
    pub unauthenticated: Option<Pending>,
    /// With [`Special::PROBED`], since when it waits for its next turn.
    passage: Option<Passage>,
    /// With [`Special::ASKED`], what a cluster was asked.
    pub(super) asked: Asked,
    /// The caller's span, and if that is a sample what keeps turns timed.
    parent: Option<(Parent, Option<Hold>)>,
}

impl SessionState {
    /// The state of a new client.
    pub(crate) fn new(client: Arc<Client>) -> Self {
        SessionState {
            client,
            db: 0,
            slot: 0,
            stream: 0,
            draws: 0,
            fence: 0,
            proto: Proto::Resp2,
            special: Special::empty(),
            counts: Counts::default(),
            flow: Flow::Open,
            multi: None,
            watched: Vec::new(),
            reply_mode: ReplyMode::On,
            skip_armed: false,
            no_touch: false,
            is_attended: false,
            rare: None,
        }
    }

    /// The state that stands in for a parked session, to run its command on its behalf.
    pub(crate) fn stand_in(waiter: &Waiter, acl: &Acl, tracking: &Tracking) -> Self {
        let mut state = SessionState::new(waiter.client.clone());
        state.db = waiter.db;
        state.proto = waiter.client.proto();
        state.special = Special::SERVED;
        state.refresh_user(acl);
        if waiter.client.has_flag(ClientFlags::TRACKING) {
            state.set_tracker(tracking.of(waiter.client.id));
            state.set_caching(waiter.caching);
        }
        state
    }

    /// The part of the session that other threads see.
    #[inline]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Counts whether a key was found (`keyspace_hits`, `keyspace_misses`), for
    /// [`Cx::looked_up`](crate::Cx::looked_up).
    #[inline]
    pub(crate) fn count_lookup(&mut self, found: bool) {
        self.counts.hits += u32::from(found);
        self.counts.misses += u32::from(!found);
    }

    /// Adds the counts to the engine's counters.
    #[inline]
    pub(crate) fn flush_counts(&mut self, stats: &Stats) {
        if self.counts.hits | self.counts.misses != 0 {
            stats.looked_up(self.counts.hits.into(), self.counts.misses.into());
        }
        if self.counts.changes != 0 {
            stats.changed(self.counts.changes);
        }
        self.counts = Counts::default();
    }

    /// Whether `MULTI` is in progress.
    pub fn in_multi(&self) -> bool {
        self.special.contains(Special::MULTI)
    }

    /// Whether a blocking command must reply at once.
    pub fn may_not_block(&self) -> bool {
        self.special.contains(Special::NO_BLOCK)
    }

    /// Whether no input will follow, so that nothing may block.
    pub fn is_leaving(&self) -> bool {
        self.special.contains(Special::LEAVING)
    }

    /// Whether a script is running.
    pub fn in_script(&self) -> bool {
        self.special.contains(Special::SCRIPT)
    }

    /// Whether a command that has waited is being tried again.
    pub fn is_served(&self) -> bool {
        self.special.contains(Special::SERVED)
    }

    /// Whether it may use keys that are held.
    pub(crate) fn is_holder(&self) -> bool {
        self.special.contains(Special::HOLDER)
    }

    /// Whether its requests were checked at their source.
    pub fn is_trusted(&self) -> bool {
        self.special.contains(Special::TRUSTED)
    }

    /// Whether time does not pass for it, so that none of its requests is too late or too early.
    pub fn is_timeless(&self) -> bool {
        self.special.contains(Special::TIMELESS)
    }

    /// Whether its effects are neither logged nor replicated here.
    pub fn is_unlogged(&self) -> bool {
        self.special.contains(Special::UNLOGGED)
    }

    /// The stream of the running request's slot and the fence behind which it runs, if a cluster
    /// has decided that.
    pub(crate) fn fence(&self) -> Option<(u16, u64)> {
        (self.special.contains(Special::ROUTED)).then_some((self.stream, self.fence))
    }

    /// Sets [`SessionState::fence`].
    pub(crate) fn set_fence(&mut self, fence: Option<(u16, u64)>) {
        self.set_special(Special::ROUTED, fence.is_some());
        (self.stream, self.fence) = fence.unwrap_or_default();
    }

    /// The next random number. It depends only on `seed`, the client's number and the number of
    /// draws before, not on what other clients do meanwhile.
    pub(crate) fn random(&mut self, seed: u64) -> u64 {
        let mine = mix(seed ^ self.client.id.rotate_left(32)).wrapping_add(self.draws.into());
        self.draws = self.draws.wrapping_add(1);
        mix(mine)
    }

    /// Whether it may read a follower's data (`READONLY`).
    pub fn is_readonly(&self) -> bool {
        self.special.contains(Special::READONLY)
    }

    /// Sets [`SessionState::is_readonly`].
    pub fn set_readonly(&mut self, on: bool) {
        self.set_special(Special::READONLY, on);
    }

    /// Whether who follows may answer its reads.
    pub fn reads_anywhere(&self) -> bool {
        self.special.intersects(Special::READONLY | Special::READS_INDEX)
    }

    /// Whether its reads show what was agreed on when they were asked for, whoever answers.
    pub fn reads_index(&self) -> bool {
        self.special.contains(Special::READS_INDEX)
    }

    /// Whether its replies wait for nobody's agreement.
    pub fn is_async(&self) -> bool {
        self.special.contains(Special::ASYNC)
    }

    /// Sets what [`reads_index`](Self::reads_index) and [`is_async`](Self::is_async) say.
    pub fn set_consistency(&mut self, reads_index: bool, is_async: bool) {
        self.set_special(Special::READS_INDEX, reads_index);
        self.set_special(Special::ASYNC, is_async);
    }

    /// The number of the question to a cluster whose answer serves a request, if there is one.
    pub(crate) fn take_asked(&mut self, request: Request<'_>) -> Option<u64> {
        let is_asked = self.special.contains(Special::ASKED);
        is_asked.then(|| self.rare_mut().asked.serves(request))?
    }

    /// Notes the number of the question to a cluster for which the request waits.
    pub(crate) fn set_asked(&mut self, number: u64) {
        self.set_special(Special::ASKED, true);
        self.rare_mut().asked.ask(number);
    }

    /// Notes that the request that waits for the answer to a question is about to be executed.
    pub(super) fn begin_answered(&mut self, waiting: &[u8]) {
        if self.special.contains(Special::ASKED) {
            self.rare_mut().asked.begin(waiting);
        }
    }

    /// It was executed; `waits` says whether an answer is waited for again.
    pub(super) fn end_answered(&mut self, waits: bool) {
        if self.special.contains(Special::ASKED) {
            self.set_special(Special::ASKED, waits);
            self.rare_mut().asked.end(waits);
            self.forget_rare();
        }
    }

    /// The caller's span, of which its requests are parts.
    pub(crate) fn parent(&self) -> Option<Parent> {
        self.rare()?.parent.as_ref().map(|(parent, _)| *parent)
    }

    /// Sets the caller's span, from the running turn on (`CLIENT SETINFO TRACEPARENT`).
    pub fn set_parent(&mut self, parent: Option<Parent>) {
        if parent.is_none() && self.parent().is_none() {
            return;
        }
        let hold = |parent: Parent| (parent, parent.is_sampled.then(spans::hold).flatten());
        self.rare_mut().parent = parent.map(hold);
        self.forget_rare();
        spans::adopt(parent);
    }

    pub(crate) fn set_special(&mut self, reasons: Special, on: bool) {
        self.special.set(reasons, on);
    }

    /// Returns whether a bit was set, and clears it.
    pub(crate) fn take_special(&mut self, reason: Special) -> bool {
        let was = self.special.contains(reason);
        self.special.remove(reason);
        was
    }

    /// Whether the client has authenticated or need not do so.
    pub fn is_authenticated(&self) -> bool {
        !self.special.contains(Special::UNAUTHENTICATED)
    }

    /// Whether the client's user may not do everything.
    #[inline]
    pub fn is_restricted(&self) -> bool {
        self.special.contains(Special::RESTRICTED)
    }

    /// The account of its user; `None` for the default user.
    pub fn account(&self) -> Option<Arc<Account>> {
        self.client.names.lock().account.clone()
    }

    /// The name of its user.
    pub fn user_name(&self) -> String {
        self.client.names.lock().user.clone()
    }

    /// Records that the client has authenticated as this user.
    pub fn sign_in(&mut self, account: Arc<Account>, acl: &Acl) {
        let mut names = self.client.names.lock();
        if names.user != account.name {
            names.user = account.name.clone();
            names.account = (!Arc::ptr_eq(&account, acl.default_account())).then_some(account);
        }
        drop(names);
        self.authenticated();
        self.refresh_user(acl);
    }

    /// Records that the client has not authenticated.
    pub fn sign_out(&mut self, acl: &Acl) {
        let pending = self.rare.as_mut().and_then(|rare| rare.unauthenticated.take());
        self.sign_in(acl.default_account().clone(), acl);
        self.set_special(Special::UNAUTHENTICATED, !acl.is_open());
        self.set_pending(pending.filter(|_| !acl.is_open()));
    }

    /// Begins to measure how long it waits for its next turn.
    pub(crate) fn begin_passage(&mut self, passage: Passage) {
        self.rare_mut().passage = Some(passage);
        self.set_special(Special::PROBED, true);
    }

    /// The time at which it must be resumed because of that.
    pub(crate) fn passage_due_us(&self) -> Option<u64> {
        self.rare()?.passage.as_ref().map(Passage::due_us)
    }

    /// Ends that if it is the next turn.
    pub(crate) fn end_passage(&mut self, now: Now) {
        if !self.special.contains(Special::PROBED) {
            return;
        }
        let ended =
            |rare: &mut Box<Rare>| rare.passage.take_if(|passage| passage.end(now)).is_some();
        if self.rare.as_mut().is_some_and(ended) {
            self.set_special(Special::PROBED, false);
            self.forget_rare();
        }
    }

    /// Updates what depends on the permissions of its user.
    pub fn refresh_user(&mut self, acl: &Acl) {
        let account = self.account();
        let user = account.as_ref().unwrap_or(acl.default_account()).user();
        let restricted = !user.is_unrestricted();
        self.set_special(Special::RESTRICTED, restricted);
        if !self.is_authenticated() && acl.is_open() {
            self.authenticated();
        }
    }

    /// Counts the client among those that have never authenticated, or no longer.
    pub(crate) fn set_pending(&mut self, pending: Option<Pending>) {
        if pending.is_some() {
            self.rare_mut().unauthenticated = pending;
        } else if let Some(rare) = &mut self.rare {
            rare.unauthenticated = None;
            self.forget_rare();
        }
    }

    fn authenticated(&mut self) {
        self.set_special(Special::UNAUTHENTICATED, false);
        self.set_pending(None);
    }

    /// Selects a database. The caller must have checked the number.
    pub fn select(&mut self, db: Db) {
        self.db = db;
        self.client.db.store(db, Ordering::Relaxed);
    }

    /// Changes the protocol version.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
        let version = if proto == Proto::Resp3 { 3 } else { 2 };
        self.client.resp.store(version, Ordering::Relaxed);
        self.update_subscribed();
    }

    /// Sets `CLIENT NO-TOUCH`.
    pub fn set_no_touch(&mut self, on: bool) {
        self.no_touch = on;
        self.update_attended();
    }

    /// The options with which it tracks keys, if it does.
    pub fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.rare.as_ref().and_then(|rare| rare.tracker.as_ref())
    }

    /// Sets how it tracks keys.
    pub(crate) fn set_tracker(&mut self, tracker: Option<Arc<Tracker>>) {
        self.rare.get_or_insert_default().tracker = tracker;
        self.forget_rare();
        self.set_caching(false);
        self.update_attended();
    }

    /// Whether `CLIENT CACHING` applies to this request.
    pub fn is_caching(&self) -> bool {
        self.special.contains(Special::CACHING)
    }

    /// Sets whether `CLIENT CACHING` applies to the next request.
    pub fn set_caching(&mut self, on: bool) {
        self.set_special(Special::CACHING, on);
    }

    fn update_attended(&mut self) {
        let reads = |tracker: &Arc<Tracker>| !tracker.options.broadcast;
        self.is_attended = self.no_touch || self.tracker().is_some_and(reads);
    }

    /// Sets the mode of `CLIENT REPLY`.
    pub fn set_reply_mode(&mut self, mode: ReplyMode) {
        self.reply_mode = mode;
        self.skip_armed = mode == ReplyMode::SkipNext;
        self.set_special(Special::SILENT, mode != ReplyMode::On);
    }

    /// Ends `CLIENT REPLY SKIP`, unless the request that just ran asked for it.
    pub(crate) fn end_skip(&mut self) {
        if self.reply_mode == ReplyMode::SkipNext && !self.skip_armed {
            self.set_reply_mode(ReplyMode::On);
        }
    }

    /// Whether the reply to the running command is not sent.
    pub fn is_silent(&self) -> bool {
        match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => !self.skip_armed,
        }
    }

    /// Begins a transaction.
    pub fn begin_multi(&mut self) {
        self.multi = Some(Box::default());
        self.set_special(Special::MULTI, true);
        self.show_multi(self.multi.as_deref());
    }

    /// Continues a transaction whose end could not be executed yet.
    pub(crate) fn resume_multi(&mut self, multi: Box<Multi>) {
        self.set_special(Special::MULTI, true);
        self.show_multi(Some(&multi));
        self.multi = Some(multi);
    }

    /// Ends the transaction, and returns the queued commands.
    pub fn end_multi(&mut self) -> Option<Box<Multi>> {
        let multi = self.take_multi();
        self.show_multi(None);
        multi
    }

    /// Like [`SessionState::end_multi`], but other threads do not see it yet.
    pub(crate) fn take_multi(&mut self) -> Option<Box<Multi>> {
        self.set_special(Special::MULTI, false);
        self.multi.take()
    }

    /// Lets other threads see a transaction, or none.
    pub(crate) fn show_multi(&self, multi: Option<&Multi>) {
        let (queued, bytes) = multi.map_or((0, 0), |multi| (multi.queue.len(), multi.bytes));
        self.client.set_flag(ClientFlags::MULTI, multi.is_some());
        self.client.queued.store(queued as u32, Ordering::Relaxed);
        self.client.queued_bytes.store(capped(bytes), Ordering::Relaxed);
    }

    /// The subscriptions in one space.
    pub fn subscriptions(&self, space: Space) -> impl Iterator<Item = &Bytes> {
        self.rare.iter().flat_map(move |rare| rare.subscriptions[space as usize].iter())
    }

    /// The number of subscriptions in one space.
    pub fn subscription_count(&self, space: Space) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.subscriptions[space as usize].len())
    }

    /// Adds a subscription to the session's own set. Returns false if it was there already.
    pub fn add_subscription(&mut self, space: Space, name: Bytes) -> bool {
        let all = &mut self.rare.get_or_insert_default().subscriptions;
        let added = all[space as usize].insert(name);
        self.update_subscribed();
        added
    }

    /// Removes a subscription from the session's own set. Returns false if it was not there.
    pub fn remove_subscription(&mut self, space: Space, name: &[u8]) -> bool {
        let rare = self.rare.as_mut();
        let removed = rare.is_some_and(|rare| rare.subscriptions[space as usize].remove(name));
        self.update_subscribed();
        removed
    }

    /// Whether there is any subscription.
    pub fn is_subscribed(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.subscriptions.iter().any(|set| !set.is_empty()))
    }

    pub(crate) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Frees the rare part once it is no longer needed.
    fn forget_rare(&mut self) {
        let needed = |rare: &Rare| {
            rare.follower.is_some()
                || rare.announced.is_some()
                || rare.unauthenticated.is_some()
                || rare.passage.is_some()
                || rare.parent.is_some()
                || self.special.contains(Special::ASKED)
                || !rare.buckets.are_untouched()
        };
        let is_needed = self.rare.as_deref().is_some_and(needed);
        if self.tracker().is_none() && !self.is_subscribed() && !is_needed {
            self.rare = None;
        }
    }

    fn update_subscribed(&mut self) {
        for space in [Space::Channel, Space::Pattern, Space::Shard] {
            let count = self.subscription_count(space) as u32;
            self.client.subscriptions[space as usize].store(count, Ordering::Relaxed);
        }
        let subscribed = self.is_subscribed();
        self.forget_rare();
        self.client.set_flag(ClientFlags::PUBSUB, subscribed);
        self.set_special(Special::SUBSCRIBED, subscribed && self.proto == Proto::Resp2);
    }
}
