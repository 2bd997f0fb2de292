//! [`ReactorThread`]: the loop of a reactor's thread, which calls the connections.
//!
//! While a connection is called, neither reactor nor ring is borrowed. So if a call turns out to take long
//! ([`runtime::stand_in`]), another thread takes over the reactor, with a ring of its own, because a ring belongs to one
//! thread. Before that, everything that is under way in the old ring is ended, and what has come is copied. The first
//! thread finishes its one call, sends the connection back, and ends.

use crate::buffers::Buffers;
use crate::loans::Returned;
use crate::reactor::{Mailbox, Message, Passed, Reactor};
use crate::ring::Ring;
use crate::slot::{End, Slot, account};
use runtime::reactors::Key;
use runtime::trace::{self, Stage};
use runtime::{Exchange, Now, Onward, Sent, stand_in};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A thread, its ring, and the reactor that it runs.
pub(crate) struct ReactorThread {
    /// Dropped before the reactor, whose sockets must be open until nothing is under way: what is queued in the ring
    /// names them by number.
    ring: RefCell<Ring>,
    /// `None` once another thread has taken over.
    reactor: RefCell<Option<Box<Reactor>>>,
    buffers: Arc<Buffers>,
    mailbox: Arc<Mailbox>,
}

/// The reactor that one thread passes to another, and a ring that is not enabled yet.
pub(crate) struct Handover {
    pub reactor: Box<Reactor>,
    pub ring: Ring,
}

impl Handover {
    /// Serves on this thread until the server has drained, the reactor has passed on all its
    /// connections, or another thread has taken over.
    pub fn run(self) {
        let Handover { reactor, mut ring } = self;
        if let Err(error) = ring.enable() {
            // A ring that no thread has can be enabled.
            tracing::error!(%error, "a ring cannot be enabled");
            reactor.group.shutdown.request();
        }
        let serving = Rc::new(ReactorThread {
            mailbox: reactor.mailbox.clone(),
            buffers: ring.buffers(),
            ring: RefCell::new(ring),
            reactor: RefCell::new(Some(reactor)),
        });
        serving.mailbox.adopt_thread();
        let thread = serving.clone();
        stand_in::provide(move || thread.make_way());
        serving.serve();
        // The hook has a share in the thread, and the ring ends on its own thread.
        stand_in::provide(|| {});
    }
}

impl ReactorThread {
    fn serve(&self) {
        self.with(Reactor::begin);
        // The work that another thread left comes first.
        self.round();
        while self.wait() {
            self.round();
        }
        if let Some(reactor) = self.reactor.take() {
            reactor.end(&mut self.ring.borrow_mut());
        }
    }

