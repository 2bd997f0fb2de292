//! Sessions that wait for a key: `BLPOP` and its kin.
//!
//! A waiter keeps the command it was parked by. When a key it waits for is changed, the session
//! that changed it runs the waiter's command in a transaction of its own, first come first served,
//! before it goes on to its own next request; the reply travels through the waiter's inbox.

mod engine;

use crate::clients::{Client, ClientFlags};
use crate::command::CommandId;
use crate::engine::Engine;
use crate::notify::keyspace::Watched;
use crate::text::args::OwnedRequest;
use hashbrown::HashMap;
use parking_lot::Mutex;
use resp::{Reply, Request};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use storage::Db;

/// A handler's wish to wait, since it cannot answer yet.
pub struct Block {
    /// Keys of the current database, any of which may make the command succeed.
    pub keys: Vec<Box<[u8]>>,
    /// How long to wait, microseconds; `None` for ever.
    pub timeout_us: Option<u64>,
    /// The reply when the time is over.
    pub on_timeout: fn(&mut Reply<'_>),
    /// The command to run then, when it is not the one that waits as it came (`XREAD … $`).
    pub request: Option<OwnedRequest>,
    /// Whether the wait ends when a key goes, too (`XREADGROUP`).
    pub needs_keys: bool,
}

/// Writes the reply to a wait for replicas whose time is over, from the request that waits.
pub type LateReply = fn(&Engine, Request<'_>, &mut Reply<'_>);

const WAITING: u8 = 0;
const BEING_SERVED: u8 = 1;
const OVER: u8 = 2;

/// A parked command.
pub struct Waiter {
    pub(crate) client: Arc<Client>,
    pub(crate) db: Db,
    pub(crate) command: CommandId,
    pub(crate) request: OwnedRequest,
    pub(crate) keys: Vec<Box<[u8]>>,
    pub(crate) on_timeout: fn(&mut Reply<'_>),
    /// The request as the client sent it, where another waits in its place.
    pub(crate) sent: Option<OwnedRequest>,
    /// See [`Block::needs_keys`].
    needs_keys: bool,
    /// The wait ends at some time.
    timed: bool,
    /// `CLIENT CACHING` decides about it.
    pub(crate) caching: bool,
    /// How long it has run so far, nanoseconds: the time that it waits does not count.
    spent: AtomicU64,
    /// It waits for replicas, not for keys.
    pub late: Option<LateReply>,
    state: AtomicU8,
}

impl Waiter {
    pub(crate) fn new(
        client: Arc<Client>,
        db: Db,
        command: CommandId,
        request: OwnedRequest,
        block: &mut Block,
    ) -> Self {
        let keys = std::mem::take(&mut block.keys);
        let Block { on_timeout, needs_keys, .. } = *block;
        let timed = block.timeout_us.is_some();
        let (sent, caching, late, spent) = (None, false, None, AtomicU64::new(0));
        let state = AtomicU8::new(WAITING);
        Waiter {
            client,
            db,
            command,
            request,
            keys,
            on_timeout,
            sent,
            needs_keys,
            timed,
            caching,
            spent,
            late,
            state,
        }
    }

    /// Has others see that its client waits.
    pub fn show(&self) {
        let timed = if self.timed { ClientFlags::TIMED } else { ClientFlags::empty() };
        self.client.set_flag(ClientFlags::BLOCKED | timed, true);
    }

    /// The request as the client sent it.
    pub fn sent(&self) -> Request<'_> {
        self.sent.as_ref().unwrap_or(&self.request).view()
    }

    /// It has run for so many nanoseconds, and goes on waiting.
    pub fn spend(&self, nanos: u64) {
        self.spent.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How long it has run so far, nanoseconds.
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Replies that the time is over.
    pub fn time_out(&self, engine: &Engine, reply: &mut Reply<'_>) {
        match self.late {
            Some(late) => late(engine, self.request.view(), reply),
            None => (self.on_timeout)(reply),
        }
    }

    /// Whoever serves or ends the wait must win this first.
    pub fn claim(&self) -> bool {
        self.swap(WAITING, BEING_SERVED)
    }

    /// Serving did not succeed: back to waiting.
    pub fn release(&self) {
        let released = self.swap(BEING_SERVED, WAITING);
        debug_assert!(released, "only a claimed waiter is released");
    }

    /// Ends the wait for good (time over, unblocked, gone); false when it is being served, or was.
    pub fn end(&self) -> bool {
        self.swap(WAITING, OVER)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// All parked commands, by key.
#[derive(Default)]
pub struct Blocking {
    queues: Mutex<HashMap<Watched, VecDeque<Arc<Waiter>>>>,
    clients: AtomicUsize,
}

impl Blocking {
    /// Registers a waiter with each of its keys. The caller holds the shards of those keys, so no
    /// change slips in between the handler's look and this call.
    fn add(&self, waiter: &Arc<Waiter>) {
        let mut queues = self.queues.lock();
        for key in &waiter.keys {
            let watched = Watched { db: waiter.db, key: key.clone() };
            queues.entry(watched).or_default().push_back(waiter.clone());
        }
        self.clients.fetch_add(1, Ordering::SeqCst);
        waiter.show();
    }

    /// Takes a waiter out of all its queues.
    fn remove(&self, waiter: &Arc<Waiter>) {
        let mut queues = self.queues.lock();
        for key in &waiter.keys {
            let watched = Watched { db: waiter.db, key: key.clone() };
            let Some(queue) = queues.get_mut(&watched) else { continue };
            queue.retain(|w| !Arc::ptr_eq(w, waiter));
            if queue.is_empty() {
                queues.remove(&watched);
            }
        }
        self.clients.fetch_sub(1, Ordering::SeqCst);
        waiter.client.set_flag(ClientFlags::BLOCKED | ClientFlags::TIMED, false);
    }

    /// Those waiting for a key, in order of arrival.
    pub(crate) fn queue(&self, db: Db, key: &[u8]) -> Vec<Arc<Waiter>> {
        let watched = Watched { db, key: key.into() };
        self.queues.lock().get(&watched).map(|q| q.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether somebody waits for a key.
    pub(crate) fn is_awaited(&self, db: Db, key: &[u8]) -> bool {
        self.clients.load(Ordering::SeqCst) != 0
            && self.queues.lock().contains_key(&Watched { db, key: key.into() })
    }

    /// Keys of `db` that somebody waits for; after `FLUSHDB` or `SWAPDB` made them ready.
    pub(crate) fn awaited_keys(&self, db: Db) -> Vec<Box<[u8]>> {
        let queues = self.queues.lock();
        queues.keys().filter(|w| w.db == db).map(|w| w.key.clone()).collect()
    }

    /// The client's waiter, if it waits; looks at every key that anybody waits for.
    fn of_client(&self, id: u64) -> Option<Arc<Waiter>> {
        let queues = self.queues.lock();
        queues.values().flatten().find(|waiter| waiter.client.id == id).cloned()
    }

    /// Number of keys that somebody waits for.
    pub fn key_count(&self) -> usize {
        self.queues.lock().len()
    }

    /// Number of keys whose going somebody waits for, besides what they get.
    pub fn needed_key_count(&self) -> usize {
        let queues = self.queues.lock();
        queues.values().filter(|queue| queue.iter().any(|waiter| waiter.needs_keys)).count()
    }

    /// Number of parked clients.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}
