//! Work done between requests: deleting what expired, cleaning up behind large deletions.
//!
//! The process calls [`Engine::keep_house`] regularly from a thread of its own choosing. Every
//! step locks one shard and does a bounded slice there.

use crate::clients::pause::{PauseMode, Purpose};
use crate::engine::Engine;
use crate::execute::Changes;
use crate::execute::containment::{Doing, Watch};
use crate::gate::Gate;
use runtime::Now;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::Locks;

/// Keys one step may expire.
const EXPIRE_BATCH: usize = 64;

/// Steps in a row on one shard before going on to the next.
const STEPS_PER_SHARD: usize = 16;

impl Engine {
    /// One round over all shards; true when more work is waiting than one round does.
    pub fn keep_house(&self, now: Now) -> bool {
        if self.tuning.switches.pauses_housekeeping.load(Ordering::Relaxed)
            || self.gate().contains(Gate::BROKEN)
        {
            return false;
        }
        if self.gate().intersects(Gate::BUSY | Gate::LOADING) {
            return self.observe.latency.noting(
                self.environment.stopwatch,
                "while-blocked-cron",
                now,
                || self.keep_house_once(now),
            );
        }
        self.keep_house_once(now)
    }

    /// Observes how long connections wait for their turns: see [`Clients::watch_load`](crate::clients::Clients).
    /// Must be called again after the time that it returns, if it returns one.
    pub fn watch_load(&self, now: Now) -> Option<Duration> {
        self.clients.watch_load(&self.gates, now, || self.random())
    }

    /// Whether [`Engine::note_memory_load`] is to be called, about ten times a second.
    pub fn looks_at_memory(&self) -> bool {
        self.clients.overload.looks_at_memory()
    }

    /// Notes how much of the memory is in use, in percent of what the process may use; `None` if nobody can tell. If it is
    /// too much (`overload-memory-target`), a share of the requests that may need more is refused.
    pub fn note_memory_load(&self, percent: Option<u32>, now: Now) {
        self.clients.note_memory_load(&self.gates, percent, now);
    }

    /// Holds commands of clients back; the later end and the stricter mode apply.
    pub fn pause_clients(&self, purpose: Purpose, until_ms: u64, mode: PauseMode, now_ms: u64) {
        let marks = (&self.gates, &self.notify.keyspace);
        self.clients.pause_all(marks, purpose, (until_ms, mode), now_ms);
    }

    /// Ends the pause for this purpose.
    pub fn unpause_clients(&self, purpose: Purpose) {
        self.clients.unpause_all(&self.gates, &self.notify.keyspace, purpose);
    }

    fn keep_house_once(&self, now: Now) -> bool {
        // A replica deletes what its master says.
        let still = self.gate().intersects(Gate::PAUSED | Gate::REPLICA);
        let expire = self.tuning.active_expire.is_on() && !still;
        let mut more = expire
            && self
                .observe
                .latency
                .noting(self.environment.stopwatch, "expire-cycle", now, || self.expire_all(now));
        for shard in 0..self.backend.shard_count() {
            more |= self.backend.maintain(shard);
        }
        self.notify.tracking.limit(self, None);
        self.clients.evict(&self.config, &self.observe.stats);
        self.tend_replication(now);
        self.update_gates(now);
        self.end_close_look(now);
        more |= self.gate() & (Gate::CROWDED | Gate::OVER_MEMORY) == Gate::CROWDED;
        self.observe.rates.sample(&self.observe.stats, now);
        self.observe.shards.sample(&*self.backend, now);
        more
    }

    fn expire_all(&self, now: Now) -> bool {
        let mut more = false;
        for shard in 0..self.backend.shard_count() {
            more |= self.expire_shard(shard, now);
        }
        more
    }

    fn expire_shard(&self, shard: u32, now: Now) -> bool {
        for _ in 0..STEPS_PER_SHARD {
            if !self.expire_step(shard, now) {
                return false;
            }
        }
        true
    }

    fn expire_step(&self, shard: u32, now: Now) -> bool {
        let mut more = false;
        let mut changes = Changes::default();
        let outcome = self.backend.transact(Locks::One(shard), now.wall_ms, &mut |tx| {
            // It makes no difference to readers whether an expired key is logged as deleted or
            // still exists.
            let watch = Watch::new(self, Doing::Work("expiry"), tx);
            self.observe.latency.noting(self.environment.stopwatch, "expire-del", now, || {
                if !self.is_admitted(self.backend.slot_of_shard(shard)) {
                    // A server that may not decide about deletions leaves the key.
                    return;
                }
                more = watch.tx.expire_due(shard, EXPIRE_BATCH).unwrap_or(false);
                self.settle_expired(None, watch.tx, &mut changes);
            });
            watch.end();
        });
        match outcome {
            Ok(()) => {}
            // Later, when the script has ended.
            Err(storage::Error::Busy) => return false,
            Err(error) => {
                tracing::warn!(%error, shard, "active expiry failed");
                return false;
            }
        }
        self.conclude(changes, None, now);
        more
    }

    fn update_gates(&self, now: Now) {
        self.update_memory_gate();
        self.make_room(now);
        let failed = self.logging_journal().is_some_and(|journal| journal.failure().is_some());
        self.set_gate(Gate::JOURNAL_FAILED, failed);
        if self.gate().contains(Gate::PAUSED) {
            self.clients.end_pauses(&self.gates, &self.notify.keyspace, now.wall_ms);
        }
    }
}
