//! The end of a server that was asked for: writes are held back, replicas get what they lack, the data
//! are saved, and the runtime is told to stop. Until it saves, it can be aborted.
//!
//! Source: Redis's `prepareForShutdown` and `finishShutdown`. One thing differs: in Redis a second request
//! changes nothing; here one with `NOW` ends the wait of the first, and its options count.

use super::{Process, is_loading};
use engine::Engine;
use engine::clients::pause::{PauseMode, Purpose};
use engine::config::Id;
use engine::host::End;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use storage::Locks;

/// The time between two questions to the replicas.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Writes are held back for this long, in milliseconds, unless the end is given up before.
const FOR_EVER_MS: u64 = 1 << 40;

/// The reply to those who wait for an end that is given up, as in Redis.
const GIVEN_UP: &str = "Errors trying to SHUTDOWN. Check logs.";

/// An end that was asked for.
struct Pending {
    /// Distinguishes it from others, before and after it.
    number: u64,
    end: End,
    /// The longest time to wait for replicas.
    wait: Duration,
    /// When the wait is over, whatever replicas have.
    until: Instant,
    /// How far the replicas have to be, once writes are held back.
    position: Option<u64>,
    /// The number of changes of data when the position was taken.
    changes: u64,
    /// The wait is over, and it cannot be aborted any more.
    is_over: bool,
}

/// How far the end of a server is.
#[derive(Default)]
pub(crate) struct Ending {
    pending: Mutex<(u64, Option<Pending>)>,
    /// The wait was aborted, or is to be over.
    changed: Condvar,
    /// The data were saved, and have to be again if they change before the last client is gone.
    pub saved: AtomicBool,
}

impl Process {
    /// Ends the server, and returns when the runtime has been told to stop.
    ///
    /// # Errors
    /// Fails, and the server goes on, if the data cannot be saved, or it was aborted.
    pub fn end(&self, end: End) -> Result<(), String> {
        let engine = self.alive()?;
        match self.ask_for_end(&engine, end) {
            Some(number) => self.carry_out(&engine, number),
            // Another thread does it, or gives it up.
            None => self.await_end(),
        }
    }

    /// The same for `SHUTDOWN`, whose thread must not wait: whether the server ends now, not later.
    pub(super) fn begin_end(&self, end: End) -> Result<bool, String> {
        let engine = self.alive()?;
        let Some(number) = self.ask_for_end(&engine, end) else { return Ok(false) };
        if engine.replication.followers().is_empty() {
            return self.carry_out(&engine, number).map(|()| true);
        }
        // Replicas are waited for, or need this thread to let go of a snapshot that they are sent.
        let process = self.this.get().and_then(Weak::upgrade).ok_or("the server is stopping")?;
        let (work, held) = (engine.clone(), process.clone());
        let work = move || {
            if let Err(error) = held.carry_out(&work, number) {
                tracing::error!(error, "the server goes on");
            }
        };
        let thread = std::thread::Builder::new().name("shutdown".into());
        thread.spawn(work).map(|_| false).map_err(|error| {
            process.give_up(&engine, |pending| pending.number == number);
            error.to_string()
        })
    }

    /// The reply to a client that waits for the end: an error once it is given up.
    pub(super) fn end_is_pending(&self) -> Result<(), String> {
        let pending = self.ending.pending.lock().1.is_some();
        if pending { Ok(()) } else { Err(GIVEN_UP.into()) }
    }

    /// Ends the wait for replicas: the server goes on.
    pub(super) fn abort_end(&self) -> Result<(), String> {
        let engine = self.alive()?;
        if !self.give_up(&engine, |pending| !pending.is_over) {
            return Err("No shutdown in progress.".into());
        }
        tracing::info!("the shutdown is aborted");
        Ok(())
    }

    /// The milliseconds for which replicas are waited for yet; `None` if they are not.
    pub fn ends_in_ms(&self) -> Option<u64> {
        let pending = self.ending.pending.lock();
        let waiting = pending.1.as_ref().filter(|pending| !pending.is_over)?;
        let left = waiting.until.saturating_duration_since(Instant::now());
        Some(left.as_millis() as u64)
    }

    /// Notes the request. Returns the number under which it is to be carried out; `None` if an end is
    /// pending already.
    fn ask_for_end(&self, engine: &Engine, end: End) -> Option<u64> {
        // A script that may never end is not waited for. What such a script has written is included
        // in a save.
        engine.scripting.running.end(end.save == Some(false));
        let seconds = self.config.integer(Id::ShutdownTimeout).max(0) as u64;
        let wait = if end.now { Duration::ZERO } else { Duration::from_secs(seconds) };
        let (now, mut asked) = (Instant::now(), self.ending.pending.lock());
        if let Some(pending) = &mut asked.1 {
            if end.now && !pending.is_over {
                (pending.end, pending.wait, pending.until) = (end, wait, now);
                self.ending.changed.notify_all();
            }
            return None;
        }
        asked.0 += 1;
        let (number, until) = (asked.0, now + wait);
        let (position, changes, is_over) = (None, 0, false);
        asked.1 = Some(Pending { number, end, wait, until, position, changes, is_over });
        Some(number)
    }

