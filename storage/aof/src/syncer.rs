//! The thread that syncs, and the sessions that wait for it.
//!
//! `always`: a waiting session is registered here. The thread writes and syncs everything appended
//! so far, and wakes every session that this covers; while one sync is running, the next group
//! gathers. `everysec`: it syncs every second. Under any policy the thread writes once a second
//! what no other thread has written, and repeats failed writes.

use super::log::Log;
use super::moments::Moment;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use storage::journal::{Durability, Fate, Position};

/// The interval at which `everysec` syncs, and at which failed writes are tried again.
const TICK: Duration = Duration::from_secs(1);

/// The log, and the sessions that wait for it.
pub(super) struct Syncer {
    pub log: Log,
    durability: AtomicU8,
    /// Positions up to here were appended under `always`, whatever the policy is now.
    always_until: AtomicU64,
    control: Mutex<Control>,
    wake: Condvar,
    /// Syncs that lasted longer than a tick.
    pub delayed_syncs: AtomicU64,
}

#[derive(Default)]
struct Control {
    stop: bool,
    waiters: Vec<(Position, Waker)>,
}

impl Syncer {
    pub fn new(log: Log, durability: Durability) -> Arc<Self> {
        Arc::new(Syncer {
            log,
            durability: AtomicU8::new(durability as u8),
            always_until: AtomicU64::new(0),
            control: Mutex::default(),
            wake: Condvar::new(),
            delayed_syncs: AtomicU64::new(0),
        })
    }

    pub fn durability(&self) -> Durability {
        match self.durability.load(Ordering::Acquire) {
            d if d == Durability::Always as u8 => Durability::Always,
            d if d == Durability::Never as u8 => Durability::Never,
            _ => Durability::EverySecond,
        }
    }

    pub fn set_durability(&self, durability: Durability) {
        if self.durability() == Durability::Always {
            self.always_until.fetch_max(self.log.end().seq, Ordering::AcqRel);
        }
        self.durability.store(durability as u8, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether `position` must be synced before it counts as durable.
    fn must_be_synced(&self, position: Position) -> bool {
        self.durability() == Durability::Always
            || position.seq <= self.always_until.load(Ordering::Acquire)
    }

    /// Returns the fate of everything appended up to `position`. If writing or syncing has failed,
    /// it is unknown: some of it may be on the disk.
    pub fn poll(&self, position: Position, waker: &Waker) -> Fate {
        if !self.must_be_synced(position) {
            self.log.write_up_to(position);
            return if self.log.written() >= position { Fate::Kept } else { Fate::Unknown };
        }
        if self.log.synced() >= position {
            return Fate::Kept;
        }
        let mut control = self.control.lock();
        // Looked at again under the lock that the thread takes before it wakes anyone.
        if self.log.synced() >= position {
            return Fate::Kept;
        }
        if self.log.health.failed() || control.stop {
            return Fate::Unknown;
        }
        control.waiters.push((position, waker.clone()));
        drop(control);
        self.wake.notify_one();
        Fate::Pending
    }

    /// Writes and syncs everything appended so far, and wakes who waited for it.
    pub fn sync(&self) {
        let begin = Instant::now();
        if self.log.health.cannot_write() {
            self.log.retry();
        } else {
            self.log.write_up_to(self.log.end());
        }
        match self.durability() {
            Durability::Always => self.log.moments.of(Moment::Sync, || self.log.sync()),
            _ => self.log.sync(),
        }
        if begin.elapsed() > TICK {
            self.delayed_syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.wake_covered();
    }

    /// Wakes those whose position is synced; everyone when that cannot come about.
    pub fn wake_covered(&self) {
        let covered =
            if self.log.health.failed() { Position::log(u64::MAX) } else { self.log.synced() };
        let mut ready = Vec::new();
        self.control.lock().waiters.retain_mut(|(position, waker)| {
            let done = *position <= covered;
            if done {
                ready.push(std::mem::replace(waker, Waker::noop().clone()));
            }
            !done
        });
        ready.into_iter().for_each(Waker::wake);
    }

    /// Starts the thread, which calls `begins` first.
    pub fn start(
        self: &Arc<Self>,
        begins: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        let syncer = self.clone();
        let run = move || {
            begins();
            // Sessions may be waiting, so this is tried again, as after a failed write.
            while catch_unwind(AssertUnwindSafe(|| syncer.run())).is_err() {
                tracing::error!("the thread that syncs the append-only file panicked; it goes on");
                thread::sleep(TICK);
            }
        };
        thread::Builder::new().name("aof-sync".into()).spawn(run)
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.control.lock().stop = true;
        self.wake.notify_one();
    }

    fn run(&self) {
        let mut tick = Instant::now() + TICK;
        loop {
            let mut control = self.control.lock();
            let asked = !control.waiters.is_empty();
            if control.stop {
                return;
            }
            if !asked && Instant::now() < tick {
                self.wake.wait_until(&mut control, tick);
                continue;
            }
            drop(control);
            if asked {
                self.sync();
            } else {
                tick = Instant::now() + TICK;
                self.tick();
            }
        }
    }

    /// The work that is done once a second.
    fn tick(&self) {
        self.log.mark();
        let needs_sync = self.durability() != Durability::Never
            || self.log.synced().seq < self.always_until.load(Ordering::Acquire);
        if needs_sync {
            self.sync();
        } else if self.log.health.cannot_write() {
            self.log.retry();
        } else {
            self.log.write_up_to(self.log.end());
        }
    }
}
