//! [`SessionState`]: what handlers may see and change of their client.

use crate::acl::{Account, Acl};
use crate::clients::rate_limits::Buckets;
use crate::clients::{Client, ClientFlags, capped};
use crate::command::CommandId;
use crate::notify::blocking::Waiter;
use crate::notify::keyspace::Watched;
use crate::notify::pubsub::Space;
use crate::notify::tracking::{Tracker, Tracking};
use crate::observe::stats::Stats;
use crate::replication::{Announced, Follower};
use crate::text::args::OwnedRequest;
use bytes::Bytes;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use resp::{Proto, Request};
use runtime::Flow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::Db;

bitflags::bitflags! {
    /// Reasons for which the dispatcher must look closer at this session's requests.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Special: u32 {
        /// In `MULTI`.
        const MULTI = 1;
        /// Subscribed, in RESP2: only a few commands are allowed.
        const SUBSCRIBED = 1 << 1;
        /// Not authenticated.
        const UNAUTHENTICATED = 1 << 2;
        /// `CLIENT REPLY OFF` or `SKIP`.
        const SILENT = 1 << 3;
        /// Stands in for a parked session whose command is being tried again.
        const SERVED = 1 << 4;
        /// Its requests were checked where they come from: a log, or a master.
        const TRUSTED = 1 << 5;
        /// Inside `EXEC`, a script, or served on behalf of a waiter: nothing may wait.
        const NO_BLOCK = 1 << 6;
        /// Inside a script.
        const SCRIPT = 1 << 7;
        /// There are things its user may not do.
        const RESTRICTED = 1 << 8;
        /// `CLIENT CACHING` decides about this request.
        const CACHING = 1 << 9;
        /// Stands in for what holds keys.
        const HOLDER = 1 << 10;
        /// Inside `EXEC`: memory was over its limit when it began.
        const SHORT = 1 << 11;
        /// The request that comes again was captured when it came first.
        const CAPTURED = 1 << 14;
        /// No input will follow: nothing is waited for on its behalf.
        const LEAVING = 1 << 12;
        /// A replica's: it is sent the stream.
        const FOLLOWER = 1 << 13;
        /// Time does not pass for it: what it says was so when it was said.
        const TIMELESS = 1 << 15;
        /// Its effects are logged and passed on elsewhere, or were.
        const UNLOGGED = 1 << 16;
        /// A cluster has said who serves the running request.
        const ROUTED = 1 << 17;
        /// `READONLY`: in a cluster it reads from who follows, too.
        const READONLY = 1 << 18;
        /// All that a log, or a master, is.
        const SOURCE = Self::TRUSTED.bits() | Self::TIMELESS.bits() | Self::UNLOGGED.bits();
    }
}

/// A command queued by `MULTI`.
pub(crate) struct Queued {
    pub command: CommandId,
    pub request: OwnedRequest,
}

/// A transaction being put together.
#[derive(Default)]
pub struct Multi {
    pub(crate) queue: Vec<Queued>,
    /// A command could not be queued: `EXEC` will refuse.
    pub(crate) failed: bool,
    /// Bytes of what is queued, as Redis counts them: the arguments, and a pointer for each.
    pub(crate) bytes: usize,
    /// [`Flag::bit`](crate::command::Flag::bit)s that some command has.
    pub(crate) has: u32,
    /// Bits that some command has not.
    pub(crate) lacks: u32,
}

impl Multi {
    /// Queues a request with these flags.
    pub(crate) fn push(&mut self, command: CommandId, flags: u32, request: Request<'_>) {
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
    /// As usual.
    #[default]
    On,
    /// None.
    Off,
    /// Not that of the next command.
    SkipNext,
}

/// Counts since they were last flushed to [`Stats`]: once per group of requests,
/// so that a command touches no shared cache line.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Keys that reading commands found.
    pub hits: u32,
    /// Keys that reading commands did not find.
    pub misses: u32,
    /// Changes made, as Redis counts them.
    pub changes: u64,
}

/// One client's state.
pub struct SessionState {
    client: Arc<Client>,
    /// Current database.
    pub db: Db,
    /// The cluster's slot of the running request's keys; 0 without a cluster.
    pub(crate) slot: u16,
    /// With [`Special::ROUTED`], the stream of that slot.
    stream: u16,
    /// How many random numbers it was given.
    draws: u32,
    /// With [`Special::ROUTED`], the fence that the request runs behind.
    fence: u64,
    /// Protocol version.
    pub proto: Proto,
    pub(crate) special: Special,
    pub(crate) counts: Counts,
    /// Set by a handler that ends the connection.
    pub flow: Flow,
    /// `MULTI` in progress.
    pub multi: Option<Box<Multi>>,
    /// Watched keys.
    pub watched: Vec<Watched>,
    /// Whether replies are sent.
    pub reply_mode: ReplyMode,
    /// `CLIENT REPLY SKIP` was said by the running request: the next one is the one to skip.
    pub(crate) skip_armed: bool,
    /// Accesses leave idle times alone.
    pub(crate) no_touch: bool,
    /// There is more to a call than its handler: `no_touch`, or what it reads is to be remembered.
    pub(crate) is_attended: bool,
    rare: Option<Box<Rare>>,
}

