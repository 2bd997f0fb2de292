//! Decides when keys are evicted, and which ones.

use super::{Candidate, Policy, Value, remember};
use crate::config::Id;
use crate::engine::Engine;
use crate::execute::Changes;
use crate::gate::Gate;
use crate::notify::keyspace::Class;
use runtime::Now;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use storage::{Expired, Key, Locks, Tx};

/// Samples none of which could be evicted before it is given up: others may decide about all of them.
const ROUNDS_MAX: usize = 100;

/// Keys that one command evicts at most before it runs.
const EVICTED_PER_COMMAND: usize = 128;
/// Bytes that came or were allocated after which it is asked again how much memory is used.
const CHECK_EVERY_BYTES: u64 = 64 << 10;
/// Slices of cleaning up before anything is evicted or refused.
const RECLAIMED_SLICES: usize = 4096;
/// Slices of cleaning up after one evicted key.
const SLICES_PER_KEY: usize = 64;

thread_local! {
    /// Bytes that the thread had allocated and not freed when they were last counted.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

impl Engine {
    /// Compares the used memory with `maxmemory`.
    pub(crate) fn update_memory_gate(&self) {
        let limit = self.config.memory(Id::Maxmemory);
        self.eviction.limited.store(limit > 0, Ordering::Relaxed);
        // A replica has the same keys as its master.
        let ignored = self.is_replica() && self.config.boolean(Id::ReplicaIgnoreMaxmemory);
        let over = limit > 0 && !ignored && self.environment.host.memory_used() > limit;
        let evicts = self.eviction_policy().is_some();
        self.set_gate(Gate::CROWDED, over && evicts);
        if !over || !evicts {
            self.set_gate(Gate::OVER_MEMORY, over);
        }
    }

    fn eviction_policy(&self) -> Option<Policy> {
        let policy = Policy::named(self.config.choice(Id::MaxmemoryPolicy))?;
        self.backend.can_sample().then_some(policy)
    }

    /// Counts the bytes of executed requests or, if that is more, the memory that the thread has
    /// allocated since the last count, because small requests can create large values.
    #[inline(always)]
    pub fn note_growth(&self, bytes: usize) {
        if self.eviction.limited.load(Ordering::Relaxed) {
            self.count_growth(bytes as u64);
        }
    }

    #[cold]
    fn count_growth(&self, bytes: u64) {
        let held = self.environment.host.allocated_here();
        let allocated = u64::try_from(held.saturating_sub(HELD.replace(held))).unwrap_or(0);
        let bytes = bytes.max(allocated);
        let grown = self.eviction.grown.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if grown >= CHECK_EVERY_BYTES {
            self.eviction.grown.store(0, Ordering::Relaxed);
            self.update_memory_gate();
        }
    }

    /// Whether a command that takes memory must be refused, because too little is left and nothing
    /// more can be evicted. Checks the memory again before it returns true.
    #[cold]
    pub(crate) fn is_out_of_memory(&self, now: Now) -> bool {
        if self.gate().contains(Gate::PAUSED) {
            return false;
        }
        self.reclaim();
        self.update_memory_gate();
        self.make_room(now);
        self.gate().contains(Gate::OVER_MEMORY)
    }

    /// Evicts what one command may evict, if memory is over its limit and no other thread does.
    pub(crate) fn make_room(&self, now: Now) {
        // Nothing may change during a pause.
        if self.gate() & (Gate::CROWDED | Gate::PAUSED) != Gate::CROWDED {
            return;
        }
        let Some(mut pool) = self.eviction.pool.try_lock() else { return };
        self.observe.latency.noting(self.environment.stopwatch, "eviction-cycle", now, || {
            self.make_room_with(&mut pool, now)
        });
    }

    fn make_room_with(&self, pool: &mut Vec<Candidate>, now: Now) {
        self.observe
            .latency
            .noting(self.environment.stopwatch, "eviction-lazyfree", now, || self.reclaim());
        let (limit, used) =
            (self.config.memory(Id::Maxmemory), self.environment.host.memory_used());
        let Some(policy) = self.eviction_policy() else { return self.update_memory_gate() };
        let mut excess = used.saturating_sub(limit);
        for _ in 0..EVICTED_PER_COMMAND {
            if excess == 0 || limit == 0 {
                break;
            }
            match self.evict_one(pool, policy, now) {
                Some(freed) => excess = excess.saturating_sub(freed),
                // Nothing that may go: from now on commands are refused.
                None => return self.set_gate(Gate::OVER_MEMORY, true),
            }
        }
        self.set_gate(Gate::OVER_MEMORY, false);
        let over = limit > 0 && self.environment.host.memory_used() > limit;
        self.set_gate(Gate::CROWDED, over);
    }

    /// Frees what was removed before and not yet taken apart (`FLUSHALL`, large values): nothing
    /// needs to give way for it.
    fn reclaim(&self) {
        let mut slices = 0;
        for shard in 0..self.backend.shard_count() {
            while slices < RECLAIMED_SLICES && self.backend.maintain(shard) {
                slices += 1;
            }
        }
    }

    /// Evicts the best victim found; how many bytes it held.
    fn evict_one(&self, pool: &mut Vec<Candidate>, policy: Policy, now: Now) -> Option<u64> {
        for _ in 0..ROUNDS_MAX {
            self.sample(pool, policy, now);
            // The sample of a key may be outdated; then the next one is tried.
            while let Some(victim) = pool.pop() {
                if let Some(freed) = self.evict(&victim, policy, now) {
                    return Some(freed);
                }
            }
            if !self.sample(pool, policy, now) {
                break;
            }
        }
        None
    }

    /// Adds keys of a random shard that has some; false when none has.
    fn sample(&self, pool: &mut Vec<Candidate>, policy: Policy, now: Now) -> bool {
        let count = match policy.value {
            Value::Nothing => 1,
            _ => self.config.integer(Id::MaxmemorySamples) as usize,
        };
        let (shards, dbs) = (self.backend.shard_count(), self.backend.used_dbs());
        let first = self.random() as u32 % shards;
        for shard in (0..shards).map(|n| (first + n) % shards) {
            let mut found = Vec::new();
            let sampled = self.backend.transact(Locks::One(shard), now.wall_ms, &mut |tx| {
                for &db in &dbs {
                    let (seed, volatile) = (self.random(), policy.volatile);
                    tx.sample(shard, db, seed, count, volatile, &mut |key, sampled| {
                        found.push(Candidate {
                            score: policy.score(&sampled),
                            db,
                            key: key.into(),
                        });
                    });
                }
            });
            if sampled.is_ok() && !found.is_empty() {
                found.into_iter().for_each(|candidate| remember(pool, candidate));
                return true;
            }
        }
        false
    }

    /// Deletes a key to make room; how many bytes it held, if it is still there.
    fn evict(&self, victim: &Candidate, policy: Policy, now: Now) -> Option<u64> {
        let Candidate { db, key, .. } = victim;
        let hash = self.backend.hash(key);
        let shard = self.backend.shard_of(hash);
        let (mut freed, mut changes) = (None, Changes::default());
        let mut remove = |tx: &mut dyn Tx| {
            let name = Key { db: *db, hash, bytes: key };
            let slot = self.slot_of(key);
            if self.is_admitted(slot)
                && (!policy.volatile || matches!(tx.expiry(&name), Ok(Some(Some(_)))))
                && let Ok(Some(info)) = tx.info(&name, 1)
                && tx.remove(&name).is_ok_and(|removed| removed)
            {
                freed = Some(info.bytes);
                self.observe.stats.evicted_keys.fetch_add(1, Ordering::Relaxed);
                let deleted = Expired::key(*db, key);
                let event = (Class::Evicted, "evicted");
                self.settle_deletion(&deleted, event, None, tx, &mut changes);
            }
            self.settle_expired(None, tx, &mut changes);
        };
        let evicted =
            self.observe.latency.noting(self.environment.stopwatch, "eviction-del", now, || {
                self.transact("eviction", Locks::One(shard), now.wall_ms, &mut remove)
            });
        self.conclude(changes, None, now);
        if evicted.is_err() || freed.is_none() {
            return None;
        }
        // The room is to be there now, however large the value was.
        self.observe.latency.noting(self.environment.stopwatch, "eviction-lazyfree", now, || {
            let _ = (0..SLICES_PER_KEY).all(|_| self.backend.maintain(shard));
        });
        freed
    }
}
