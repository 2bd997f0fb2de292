//! The end of a server that was asked for: writes are held back, replicas get what they lack, the data
//! are saved, and the runtime is told to stop. Until then it can be aborted.
//!
//! Source: Redis's `prepareForShutdown` and `finishShutdown`.

use super::{Process, is_loading};
use engine::Engine;
use engine::clients::pause::PauseMode;
use engine::config::Id;
use engine::host::End;
use parking_lot::{Condvar, Mutex};
use runtime::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The time between two questions to the replicas.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Writes are held back for this long, in milliseconds, unless the end is given up before.
const FOR_EVER_MS: u64 = 1 << 40;

/// The reply to those who wait for an end that is given up, as in Redis.
const GIVEN_UP: &str = "Errors trying to SHUTDOWN. Check logs.";

/// An end that waits for replicas.
struct Waiting {
    held: HeldWrites,
    /// When the wait is over, whatever replicas have.
    until: Instant,
    /// It is over, and cannot be aborted any more.
    is_over: bool,
}

/// How far the end of a server is.
#[derive(Default)]
pub(crate) struct Ending {
    waiting: Mutex<Option<Waiting>>,
    /// The wait was aborted, or is to be over.
    changed: Condvar,
    /// The data were saved, and have to be again if they change before the last client is gone.
    pub saves: AtomicBool,
}

/// Writes are held back, so that nothing is acknowledged which is neither saved nor with the replicas.
#[derive(Clone, Copy)]
struct HeldWrites {
    /// The pause that was in force, which goes on if the server does.
    before: Option<(u64, PauseMode)>,
}

impl HeldWrites {
    fn hold(engine: &Engine, clock: Clock) -> HeldWrites {
        let now_ms = clock.now().wall_ms;
        let before = engine.clients.pause.current(now_ms);
        engine.pause_clients(now_ms + FOR_EVER_MS, PauseMode::Write, now_ms);
        HeldWrites { before }
    }

    fn release(self, engine: &Engine, clock: Clock) {
        engine.unpause_clients();
        let now_ms = clock.now().wall_ms;
        if let Some((until_ms, mode)) = self.before.filter(|(until_ms, _)| *until_ms > now_ms) {
            engine.pause_clients(until_ms, mode, now_ms);
        }
    }
}

impl Process {
    /// Ends the server, and returns when the runtime has been told to stop.
    ///
    /// # Errors
    /// Fails, and the server goes on, if the data cannot be saved, or it was aborted.
    pub fn end(&self, end: End) -> Result<(), String> {
        let engine = self.prepare(end)?;
        if self.must_wait(&engine, end) && !self.wait_for_replicas(&engine) {
            return Err("it was aborted".into());
        }
        self.finish(&engine, end)
    }

    /// The same for `SHUTDOWN`, whose thread must not wait: whether the server ends now, not later.
    pub(super) fn begin_end(&self, end: End) -> Result<bool, String> {
        let engine = self.prepare(end)?;
        if self.is_waiting_for_replicas() {
            return Ok(end.now);
        }
        if !self.must_wait(&engine, end) {
            return self.finish(&engine, end).map(|()| true);
        }
        let process = self.this.get().and_then(Weak::upgrade).ok_or("the server is stopping")?;
        let work = move || {
            let ended = match process.wait_for_replicas(&engine) {
                true => process.finish(&engine, end),
                false => Err("it was aborted".into()),
            };
            if let Err(error) = ended {
                tracing::error!(error, "the server goes on");
            }
        };
        let thread = std::thread::Builder::new().name("shutdown".into());
        thread.spawn(work).map(|_| false).map_err(|error| error.to_string())
    }

    /// The reply to a client that waits for the end: an error once it is given up.
    pub(super) fn end_begun(&self) -> Result<(), String> {
        if self.is_waiting_for_replicas() { Ok(()) } else { Err(GIVEN_UP.into()) }
    }

    /// Ends the wait for replicas: the server goes on.
    pub(super) fn abort_end(&self) -> Result<(), String> {
        let engine = self.alive()?;
        let waiting = self.ending.waiting.lock().take_if(|waiting| !waiting.is_over);
        let waiting = waiting.ok_or("No shutdown in progress.")?;
        tracing::info!("the shutdown is aborted");
        self.go_on(&engine, Some(waiting.held));
        Ok(())
    }

