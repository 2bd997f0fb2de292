//! Sessions that wait for a key: `BLPOP` and similar commands.
//!
//! A waiter keeps its blocked command. When a key for which it waits is changed, the session that
//! changed the key runs the waiter's command in a transaction of its own, before its own next
//! request; waiters are served in the order in which they came. The reply is sent through the
//! waiter's inbox.

use crate::clients::{Client, ClientFlags};
use crate::command::CommandId;
use crate::notify::keyspace::Watched;
use crate::text::args::OwnedRequest;
use ::replication::Acks;
use hashbrown::HashMap;
use parking_lot::Mutex;
use resp::{Reply, Request};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use storage::Db;

/// The request of a handler to block, because it cannot reply yet.
pub struct Block {
    /// Keys of the current database, any of which may make the command succeed.
    pub keys: Vec<Box<[u8]>>,
    /// The time-out in microseconds; `None` for ever.
    pub timeout_us: Option<u64>,
    /// The reply when the time is over.
    pub on_timeout: fn(&mut Reply<'_>),
    /// The command to run then, if it is not the blocked one itself (`XREAD … $`).
    pub request: Option<OwnedRequest>,
    /// Whether the wait also ends when a key is deleted (`XREADGROUP`).
    pub needs_keys: bool,
}

/// How far the replicas and the log are, for those who wait for them.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The last acknowledgement of each replica that is sent the stream.
    pub acks: Acks,
    /// The end of the stream.
    pub end: u64,
    /// Whether writes are logged, and are to be logged.
    pub keeps_log: bool,
}

/// Writes the reply, to a request that waited for replicas until its time was over.
pub type LateReply = fn(&Progress, Request<'_>, &mut Reply<'_>);

const WAITING: u8 = 0;
const BEING_SERVED: u8 = 1;
/// It is being served, and somebody else wanted to serve it since that began.
const RECALLED: u8 = 2;
const OVER: u8 = 3;

/// A blocked command.
pub struct Waiter {
    pub(crate) client: Arc<Client>,
    pub(crate) db: Db,
    pub(crate) command: CommandId,
    pub(crate) request: OwnedRequest,
    pub(crate) keys: Vec<Box<[u8]>>,
    pub(crate) on_timeout: fn(&mut Reply<'_>),
    /// The request as the client sent it, if another one waits in its place.
    pub(crate) sent: Option<OwnedRequest>,
    /// See [`Block::needs_keys`].
    needs_keys: bool,
    /// Whether the wait has a time-out.
    timed: bool,
    /// Whether `CLIENT CACHING` applies to it.
    pub(crate) caching: bool,
    /// The time for which the command has run so far, in nanoseconds, without the time that it
    /// waited.
    spent: AtomicU64,
    /// The reply for when the time is over, if it waits for replicas and not for keys.
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

    /// Lets others see that its client is blocked.
    pub fn show(&self) {
        let timed = if self.timed { ClientFlags::TIMED } else { ClientFlags::empty() };
        self.client.set_flag(ClientFlags::BLOCKED | timed, true);
    }

    /// The request as the client sent it.
    pub fn sent(&self) -> Request<'_> {
        self.sent.as_ref().unwrap_or(&self.request).view()
    }

    /// Adds to the time for which the command has run; it goes on waiting.
    pub fn spend(&self, nanos: u64) {
        self.spent.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The time for which the command has run so far, in nanoseconds.
    pub fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Writes the reply for when the time is over.
    pub fn time_out(&self, progress: impl FnOnce() -> Progress, reply: &mut Reply<'_>) {
        match self.late {
            Some(late) => late(&progress(), self.request.view(), reply),
            None => (self.on_timeout)(reply),
        }
    }

    /// Claims the wait. Only the thread for which this returns true may serve it. If another one is
    /// serving it, that one is told to look again.
    pub fn claim(&self) -> bool {
        let next = |state| match state {
            WAITING => Some(BEING_SERVED),
            BEING_SERVED => Some(RECALLED),
            _ => None,
        };
        self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) == Ok(WAITING)
    }

    /// Returns to waiting, because the wait could not be served. Returns false if another thread
    /// wanted to serve it meanwhile: it is still claimed, and the caller has to try once more, because
    /// what came may have come just after it looked.
    pub fn release(&self) -> bool {
        let released = self.swap(BEING_SERVED, WAITING);
        let kept = !released && self.swap(RECALLED, BEING_SERVED);
        debug_assert!(released || kept, "only a claimed waiter is released");
        released
    }

