//! [`ReactorThread`]: a thread in the place of a reactor: the loop, and the calls of connections.
//!
//! While a connection is called, the reactor is not borrowed. So when a call turns out to take long
//! ([`runtime::stand_in`]), another thread takes its place: it gets the reactor as it is, with
//! what was read and what is to be written, and goes on. The thread that stays behind finishes its
//! one call, sends the connection back, as workers of a pool do, and ends.

use crate::accept::{Listeners, MAILBOX_TOKEN};
use crate::mailbox::{Mailbox, Message};
use crate::reactor::{Reactor, translate};
use crate::slots::Key;
use runtime::trace::{self, Stage};
use runtime::{Driver, Events, Fetched, RuntimeContext, stand_in};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events taken from the kernel at once: answers to the first wait for the last of them.
const EVENTS_MAX: usize = 256;

/// The size of the one buffer a thread reads into: a full pipeline of the usual clients, behind
/// what other connections left there in the same loop.
const BUFFER_SIZE: usize = 128 * 1024;

/// Input left in the buffer is handed over when there is less room than this, in bytes, for the
/// next read.
const ROOM_MIN: usize = 64 * 1024;

/// One thread's place in front of a reactor.
pub(crate) struct ReactorThread {
    /// `None` once another thread has it.
    reactor: RefCell<Option<Box<Reactor>>>,
    buffer: RefCell<Vec<u8>>,
    mailbox: Arc<Mailbox>,
    context: Arc<RuntimeContext>,
    pooled: bool,
}

/// The reactor and the state that one thread hands over to another.
pub(crate) struct Handover {
    reactor: Box<Reactor>,
    buffer: Vec<u8>,
}

impl Handover {
    /// That of a reactor at its beginning.
    pub fn new(reactor: Reactor) -> Handover {
        Handover { reactor: Box::new(reactor), buffer: vec![0; BUFFER_SIZE] }
    }

    /// Serves on this thread until the server has drained, the reactor has handed everything over,
    /// or another thread has taken over.
    pub fn run(self) {
        let Handover { reactor, buffer } = self;
        let serving = Rc::new(ReactorThread {
            mailbox: reactor.mailbox.clone(),
            context: reactor.group.context.clone(),
            pooled: reactor.group.pool.is_some(),
            reactor: RefCell::new(Some(reactor)),
            buffer: RefCell::new(buffer),
        });
        serving.mailbox.adopt_thread();
        let thread = serving.clone();
        stand_in::provide(move || thread.make_way());
        serving.serve();
    }

    /// Goes on in the middle of a loop.
    pub fn take_over(mut self) {
        self.reactor.poll_anew();
        self.run();
    }
}

impl ReactorThread {
    fn serve(&self) {
        let mut events = mio::Events::with_capacity(EVENTS_MAX);
        // What another thread left undone comes first.
        self.finish_turns::<false>();
        while self.wait(&mut events) {
            // Decided on once for all turns of this loop.
            if trace::is_on() {
                self.with(|reactor| reactor.awake_at = Instant::now());
                self.round::<true>(&events);
            } else {
                self.round::<false>(&events);
            }
        }
        if let Some(reactor) = self.reactor.take() {
            reactor.end();
        }
    }

    /// The reactor, unless another thread has it.
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

    /// Waits for events; false when there is nothing more to do here.
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
                self.visit::<TRACED>(Key::from_token(token), translate(event));
            }
        }
        self.with(Reactor::look_around);
        self.finish_turns::<TRACED>();
        self.with(Reactor::notice_shutdown);
    }

    #[inline(always)]
    fn finish_turns<const TRACED: bool>(&self) {
        self.run_ready::<TRACED>();
        self.deliver::<TRACED>();
        self.transmit::<TRACED>();
    }

    /// One turn for each connection that is ready now; those that become ready meanwhile wait for
    /// the next loop, after the sockets' events.
    fn run_ready<const TRACED: bool>(&self) {
        let count = self.reactor().map_or(0, |reactor| reactor.ready.len());
        for _ in 0..count {
            let Some(key) = self.reactor().and_then(|mut reactor| reactor.next_ready()) else {
                return;
            };
            self.visit::<TRACED>(key, Events::empty());
        }
    }

    /// Tells a connection what happened and reads from it; what was read is handed over later, or
    /// at once when it is much.
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
                }
                driver.deliver(&self.buffer.borrow()[start..start + len], now);
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

    /// Hands over what was read: by now the memory it needs is on its way.
    fn deliver<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let (now, awake_at) = (reactor.now, reactor.awake_at);
        while let Some((key, mut driver, range)) = reactor.next_fetched() {
            drop(reactor);
            if TRACED {
                trace::record_since(Stage::Queue, awake_at);
            }
            driver.deliver(&self.buffer.borrow()[range], now);
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => return self.stay_behind(key, driver),
            };
            reactor.put_back(key, driver);
        }
    }

    /// Lets those that have received write their answers.
    fn transmit<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let now = reactor.now;
        while let Some((key, mut driver)) = reactor.next_to_transmit() {
            drop(reactor);
            let turn = driver.transmit::<TRACED>(now);
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => return self.mailbox.send(Message::Returned(key, driver, turn)),
            };
            reactor.finish_turn(key, driver, turn);
        }
    }

    /// The rest of a turn on a thread that is no reactor any more.
    fn stay_behind(&self, key: Key, mut driver: Driver) {
        let turn = driver.transmit::<false>(self.context.clock.now());
        self.mailbox.send(Message::Returned(key, driver, turn));
    }

    /// A call takes long: another thread goes on with everything else.
    fn make_way(&self) {
        let Ok(mut place) = self.reactor.try_borrow_mut() else { return };
        let Ok(buffer) = self.buffer.try_borrow() else { return };
        let Some(reactor) = place.take() else { return };
        let group = reactor.group.clone();
        let handover = Handover { reactor, buffer: buffer.clone() };
        match group.launch_stand_in(handover) {
            Ok(()) => self.mailbox.leave_thread(),
            Err(Handover { reactor, .. }) => *place = Some(reactor),
        }
    }
}
