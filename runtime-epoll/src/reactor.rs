//! [`Reactor`]: the connections of one thread, the events they wait for, and the work that is due. How it parts with
//! connections is in `leaving`.

mod leaving;

use crate::Execution;
use crate::accept::{Listeners, MAILBOX_TOKEN};
use crate::pool::{Job, Pool};
use crate::reactor_thread::Handover;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use runtime::reactors::{self, ConnectionWaker, Key, Leaving, NEVER, Reactors, Slots, Timers};
use runtime::{Driver, Events, Listener, Now, RuntimeStats, Turn};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A message from another reactor, or from a worker.
pub(crate) enum Passed {
    /// A connection of a reactor that retires, or that has more than its share.
    Moved(Box<(Driver, Arc<ConnectionWaker<Passed>>, Events)>),
    /// A connection that returns from the pool, with the result of its turn.
    Returned(Key, Driver, Turn),
}

pub(crate) type Mailbox = reactors::Mailbox<Passed>;
pub(crate) type Message = reactors::Message<Passed>;
pub(crate) type Group = reactors::Group<Epoll>;

/// The kind of reactor of this runtime, and the pool that all of a `serve` call share.
pub(crate) struct Epoll {
    /// The workers, if connections are not called by their reactor.
    pub pool: Option<Arc<Pool>>,
}

impl Epoll {
    pub fn new(execution: Execution) -> io::Result<Epoll> {
        let pool = match execution {
            Execution::Inline => None,
            Execution::Pool { workers } => Some(Pool::new(workers)?),
        };
        Ok(Epoll { pool })
    }
}

impl Reactors for Epoll {
    type Message = Passed;
    type Prepared = (Poll, Listeners);

    fn prepare(
        &self,
        listeners: Vec<Listener>,
        stats: &Arc<RuntimeStats>,
    ) -> io::Result<((Poll, Listeners), Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), MAILBOX_TOKEN)?;
        let listeners = Listeners::register(listeners, poll.registry())?;
        Ok(((poll, listeners), Mailbox::new(stats.clone(), move || waker.wake())))
    }

    fn run(group: Arc<Group>, mailbox: Arc<Mailbox>, (poll, listeners): (Poll, Listeners)) {
        Handover::new(Reactor::new(group, poll, mailbox, listeners)).run();
    }
}

/// One connection and the reactor's state for it.
pub(crate) struct Slot {
    /// `None` while the connection is with a worker.
    pub driver: Option<Driver>,
    waker: Arc<ConnectionWaker<Passed>>,
    /// The events since its last turn.
    events: Events,
    /// Whether it is in the reactor's ready queue.
    queued: bool,
    /// Whether it has received in this loop and is yet to transmit.
    to_transmit: bool,
    /// Whether the poller reports when the socket is writable. It is asked for that only once it
    /// was needed, because Unix-domain sockets report every reply that their peer takes.
    watches_writes: bool,
    /// The deadline for which a timer is set, [`NEVER`] if none.
    armed_us: u64,
}

/// The state of one reactor. The connections are called by the thread that has it, its
/// [`crate::reactor_thread::ReactorThread`].
pub(crate) struct Reactor {
    pub group: Arc<Group>,
    poll: Poll,
    pub mailbox: Arc<Mailbox>,
    listeners: Listeners,
    slots: Slots<Slot>,
    timers: Timers,
    /// Connections that get a turn without an event: they were woken, or did not finish last time.
    pub ready: VecDeque<Key>,
    /// Connections that have received in this loop. All of them do before the first transmits, so
    /// that one write of the journal serves all.
    pub to_transmit: VecDeque<Key>,
    /// Input that was read in this loop and not yet passed on, by connection: its range in the
    /// thread's buffer. An empty range means the end of input.
    pub fetched: VecDeque<(Key, Range<usize>)>,
    /// The time, read once per batch of events.
    pub now: Now,
    /// The exact time of the last wake-up for [`trace`]; only valid while tracing.
    pub awake_at: Instant,
    messages: Vec<Message>,
    woken: Vec<Key>,
    leaving: Leaving,
    /// The time at which to give up on connections that do not finish, once the server drains.
    drain_until_us: Option<u64>,
}

impl Reactor {
    pub fn new(
        group: Arc<Group>,
        poll: Poll,
        mailbox: Arc<Mailbox>,
        listeners: Listeners,
    ) -> Reactor {
        Reactor {
            now: group.context.clock.now(),
            awake_at: Instant::now(),
            group,
            poll,
            mailbox,
            listeners,
            slots: Slots::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            to_transmit: VecDeque::new(),
            fetched: VecDeque::new(),
            messages: Vec::new(),
            woken: Vec::new(),
            leaving: Leaving::default(),
            drain_until_us: None,
        }
    }

