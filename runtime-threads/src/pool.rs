//! The queue of accepted clients, and the actual and wanted number of workers.

use crate::worker::Worker;
use parking_lot::{Condvar, Mutex};
use runtime::trace::{self, Stage};
use runtime::{Peer, RuntimeContext, Service, Shutdown, Socket};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval at which a full queue is checked for a requested shutdown.
const ROOM_POLL: Duration = Duration::from_millis(50);

/// An accepted client, and the service for it.
pub(crate) struct Newcomer {
    pub accepted: (Socket, Peer),
    pub service: Arc<dyn Service>,
    /// The time when it was queued, while tracing.
    queued_at: Option<Instant>,
}

impl Newcomer {
    /// A client that is about to be queued.
    pub fn new(accepted: (Socket, Peer), service: Arc<dyn Service>) -> Self {
        Newcomer { accepted, service, queued_at: trace::is_on().then(Instant::now) }
    }
}

/// The state that the workers of one `serve` call share.
pub(crate) struct Pool {
    pub context: Arc<RuntimeContext>,
    pub shutdown: Shutdown,
    pub drain_timeout: Duration,
    queue_max: usize,
    state: Mutex<State>,
    /// Notified when a client was queued, or workers are to end.
    arrived: Condvar,
    /// Notified when a client was taken from the queue.
    taken: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Newcomer>,
    /// The number of workers that exist.
    alive: usize,
    /// The wanted number of workers, without those that stand in for others.
    wanted: usize,
    /// The number of workers held by a long call. For each of them another one stands in.
    held: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub fn new(
        context: Arc<RuntimeContext>,
        shutdown: Shutdown,
        drain_timeout: Duration,
        queue_max: usize,
    ) -> Arc<Self> {
        let (arrived, taken) = (Condvar::new(), Condvar::new());
        let (state, queue_max) = (Mutex::default(), queue_max.max(1));
        Arc::new(Pool { context, shutdown, drain_timeout, queue_max, state, arrived, taken })
    }

    /// Changes the number of workers to `threads`. Busy ones end when their client has left.
    pub fn resize(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        let mut state = self.state.lock();
        state.wanted = threads;
        self.hire(&mut state)?;
        self.arrived.notify_all();
        Ok(())
    }

    /// Reports that a worker is held by a long call: another one stands in, so that waiting clients
    /// are served.
    pub fn relieve(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.held += 1;
        if let Err(error) = self.hire(&mut state) {
            tracing::warn!(%error, "nobody stands in for a worker");
        }
    }

    /// Reports that the long call has ended. From now on there is a worker too many, and the next
    /// one without a client ends.
    pub fn dismiss(&self) {
        self.state.lock().held -= 1;
        self.arrived.notify_all();
    }

    fn hire(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        state.threads.retain(|thread| !thread.is_finished());
        while state.alive < state.wanted + state.held {
            let worker = Worker::new(self.clone())?;
            let thread = std::thread::Builder::new().name("client-worker".to_owned());
            let thread = thread.spawn(move || worker.run())?;
            state.threads.push(thread);
            self.count_workers(state, 1);
        }
        Ok(())
    }

    fn count_workers(&self, state: &mut State, change: isize) {
        state.alive = state.alive.saturating_add_signed(change);
        self.context.stats.threads.store(state.alive as u64, Relaxed);
    }

    /// Waits until the queue has room. Returns false if the server stops.
    pub fn wait_for_room(&self) -> bool {
        let mut state = self.state.lock();
        while state.queue.len() >= self.queue_max && !self.shutdown.requested() {
            self.taken.wait_for(&mut state, ROOM_POLL);
        }
        !self.shutdown.requested()
    }

    pub fn push(&self, newcomer: Newcomer) {
        self.state.lock().queue.push_back(newcomer);
        self.context.stats.queue_depth.fetch_add(1, Relaxed);
        self.arrived.notify_one();
    }

    /// The next client for a worker; `None` when the worker is to end.
    pub fn next(&self) -> Option<Newcomer> {
        let mut state = self.state.lock();
        loop {
            if state.alive > state.wanted + state.held {
                self.count_workers(&mut state, -1);
                return None;
            }
            if let Some(newcomer) = state.queue.pop_front() {
                self.context.stats.queue_depth.fetch_sub(1, Relaxed);
                self.taken.notify_one();
                if let Some(queued_at) = newcomer.queued_at {
                    trace::record_since(Stage::Queue, queued_at);
                }
                return Some(newcomer);
            }
            self.arrived.wait(&mut state);
        }
    }

    /// Drops waiting clients and waits for the workers, which drain their clients.
    pub fn close(&self) {
        let (queue, threads) = {
            let mut state = self.state.lock();
            state.wanted = 0;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.threads))
        };
        self.context.stats.queue_depth.fetch_sub(queue.len() as u64, Relaxed);
        drop(queue);
        self.arrived.notify_all();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}
