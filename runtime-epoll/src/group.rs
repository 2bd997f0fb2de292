//! The reactors of one `serve` call: starts, chooses, resizes and joins them.

use crate::accept::{Listeners, MAILBOX_TOKEN, Newcomer};
use crate::mailbox::{Mailbox, Message, poller};
use crate::pool::Pool;
use crate::reactor::Reactor;
use crate::reactor_thread::Handover;
use crate::{EpollRuntime, Execution, pin};
use parking_lot::Mutex;
use runtime::{Clock, Listener, RuntimeContext, Shutdown};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// The state that all reactors share.
pub(crate) struct Group {
    pub context: Arc<RuntimeContext>,
    pub shutdown: Shutdown,
    pub drain_timeout: Duration,
    /// The workers, if connections are not called by their reactor.
    pub pool: Option<Arc<Pool>>,
    pin: bool,
    /// The reactors that accept connections. The first has the listeners and is never retired.
    reactors: Mutex<Vec<Arc<Mailbox>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A reactor whose thread is not started yet.
struct Prepared {
    n: usize,
    poll: mio::Poll,
    mailbox: Arc<Mailbox>,
    listeners: Listeners,
}

impl Group {
    /// Starts the threads. If one cannot be started, none is left running.
    pub fn start(
        runtime: &EpollRuntime,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<Arc<Self>> {
        let group = Arc::new(Group {
            context: Arc::new(RuntimeContext { clock, stats: runtime.stats.clone() }),
            shutdown,
            drain_timeout,
            pool: build_pool(runtime.config.execution)?,
            pin: runtime.config.pin,
            reactors: Mutex::default(),
            threads: Mutex::default(),
        });
        // The reactor with the listeners starts last, so that the first clients find all others
        // running.
        let first = group.prepare(listeners)?;
        let others = group.resize(runtime.config.threads);
        if let Err(error) = others.and_then(|()| group.launch(first)) {
            group.shutdown.request();
            group.join();
            return Err(error);
        }
        Ok(group)
    }

    /// Brings the number of reactors to `threads`, at least one.
    pub fn resize(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        while self.reactors.lock().len() < threads {
            self.launch(self.prepare(Vec::new())?)?;
        }
        let surplus = {
            let mut reactors = self.reactors.lock();
            let keep = threads.min(reactors.len());
            reactors.split_off(keep)
        };
        for mailbox in surplus {
            mailbox.retire.store(true, SeqCst);
            mailbox.notify();
        }
        Ok(())
    }

    /// Creates a reactor that the others know, still without a thread.
    fn prepare(&self, listeners: Vec<Listener>) -> io::Result<Prepared> {
        let (poll, mailbox) = poller(MAILBOX_TOKEN, self.context.stats.clone())?;
        let listeners = Listeners::register(listeners, poll.registry())?;
        self.shutdown.subscribe(Waker::from(mailbox.clone()));
        let mut reactors = self.reactors.lock();
        reactors.push(mailbox.clone());
        Ok(Prepared { n: reactors.len() - 1, poll, mailbox, listeners })
    }

    fn launch(self: &Arc<Self>, prepared: Prepared) -> io::Result<()> {
        let Prepared { n, poll, mailbox, listeners } = prepared;
        let (group, own) = (self.clone(), mailbox.clone());
        let run = move || {
            if group.pin {
                pin::pin_to_core(n);
            }
            Handover::new(Reactor::new(group, poll, own, listeners)).run();
        };
        self.context.stats.threads.fetch_add(1, Relaxed);
        match std::thread::Builder::new().name(format!("reactor-{n}")).spawn(run) {
            Ok(thread) => {
                self.threads.lock().push(thread);
                Ok(())
            }
            Err(error) => {
                self.context.stats.threads.fetch_sub(1, Relaxed);
                self.reactors.lock().retain(|other| !Arc::ptr_eq(other, &mailbox));
                mailbox.close();
                Err(error)
            }
        }
    }

    /// Lets another thread take over a reactor.
    ///
    /// # Errors
    /// Returns `handover` if no other thread could be started.
    pub fn launch_stand_in(&self, handover: Handover) -> Result<(), Handover> {
        let left = Arc::new(Mutex::new(Some(handover)));
        let taken = left.clone();
        let run = move || {
            let handover = taken.lock().take();
            if let Some(handover) = handover {
                handover.take_over();
            }
        };
        match std::thread::Builder::new().name("reactor-stand-in".to_owned()).spawn(run) {
            Ok(thread) => {
                let mut threads = self.threads.lock();
                let (over, under_way) = threads.drain(..).partition(JoinHandle::is_finished);
                *threads = under_way;
                threads.push(thread);
                drop(threads);
                let over: Vec<_> = over;
                over.into_iter().for_each(|thread| self.ended(thread));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "nobody stands in for a reactor");
                match left.lock().take() {
                    Some(handover) => Err(handover),
                    None => Ok(()),
                }
            }
        }
    }

    /// Waits for all reactors, including those started meanwhile.
    pub fn join(&self) {
        loop {
            let Some(thread) = self.threads.lock().pop() else { return };
            self.ended(thread);
        }
    }

    fn ended(&self, thread: JoinHandle<()>) {
        if thread.join().is_err() {
            tracing::error!("a reactor panicked");
            self.shutdown.request();
        }
    }

    /// Gives a new connection to the reactor that has the fewest.
    pub fn place(&self, newcomer: Newcomer) {
        self.with_least_loaded(|mailbox| mailbox.send(Message::Accepted(Box::new(newcomer))));
    }

    /// Calls `send` with the least loaded mailbox, and counts one more connection there. This is
    /// done under the lock, so that a retiring reactor gets none afterwards.
    pub fn with_least_loaded(&self, send: impl FnOnce(&Mailbox)) {
        let reactors = self.reactors.lock();
        if let Some(mailbox) = reactors.iter().min_by_key(|mailbox| mailbox.load.load(Relaxed)) {
            mailbox.load.fetch_add(1, Relaxed);
            send(mailbox);
        }
    }
}

fn build_pool(execution: Execution) -> io::Result<Option<Arc<Pool>>> {
    match execution {
        Execution::Inline => Ok(None),
        Execution::Pool { workers } => Pool::new(workers).map(Some),
    }
}