/// State that few sessions ever have.
#[derive(Default)]
pub(crate) struct Rare {
    subscriptions: [BTreeSet<Bytes>; 3],
    tracker: Option<Arc<Tracker>>,
    /// The replica it serves.
    pub follower: Option<Arc<Follower>>,
    /// A replica's description of itself, before it asked to follow.
    pub announced: Option<Box<Announced>>,
    /// The rate limiter's buckets for its requests; used only where a limit is set.
    pub buckets: Buckets,
}

impl SessionState {
    /// A fresh client's state.
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

    /// A stand-in for a parked session, for running its command on its behalf.
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

    /// The part of the session others see.
    #[inline]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Counts that a key was looked for (`keyspace_hits`, `keyspace_misses`), and nothing else: what
    /// Redis lets miss in silence (`OBJECT`). Other commands say [`Cx::looked_up`](crate::Cx::looked_up).
    #[inline]
    pub fn count_lookup(&mut self, found: bool) {
        self.counts.hits += u32::from(found);
        self.counts.misses += u32::from(!found);
    }

    /// Adds what was counted to the engine's counters.
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

    /// Whether a blocking command must answer at once.
    pub fn may_not_block(&self) -> bool {
        self.special.contains(Special::NO_BLOCK)
    }

    /// Whether no input will follow: nobody is there to wait for anything.
    pub fn is_leaving(&self) -> bool {
        self.special.contains(Special::LEAVING)
    }

    /// Whether a script runs.
    pub fn in_script(&self) -> bool {
        self.special.contains(Special::SCRIPT)
    }

    /// Whether a command that waited is being tried again.
    pub fn is_served(&self) -> bool {
        self.special.contains(Special::SERVED)
    }

    /// Whether it may use keys that are held.
    pub(crate) fn is_holder(&self) -> bool {
        self.special.contains(Special::HOLDER)
    }

    /// Whether what it asks for was checked where it comes from.
    pub fn is_trusted(&self) -> bool {
        self.special.contains(Special::TRUSTED)
    }

    /// Whether time does not pass for it: nothing it says is too late, or too early.
    pub fn is_timeless(&self) -> bool {
        self.special.contains(Special::TIMELESS)
    }

    /// Whether what it does goes into no log and to no replica by itself.
    pub fn is_unlogged(&self) -> bool {
        self.special.contains(Special::UNLOGGED)
    }

    /// The stream that the running request's slot is in, and the fence that it runs behind, if a
    /// cluster has said so.
    pub(crate) fn fence(&self) -> Option<(u16, u64)> {
        (self.special.contains(Special::ROUTED)).then_some((self.stream, self.fence))
    }

    /// Notes what [`SessionState::fence`] is.
    pub(crate) fn set_fence(&mut self, fence: Option<(u16, u64)>) {
        self.set_special(Special::ROUTED, fence.is_some());
        (self.stream, self.fence) = fence.unwrap_or_default();
    }

    /// The next random number, which follows from `seed`, the client's number and how many it was
    /// given before: whatever other clients do meanwhile changes nothing.
    pub(crate) fn random(&mut self, seed: u64) -> u64 {
        let mut random = SplitMix64::seed_from_u64(seed ^ self.client.id.rotate_left(32));
        let mine = random.next_u64().wrapping_add(self.draws.into());
        self.draws = self.draws.wrapping_add(1);
        SplitMix64::seed_from_u64(mine).next_u64()
    }

    /// Whether it may be shown what a follower has (`READONLY`).
    pub fn is_readonly(&self) -> bool {
        self.special.contains(Special::READONLY)
    }

    /// Sets [`SessionState::is_readonly`].
    pub fn set_readonly(&mut self, on: bool) {
        self.set_special(Special::READONLY, on);
    }

    pub(crate) fn set_special(&mut self, reasons: Special, on: bool) {
        self.special.set(reasons, on);
    }

    /// Whether a bit was set; it is no longer.
    pub(crate) fn take_special(&mut self, reason: Special) -> bool {
        let was = self.special.contains(reason);
        self.special.remove(reason);
        was
    }

    /// Whether the client has authenticated, or need not.
    pub fn is_authenticated(&self) -> bool {
        !self.special.contains(Special::UNAUTHENTICATED)
    }

    /// Whether there is anything that its user may not do.
    #[inline]
    pub fn is_restricted(&self) -> bool {
        self.special.contains(Special::RESTRICTED)
    }

    /// Its user's account; `None` for the default user.
    pub fn account(&self) -> Option<Arc<Account>> {
        self.client.names.lock().account.clone()
    }

    /// Its user's name.
    pub fn user_name(&self) -> String {
        self.client.names.lock().user.clone()
    }

    /// Notes that the client authenticated as this user.
    pub fn sign_in(&mut self, account: Arc<Account>, acl: &Acl) {
        let mut names = self.client.names.lock();
        if names.user != account.name {
            names.user = account.name.clone();
            names.account = (!Arc::ptr_eq(&account, acl.default_account())).then_some(account);
        }
        drop(names);
        self.set_special(Special::UNAUTHENTICATED, false);
        self.refresh_user(acl);
    }

