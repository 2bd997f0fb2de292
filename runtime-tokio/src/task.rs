//! One connection: a future that makes turns of tokio's readiness, wakes and timers.

use crate::home::Home;
use crate::serving::Shared;
use crate::waker::ConnectionWaker;
use runtime::{Clock, Driver, Events, Peer, Service, Socket, Turn};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use tokio::io::Ready;
use tokio::io::unix::AsyncFd;
use tokio::task::block_in_place;
use tokio::time::{Instant, Sleep};

/// The size of a thread's read buffer, in bytes.
const BUFFER_SIZE: usize = 64 * 1024;

/// The number of turns in one poll, because tokio's scheduler expects polls to be short.
const TURNS_MAX: u32 = 4;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_SIZE]);
}

/// A socket known to tokio's poller.
struct Polled(AsyncFd<Socket>);

impl Polled {
    fn new(socket: Socket) -> io::Result<Self> {
        // SAFETY: the AsyncFd owns the socket, and a `Socket` keeps its descriptor open and
        // unchanged until dropped.
        let registered = unsafe { AsyncFd::register(socket) };
        registered.map(Polled).map_err(|failed| failed.into_parts().1)
    }

    /// The same socket with the poller of another scheduler.
    fn moved_to(self, home: &Home) -> io::Result<Self> {
        let _context = home.handle.enter();
        Polled::new(self.0.into_inner())
    }
}

impl AsRef<Socket> for Polled {
    fn as_ref(&self) -> &Socket {
        self.0.get_ref()
    }
}

/// A connection's place in the registry, which it leaves when this is dropped.
struct Registration {
    number: u64,
    waker: Arc<ConnectionWaker>,
    shared: Arc<Shared>,
    service: Arc<dyn Service>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.registry.remove(self.number);
        self.waker.forget_task();
    }
}

/// The reason why a connection's future is done.
pub(crate) enum Done {
    /// The connection has ended.
    Closed,
    /// Its scheduler has been replaced by another one.
    Moves,
}

/// The future of one connection on one scheduler.
pub(crate) struct Task {
    driver: Driver<Polled>,
    registration: Registration,
    home: Arc<Home>,
    /// The tokio waker that the connection's waker forwards to.
    registered: Option<Waker>,
    timer: Timer,
    /// Whether the end of input was seen, which tokio would report for ever.
    end_seen: bool,
    /// The same for the end of both directions.
    hangup_seen: bool,
    /// Whether it needs a turn without an event, because the last one left work.
    more: bool,
}

impl Task {
    /// Creates a connection of the service for a new client, and serves it unless it is refused.
    pub fn spawn(shared: &Arc<Shared>, service: &Arc<dyn Service>, accepted: (Socket, Peer)) {
        if let Some(task) = Self::open(shared, service, accepted) {
            task.run();
        }
    }

    /// Creates a connection on the scheduler of the moment. Returns none if it is refused.
    fn open(
        shared: &Arc<Shared>,
        service: &Arc<dyn Service>,
        (socket, peer): (Socket, Peer),
    ) -> Option<Self> {
        let (home, context) = (shared.home(), &shared.context);
        let entered = home.handle.enter();
        let waker = ConnectionWaker::new(context.stats.clone());
        let std_waker = waker.clone().into();
        let polled = Polled::new(socket);
        let polled = polled.inspect_err(|error| tracing::warn!(%error, "cannot poll a connection"));
        drop(entered);
        let (polled, now) = (polled.ok()?, context.clock.now());
        let driver = Driver::connect(context, &**service, (polled, peer), std_waker, now)?;
        let number = shared.registry.add(waker.clone());
        let (shared, service) = (shared.clone(), service.clone());
        Some(Self::new(driver, Registration { number, waker, shared, service }, home))
    }

    fn new(driver: Driver<Polled>, registration: Registration, home: Arc<Home>) -> Self {
        Task {
            driver,
            registration,
            home,
            registered: None,
            timer: Timer::default(),
            end_seen: false,
            hangup_seen: false,
            more: true,
        }
    }

    fn run(mut self) {
        let handle = self.home.handle.clone();
        handle.spawn(async move {
            match (&mut self).await {
                Done::Closed => {}
                Done::Moves => self.move_on(),
            }
        });
    }

    /// Goes on with the scheduler of the moment. Events of the socket are reported anew there, and wakes are
    /// kept until the first turn.
    fn move_on(self) {
        let Task { driver, registration, home: old, .. } = self;
        let home = registration.shared.home();
        match driver.with_socket(|polled| polled.moved_to(&home)) {
            Ok(driver) => Self::new(driver, registration, home).run(),
            Err(error) => tracing::warn!(%error, "cannot poll a connection that moves"),
        }
        // Until here, the old scheduler is still there.
        drop(old);
    }

