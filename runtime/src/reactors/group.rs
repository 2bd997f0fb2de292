//! The reactors of one `serve` call: starts, chooses, resizes and joins them.

use super::mailbox::{Mailbox, Message, Newcomer};
use super::pin;
use crate::{Listener, RuntimeContext, RuntimeStats, Shutdown};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// The highest number of reactor threads.
pub const THREADS_MAX: usize = 1024;

/// Fails if a runtime cannot have that many threads: none, or more than [`THREADS_MAX`].
///
/// # Errors
/// Fails with `InvalidInput`.
pub fn check_threads(threads: usize) -> io::Result<()> {
    if (1..=THREADS_MAX).contains(&threads) {
        return Ok(());
    }
    let text = format!("threads must be between 1 and {THREADS_MAX}, not {threads}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// A prepared reactor, and its mailbox.
pub type Ready<R> = (<R as Reactors>::Prepared, Arc<Mailbox<<R as Reactors>::Message>>);

/// A kind of reactor, and what all reactors of one `serve` call share.
pub trait Reactors: Send + Sync + Sized + 'static {
    /// Messages of reactors to each other.
    type Message: Send + 'static;

    /// A reactor whose thread is not started yet.
    type Prepared: Send + 'static;

    /// Prepares a reactor with these listeners, and the mailbox that wakes it.
    ///
    /// # Errors
    /// Fails if the system has no further poller.
    fn prepare(
        &self,
        listeners: Vec<Listener>,
        stats: &Arc<RuntimeStats>,
    ) -> io::Result<Ready<Self>>;

    /// Runs the reactor on the calling thread until the server has drained or the reactor has passed on its
    /// connections.
    fn run(group: Arc<Group<Self>>, mailbox: Arc<Mailbox<Self::Message>>, prepared: Self::Prepared);
}

/// The state that all reactors share.
pub struct Group<R: Reactors> {
    /// The clock and the counters.
    pub context: Arc<RuntimeContext>,
    /// The request to stop.
    pub shutdown: Shutdown,
    /// The time that connections have to finish once the server stops.
    pub drain_timeout: Duration,
    /// The state that is particular to this kind of reactor.
    pub own: R,
    pin: bool,
    /// The reactors that accept connections. The first has the listeners and is never retired.
    reactors: Mutex<Vec<Arc<Mailbox<R::Message>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A reactor whose thread is not started yet.
struct Prepared<R: Reactors> {
    n: usize,
    mailbox: Arc<Mailbox<R::Message>>,
    inner: R::Prepared,
}

impl<R: Reactors> Group<R> {
    /// A group without a thread.
    pub fn new(
        own: R,
        context: RuntimeContext,
        shutdown: Shutdown,
        drain_timeout: Duration,
        pin: bool,
    ) -> Arc<Self> {
        let (reactors, threads) = (Mutex::default(), Mutex::default());
        let context = Arc::new(context);
        Arc::new(Group { context, shutdown, drain_timeout, own, pin, reactors, threads })
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If one cannot be started, none is left running.
    pub fn start(self: &Arc<Self>, listeners: Vec<Listener>, threads: usize) -> io::Result<()> {
        // The reactor with the listeners starts last, so that the first clients find all others
        // running.
        let first = self.prepare(0, listeners)?;
        self.reactors.lock().push(first.mailbox.clone());
        let others = self.resize(threads);
        if let Err(error) = others.and_then(|()| self.launch(first)) {
            self.shutdown.request();
            self.join();
            return Err(error);
        }
        Ok(())
    }

    /// Brings the number of reactors to `threads`, at least one. Those that are added get an equal share of the
    /// connections that are there.
    ///
    /// # Errors
    /// Fails if a thread or a poller cannot be created; those that were created stay.
    pub fn resize(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        let before = self.reactors.lock().len();
        let grown = self.grow(threads);
        let (surplus, old) = {
            let mut reactors = self.reactors.lock();
            let keep = threads.min(reactors.len());
            let surplus = reactors.split_off(keep);
            // Whoever was added has a thread by now, so nothing is sent where nobody takes it.
            let old = if keep > before { reactors[..before].to_vec() } else { Vec::new() };
            (surplus, old)
        };
        for mailbox in surplus {
            mailbox.retire.store(true, SeqCst);
            mailbox.notify();
        }
        for mailbox in old {
            mailbox.share.store(true, SeqCst);
            mailbox.notify();
        }
        grown
    }

    fn grow(self: &Arc<Self>, threads: usize) -> io::Result<()> {
        let before = self.reactors.lock().len();
        for n in before..threads {
            let prepared = self.prepare(n, Vec::new())?;
            let mailbox = prepared.mailbox.clone();
            // It is not known before it has a thread, nor after that has ended.
            let mut reactors = self.reactors.lock();
            self.launch(prepared)?;
            reactors.push(mailbox);
        }
        Ok(())
    }

    /// Creates a reactor, the `n`th, still without a thread.
    fn prepare(&self, n: usize, listeners: Vec<Listener>) -> io::Result<Prepared<R>> {
        let (inner, mailbox) = self.own.prepare(listeners, &self.context.stats)?;
        self.shutdown.subscribe(Waker::from(mailbox.clone()));
        Ok(Prepared { n, mailbox, inner })
    }

    fn launch(self: &Arc<Self>, prepared: Prepared<R>) -> io::Result<()> {
        let Prepared { n, mailbox, inner } = prepared;
        let (group, own) = (self.clone(), mailbox.clone());
        let run = move || {
            if group.pin {
                pin::pin_to_core(n);
            }
            R::run(group, own, inner);
        };
        self.context.stats.threads.fetch_add(1, Relaxed);
        match std::thread::Builder::new().name(format!("reactor-{n}")).spawn(run) {
            Ok(thread) => {
                self.threads.lock().push(thread);
                Ok(())
            }
            Err(error) => {
                self.context.stats.threads.fetch_sub(1, Relaxed);
                mailbox.close();
                Err(error)
            }
        }
    }

    /// Lets another thread take over a reactor: it calls `take_over`.
    ///
    /// # Errors
    /// Returns `handover` if no other thread could be started.
    pub fn launch_stand_in<H: Send + 'static>(
        &self,
        handover: H,
        take_over: fn(H),
    ) -> Result<(), H> {
        let left = Arc::new(Mutex::new(Some(handover)));
        let taken = left.clone();
        let run = move || {
            let handover = taken.lock().take();
            if let Some(handover) = handover {
                take_over(handover);
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
    pub fn with_least_loaded(&self, send: impl FnOnce(&Mailbox<R::Message>)) {
        let reactors = self.reactors.lock();
        if let Some(mailbox) = reactors.iter().min_by_key(|mailbox| mailbox.load.load(Relaxed)) {
            mailbox.load.fetch_add(1, Relaxed);
            send(mailbox);
        }
    }

    /// Whether the reactor with `mailbox`, which has no connection, may end because the server stops: if none is on its
    /// way to it. None is sent there afterwards.
    pub fn dismiss(&self, mailbox: &Mailbox<R::Message>) -> bool {
        let mut reactors = self.reactors.lock();
        let none = mailbox.load.load(Relaxed) == 0;
        if none {
            reactors.retain(|other| !std::ptr::eq(&**other, mailbox));
        }
        none
    }

    /// The number of connections that the reactor with `mailbox` has beyond its share.
    pub fn surplus(&self, mailbox: &Mailbox<R::Message>) -> usize {
        let reactors = self.reactors.lock();
        let all: usize = reactors.iter().map(|other| other.load.load(Relaxed)).sum();
        mailbox.load.load(Relaxed).saturating_sub(all / reactors.len().max(1))
    }

    /// Whether the reactor with `mailbox` still has to pass a connection on: it retires, or would still not have the
    /// fewest without it.
    pub fn is_to_part(&self, mailbox: &Mailbox<R::Message>) -> bool {
        let load = |mailbox: &Mailbox<R::Message>| mailbox.load.load(Relaxed);
        let least = || self.reactors.lock().iter().map(|other| load(other)).min();
        mailbox.retire.load(SeqCst) || least().is_some_and(|least| least + 1 < load(mailbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;
    use crate::reactors::{Key, Leaving, Parting};

    /// Reactors whose threads end at once.
    struct Idle;

    impl Reactors for Idle {
        type Message = ();
        type Prepared = ();

        fn prepare(&self, _: Vec<Listener>, stats: &Arc<RuntimeStats>) -> io::Result<Ready<Self>> {
            Ok(((), Mailbox::new(stats.clone(), || Ok(()))))
        }

        fn run(_: Arc<Group<Self>>, _: Arc<Mailbox<()>>, (): ()) {}
    }

    fn group() -> Arc<Group<Idle>> {
        let stats = Arc::new(RuntimeStats::default());
        let context = RuntimeContext { clock: Clock::new(), stats };
        Group::new(Idle, context, Shutdown::default(), Duration::ZERO, false)
    }

    fn loads(group: &Group<Idle>) -> Vec<usize> {
        group.reactors.lock().iter().map(|mailbox| mailbox.load.load(SeqCst)).collect()
    }

    /// Does what each reactor does in a loop, with connections that can go at once.
    fn share(group: &Group<Idle>) {
        let reactors = group.reactors.lock().clone();
        for mailbox in reactors {
            let own = mailbox.load.load(SeqCst) as u64;
            let mut leaving = Leaving::default();
            leaving.notice(group, &mailbox, || (0..own).map(Key::from_number).collect());
            leaving.part(|_| {
                if !group.is_to_part(&mailbox) {
                    return Parting::Over;
                }
                mailbox.load.fetch_sub(1, SeqCst);
                group.with_least_loaded(|_| {});
                Parting::Moved
            });
        }
    }

    #[test]
    fn a_reactor_ends_only_when_no_connection_is_on_its_way_to_it() {
        let group = group();
        group.start(Vec::new(), 2).unwrap();
        group.with_least_loaded(|_| {});
        let reactors = group.reactors.lock().clone();
        let (first, second) = (&reactors[0], &reactors[1]);
        assert!(!group.dismiss(first), "it is about to get one");
        assert!(group.dismiss(second));
        group.with_least_loaded(|_| {});
        assert_eq!(loads(&group), [2], "none is sent to the one that ends");
        assert_eq!(second.load.load(SeqCst), 0);
        group.join();
    }

    #[test]
    fn reactors_that_are_added_get_their_share_and_no_more() {
        let group = group();
        group.start(Vec::new(), 1).unwrap();
        (0..13).for_each(|_| group.with_least_loaded(|_| {}));
        share(&group);
        assert_eq!(loads(&group), [13]);
        group.resize(4).unwrap();
        share(&group);
        assert_eq!(loads(&group), [4, 3, 3, 3]);
        group.resize(6).unwrap();
        share(&group);
        assert_eq!(loads(&group), [2, 2, 2, 3, 2, 2]);
        group.resize(2).unwrap();
        share(&group);
        assert_eq!(loads(&group), [2, 2], "those that retire are asked by their own threads");
        group.join();
    }
}