    /// Waits for events. If times are recorded, those that follow begin when this returns.
    pub fn wait(&mut self, events: &mut mio::Events) {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            Err(error) => {
                // This cannot happen with a valid poller. If it does, do not loop without a pause.
                tracing::error!(%error, "polling failed");
                events.clear();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.mailbox.awake();
        self.now = self.group.context.clock.now();
        self.group.context.stats.loops.fetch_add(1, Relaxed);
    }

    /// The time for which the poller may sleep: zero if a connection is ready.
    fn timeout(&self) -> Option<Duration> {
        if !self.mailbox.fall_asleep() || !self.ready.is_empty() || self.leaving.hurries() {
            return Some(Duration::ZERO);
        }
        let times = [self.timers.next_us(), self.listeners.again_us(), self.drain_until_us];
        let next_us = times.into_iter().flatten().min()?;
        // The batch may have taken a while since `self.now` was read.
        let now_us = self.group.context.clock.now().mono_us;
        Some(Duration::from_micros(next_us.saturating_sub(now_us)))
    }

    /// Accepts waiting clients.
    pub fn accept(&mut self) {
        let group = &self.group;
        let stats = &group.context.stats;
        self.listeners.accept(self.now.mono_us, stats, |newcomer| group.place(newcomer));
    }

    /// Does the work that does not come from sockets: timers, messages, wakes.
    pub fn look_around(&mut self) {
        if self.listeners.again_us().is_some_and(|at| at <= self.now.mono_us) {
            self.accept();
        }
        self.fire_timers();
        let (mut messages, mut woken) =
            (std::mem::take(&mut self.messages), std::mem::take(&mut self.woken));
        self.mailbox.take(&mut messages, &mut woken);
        messages.drain(..).for_each(|message| self.handle(message));
        woken.drain(..).for_each(|key| self.woken(key));
        (self.messages, self.woken) = (messages, woken);
    }

    /// Takes a connection out for a call, with its events. Events of a connection that is taken out
    /// are kept until it returns.
    #[inline]
    pub fn take(&mut self, key: Key, events: Events) -> Option<(Driver, Events)> {
        let slot = self.slots.get_mut(key)?;
        let events = events | std::mem::take(&mut slot.events);
        let Some(driver) = slot.driver.take() else {
            slot.events = events;
            return None;
        };
        Some((driver, events))
    }

    /// Puts a connection back that has received and is to transmit.
    #[inline]
    pub fn put_back(&mut self, key: Key, driver: Driver) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.driver = Some(driver);
        if !std::mem::replace(&mut slot.to_transmit, true) {
            self.to_transmit.push_back(key);
        }
    }

    /// The next connection that has received and is to transmit.
    #[inline]
    pub fn next_to_transmit(&mut self) -> Option<(Key, Driver)> {
        while let Some(key) = self.to_transmit.pop_front() {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            slot.to_transmit = false;
            if let Some(driver) = slot.driver.take() {
                return Some((key, driver));
            }
        }
        None
    }

    /// The next connection with input to be passed on, and the range of that input.
    #[inline]
    pub fn next_fetched(&mut self) -> Option<(Key, Driver, Range<usize>)> {
        while let Some((key, range)) = self.fetched.pop_front() {
            let driver = self.slots.get_mut(key).and_then(|slot| slot.driver.take());
            if let Some(driver) = driver {
                return Some((key, driver, range));
            }
        }
        None
    }

    /// The offset in the buffer where the next read may go.
    #[inline]
    pub fn room(&self) -> usize {
        self.fetched.back().map_or(0, |(_, range)| range.end)
    }

    /// Passes a connection to the pool for one turn. It returns as a message.
    pub fn hand_over<const TRACED: bool>(&mut self, key: Key, events: Events) {
        let Some(pool) = &self.group.own.pool else { return };
        let pool = pool.clone();
        if let Some((driver, events)) = self.take(key, events) {
            let (context, mailbox) = (self.group.context.clone(), self.mailbox.clone());
            let queued_at = TRACED.then(Instant::now);
            pool.queue(Job { key, driver, events, context, mailbox, queued_at });
        }
    }