    /// The reactor, unless another thread has taken over.
    #[inline(always)]
    fn reactor(&self) -> Option<RefMut<'_, Box<Reactor>>> {
        RefMut::filter_map(self.reactor.borrow_mut(), Option::as_mut).ok()
    }

    #[inline(always)]
    fn with(&self, body: impl FnOnce(&mut Reactor, &mut Ring)) {
        if let Some(mut reactor) = self.reactor() {
            body(&mut reactor, &mut self.ring.borrow_mut());
        }
    }

    /// Waits for the kernel. Returns false if this thread has nothing more to do.
    fn wait(&self) -> bool {
        let Some(mut reactor) = self.reactor() else { return false };
        if reactor.finished() {
            return false;
        }
        reactor.wait(&mut self.ring.borrow_mut(), &self.buffers);
        true
    }

    /// Whether times are recorded is decided once for all turns of a loop.
    #[inline(always)]
    fn round(&self) {
        if trace::is_on() {
            self.with(|reactor, _| reactor.awake_at = Instant::now());
            self.finish_turns::<true>();
        } else {
            self.finish_turns::<false>();
        }
    }

    #[inline(always)]
    fn finish_turns<const TRACED: bool>(&self) {
        self.account::<TRACED>();
        self.with(|reactor, _| reactor.anticipate(&self.buffers));
        self.with(Reactor::look_around);
        self.run_ready::<TRACED>();
        self.deliver::<TRACED>();
        self.transmit::<TRACED>();
        self.with(Reactor::notice_orders);
    }

    /// Tells the connections that were lent what became of their output.
    fn account<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let now = reactor.now;
        while let Some(Returned { key, mut exchange, sent, asked }) = reactor.returned.pop() {
            drop(reactor);
            let sent = account::<TRACED>(&mut exchange, sent, asked, now);
            let onward = sent.map(|sent| (sent, exchange.onward(sent, now)));
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => return self.stay_behind(key, exchange),
            };
            self.go_on(&mut reactor, key, exchange, onward);
        }
    }

    /// Does what follows a write.
    #[inline]
    fn go_on(
        &self,
        reactor: &mut Reactor,
        key: Key,
        exchange: Exchange,
        onward: Option<(Sent, Onward)>,
    ) {
        let mut ring = self.ring.borrow_mut();
        match onward {
            None => reactor.close(key, exchange, &mut ring),
            Some((_, Onward::Finish)) => {
                if let Some(slot) = reactor.slots.get_mut(key) {
                    slot.socket.finish();
                }
                reactor.close(key, exchange, &mut ring);
            }
            Some((sent, onward)) => {
                let may_send = match sent {
                    Sent::All => false,
                    Sent::Limit => true,
                    Sent::Blocked => reactor.slots.get_mut(key).is_some_and(Slot::blocked),
                };
                let more = may_send || onward != Onward::Wait;
                reactor.finish_turn(key, exchange, more, &mut ring);
            }
        }
    }

    /// Gives one turn to each connection that is ready now. Those that become ready meanwhile wait
    /// for the next loop, after the input that comes.
    fn run_ready<const TRACED: bool>(&self) {
        let count = self.reactor().map_or(0, |reactor| reactor.ready.len());
        for _ in 0..count {
            let Some(key) = self.reactor().and_then(|mut reactor| reactor.next_ready()) else {
                return;
            };
            self.visit::<TRACED>(key);
        }
    }

    /// Tells a connection of its events, passes on what was kept for it, and tells it of the end of its input.
    fn visit<const TRACED: bool>(&self, key: Key) {
        let Some(mut reactor) = self.reactor() else { return };
        let Some((mut exchange, events)) = reactor.take(key) else { return };
        let (now, awake_at) = (reactor.now, reactor.awake_at);
        drop(reactor);
        exchange.notify(events, now);
        let Some(mut reactor) = self.reactor() else { return self.stay_behind(key, exchange) };
        if let Some(backlog) = reactor.take_backlog(key, &exchange) {
            drop(reactor);
            receive::<TRACED>(&mut exchange, &backlog, awake_at, now);
            let Some(again) = self.reactor() else { return self.stay_behind(key, exchange) };
            reactor = again;
        }
        match reactor.slots.get_mut(key).and_then(|slot| slot.end_to_tell(&exchange)) {
            None => {}
            Some(End::Failed) => exchange.abort(),
            Some(End::Over) => {
                drop(reactor);
                exchange.end_input(now);
                let Some(again) = self.reactor() else { return self.stay_behind(key, exchange) };
                reactor = again;
            }
        }
        reactor.put_back(key, exchange);
    }

    /// Passes on what has come. The memory for it has been prefetched.
    fn deliver<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let (now, awake_at) = (reactor.now, reactor.awake_at);
        loop {
            let next = reactor.next_fetched(&mut self.ring.borrow_mut(), &self.buffers);
            let Some((key, mut exchange, received)) = next else { return };
            drop(reactor);
            if TRACED {
                trace::record_since(Stage::Queue, awake_at);
            }
            receive::<TRACED>(&mut exchange, self.buffers.bytes(&received), awake_at, now);
            self.ring.borrow_mut().give_back(received);
            reactor = match self.reactor() {
                Some(reactor) => reactor,
                None => return self.stay_behind(key, exchange),
            };
            reactor.put_back(key, exchange);
        }
    }

    /// Lends the connections that have received to the kernel, with their replies.
    fn transmit<const TRACED: bool>(&self) {
        let Some(mut reactor) = self.reactor() else { return };
        let now = reactor.now;
        while let Some((key, mut exchange)) = reactor.next_to_transmit() {
            drop(reactor);
            let leave = |_: &mut _| Ok(Sent::Blocked);
            let sent = match TRACED {
                true => exchange.write_timed(now, leave),
                false => exchange.write(now, leave),
            };
            let Some(mut again) = self.reactor() else { return self.stay_behind(key, exchange) };
            let lent = match sent {
                Some(Sent::Blocked) => again.lend(key, exchange, &mut self.ring.borrow_mut()),
                _ => Err(exchange),
            };
            reactor = again;
            if let Err(mut exchange) = lent {
                drop(reactor);
                let onward = sent.map(|sent| (sent, exchange.onward(sent, now)));
                let Some(again) = self.reactor() else { return self.stay_behind(key, exchange) };
                reactor = again;
                self.go_on(&mut reactor, key, exchange, onward);
            }
        }
    }

    /// Sends back a connection whose call has ended on a thread that no longer has the reactor.
    fn stay_behind(&self, key: Key, exchange: Exchange) {
        self.mailbox.send(Message::Own(Passed::Returned(key, exchange)));
    }

    /// Called when a call takes long: another thread takes over everything else.
    fn make_way(&self) {
        let Ok(mut place) = self.reactor.try_borrow_mut() else { return };
        let Ok(mut ring) = self.ring.try_borrow_mut() else { return };
        let Some(mut reactor) = place.take() else { return };
        let fresh = match Ring::new() {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "nobody stands in for a reactor");
                *place = Some(reactor);
                return;
            }
        };
        if !reactor.leave(&mut ring, &self.buffers) {
            // Another ring would never hear of what is still under way in this one.
            reactor.begin(&mut ring);
            *place = Some(reactor);
            return;
        }
        let group = reactor.group.clone();
        match group.launch_stand_in(Handover { reactor, ring: fresh }, Handover::run) {
            Ok(()) => self.mailbox.leave_thread(),
            Err(Handover { mut reactor, .. }) => {
                reactor.begin(&mut ring);
                *place = Some(reactor);
            }
        }
    }
}

/// Passes on bytes that have been there since `awake_at`, if that is recorded.
#[inline(always)]
fn receive<const TRACED: bool>(exchange: &mut Exchange, bytes: &[u8], awake_at: Instant, now: Now) {
    if TRACED { exchange.receive_ready(bytes, awake_at, now) } else { exchange.receive(bytes, now) }
}
