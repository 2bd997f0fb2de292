//! [`ReactorThread`]: the loop of a reactor's thread, which calls the connections.
//!
//! While a connection is called, the reactor is not borrowed. So if a call turns out to take long
//! ([`runtime::stand_in`]), another thread takes over the reactor, including what was read and what
//! is to be written, and continues the loop. The first thread finishes its one call, sends the
//! connection back as a pool's worker does, and ends.

use crate::accept::{Listeners, MAILBOX_TOKEN};
use crate::reactor::{Mailbox, Message, Passed, Reactor, key_of, translate};
use runtime::reactors::Key;
use runtime::trace::{self, Stage};
use runtime::{Driver, Events, Fetched, RuntimeContext, stand_in};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of events taken from the poller at once. Replies to the first wait until the last is
/// handled.
const EVENTS_MAX: usize = 256;

/// The size of the thread's read buffer, in bytes: enough for a full pipeline of usual clients
/// behind the input of other connections in the same loop.
const BUFFER_SIZE: usize = 128 * 1024;

/// When the room left for the next read is smaller than this, in bytes, the input in the buffer is
/// passed on.
const ROOM_MIN: usize = 64 * 1024;

/// A thread and the reactor that it runs.
pub(crate) struct ReactorThread {
    /// `None` once another thread has taken over.
    reactor: RefCell<Option<Box<Reactor>>>,
    buffer: RefCell<Vec<u8>>,
    mailbox: Arc<Mailbox>,
    context: Arc<RuntimeContext>,
    pooled: bool,
}

/// The reactor and the buffer that one thread passes to another.
pub(crate) struct Handover {
    reactor: Box<Reactor>,
    buffer: Vec<u8>,
}

impl Handover {
    /// The state of a reactor that has not started yet.
    pub fn new(reactor: Reactor) -> Handover {
        Handover { reactor: Box::new(reactor), buffer: vec![0; BUFFER_SIZE] }
    }

    /// Serves on this thread until the server has drained, the reactor has passed on all its
    /// connections, or another thread has taken over.
    pub fn run(self) {
        let Handover { reactor, buffer } = self;
        let serving = Rc::new(ReactorThread {
            mailbox: reactor.mailbox.clone(),
            context: reactor.group.context.clone(),
            pooled: reactor.group.own.pool.is_some(),
            reactor: RefCell::new(Some(reactor)),
            buffer: RefCell::new(buffer),
        });
        serving.mailbox.adopt_thread();
        let thread = serving.clone();
        stand_in::provide(move || thread.make_way());
        serving.serve();
    }

    /// Continues in the middle of a loop.
    pub fn take_over(mut self) {
        self.reactor.poll_anew();
        self.run();
    }
}

impl ReactorThread {
    fn serve(&self) {
        let mut events = mio::Events::with_capacity(EVENTS_MAX);
        // The work that another thread left comes first.
        if self.is_traced() {
            self.finish_turns::<true>();
        } else {
            self.finish_turns::<false>();
        }
        while self.wait(&mut events) {
            if self.is_traced() {
                self.round::<true>(&events);
            } else {
                self.round::<false>(&events);
            }
        }
        if let Some(reactor) = self.reactor.take() {
            reactor.end();
        }
    }

    /// Whether times are recorded, which is decided once for all turns of a loop.
    #[inline(always)]
    fn is_traced(&self) -> bool {
        let is_traced = trace::is_on();
        if is_traced {
            self.with(|reactor| reactor.awake_at = Instant::now());
        }
        is_traced
    }