    /// The server does not end: writes are let through, and those who wait for the end are told.
    fn go_on(&self, engine: &Engine, held: Option<HeldWrites>) {
        *self.ending.waiting.lock() = None;
        self.ending.changed.notify_all();
        held.into_iter().for_each(|held| held.release(engine, self.clock));
        engine.serve_acks(self.clock.now());
    }

    /// The milliseconds for which replicas are waited for yet; `None` if they are not.
    pub fn ends_in_ms(&self) -> Option<u64> {
        let waiting = self.ending.waiting.lock();
        let left = waiting.as_ref()?.until.saturating_duration_since(Instant::now());
        Some(left.as_millis() as u64)
    }

    fn is_waiting_for_replicas(&self) -> bool {
        self.ending.waiting.lock().is_some()
    }

    /// Ends slow scripts, and hurries an end that waits if it is to be now.
    fn prepare(&self, end: End) -> Result<Arc<Engine>, String> {
        let engine = self.alive()?;
        // A script that may never end is not waited for. What such a script has written is included
        // in a save.
        engine.scripting.running.end(end.save == Some(false));
        if end.now
            && let Some(waiting) = self.ending.waiting.lock().as_mut()
        {
            waiting.until = Instant::now();
            self.ending.changed.notify_all();
        }
        Ok(engine)
    }

    /// Whether there are replicas to be waited for. If so, writes are held back from now on.
    fn must_wait(&self, engine: &Arc<Engine>, end: End) -> bool {
        let seconds = self.config.integer(Id::ShutdownTimeout).max(0) as u64;
        if end.now || seconds == 0 || lagging(engine, engine.replication.out.end()) == 0 {
            return false;
        }
        let mut waiting = self.ending.waiting.lock();
        let until = Instant::now() + Duration::from_secs(seconds);
        let held = || HeldWrites::hold(engine, self.clock);
        waiting.get_or_insert_with(|| Waiting { held: held(), until, is_over: false });
        tracing::info!("waiting for replicas before shutting down");
        true
    }

    /// Waits until all replicas have everything, or for as long as is permitted. Returns whether the
    /// server is still to end.
    fn wait_for_replicas(&self, engine: &Engine) -> bool {
        let position = engine.replication.out.end();
        loop {
            engine.replication.out.ask();
            engine.replication.wake();
            let mut waiting = self.ending.waiting.lock();
            let Some(state) = waiting.as_mut() else { return false };
            let behind = lagging(engine, position);
            if behind == 0 || Instant::now() >= state.until {
                state.is_over = true;
                tracing::info!("shutting down: {behind} replicas lack something");
                return true;
            }
            self.ending.changed.wait_for(&mut waiting, ASK_EVERY);
        }
    }

    /// Saves if that is wanted, and has the runtime stop. If that was wanted, or replicas were waited for,
    /// nothing is written any more, not even by requests that have come already.
    fn finish(&self, engine: &Arc<Engine>, end: End) -> Result<(), String> {
        let _one = self.busy.lock();
        if self.shutdown.requested() {
            return Ok(()); // somebody else was faster
        }
        let save = end.save.unwrap_or_else(|| !self.config.save_points().is_empty());
        let save = save && !is_loading(engine);
        let held = self.ending.waiting.lock().as_ref().map(|waiting| waiting.held);
        let held = held.or_else(|| save.then(|| HeldWrites::hold(engine, self.clock)));
        if save && let Err(error) = self.persistence.saver.save(engine) {
            tracing::error!(error, end.force, "saving before the end failed");
            if !end.force {
                self.go_on(engine, held);
                return Err(GIVEN_UP.into());
            }
        }
        tracing::info!(end.now, "user requested shutdown");
        self.farewell.get().into_iter().for_each(|farewell| farewell());
        self.ending.saves.store(save, Ordering::SeqCst);
        self.shutdown.request();
        Ok(())
    }
}

/// The number of replicas that have not acknowledged everything before `position`.
fn lagging(engine: &Engine, position: u64) -> usize {
    let followers = engine.replication.followers();
    let wanted = followers.iter().filter(|follower| !follower.announced.rdb_only);
    wanted.filter(|follower| follower.ack().position < position).count()
}
