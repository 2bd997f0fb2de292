//! The workers that call connections in place of reactors.
//!
//! Jobs are in a queue of this module, and the rayon pool is only told that there is one. So a
//! thread that stands in for a worker busy with a long call finds them, too.

use crate::reactor::{Mailbox, Message, Passed};
use parking_lot::{Condvar, Mutex, RwLock};
use rayon::{ThreadPool, ThreadPoolBuilder};
use runtime::reactors::Key;
use runtime::spans;
use runtime::trace::{self, Stage};
use runtime::{Driver, Events, RuntimeContext, stand_in};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The size of a worker's read buffer, in bytes.
const BUFFER_SIZE: usize = 128 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
    /// Whether another thread stands in for this one until its call has ended.
    static RELIEVED: Cell<bool> = const { Cell::new(false) };
}

/// One turn of a connection.
pub(crate) struct Job {
    pub key: Key,
    pub driver: Driver,
    pub events: Events,
    pub context: Arc<RuntimeContext>,
    /// The mailbox to which the connection returns.
    pub mailbox: Arc<Mailbox>,
    /// The time when it was queued, while tracing.
    pub queued_at: Option<Instant>,
}

impl Job {
    fn run(self) {
        let Job { key, mut driver, events, context, mailbox, queued_at } = self;
        context.stats.queue_depth.fetch_sub(1, Relaxed);
        if let Some(queued_at) = queued_at {
            trace::record_since(Stage::Queue, queued_at);
            spans::queued(queued_at);
        }
        let turn =
            BUFFER.with_borrow_mut(|buffer| driver.turn(events, buffer, context.clock.now()));
        mailbox.send(Message::Own(Passed::Returned(key, driver, turn)));
    }
}

/// The pool.
pub(crate) struct Pool {
    workers: RwLock<ThreadPool>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    /// Notified when a job was queued, or a stand-in may end.
    changed: Condvar,
    /// The numbers of threads that stand in for workers, and of workers held by long calls. Apart
    /// from short moments they are equal.
    stand_ins: AtomicUsize,
    held: AtomicUsize,
}

impl Pool {
    pub fn new(workers: usize) -> io::Result<Arc<Pool>> {
        let shared: Arc<Shared> = Arc::default();
        let workers = RwLock::new(start(workers, &shared)?);
        Ok(Arc::new(Pool { workers, shared }))
    }

    /// Changes the number of workers. New ones take the place of the old, which end once they have done the jobs
    /// that they were told of.
    pub fn resize(&self, workers: usize) -> io::Result<()> {
        let workers = start(workers, &self.shared)?;
        let old = std::mem::replace(&mut *self.workers.write(), workers);
        drop(old);
        Ok(())
    }

    /// Queues a job for the next free thread.
    pub fn queue(&self, job: Job) {
        job.context.stats.queue_depth.fetch_add(1, Relaxed);
        self.shared.jobs.lock().push_back(job);
        if self.shared.stand_ins.load(SeqCst) > 0 {
            self.shared.changed.notify_one();
        }
        let shared = self.shared.clone();
        self.workers.read().spawn_fifo(move || shared.work());
    }
}

/// Starts workers.
fn start(workers: usize, shared: &Arc<Shared>) -> io::Result<ThreadPool> {
    let held = Arc::downgrade(shared);
    let pool = ThreadPoolBuilder::new()
        .num_threads(workers)
        .thread_name(|n| format!("worker-{n}"))
        .start_handler(move |_| provide(held.clone()));
    pool.build().map_err(io::Error::other)
}

/// Installs the hook that lets another thread work when this one is held by a long call.
fn provide(shared: Weak<Shared>) {
    stand_in::provide(move || {
        if let Some(shared) = shared.upgrade() {
            shared.relieve();
        }
    });
}

impl Shared {
    /// Does a job, unless a stand-in has already done it.
    fn work(&self) {
        let job = self.jobs.lock().pop_front();
        let Some(job) = job else { return };
        job.run();
        if RELIEVED.take() {
            let _jobs = self.jobs.lock();
            self.held.fetch_sub(1, SeqCst);
            self.changed.notify_all();
        }
    }

    fn relieve(self: &Arc<Self>) {
        if RELIEVED.replace(true) {
            return;
        }
        self.held.fetch_add(1, SeqCst);
        self.stand_ins.fetch_add(1, SeqCst);
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("stand-in".into());
        if let Err(error) = thread.spawn(move || shared.stand_in()) {
            tracing::warn!(%error, "nobody stands in for a worker");
            self.stand_ins.fetch_sub(1, SeqCst);
        }
    }

    /// Does jobs for as long as more workers are held than other threads stand in.
    fn stand_in(self: Arc<Self>) {
        provide(Arc::downgrade(&self));
        let mut jobs = self.jobs.lock();
        loop {
            if self.stand_ins.load(SeqCst) > self.held.load(SeqCst) {
                self.stand_ins.fetch_sub(1, SeqCst);
                return;
            }
            if jobs.is_empty() {
                self.changed.wait(&mut jobs);
                continue;
            }
            drop(jobs);
            self.work();
            jobs = self.jobs.lock();
        }
    }
}