    /// Makes wakes reach this task. Usually its waker never changes.
    #[inline]
    fn register(&mut self, cx: &Context<'_>) {
        if !self.registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.registration.waker.set_task(cx.waker().clone());
            self.registered = Some(cx.waker().clone());
        }
    }

    /// The events for which the socket is ready. Tokio's record of them is cleared at once: the
    /// driver keeps them, and later events are reported again.
    #[inline]
    fn socket_events(&mut self, cx: &mut Context<'_>) -> Events {
        let mut events = Events::empty();
        if !self.end_seen
            && let Poll::Ready(ready) = self.driver.socket().0.poll_read_ready(cx)
        {
            events = Events::READABLE;
            if let Ok(mut guard) = ready {
                events |= closed(guard.ready());
                guard.clear_ready();
            }
            self.end_seen = events.intersects(Events::READ_CLOSED);
        }
        // After the end of input, only this tells that the peer is gone altogether.
        if (self.driver.write_blocked() || (self.end_seen && !self.hangup_seen))
            && let Poll::Ready(ready) = self.driver.socket().0.poll_write_ready(cx)
        {
            events |= Events::WRITABLE;
            if let Ok(mut guard) = ready {
                events |= closed(guard.ready());
                guard.clear_ready();
            }
        }
        self.hangup_seen |= events.intersects(Events::HANGUP);
        events
    }

    /// Makes a turn; without the scheduler's core, which another thread takes meanwhile, if it may block.
    fn turn(&mut self, events: Events) -> Turn {
        let Task { driver, registration, .. } = self;
        let clock = &registration.shared.context.clock;
        let mut turn = || BUFFER.with_borrow_mut(|b| driver.turn(events, b, clock.now()));
        if registration.service.may_block() { block_in_place(turn) } else { turn() }
    }

    /// Makes turns while there is something to do.
    fn turns(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        for _ in 0..TURNS_MAX {
            let mut events = self.socket_events(cx) | self.registration.waker.take();
            let clock = &self.registration.shared.context.clock;
            events |= Events::WAKE.when(self.timer.fired(&self.driver, clock, cx));
            if events.is_empty() && !self.more {
                return self.rest();
            }
            match self.turn(events) {
                Turn::Wait => self.more = false,
                Turn::More => self.more = true,
                Turn::Closed => return Poll::Ready(Done::Closed),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits for an event, unless the scheduler has been left meanwhile: the wake that told so may have been taken
    /// with an earlier one.
    #[inline]
    fn rest(&self) -> Poll<Done> {
        if self.home.is_left() { Poll::Ready(Done::Moves) } else { Poll::Pending }
    }
}

impl Future for Task {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let task = &mut *self;
        if task.home.is_left() {
            return Poll::Ready(Done::Moves);
        }
        task.registration.shared.context.stats.loops.fetch_add(1, Relaxed);
        task.register(cx);
        task.turns(cx)
    }
}

/// The ends tokio reports beside readiness.
fn closed(ready: Ready) -> Events {
    Events::READ_CLOSED.when(ready.is_read_closed()) | Events::HANGUP.when(ready.is_write_closed())
}

/// The timer of one connection; without a timer as long as there was no deadline.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// The time that `sleep` is set to, in monotonic µs.
    armed_us: u64,
}

impl Timer {
    /// Whether the connection's deadline has passed. The timer is moved only to an earlier time.
    /// One that fires early is set again.
    #[inline]
    fn fired(&mut self, driver: &Driver<Polled>, clock: &Clock, cx: &mut Context<'_>) -> bool {
        let Some(deadline_us) = driver.deadline_us() else { return false };
        loop {
            if self.sleep.is_none() || deadline_us < self.armed_us {
                self.set(deadline_us, clock.instant(deadline_us).into());
            }
            let Some(sleep) = &mut self.sleep else { return false };
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            if clock.now().mono_us >= deadline_us {
                return true;
            }
            self.set(deadline_us, clock.instant(deadline_us + 1).into());
        }
    }

    fn set(&mut self, deadline_us: u64, at: Instant) {
        self.armed_us = deadline_us;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Scheduler;
    use runtime::testing::Toy;
    use runtime::{RuntimeContext, Stream};
    use std::net::{TcpListener, TcpStream};
    use std::task::Wake;

    /// A connection of the toy, and its client.
    fn connected(shared: &Arc<Shared>) -> (Task, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let accepted = Stream::Tcp(listener).accept().unwrap();
        let service = Arc::<Toy>::default().service();
        (Task::open(shared, &service, accepted).expect("not refused"), client)
    }

    #[test]
    fn a_task_moves_also_if_it_takes_the_wake_for_that_with_an_earlier_one() {
        let scheduler = Scheduler::start(1).unwrap();
        let context = RuntimeContext { clock: Clock::new(), stats: Arc::default() };
        let shared = Arc::new(Shared::new(Arc::new(context), scheduler.home().clone()));
        let (mut task, client) = connected(&shared);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(task.turns(&mut cx).is_pending());
        task.registration.waker.wake_by_ref();
        // The poll for that wake has begun when the scheduler is left, and nobody calls it again.
        scheduler.leave();
        shared.registry.wake_all();
        assert!(matches!(task.turns(&mut cx), Poll::Ready(Done::Moves)));
        drop((task, client));
        scheduler.end();
    }
}
