//! [`Reactor`]: the connections of one thread, what the kernel reports of them, and the work that is due. How it parts
//! with connections is in `leaving`.

mod leaving;

use crate::accept::Listeners;
use crate::buffers::{Buffers, Received};
use crate::loans::Returned;
use crate::reactor_thread::Handover;
use crate::ring::{Arrived, Completion, Ring};
use crate::slot::{End, Operation, Slot, Stay};
use runtime::reactors::{self, ConnectionWaker, Key, Leaving, NEVER, Reactors, Slots, Timers};
use runtime::trace;
use runtime::{Events, Exchange, Input, Listener, Now, RuntimeStats};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The output from which on a connection is told of the end of its writing at once, in bytes: a filter may have more.
const PROMPT: usize = runtime::filter::PORTION;

/// Input up to this many bytes gives its connection a hint before it is passed on; a longer one is a pipeline, which is
/// enough by itself.
const FEW: usize = 1024;

/// A message from another reactor, or from a thread that was held by a call.
pub(crate) enum Passed {
    /// A connection of a reactor that retires, or that has more than its share.
    Moved(Box<Slot>),
    /// A connection whose long call has ended.
    Returned(Key, Exchange),
}

pub(crate) type Mailbox = reactors::Mailbox<Passed>;
pub(crate) type Message = reactors::Message<Passed>;
pub(crate) type Group = reactors::Group<Uring>;

/// The kind of reactor of this runtime. Nothing is shared but what every group shares.
pub(crate) struct Uring;

/// A reactor before its thread starts: its ring, the eventfd that ends its sleep, its listeners.
pub(crate) type Prepared = (Ring, File, Listeners);

impl Reactors for Uring {
    type Message = Passed;
    type Prepared = Prepared;

    fn prepare(
        &self,
        listeners: Vec<Listener>,
        stats: &Arc<RuntimeStats>,
    ) -> io::Result<(Prepared, Arc<Mailbox>)> {
        let rouse = eventfd()?;
        let rousing = rouse.try_clone()?;
        let mailbox =
            Mailbox::new(stats.clone(), move || (&rousing).write_all(&1u64.to_ne_bytes()));
        Ok(((Ring::new()?, rouse, Listeners::new(listeners)), mailbox))
    }

    fn run(group: Arc<Group>, mailbox: Arc<Mailbox>, (ring, rouse, listeners): Prepared) {
        Handover { reactor: Box::new(Reactor::new(group, mailbox, rouse, listeners)), ring }.run();
    }
}

