//! How other threads reach a reactor: messages, with one wake-up of its poller per sleep.

use super::slots::Key;
use crate::{Peer, RuntimeStats, Service, Socket};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Wake;

/// An accepted client, and the service for it.
pub type Newcomer = (Socket, Peer, Arc<dyn Service>);

/// A message to a reactor from another thread. `M` is what the reactors of a runtime tell each other.
pub enum Message<M> {
    /// A connection's waker was woken.
    Wake(Key),
    /// A new connection.
    Accepted(Box<Newcomer>),
    /// A message of the runtime's own.
    Own(M),
}

thread_local! {
    /// The address of the mailbox of the reactor on this thread; zero on other threads.
    static OWN: Cell<usize> = const { Cell::new(0) };
    /// Connections woken on their own reactor's thread: this needs no lock and no system call.
    static WOKEN: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

/// The sending side of a reactor's mailbox; the reactor owns the receiving side.
pub struct Mailbox<M> {
    messages: Mutex<Inner<M>>,
    /// Whether `messages` may be non-empty; saves the reactor the lock.
    pending: AtomicBool,
    /// Whether the reactor sleeps in its poller, or is about to, and has to be woken.
    sleeping: AtomicBool,
    /// Ends the sleep.
    rouse: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// The number of connections that this reactor has, or that are on their way to it.
    pub load: AtomicUsize,
    /// Whether the reactor is to pass on its connections and end.
    pub retire: AtomicBool,
    /// Whether the reactor is to pass on what it has more than its share, because others were added.
    pub share: AtomicBool,
    stats: Arc<RuntimeStats>,
}

struct Inner<M> {
    queue: Vec<Message<M>>,
    closed: bool,
}

impl<M> Mailbox<M> {
    /// An empty mailbox. `rouse` ends the sleep of the reactor in its poller, now or as soon as it falls asleep.
    pub fn new(
        stats: Arc<RuntimeStats>,
        rouse: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Mailbox {
            messages: Mutex::new(Inner { queue: Vec::new(), closed: false }),
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            rouse: Box::new(rouse),
            load: AtomicUsize::new(0),
            retire: AtomicBool::new(false),
            share: AtomicBool::new(false),
            stats,
        })
    }

    /// Makes this thread the reactor's: wakes from it are handled without a message.
    pub fn adopt_thread(self: &Arc<Self>) {
        OWN.set(self.address());
    }

    /// The reactor moves to another thread: wakes from this one become messages.
    pub fn leave_thread(self: &Arc<Self>) {
        OWN.set(0);
        let woken = WOKEN.take();
        woken.into_iter().for_each(|key| self.send(Message::Wake(key)));
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    /// Reports, on any thread, that the connection `key` was woken.
    pub fn wake_connection(self: &Arc<Self>, key: Key) {
        // A thread that is ending has no thread-locals any more; it is not a reactor's.
        if OWN.try_with(Cell::get) == Ok(self.address()) {
            WOKEN.with_borrow_mut(|woken| woken.push(key));
        } else {
            self.stats.wakes.fetch_add(1, Relaxed);
            self.send(Message::Wake(key));
        }
    }

    /// Queues a message and makes sure that the reactor sees it soon. A message to a reactor that
    /// has ended is dropped.
    pub fn send(&self, message: Message<M>) {
        {
            let mut inner = self.messages.lock();
            if inner.closed {
                drop(inner);
                return drop(message);
            }
            inner.queue.push(message);
        }
        self.notify();
    }

    /// Makes the reactor check soon for messages, `retire`, `share` and a requested shutdown.
    pub fn notify(&self) {
        self.pending.store(true, SeqCst);
        if self.sleeping.swap(false, SeqCst)
            && let Err(error) = (self.rouse)()
        {
            tracing::error!(%error, "cannot wake a reactor");
        }
    }

    /// Called before polling. Returns true if the reactor may sleep; then every later message wakes
    /// it.
    pub fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, SeqCst);
        !self.pending.load(SeqCst) && WOKEN.with_borrow(Vec::is_empty)
    }

    /// Called after polling.
    pub fn awake(&self) {
        self.sleeping.store(false, Relaxed);
    }

    /// Moves everything that has arrived into the two lists.
    pub fn take(&self, messages: &mut Vec<Message<M>>, woken: &mut Vec<Key>) {
        WOKEN.with_borrow_mut(|own| woken.append(own));
        if self.pending.load(Relaxed) && self.pending.swap(false, SeqCst) {
            messages.append(&mut self.messages.lock().queue);
        }
    }

    /// Drops queued messages and all later ones.
    pub fn close(&self) {
        let queue = {
            let mut inner = self.messages.lock();
            inner.closed = true;
            std::mem::take(&mut inner.queue)
        };
        drop(queue);
    }
}

impl<M: Send + 'static> Wake for Mailbox<M> {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}
