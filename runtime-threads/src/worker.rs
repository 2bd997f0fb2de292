//! A worker, which serves one client from its first byte to its last, and then the next.

use crate::pool::{Newcomer, Pool};
use crate::waker::{ConnectionWaker, PollWaker, Wanted, poll};
use runtime::{Driver, Events, Turn, stand_in};
use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

/// The size of a worker's read buffer, in bytes. Its pages exist once they are used.
const BUFFER_SIZE: usize = 64 * 1024;

thread_local! {
    /// Whether this worker is held by a long call, and another one stands in for it.
    static RELIEVED: Cell<bool> = const { Cell::new(false) };
}

/// One worker, on its thread.
pub(crate) struct Worker {
    pool: Arc<Pool>,
    poll_waker: Arc<PollWaker>,
    buffer: Vec<u8>,
    /// The time at which to give up on a client that does not finish, once the server drains.
    drain_until_us: Option<u64>,
}

impl Worker {
    pub fn new(pool: Arc<Pool>) -> io::Result<Self> {
        let poll_waker = Arc::new(PollWaker::new()?);
        pool.shutdown.subscribe(Waker::from(poll_waker.clone()));
        Ok(Worker { pool, poll_waker, buffer: vec![0; BUFFER_SIZE], drain_until_us: None })
    }

    /// Serves clients until it has to end.
    pub fn run(mut self) {
        let pool = self.pool.clone();
        stand_in::provide(move || {
            if !RELIEVED.replace(true) {
                pool.relieve();
            }
        });
        while let Some(newcomer) = self.pool.next() {
            let (context, Newcomer { accepted, service, .. }) = (&self.pool.context, newcomer);
            let waker = ConnectionWaker::new(self.poll_waker.clone(), context.stats.clone());
            let now = context.clock.now();
            if let Some(driver) =
                Driver::connect(context, &*service, accepted, waker.clone().into(), now)
            {
                self.serve(driver, &waker);
            }
            waker.retire();
        }
    }

    fn serve(&mut self, mut driver: Driver, waker: &ConnectionWaker) {
        let mut events = Events::WAKE;
        loop {
            events |= waker.take() | self.shutdown_noticed();
            let now = self.pool.context.clock.now();
            self.pool.context.stats.loops.fetch_add(1, Relaxed);
            let turn = driver.turn(events, &mut self.buffer, now);
            if RELIEVED.take() {
                self.pool.dismiss();
            }
            match turn {
                Turn::Closed => return,
                // The connection goes on at once, and is told of events meanwhile: that its peer
                // reads, or has left.
                Turn::More => events = self.look(&driver, Some(Duration::ZERO)),
                Turn::Wait => events = self.wait(&driver),
            }
            if self.drain_until_us.is_some_and(|until_us| now.mono_us >= until_us) {
                return;
            }
        }
    }

    /// Waits for an event of the client.
    fn wait(&self, driver: &Driver) -> Events {
        let clock = &self.pool.context.clock;
        let next_us = [driver.deadline_us(), self.drain_until_us].into_iter().flatten().min();
        let timeout =
            next_us.map(|at| Duration::from_micros(at.saturating_sub(clock.now().mono_us)));
        let events = self.look(driver, timeout);
        let due = driver.deadline_us().is_some_and(|at| at <= clock.now().mono_us);
        events | Events::WAKE.when(due)
    }

    /// Waits up to `timeout` for events of the client and returns them.
    fn look(&self, driver: &Driver, timeout: Option<Duration>) -> Events {
        let on_socket = Wanted {
            read: driver.reads(),
            write: driver.write_blocked(),
            end: !driver.saw_read_closed(),
        };
        let on_waker = Wanted { read: true, ..Wanted::default() };
        let sources =
            [(driver.socket().as_raw_fd(), on_socket), (self.poll_waker.as_raw_fd(), on_waker)];
        let events = poll(&sources, timeout);
        self.poll_waker.reset();
        events
    }

    fn shutdown_noticed(&mut self) -> Events {
        if self.drain_until_us.is_some() || !self.pool.shutdown.requested() {
            return Events::empty();
        }
        let timeout_us =
            self.pool.shutdown.drain_timeout(self.pool.drain_timeout).as_micros() as u64;
        self.drain_until_us =
            Some(self.pool.context.clock.now().mono_us.saturating_add(timeout_us));
        Events::DRAIN
    }
}