fn eventfd() -> io::Result<File> {
    // SAFETY: the call takes no pointers, and its result is checked.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the descriptor was just opened, and nobody else has it.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// The state of one reactor. The connections are called by the thread that has it, its
/// [`crate::reactor_thread::ReactorThread`].
pub(crate) struct Reactor {
    pub group: Arc<Group>,
    pub mailbox: Arc<Mailbox>,
    rouse: File,
    listeners: Listeners,
    pub slots: Slots<Slot>,
    timers: Timers,
    /// Connections that get a turn without input: they were woken, or did not finish last time.
    pub ready: VecDeque<Key>,
    /// Connections that have received in this loop. All of them do before the first transmits, so
    /// that one write of the journal serves all.
    pub to_transmit: VecDeque<Key>,
    /// Input, or its end, that came in this loop and was not yet passed on.
    pub fetched: VecDeque<(Key, Result<Received, End>)>,
    /// Connections that the kernel is done with.
    pub returned: Vec<Returned>,
    /// The time, read once per loop.
    pub now: Now,
    /// The exact time of the last wake-up for [`runtime::trace`]; only valid while tracing.
    pub awake_at: Instant,
    /// Whether a connection that is lent has something to do when it comes back.
    prompt: bool,
    completions: Vec<Completion>,
    messages: Vec<Message>,
    woken: Vec<Key>,
    leaving: Leaving,
    /// The time at which to give up on connections that do not finish, once the server drains.
    drain_until_us: Option<u64>,
}

impl Reactor {
    fn new(group: Arc<Group>, mailbox: Arc<Mailbox>, rouse: File, listeners: Listeners) -> Reactor {
        Reactor {
            now: group.context.clock.now(),
            awake_at: Instant::now(),
            group,
            mailbox,
            rouse,
            listeners,
            slots: Slots::default(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            to_transmit: VecDeque::new(),
            fetched: VecDeque::new(),
            returned: Vec::new(),
            prompt: false,
            completions: Vec::new(),
            messages: Vec::new(),
            woken: Vec::new(),
            leaving: Leaving::default(),
            drain_until_us: None,
        }
    }

    /// Begins on a new ring: what every ring waits for, and every connection that is there.
    pub fn begin(&mut self, ring: &mut Ring) {
        ring.await_rousing(self.rouse.as_raw_fd());
        self.listeners.accept(self.now.mono_us, ring);
        self.slots.keys().into_iter().for_each(|key| self.enqueue(key, Events::empty()));
    }

    /// Hands everything over to the kernel, waits for what it reports, and takes it.
    pub fn wait(&mut self, ring: &mut Ring, buffers: &Buffers) {
        if trace::is_on() && ring.lent() > 0 {
            // A sample is over when it is told, which must not wait for other events.
            self.prompt |= ring.send_timed();
        }
        ring.enter(self.timeout(ring));
        ring.reap(&mut self.completions, &mut self.returned);
        self.prompt = false;
        if ring.has_lost_reports() {
            self.group.shutdown.request();
        }
        self.mailbox.awake();
        self.now = self.group.context.clock.now();
        self.group.context.stats.loops.fetch_add(1, Relaxed);
        self.take_completions(ring, buffers);
    }

    /// The time for which the thread may sleep: zero if a connection is ready, or must be told that its output is
    /// written.
    fn timeout(&self, ring: &Ring) -> Option<Duration> {
        let leaving = self.drain_until_us.is_some() || !self.leaving.is_empty();
        let prompt = self.prompt || self.leaving.hurries() || (leaving && ring.lent() > 0);
        if !self.mailbox.fall_asleep() || !self.ready.is_empty() || prompt {
            return Some(Duration::ZERO);
        }
        let times = [self.timers.next_us(), self.listeners.again_us(), self.drain_until_us];
        let next_us = times.into_iter().flatten().min()?;
        // The batch may have taken a while since `self.now` was read.
        let now_us = self.group.context.clock.now().mono_us;
        Some(Duration::from_micros(next_us.saturating_sub(now_us)))
    }

    fn take_completions(&mut self, ring: &mut Ring, buffers: &Buffers) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.take_completion(completion, ring, buffers);
        }
        self.completions = completions;
    }

    #[inline]
    fn take_completion(&mut self, completion: Completion, ring: &mut Ring, buffers: &Buffers) {
        match completion {
            Completion::Received { key, arrived, last } => {
                self.arrived(key, arrived, last, ring, buffers);
            }
            Completion::Writable { key, writable, last } => {
                self.with_slot(key, |slot| slot.noticed_room(writable, last));
            }
            Completion::Gone { key, half, hangup, last } => {
                self.with_slot(key, |slot| {
                    slot.awaits_gone &= !last;
                    slot.half_closed |= half;
                    slot.hung_up |= hangup;
                    true
                });
                self.look_for_end(key);
            }
            Completion::Accepted { listener, accepted, last } => {
                let (now_us, stats) = (self.now.mono_us, &self.group.context.stats);
                let accepted = (listener, accepted, last);
                if let Some(client) = self.listeners.accepted(accepted, now_us, stats, ring) {
                    self.group.place(client);
                }
            }
            Completion::Roused { last: true } => ring.await_rousing(self.rouse.as_raw_fd()),
            Completion::Roused { last: false } => {}
        }
    }

    /// Changes the slot of a connection whose operation is over; `change` says whether it gets a turn.
    fn with_slot(&mut self, key: Key, change: impl FnOnce(&mut Slot) -> bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let turn = change(slot);
        if slot.stay == Stay::Ended {
            return self.end_if_quiet(key);
        }
        if turn {
            self.enqueue(key, Events::empty());
        }
    }

    /// Queues the end of a connection's input, behind what came before it, if no operation would report it.
    fn look_for_end(&mut self, key: Key) {
        if self.slots.get_mut(key).is_some_and(|slot| slot.ends_unreported()) {
            self.fetched.push_back((key, Err(End::Over)));
        }
    }

    /// Queues what has arrived.
    #[inline]
    fn arrived(
        &mut self,
        key: Key,
        arrived: Arrived,
        last: bool,
        ring: &mut Ring,
        buffers: &Buffers,
    ) {
        if last {
            // A connection that still wants input begins anew in its turn.
            self.with_slot(key, |slot| {
                slot.receiving = Operation::Idle;
                true
            });
        }
        let fetched = match arrived {
            Arrived::Bytes(received) if buffers.bytes(&received).is_empty() => {
                ring.give_back(received);
                Some(Err(End::Over))
            }
            Arrived::Bytes(received) => Some(Ok(received)),
            Arrived::End => Some(Err(End::Over)),
            Arrived::Failed => Some(Err(End::Failed)),
            Arrived::Nothing => None,
        };
        self.fetched.extend(fetched.map(|fetched| (key, fetched)));
        if last {
            self.look_for_end(key);
        }
    }

    /// Gives connections a hint of the input that is about to be passed on, while the memory of others is fetched.
    #[inline]
    pub fn anticipate(&mut self, buffers: &Buffers) {
        for (key, fetched) in &self.fetched {
            let Ok(received) = fetched else { continue };
            let bytes = buffers.bytes(received);
            let exchange = self.slots.get_mut(*key).and_then(|slot| slot.exchange.as_mut());
            if let Some(exchange) = exchange.filter(|_| bytes.len() <= FEW) {
                exchange.anticipate(bytes);
            }
        }
    }

    /// Does the work that does not come from sockets: timers, messages, wakes.
    pub fn look_around(&mut self, ring: &mut Ring) {
        self.listeners.accept(self.now.mono_us, ring);
        self.fire_timers();
        let (mut messages, mut woken) =
            (std::mem::take(&mut self.messages), std::mem::take(&mut self.woken));
        self.mailbox.take(&mut messages, &mut woken);
        messages.drain(..).for_each(|message| self.handle(message));
        woken.drain(..).for_each(|key| self.woken(key));
        (self.messages, self.woken) = (messages, woken);
    }

    /// Takes a connection out for a call, with its events. Events of a connection that is out are kept until it returns,
    /// those of one that is about to move until it has.
    #[inline]
    pub fn take(&mut self, key: Key) -> Option<(Exchange, Events)> {
        let slot = self.slots.get_mut(key).filter(|slot| slot.stay != Stay::Moves)?;
        let exchange = slot.exchange.take()?;
        Some((exchange, std::mem::take(&mut slot.events)))
    }

    /// Puts a connection back that has received and is to transmit.
    #[inline]
    pub fn put_back(&mut self, key: Key, exchange: Exchange) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.exchange = Some(exchange);
        if !std::mem::replace(&mut slot.to_transmit, true) {
            self.to_transmit.push_back(key);
        }
    }

    /// The input that was kept for a connection, if it wants it now.
    pub fn take_backlog(&mut self, key: Key, exchange: &Exchange) -> Option<Vec<u8>> {
        let slot = self.slots.get_mut(key)?;
        let wanted = exchange.is_open() && exchange.input() != Input::Held;
        (wanted && !slot.backlog.is_empty()).then(|| std::mem::take(&mut slot.backlog))
    }

    /// The next connection with input to be passed on, and that input. What a connection does not want now is kept
    /// aside.
    #[inline]
    pub fn next_fetched(
        &mut self,
        ring: &mut Ring,
        buffers: &Buffers,
    ) -> Option<(Key, Exchange, Received)> {
        while let Some((key, fetched)) = self.fetched.pop_front() {
            let slot = self.slots.get_mut(key).filter(|slot| slot.stay != Stay::Ended);
            let Some(slot) = slot else {
                fetched.into_iter().for_each(|received| ring.give_back(received));
                continue;
            };
            match (slot.exchange.take(), fetched) {
                (Some(exchange), Ok(received)) if takes_input(slot, &exchange) => {
                    return Some((key, exchange, received));
                }
                (exchange, fetched) => {
                    slot.exchange = exchange;
                    slot.keep(key, fetched, ring, buffers);
                    self.enqueue(key, Events::empty());
                }
            }
        }
        None
    }

    /// The next connection that has received and is to transmit.
    #[inline]
    pub fn next_to_transmit(&mut self) -> Option<(Key, Exchange)> {
        while let Some(key) = self.to_transmit.pop_front() {
            let Some(slot) = self.slots.get_mut(key) else { continue };
            slot.to_transmit = false;
            if let Some(exchange) = slot.exchange.take() {
                return Some((key, exchange));
            }
        }
        None
    }

    /// Lends a connection that has output to the kernel. It is returned if its socket does not take any now, or if it
    /// is to be closed.
    #[inline]
    pub fn lend(
        &mut self,
        key: Key,
        mut exchange: Exchange,
        ring: &mut Ring,
    ) -> Result<(), Exchange> {
        let Some(slot) = self.slots.get_mut(key) else { return Ok(()) };
        if !slot.writable {
            return Err(exchange);
        }
        // It may be away until something happens, so it is armed now.
        slot.arm(key, &exchange, ring);
        if let Some(deadline_us) = exchange.deadline_us() {
            self.timers.arm(key, deadline_us, &mut slot.armed_us);
        }
        let long = exchange.unwritten(|output| output.len() >= PROMPT).unwrap_or(true);
        self.prompt |= long || exchange.goes_on_once_written();
        slot.room_reported = false;
        let fd = slot.socket.as_raw_fd();
        ring.lend(key, fd, exchange)
    }

    /// Puts a connection back after a turn, and makes sure that what it waits for is noticed. `more`: it gets another turn.
    #[inline]
    pub fn finish_turn(&mut self, key: Key, exchange: Exchange, more: bool, ring: &mut Ring) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.arm(key, &exchange, ring);
        if let Some(deadline_us) = exchange.deadline_us() {
            self.timers.arm(key, deadline_us, &mut slot.armed_us);
        }
        let wanted = exchange.is_open() && exchange.input() != Input::Held;
        let untold = slot.end_to_tell(&exchange).is_some();
        let missed = !slot.events.is_empty() || untold || (wanted && !slot.backlog.is_empty());
        slot.exchange = Some(exchange);
        if more || missed {
            self.enqueue(key, Events::empty());
        }
    }

    fn enqueue(&mut self, key: Key, events: Events) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.events |= events;
        if !std::mem::replace(&mut slot.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Ends a connection. Its socket is closed once no operation is under way.
    pub fn close(&mut self, key: Key, exchange: Exchange, ring: &mut Ring) {
        drop(exchange);
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.stay = Stay::Ended;
        slot.backlog = Vec::new();
        slot.stop_all(key, ring);
        self.end_if_quiet(key);
    }

    fn end_if_quiet(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.is_quiet() {
            self.slots.remove(key);
            self.mailbox.load.fetch_sub(1, Relaxed);
        }
    }

    fn woken(&mut self, key: Key) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.waker.take();
            self.enqueue(key, Events::WAKE);
        }
    }

    /// The next connection that is ready without input.
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
            // The connection is with a thread that it holds; its timer is set again when it returns.
            let deadline_us = slot.exchange.as_ref().and_then(Exchange::deadline_us);
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
                match context.introduce(&*service, peer, waker.clone().into(), now) {
                    Ok(exchange) => self.settle(Slot::new(exchange, socket, waker)),
                    Err(refusal) => {
                        socket.refuse(&refusal.0);
                        self.mailbox.load.fetch_sub(1, Relaxed);
                    }
                }
            }
            Message::Own(Passed::Moved(slot)) => self.settle(*slot),
            Message::Own(Passed::Returned(key, exchange)) => self.put_back(key, exchange),
        }
    }

    /// Adds a connection: tells its waker, and gives it a first turn, because it may have been woken before.
    fn settle(&mut self, slot: Slot) {
        let waker = slot.waker.clone();
        let key = self.slots.insert(slot);
        waker.settle(self.mailbox.clone(), key);
        let drain = Events::DRAIN.when(self.drain_until_us.is_some());
        self.enqueue(key, drain | Events::WAKE);
    }

    /// Takes everything from a ring, whose thread is held by a call: input is copied, operations end. Returns false if
    /// some did not; the reactor must stay with the ring then, and begin anew.
    pub fn leave(&mut self, ring: &mut Ring, buffers: &Buffers) -> bool {
        let rests = ring.come_to_rest(&mut self.completions, &mut self.returned);
        self.prompt = false;
        // Whoever begins is roused; here, it would be an operation again.
        self.completions.retain(|completion| !matches!(completion, Completion::Roused { .. }));
        self.take_completions(ring, buffers);
        if rests {
            self.listeners.come_to_rest();
        }
        for (key, fetched) in std::mem::take(&mut self.fetched) {
            match self.slots.get_mut(key) {
                Some(slot) => slot.keep(key, fetched, ring, buffers),
                None => fetched.into_iter().for_each(|received| ring.give_back(received)),
            }
        }
        rests
    }

    /// Closes the connections that did not finish in time, and the mailbox.
    pub fn end(mut self, ring: &mut Ring) {
        let rests = ring.come_to_rest(&mut self.completions, &mut self.returned);
        let keys = self.slots.keys();
        self.mailbox.load.fetch_sub(keys.len(), Relaxed);
        for slot in keys.into_iter().filter_map(|key| self.slots.remove(key)) {
            let Slot { exchange, socket, .. } = slot;
            drop(exchange);
            if !rests {
                // What is under way still uses it.
                std::mem::forget(socket);
            }
        }
        self.returned.clear();
        self.mailbox.close();
        self.group.context.stats.threads.fetch_sub(1, Relaxed);
    }
}

/// Whether input may be passed on at once: it is wanted here, and none is before it.
#[inline]
fn takes_input(slot: &Slot, exchange: &Exchange) -> bool {
    slot.stay == Stay::Here && slot.backlog.is_empty() && exchange.input() != Input::Held
}