    /// The reactor, unless another thread has taken over.
    #[inline(always)]
    fn reactor(&self) -> Option<RefMut<'_, Box<Reactor>>> {
        RefMut::filter_map(self.reactor.borrow_mut(), Option::as_mut).ok()
    }

    #[inline(always)]
    fn with(&self, body: impl FnOnce(&mut Reactor)) {
        if let Some(mut reactor) = self.reactor() {
            body(&mut reactor);
        }
    }

    /// Waits for events. Returns false if this thread has nothing more to do.
    fn wait(&self, events: &mut mio::Events) -> bool {
        let Some(mut reactor) = self.reactor() else { return false };
        if reactor.finished() {
            return false;
        }
        reactor.wait(events);
        true
    }

    #[inline(always)]
    fn round<const TRACED: bool>(&self, events: &mio::Events) {
        for event in events {
            let token = event.token();
            if Listeners::owns(token) {
                self.with(Reactor::accept);
            } else if token != MAILBOX_TOKEN {
                self.visit::<TRACED>(key_of(token), translate(event));
            }
        }
        self.with(Reactor::look_around);
        self.finish_turns::<TRACED>();
        self.with(Reactor::notice_orders);
    }

    #[inline(always)]
    fn finish_turns<const TRACED: bool>(&self) {
        self.run_ready::<TRACED>();
        self.deliver::<TRACED>();
        self.transmit::<TRACED>();
    }

    /// Gives one turn to each connection that is ready now. Those that become ready meanwhile wait
    /// for the next loop, after the events of sockets.
    fn run_ready<const TRACED: bool>(&self) {
        let count = self.reactor().map_or(0, |reactor| reactor.ready.len());
        for _ in 0..count {
            let Some(key) = self.reactor().and_then(|mut reactor| reactor.next_ready()) else {
                return;
            };
            self.visit::<TRACED>(key, Events::empty());
        }
    }

    /// Tells a connection of its events and reads from it. A long read is passed on at once, a
    /// short one later.
    #[inline]
    fn visit<const TRACED: bool>(&self, key: Key, events: Events) {
        let Some(mut reactor) = self.reactor() else { return };
        if self.pooled {
            return reactor.hand_over::<TRACED>(key, events);
        }
        let Some((mut driver, events)) = reactor.take(key, events) else { return };
        let (now, begun_at) = (reactor.now, reactor.awake_at);
        drop(reactor);
        let begun = if TRACED { begun_at.elapsed() } else { Duration::ZERO };
        let reads = driver.notice(events, now);
        let Some(mut reactor) = self.reactor() else { return self.stay_behind(key, driver) };
        if !reads {
            return reactor.put_back(key, driver);
        }
        let start = reactor.room();
        let fetched = driver.fetch::<TRACED>(&mut self.buffer.borrow_mut()[start..]);
        match fetched {
            Fetched::Nothing => {}
            Fetched::End => reactor.fetched.push_back((key, start..start)),
            Fetched::Few(len) => reactor.fetched.push_back((key, start..start + len)),
            Fetched::Many(len) => {
                drop(reactor);
                if TRACED {
                    trace::record(Stage::Queue, begun.as_nanos() as u64);
                    driver.ready_at(begun_at);
                }
                driver.deliver::<TRACED>(&self.buffer.borrow()[start..start + len], now);
                return self.received(key, driver);
            }
        }
        let full = BUFFER_SIZE - reactor.room() < ROOM_MIN;
        reactor.put_back(key, driver);
        drop(reactor);
        if full {
            self.deliver::<TRACED>();
        }
    }

    fn received(&self, key: Key, driver: Driver) {
        match self.reactor() {
            Some(mut reactor) => reactor.put_back(key, driver),
            None => self.stay_behind(key, driver),
        }
    }

    /// Passes on what was read. The memory for it has been prefetched.
    fn deliver<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let (now, awake_at) = (reactor.now, reactor.awake_at);
        while let Some((key, mut driver, range)) = reactor.next_fetched() {
            drop(reactor);
            if TRACED {
                trace::record_since(Stage::Queue, awake_at);
                driver.ready_at(awake_at);
            }
            driver.deliver::<TRACED>(&self.buffer.borrow()[range], now);
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => return self.stay_behind(key, driver),
            };
            reactor.put_back(key, driver);
        }
    }

    /// Lets the connections that have received write their replies.
    fn transmit<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let now = reactor.now;
        while let Some((key, mut driver)) = reactor.next_to_transmit() {
            drop(reactor);
            let turn = driver.transmit::<TRACED>(now);
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => {
                    return self.mailbox.send(Message::Own(Passed::Returned(key, driver, turn)));
                }
            };
            reactor.finish_turn(key, driver, turn);
        }
    }

    /// Does the rest of a turn on a thread that no longer has the reactor.
    fn stay_behind(&self, key: Key, mut driver: Driver) {
        let now = self.context.clock.now();
        let turn = match trace::is_on() {
            true => driver.transmit::<true>(now),
            false => driver.transmit::<false>(now),
        };
        self.mailbox.send(Message::Own(Passed::Returned(key, driver, turn)));
    }

    /// Called when a call takes long: another thread takes over everything else.
    fn make_way(&self) {
        let Ok(mut place) = self.reactor.try_borrow_mut() else { return };
        let Ok(buffer) = self.buffer.try_borrow() else { return };
        let Some(reactor) = place.take() else { return };
        let group = reactor.group.clone();
        let handover = Handover { reactor, buffer: buffer.clone() };
        match group.launch_stand_in(handover, Handover::take_over) {
            Ok(()) => self.mailbox.leave_thread(),
            Err(Handover { reactor, .. }) => *place = Some(reactor),
        }
    }
}