    /// Makes it a client that has not said who it is.
    pub fn sign_out(&mut self, acl: &Acl) {
        self.sign_in(acl.default_account().clone(), acl);
        self.set_special(Special::UNAUTHENTICATED, !acl.is_open());
    }

    /// Looks again at what its user may do.
    pub fn refresh_user(&mut self, acl: &Acl) {
        let account = self.account();
        let user = account.as_ref().unwrap_or(acl.default_account()).user();
        let restricted = !user.is_unrestricted();
        self.set_special(Special::RESTRICTED, restricted);
        if !self.is_authenticated() && acl.is_open() {
            self.set_special(Special::UNAUTHENTICATED, false);
        }
    }

    /// Selects a database; the caller has checked the number.
    pub fn select(&mut self, db: Db) {
        self.db = db;
        self.client.db.store(db, Ordering::Relaxed);
    }

    /// Changes the protocol.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
        let version = if proto == Proto::Resp3 { 3 } else { 2 };
        self.client.resp.store(version, Ordering::Relaxed);
        self.update_subscribed();
    }

    /// `CLIENT NO-TOUCH`.
    pub fn set_no_touch(&mut self, on: bool) {
        self.no_touch = on;
        self.update_attended();
    }

    /// How it tracks keys, if it does.
    pub fn tracker(&self) -> Option<&Arc<Tracker>> {
        self.rare.as_ref().and_then(|rare| rare.tracker.as_ref())
    }

    /// Notes how it tracks keys.
    pub(crate) fn set_tracker(&mut self, tracker: Option<Arc<Tracker>>) {
        self.rare.get_or_insert_default().tracker = tracker;
        self.forget_rare();
        self.set_caching(false);
        self.update_attended();
    }

    /// Whether `CLIENT CACHING` decides about this request.
    pub fn is_caching(&self) -> bool {
        self.special.contains(Special::CACHING)
    }

    /// Notes that `CLIENT CACHING` decides about the next request.
    pub fn set_caching(&mut self, on: bool) {
        self.set_special(Special::CACHING, on);
    }

    fn update_attended(&mut self) {
        let reads = |tracker: &Arc<Tracker>| !tracker.options.broadcast;
        self.is_attended = self.no_touch || self.tracker().is_some_and(reads);
    }

    /// Sets `CLIENT REPLY`'s mode.
    pub fn set_reply_mode(&mut self, mode: ReplyMode) {
        self.reply_mode = mode;
        self.skip_armed = mode == ReplyMode::SkipNext;
        self.set_special(Special::SILENT, mode != ReplyMode::On);
    }

    /// Ends `CLIENT REPLY SKIP`, unless the request that just ran said it.
    pub(crate) fn end_skip(&mut self) {
        if self.reply_mode == ReplyMode::SkipNext && !self.skip_armed {
            self.set_reply_mode(ReplyMode::On);
        }
    }

    /// Whether what the running command replies is not sent.
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

    /// Takes the end of the transaction back.
    pub(crate) fn resume_multi(&mut self, multi: Box<Multi>) {
        self.set_special(Special::MULTI, true);
        self.show_multi(Some(&multi));
        self.multi = Some(multi);
    }

    /// Ends the transaction, returning what was queued.
    pub fn end_multi(&mut self) -> Option<Box<Multi>> {
        let multi = self.take_multi();
        self.show_multi(None);
        multi
    }

    /// [`SessionState::end_multi`], which others do not see yet.
    pub(crate) fn take_multi(&mut self) -> Option<Box<Multi>> {
        self.set_special(Special::MULTI, false);
        self.multi.take()
    }

    /// Has others see a transaction, or none.
    pub(crate) fn show_multi(&self, multi: Option<&Multi>) {
        let (queued, bytes) = multi.map_or((0, 0), |multi| (multi.queue.len(), multi.bytes));
        self.client.set_flag(ClientFlags::MULTI, multi.is_some());
        self.client.queued.store(queued as u32, Ordering::Relaxed);
        self.client.queued_bytes.store(capped(bytes), Ordering::Relaxed);
    }

    /// Names subscribed to in one space.
    pub fn subscriptions(&self, space: Space) -> impl Iterator<Item = &Bytes> {
        self.rare.iter().flat_map(move |rare| rare.subscriptions[space as usize].iter())
    }

    /// Number of subscriptions in one space.
    pub fn subscription_count(&self, space: Space) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.subscriptions[space as usize].len())
    }

    /// Adds a subscription to the session's own set; false when it was there.
    pub fn add_subscription(&mut self, space: Space, name: Bytes) -> bool {
        let all = &mut self.rare.get_or_insert_default().subscriptions;
        let added = all[space as usize].insert(name);
        self.update_subscribed();
        added
    }

    /// Takes a subscription out of the session's own set; false when it was not there.
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

    /// Gives the memory back of what it has no longer.
    fn forget_rare(&mut self) {
        let needed = |rare: &Rare| {
            rare.follower.is_some() || rare.announced.is_some() || !rare.buckets.are_untouched()
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