    /// Holds writes back from now on. Some may be under way yet.
    fn hold_writes(&self, engine: &Engine) {
        let now_ms = self.clock.now().wall_ms;
        engine.pause_clients(Purpose::Shutdown, now_ms + FOR_EVER_MS, PauseMode::Write, now_ms);
    }

    /// Passes once through all shards, so that the commands that were being executed are over. Returns
    /// false while a script keeps a shard for itself.
    fn pass_through(&self, engine: &Engine) -> bool {
        let now_ms = self.clock.now().wall_ms;
        let passed = engine.transact("the end of the server", Locks::All, now_ms, &mut |_| {});
        !matches!(passed, Err(storage::Error::Busy))
    }

    /// Waits for another thread's end.
    fn await_end(&self) -> Result<(), String> {
        let mut pending = self.ending.pending.lock();
        while pending.1.is_some() && !self.shutdown.requested() {
            self.ending.changed.wait_for(&mut pending, ASK_EVERY);
        }
        let requested = self.shutdown.requested();
        if requested { Ok(()) } else { Err("it was given up".into()) }
    }

    /// Waits for replicas, and ends the server.
    fn carry_out(&self, engine: &Arc<Engine>, number: u64) -> Result<(), String> {
        let end = self.wait_for_replicas(engine, number).ok_or("it was aborted")?;
        let finished = self.finish(engine, end);
        if finished.is_err() {
            self.give_up(engine, |pending| pending.number == number);
        }
        self.ending.changed.notify_all();
        finished
    }

    /// Waits until all replicas have everything, or for as long as is permitted. Returns how the server
    /// is to end; `None` if the end was aborted.
    fn wait_for_replicas(&self, engine: &Engine, number: u64) -> Option<End> {
        let mut told = false;
        loop {
            let behind = self.lagging(engine, number);
            {
                let mut asked = self.ending.pending.lock();
                let pending = asked.1.as_mut().filter(|pending| pending.number == number)?;
                if behind == 0 || Instant::now() >= pending.until {
                    pending.is_over = true;
                    if behind > 0 {
                        tracing::warn!("shutting down: {behind} replicas lack something");
                    }
                    return Some(pending.end);
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("waiting for replicas before shutting down");
                }
                self.ending.changed.wait_for(&mut asked, ASK_EVERY);
            }
            engine.replication.out.ask();
            engine.replication.wake();
        }
    }

    /// Has writes held back for the end with this number, unless it is over. Returns how far the replicas
    /// have to be; `None` while a script may still write.
    fn position_of(&self, engine: &Engine, number: u64) -> Option<u64> {
        {
            let asked = self.ending.pending.lock();
            let pending = asked.1.as_ref().filter(|pending| pending.number == number)?;
            if pending.position.is_some() && pending.changes == engine.observe.stats.changes() {
                return pending.position;
            }
            // Under the lock, so that whoever aborts the end lets them through afterwards.
            self.hold_writes(engine);
        }
        if !self.pass_through(engine) {
            return None;
        }
        let mut asked = self.ending.pending.lock();
        let pending = asked.1.as_mut().filter(|pending| pending.number == number)?;
        pending.changes = engine.observe.stats.changes();
        let before = pending.position.replace(engine.replication.out.end());
        if before.is_none() {
            pending.until = Instant::now() + pending.wait;
        }
        pending.position
    }

    /// The number of replicas that have not acknowledged everything that the end with this number waits
    /// for: all of them while that is not known.
    fn lagging(&self, engine: &Engine, number: u64) -> usize {
        let followers = engine.replication.followers();
        let wanted = followers.iter().filter(|follower| !follower.announced.rdb_only);
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() {
            return 0;
        }
        let position = self.position_of(engine, number).unwrap_or(u64::MAX);
        wanted.iter().filter(|follower| follower.ack().position < position).count()
    }

    /// Saves if that is wanted, and has the runtime stop. If the data are saved, or there are replicas,
    /// nothing is written any more, not even by requests that have come already.
    fn finish(&self, engine: &Arc<Engine>, end: End) -> Result<(), String> {
        let _one = self.busy.lock();
        // Another node of a cluster leads from now on, so that clients have where to go while writes are held back here.
        self.farewell.get().into_iter().for_each(|farewell| farewell());
        let save = end.save.unwrap_or_else(|| !self.config.save_points().is_empty());
        if save && !is_loading(engine) {
            self.hold_writes(engine);
            self.pass_through(engine);
            let saved = self.persistence.saver.save_at_end(engine);
            self.ending.saved.store(saved.is_ok(), Ordering::SeqCst);
            if let Err(error) = saved {
                tracing::error!(error, end.force, "saving before the end failed");
                if !end.force {
                    return Err(GIVEN_UP.into());
                }
            }
        }
        tracing::info!(end.now, "user requested shutdown");
        self.shutdown.request();
        Ok(())
    }

    /// Gives the pending end up if it is `the_one`: writes are let through, and those who wait for the end
    /// are told. Returns whether it was.
    fn give_up(&self, engine: &Engine, the_one: impl Fn(&Pending) -> bool) -> bool {
        {
            let mut asked = self.ending.pending.lock();
            if !asked.1.as_ref().is_some_and(the_one) {
                return false;
            }
            asked.1 = None;
            engine.unpause_clients(Purpose::Shutdown);
        }
        self.ending.changed.notify_all();
        engine.serve_acks(self.clock.now());
        true
    }
}
