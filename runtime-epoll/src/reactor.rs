//! The loop of one reactor thread: poll, hand events to connections, sleep until the next.

use crate::accept::{Listeners, MAILBOX_TOKEN};
use crate::group::Group;
use crate::mailbox::{Mailbox, Message, count};
use crate::slots::{Key, Slots};
use crate::timers::{NEVER, Timers};
use crate::waker::ConnectionWaker;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use runtime::trace::{self, Stage};
use runtime::{Driver, Events, Now, Turn};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

/// Events taken from the kernel at once: answers to the first wait for the last of them.
const EVENTS_MAX: usize = 256;

/// The size of the one buffer a thread reads into: a full pipeline of the usual clients, behind
/// what other connections left there in the same loop.
const BUFFER_SIZE: usize = 128 * 1024;

/// What is left in the buffer is handed over when there is less room than this for the next read.
const ROOM_MIN: usize = 64 * 1024;

thread_local! {
    /// A worker's buffer for reading into.
    static WORKER_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
}

/// One reactor; lives on its thread.
pub(crate) struct Reactor {
    group: Arc<Group>,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    listeners: Listeners,
    slots: Slots,
    timers: Timers,
    /// Connections that want a turn though no event is due: woken, or not finished last time.
    ready: VecDeque<Key>,
    /// Connections that have listened in this loop: all of them do before the first speaks, so
    /// that one write of the journal serves all.
    to_speak: Vec<Key>,
    /// Bytes read in this loop and not yet handed over, by connection: where they lie in `buffer`.
    fetched: Vec<(Key, Range<usize>)>,
    buffer: Vec<u8>,
    /// Read once per batch of events.
    now: Now,
    /// When that was, as exactly as [`trace`] wants it; only meaningful while tracing.
    awake_at: Instant,
    /// When to give up on connections that do not finish, once the server drains.
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
            now: group.host.clock.now(),
            awake_at: Instant::now(),
            group,
            poll,
            mailbox,
            listeners,
            slots: Slots::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            to_speak: Vec::new(),
            fetched: Vec::new(),
            buffer: vec![0; BUFFER_SIZE],
            drain_until_us: None,
        }
    }

    /// Serves until the server has drained or this reactor has handed everything over.
    pub fn run(mut self) {
        self.mailbox.adopt_thread();
        let mut events = mio::Events::with_capacity(EVENTS_MAX);
        let (mut messages, mut woken) = (Vec::new(), Vec::new());
        while !self.finished() {
            self.wait(&mut events);
            // Decided on once for all turns of this loop.
            let traced = trace::is_on();
            if traced {
                self.awake_at = Instant::now();
                events.iter().for_each(|event| self.dispatch::<true>(event));
            } else {
                events.iter().for_each(|event| self.dispatch::<false>(event));
            }
            self.accept_again();
            self.fire_timers();
            self.mailbox.take(&mut messages, &mut woken);
            messages.drain(..).for_each(|message| self.handle(message));
            woken.drain(..).for_each(|key| self.woken(key));
            if traced {
                self.finish_turns::<true>();
            } else {
                self.finish_turns::<false>();
            }
            self.look_for_orders();
        }
        self.end();
    }

    #[inline(always)]
    fn finish_turns<const TRACED: bool>(&mut self) {
        self.run_ready::<TRACED>();
        self.deliver::<TRACED>();
        self.speak::<TRACED>();
    }

    fn wait(&mut self, events: &mut mio::Events) {
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            Err(error) => {
                // Cannot happen with a valid poller; if it does, do not spin.
                tracing::error!(%error, "polling failed");
                events.clear();
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.mailbox.awake();
        self.now = self.group.host.clock.now();
        count(&self.group.host.stats.loops);
    }

    /// How long the poller may sleep: none at all while something is ready.
    fn timeout(&self) -> Option<Duration> {
        if !self.mailbox.fall_asleep() || !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let times = [self.timers.next_us(), self.listeners.again_us(), self.drain_until_us];
        let next_us = times.into_iter().flatten().min()?;
        // The batch may have taken a while since `self.now` was read.
        let now_us = self.group.host.clock.now().mono_us;
        Some(Duration::from_micros(next_us.saturating_sub(now_us)))
    }

    #[inline]
    fn dispatch<const TRACED: bool>(&mut self, event: &Event) {
        let token = event.token();
        if Listeners::owns(token) {
            self.accept();
        } else if token != MAILBOX_TOKEN {
            self.visit::<TRACED>(Key::from_token(token), translate(event));
        }
    }

    fn accept(&mut self) {
        let group = &self.group;
        let stats = &group.host.stats;
        self.listeners.accept(self.now.mono_us, stats, |newcomer| group.place(newcomer));
    }

    fn accept_again(&mut self) {
        if self.listeners.again_us().is_some_and(|at| at <= self.now.mono_us) {
            self.accept();
        }
    }

    /// Gives a connection a turn with what happened, or notes it for when the connection is back.
    #[inline]
    fn visit<const TRACED: bool>(&mut self, key: Key, events: Events) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let events = events | std::mem::take(&mut slot.events);
        if self.group.pool.is_some() {
            match slot.driver.take() {
                Some(driver) => self.hand_over::<TRACED>(key, driver, events),
                None => slot.events = events,
            }
        } else if let Some(driver) = slot.driver.as_mut() {
            let start = self.fetched.last().map_or(0, |(_, range)| range.end);
            let room = &mut self.buffer[start..];
            let begun = if TRACED { self.awake_at.elapsed() } else { Duration::ZERO };
            let held = driver.fetch::<TRACED>(events, room, self.now);
            if TRACED && held.is_none() {
                // It was handed over at once, if anything came.
                trace::record(Stage::Queue, begun.as_nanos() as u64);
            }
            if !std::mem::replace(&mut slot.to_speak, true) {
                self.to_speak.push(key);
            }
            if let Some(len) = held {
                self.fetched.push((key, start..start + len));
                if BUFFER_SIZE - start - len < ROOM_MIN {
                    self.deliver::<TRACED>();
                }
            }
        }
    }

    /// Hands over what was read: by now the memory it needs is on its way.
    fn deliver<const TRACED: bool>(&mut self) {
        let mut fetched = std::mem::take(&mut self.fetched);
        for (key, range) in fetched.drain(..) {
            if let Some(driver) = self.slots.get_mut(key).and_then(|slot| slot.driver.as_mut()) {
                if TRACED {
                    trace::record_since(Stage::Queue, self.awake_at);
                }
                driver.deliver(&self.buffer[range], self.now);
            }
        }
        self.fetched = fetched;
    }

    /// Lets those that have listened write their answers.
    fn speak<const TRACED: bool>(&mut self) {
        for i in 0..self.to_speak.len() {
            let key = self.to_speak[i];
            let Some(slot) = self.slots.get_mut(key) else { continue };
            slot.to_speak = false;
            if let Some(driver) = slot.driver.as_mut() {
                let turn = driver.speak::<TRACED>(self.now);
                self.after_turn(key, turn);
            }
        }
        self.to_speak.clear();
    }

    /// Sends a connection to the pool for one turn. It comes back as a message.
    fn hand_over<const TRACED: bool>(&self, key: Key, mut driver: Driver, events: Events) {
        let Some(pool) = &self.group.pool else { return };
        let (host, mailbox) = (self.group.host.clone(), self.mailbox.clone());
        host.stats.queue_depth.fetch_add(1, Relaxed);
        let queued_at = TRACED.then(Instant::now);
        pool.spawn_fifo(move || {
            host.stats.queue_depth.fetch_sub(1, Relaxed);
            if let Some(queued_at) = queued_at {
                trace::record_since(Stage::Queue, queued_at);
            }
            let turn = WORKER_BUFFER
                .with_borrow_mut(|buffer| driver.turn(events, buffer, host.clock.now()));
            mailbox.send(Message::Returned(key, driver, turn));
        });
    }

    #[inline]
    fn after_turn(&mut self, key: Key, turn: Turn) {
        match turn {
            Turn::Wait => self.arm(key),
            Turn::More => self.enqueue(key, Events::NONE),
            Turn::Closed => self.remove(key),
        }
    }

    /// Makes sure that what the connection waits for will be noticed.
    #[inline]
    fn arm(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(driver) = &slot.driver else { return };
        if driver.write_blocked() && !slot.watches_writes {
            slot.watches_writes = true;
            let (fd, interest) = (driver.socket().as_raw_fd(), Interest::READABLE);
            let (interest, registry) = (interest | Interest::WRITABLE, self.poll.registry());
            if let Err(error) = registry.reregister(&mut SourceFd(&fd), key.token(), interest) {
                tracing::warn!(%error, "cannot poll a connection for writing");
            }
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

    /// One turn for each connection that is ready now; those that become ready meanwhile wait for
    /// the next loop, after the sockets' events.
    fn run_ready<const TRACED: bool>(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { return };
            if let Some(slot) = self.slots.get_mut(key) {
                slot.queued = false;
                self.visit::<TRACED>(key, Events::NONE);
            }
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at_us, key)) = self.timers.pop_due(self.now.mono_us) {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            if slot.armed_us != at_us {
                continue;
            }
            slot.armed_us = NEVER;
            // Away at a worker: it is armed again when it returns.
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
                let (host, now) = (&self.group.host, self.now);
                let std_waker = waker.clone().into();
                match host.connect(&*service, (socket, peer), std_waker, now) {
                    Some(driver) => self.settle(driver, waker, Events::NONE),
                    None => drop(self.mailbox.load.fetch_sub(1, Relaxed)),
                }
            }
            Message::Moved(moved) => {
                let (driver, waker, events) = *moved;
                self.settle(driver, waker, events);
            }
            Message::Returned(key, driver, turn) => self.returned(key, driver, turn),
        }
    }

    /// Takes a connection in: registers its socket, tells its waker, gives it a first turn, since
    /// it may have been woken before.
    fn settle(&mut self, driver: Driver, waker: Arc<ConnectionWaker>, events: Events) {
        let fd = driver.socket().as_raw_fd();
        let token = self.slots.next_key().token();
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            tracing::warn!(%error, "cannot poll a connection");
            self.mailbox.load.fetch_sub(1, Relaxed);
            return;
        }
        let key = self.slots.insert(driver, waker.clone());
        waker.settle(self.mailbox.clone(), key);
        let drain = Events::DRAIN.when(self.drain_until_us.is_some());
        self.enqueue(key, events | drain | Events::WAKE);
    }

    /// A connection is back from the pool. What happened meanwhile gives it another turn.
    fn returned(&mut self, key: Key, driver: Driver, turn: Turn) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.driver = Some(driver);
        let missed = slot.events != Events::NONE;
        match turn {
            Turn::Wait if missed => self.enqueue(key, Events::NONE),
            turn => self.after_turn(key, turn),
        }
    }

    /// Notices a requested shutdown, or that this reactor is to retire.
    fn look_for_orders(&mut self) {
        if self.drain_until_us.is_none() && self.group.shutdown.requested() {
            self.listeners.close();
            let timeout_us = self.group.drain_timeout.as_micros() as u64;
            self.drain_until_us = Some(self.now.mono_us.saturating_add(timeout_us));
            for key in self.slots.keys() {
                self.enqueue(key, Events::DRAIN);
            }
        }
        if self.mailbox.retire.load(Relaxed) && self.drain_until_us.is_none() {
            self.hand_connections_on();
        }
    }

    /// Gives every connection that is not with a worker to another reactor.
    fn hand_connections_on(&mut self) {
        for key in self.slots.keys() {
            if self.slots.get_mut(key).is_some_and(|slot| slot.driver.is_none()) {
                continue;
            }
            let Some(slot) = self.slots.remove(key) else { continue };
            let Some(driver) = slot.driver else { continue };
            let fd = driver.socket().as_raw_fd();
            if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
                tracing::warn!(%error, "cannot stop polling a connection");
            }
            let moved = Box::new((driver, slot.waker, slot.events));
            self.mailbox.load.fetch_sub(1, Relaxed);
            self.group.with_least_loaded(|other| other.send(Message::Moved(moved)));
        }
    }

    fn finished(&self) -> bool {
        let empty = self.slots.len() == 0;
        match self.drain_until_us {
            Some(until_us) => empty || self.now.mono_us >= until_us,
            None => {
                empty && self.mailbox.retire.load(SeqCst) && self.mailbox.load.load(SeqCst) == 0
            }
        }
    }

    /// Closes what did not finish in time, and the mailbox.
    fn end(mut self) {
        self.slots.keys().into_iter().for_each(|key| self.remove(key));
        self.mailbox.close();
        self.group.host.stats.threads.fetch_sub(1, Relaxed);
    }
}

/// What the kernel reports, in the driver's words.
#[inline]
fn translate(event: &Event) -> Events {
    let readable = event.is_readable() || event.is_read_closed() || event.is_error();
    Events::READABLE.when(readable)
        | Events::WRITABLE.when(event.is_writable())
        | Events::READ_CLOSED.when(event.is_read_closed())
        | Events::HANGUP.when(event.is_write_closed() || event.is_error())
}