    /// Ends the wait (time over, unblocked, client gone). Returns false if it is being served, or
    /// has ended.
    pub fn end(&self) -> bool {
        self.swap(WAITING, OVER)
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// All blocked commands, by key.
#[derive(Default)]
pub struct Blocking {
    queues: Mutex<HashMap<Watched, VecDeque<Arc<Waiter>>>>,
    clients: AtomicUsize,
    /// Those that wait for replicas, and not for keys.
    for_replicas: Mutex<Vec<Arc<Waiter>>>,
    for_replicas_count: AtomicUsize,
}

impl Blocking {
    /// Registers a waiter with each of its keys. The caller holds the shards of these keys, so that
    /// no change can happen between the handler's check and this call.
    pub(super) fn add(&self, waiter: &Arc<Waiter>) {
        let mut queues = self.queues.lock();
        for key in &waiter.keys {
            let watched = Watched { db: waiter.db, key: key.clone() };
            queues.entry(watched).or_default().push_back(waiter.clone());
        }
        if waiter.late.is_some() {
            self.for_replicas.lock().push(waiter.clone());
            self.for_replicas_count.fetch_add(1, Ordering::SeqCst);
        }
        self.clients.fetch_add(1, Ordering::SeqCst);
        waiter.show();
    }

    /// Removes a waiter from all its queues.
    pub(super) fn remove(&self, waiter: &Arc<Waiter>) {
        let mut queues = self.queues.lock();
        for key in &waiter.keys {
            let watched = Watched { db: waiter.db, key: key.clone() };
            let Some(queue) = queues.get_mut(&watched) else { continue };
            queue.retain(|w| !Arc::ptr_eq(w, waiter));
            if queue.is_empty() {
                queues.remove(&watched);
            }
        }
        if waiter.late.is_some() {
            self.for_replicas.lock().retain(|other| !Arc::ptr_eq(other, waiter));
            self.for_replicas_count.fetch_sub(1, Ordering::SeqCst);
        }
        self.clients.fetch_sub(1, Ordering::SeqCst);
        waiter.client.set_flag(ClientFlags::BLOCKED | ClientFlags::TIMED, false);
    }

    /// The waiters for a key, in order of arrival.
    pub(crate) fn queue(&self, db: Db, key: &[u8]) -> Vec<Arc<Waiter>> {
        let watched = Watched { db, key: key.into() };
        self.queues.lock().get(&watched).map(|q| q.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether any client waits for a key.
    pub(crate) fn is_awaited(&self, db: Db, key: &[u8]) -> bool {
        self.clients.load(Ordering::SeqCst) != 0
            && self.queues.lock().contains_key(&Watched { db, key: key.into() })
    }

    /// The keys of `db` for which clients wait, to be served after `FLUSHDB` or `SWAPDB`.
    pub(crate) fn awaited_keys(&self, db: Db) -> Vec<Box<[u8]>> {
        let queues = self.queues.lock();
        queues.keys().filter(|w| w.db == db).map(|w| w.key.clone()).collect()
    }

    /// The waiter of a client, if it waits. Searches all keys for which clients wait.
    pub(super) fn of_client(&self, id: u64) -> Option<Arc<Waiter>> {
        let queues = self.queues.lock();
        queues.values().flatten().find(|waiter| waiter.client.id == id).cloned()
    }

    /// The clients that wait for certain keys.
    pub(super) fn clients_at(&self, concerns: impl Fn(&[u8]) -> bool) -> Vec<Arc<Client>> {
        let queues = self.queues.lock();
        let concerned = queues.iter().filter(|(watched, _)| concerns(&watched.key));
        let waiters = concerned.flat_map(|(_, queue)| queue);
        let mut clients: Vec<_> = waiters.map(|waiter| waiter.client.clone()).collect();
        clients.sort_unstable_by_key(|client| client.id);
        clients.dedup_by_key(|client| client.id);
        clients
    }

    /// The waiters for replicas, in order of arrival.
    pub(crate) fn for_replicas(&self) -> Vec<Arc<Waiter>> {
        match self.for_replicas_count.load(Ordering::SeqCst) {
            0 => Vec::new(),
            _ => self.for_replicas.lock().clone(),
        }
    }

    /// The number of keys for which clients wait.
    pub fn key_count(&self) -> usize {
        self.queues.lock().len()
    }

    /// The number of keys for whose deletion clients wait as well.
    pub fn needed_key_count(&self) -> usize {
        let queues = self.queues.lock();
        queues.values().filter(|queue| queue.iter().any(|waiter| waiter.needs_keys)).count()
    }

    /// The number of blocked clients.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Clients;

    fn waiter() -> Waiter {
        let mut block = Block {
            keys: Vec::new(),
            timeout_us: None,
            on_timeout: |reply| reply.null(),
            request: None,
            needs_keys: false,
        };
        let client = Arc::new(Clients::default().unlisted());
        Waiter::new(client, 0, 0, OwnedRequest::default(), &mut block)
    }

    #[test]
    fn who_wants_to_serve_what_is_being_served_has_it_looked_at_again() {
        let waiter = waiter();
        assert!(waiter.claim());
        assert!(!waiter.claim() && !waiter.claim() && !waiter.end());
        assert!(!waiter.release(), "another thread wanted it");
        assert!(!waiter.end(), "it is still claimed");
        assert!(waiter.release(), "nobody wanted it since");
        assert!(waiter.end());
        assert!(!waiter.claim());
    }
}
