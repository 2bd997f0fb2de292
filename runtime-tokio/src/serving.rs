//! One `serve` call: the scheduler of the moment, and those that it has replaced.

use crate::accept::Accepting;
use crate::home::{Home, Scheduler};
use crate::registry::Registry;
use parking_lot::Mutex;
use runtime::{Listener, RuntimeContext};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval at which draining checks whether all connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// The state that all tasks of one `serve` call share.
pub(crate) struct Shared {
    pub context: Arc<RuntimeContext>,
    pub registry: Registry,
    home: Mutex<Arc<Home>>,
}

impl Shared {
    pub fn new(context: Arc<RuntimeContext>, home: Arc<Home>) -> Self {
        Shared { context, registry: Registry::default(), home: Mutex::new(home) }
    }

    /// The scheduler for new tasks. It runs as long as the reference exists.
    pub fn home(&self) -> Arc<Home> {
        self.home.lock().clone()
    }
}

/// The threads of one `serve` call, and what they accept from.
pub(crate) struct Serving {
    scheduler: Scheduler,
    accepting: Accepting,
    listeners: Vec<Arc<Listener>>,
    shared: Arc<Shared>,
    threads: usize,
    /// Threads that wait for the end of replaced schedulers.
    leaving: Vec<JoinHandle<()>>,
    drained: Arc<AtomicBool>,
}

impl Serving {
    /// Starts threads, and accepts.
    pub fn start(
        threads: usize,
        listeners: Vec<Listener>,
        context: Arc<RuntimeContext>,
    ) -> io::Result<Self> {
        let listeners: Vec<_> = listeners.into_iter().map(Arc::new).collect();
        let scheduler = Scheduler::start(threads)?;
        let shared = Arc::new(Shared::new(context, scheduler.home().clone()));
        let accepting = Accepting::start(&listeners, &shared)?;
        shared.context.stats.threads.store(threads as u64, Relaxed);
        let (leaving, drained) = (Vec::new(), Arc::default());
        Ok(Serving { scheduler, accepting, listeners, shared, threads, leaving, drained })
    }

    /// Replaces the scheduler by one with this number of threads. Returns at once; the tasks move as they
    /// are polled.
    ///
    /// # Errors
    /// Fails, and changes nothing, if the threads or a poller cannot be created.
    pub fn resize(&mut self, threads: usize) -> io::Result<()> {
        if threads == self.threads {
            return Ok(());
        }
        let leaving = self.prepare_to_leave()?;
        let scheduler = Scheduler::start(threads)?;
        let old_home = std::mem::replace(&mut *self.shared.home.lock(), scheduler.home().clone());
        let accepting = match Accepting::start(&self.listeners, &self.shared) {
            Ok(accepting) => accepting,
            Err(error) => {
                // Clients may have been accepted for it meanwhile.
                *self.shared.home.lock() = old_home;
                self.move_away_from(scheduler, &leaving);
                return Err(error);
            }
        };
        drop(old_home);
        std::mem::replace(&mut self.accepting, accepting).abort();
        let old = std::mem::replace(&mut self.scheduler, scheduler);
        self.move_away_from(old, &leaving);
        self.threads = threads;
        self.shared.context.stats.threads.store(threads as u64, Relaxed);
        Ok(())
    }

    /// Makes all tasks of a scheduler move to the one that is in use, and passes it to the thread that waits
    /// for that.
    fn move_away_from(&self, scheduler: Scheduler, leaving: &Sender<Scheduler>) {
        scheduler.leave();
        self.shared.registry.wake_all();
        // The thread waits for it, and cannot have ended.
        let _ = leaving.send(scheduler);
    }

    /// Starts a thread that waits until the scheduler that it is sent has been left: its own threads cannot
    /// do that.
    fn prepare_to_leave(&mut self) -> io::Result<Sender<Scheduler>> {
        self.leaving.retain(|thread| !thread.is_finished());
        let (leaving, left) = channel::<Scheduler>();
        let drained = self.drained.clone();
        let wait = move || left.iter().for_each(|scheduler| scheduler.end_once_left(&drained));
        self.leaving.push(std::thread::Builder::new().name("tokio-leaving".into()).spawn(wait)?);
        Ok(leaving)
    }

    /// Stops accepting, lets all connections finish, for `timeout` at most, and ends.
    pub fn stop(self, timeout: Duration) {
        self.scheduler.home().handle.block_on(self.accepting.stop());
        drop(self.listeners);
        let until = Instant::now() + timeout;
        self.shared.registry.drain();
        while !self.shared.registry.is_empty() && Instant::now() < until {
            std::thread::sleep(DRAIN_POLL);
        }
        self.drained.store(true, SeqCst);
        // A panic there ends only the wait.
        self.leaving.into_iter().for_each(|thread| drop(thread.join()));
        self.scheduler.end();
        self.shared.context.stats.threads.store(0, Relaxed);
    }
}