    /// Puts a connection back after a turn, and arranges what it wants next.
    #[inline]
    pub fn finish_turn(&mut self, key: Key, driver: Driver, turn: Turn) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.driver = Some(driver);
            self.after_turn(key, turn);
        }
    }

    #[inline]
    fn after_turn(&mut self, key: Key, turn: Turn) {
        match turn {
            Turn::Wait => self.arm(key),
            // A connection that goes on at once may nevertheless see that its peer reads again.
            Turn::More => {
                self.arm(key);
                self.enqueue(key, Events::empty());
            }
            Turn::Closed => self.remove(key),
        }
    }

    /// Makes sure that the events for which the connection waits are noticed.
    #[inline]
    fn arm(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(driver) = &slot.driver else { return };
        if driver.write_blocked() && !slot.watches_writes {
            slot.watches_writes = true;
            watch_writes(self.poll.registry(), driver, key);
        }
        if let Some(deadline_us) = driver.deadline_us() {
            self.timers.arm(key, deadline_us, &mut slot.armed_us);
        }
    }

    fn enqueue(&mut self, key: Key, events: Events) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.events |= events;
        if !std::mem::replace(&mut slot.queued, true) {
            self.ready.push_back(key);
        }
    }

    fn remove(&mut self, key: Key) {
        if self.slots.remove(key).is_some() {
            self.mailbox.load.fetch_sub(1, Relaxed);
        }
    }

    fn woken(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.waker.take();
            self.enqueue(key, Events::WAKE);
        }
    }

    /// The next connection that is ready without an event.
    #[inline]
    pub fn next_ready(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        if let Some(slot) = self.slots.get_mut(key) {
            slot.queued = false;
        }
        Some(key)
    }

    fn fire_timers(&mut self) {
        while let Some((at_us, key)) = self.timers.pop_due(self.now.mono_us) {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if slot.armed_us != at_us {
                continue;
            }
            slot.armed_us = NEVER;
            // The connection is with a worker; its timer is set again when it returns.
            let deadline_us = slot.driver.as_ref().and_then(Driver::deadline_us);
            match deadline_us {
                Some(due_us) if due_us <= self.now.mono_us => self.enqueue(key, Events::WAKE),
                Some(later_us) => self.timers.arm(key, later_us, &mut slot.armed_us),
                None => {}
            }
        }
        let slots = &mut self.slots;
        self.timers.tidy(slots.len(), |key| slots.get_mut(key).map_or(NEVER, |s| s.armed_us));
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Wake(key) => self.woken(key),
            Message::Accepted(newcomer) => {
                let (socket, peer, service) = *newcomer;
                let waker = ConnectionWaker::new();
                let (context, now) = (&self.group.context, self.now);
                let std_waker = waker.clone().into();
                match Driver::connect(context, &*service, (socket, peer), std_waker, now) {
                    Some(driver) => self.settle(driver, waker, Events::empty()),
                    None => drop(self.mailbox.load.fetch_sub(1, Relaxed)),
                }
            }
            Message::Own(Passed::Moved(moved)) => {
                let (driver, waker, events) = *moved;
                self.settle(driver, waker, events);
            }
            Message::Own(Passed::Returned(key, driver, turn)) => self.returned(key, driver, turn),
        }
    }

    /// Adds a connection: registers its socket, tells its waker, and gives it a first turn, because
    /// it may have been woken before.
    fn settle(&mut self, driver: Driver, waker: Arc<ConnectionWaker<Passed>>, events: Events) {
        let fd = driver.socket().as_raw_fd();
        let token = token_of(self.slots.next_key());
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            tracing::warn!(%error, "cannot poll a connection");
            self.mailbox.load.fetch_sub(1, Relaxed);
            return;
        }
        let key = self.slots.insert(Slot {
            driver: Some(driver),
            waker: waker.clone(),
            events: Events::empty(),
            queued: false,
            to_transmit: false,
            watches_writes: false,
            armed_us: NEVER,
        });
        waker.settle(self.mailbox.clone(), key);
        let drain = Events::DRAIN.when(self.drain_until_us.is_some());
        self.enqueue(key, events | drain | Events::WAKE);
    }

    /// Puts a connection back that returns from the pool. Events since then give it another turn.
    fn returned(&mut self, key: Key, driver: Driver, turn: Turn) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.driver = Some(driver);
        let missed = !slot.events.is_empty();
        match turn {
            Turn::Wait if missed => self.enqueue(key, Events::empty()),
            turn => self.after_turn(key, turn),
        }
    }

    /// Makes the poller report all sockets' states again. Events that a thread took from the poller
    /// are lost if the thread is held by a call before it has handled them.
    pub fn poll_anew(&mut self) {
        self.accept();
        for key in self.slots.keys() {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            let Some(driver) = &slot.driver else { continue };
            let mut interest = Interest::READABLE;
            if slot.watches_writes {
                interest |= Interest::WRITABLE;
            }
            let (fd, registry) = (driver.socket().as_raw_fd(), self.poll.registry());
            if let Err(error) = registry.reregister(&mut SourceFd(&fd), token_of(key), interest) {
                tracing::warn!(%error, "cannot poll a connection anew");
            }
        }
    }

    /// Closes the connections that did not finish in time, and the mailbox.
    pub fn end(mut self) {
        self.slots.keys().into_iter().for_each(|key| self.remove(key));
        self.mailbox.close();
        self.group.context.stats.threads.fetch_sub(1, Relaxed);
    }
}

/// Makes the poller report when the socket is writable.
#[cold]
fn watch_writes(registry: &mio::Registry, driver: &Driver, key: Key) {
    let (fd, interest) = (driver.socket().as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
    if let Err(error) = registry.reregister(&mut SourceFd(&fd), token_of(key), interest) {
        tracing::warn!(%error, "cannot poll a connection for writing");
    }
}

fn token_of(key: Key) -> Token {
    Token(key.number() as usize)
}

/// The connection whose token that is.
#[inline]
pub(crate) fn key_of(token: Token) -> Key {
    Key::from_number(token.0 as u64)
}

/// Translates an event reported by the kernel to the driver's [`Events`].
#[inline]
pub(crate) fn translate(event: &Event) -> Events {
    let readable = event.is_readable() || event.is_read_closed() || event.is_error();
    Events::READABLE.when(readable)
        | Events::WRITABLE.when(event.is_writable())
        | Events::READ_CLOSED.when(event.is_read_closed())
        | Events::HANGUP.when(event.is_write_closed() || event.is_error())
}
