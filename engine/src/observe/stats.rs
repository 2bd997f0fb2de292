//! Counters of the engine: per command, and of the whole server.
//!
//! Counters that every command touches are kept once per thread slot, so that threads do not fight
//! over cache lines; readers add the slots up.

use crate::command::CommandId;
use crate::histogram::{Histogram, Recorder};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Slots; threads beyond that share.
const SLOTS: usize = 32;

/// Counters of one command.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Calls that ran.
    pub calls: AtomicU64,
    /// Nanoseconds spent running.
    pub nanos: AtomicU64,
    /// Calls refused before they ran.
    pub rejected: AtomicU64,
    /// Calls that ran and answered with an error.
    pub failed: AtomicU64,
    /// The times of calls; created at the first call, because most commands are never called.
    times: OnceLock<Box<Recorder>>,
}

/// A sum over the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// Calls that ran.
    pub calls: u64,
    /// Nanoseconds spent running.
    pub nanos: u64,
    /// Calls refused before they ran.
    pub rejected: u64,
    /// Calls that ran and answered with an error.
    pub failed: u64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    commands: Box<[CommandCounters]>,
    hits: AtomicU64,
    misses: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    changes: AtomicU64,
}

/// The engine's counters.
#[derive(Debug)]
pub struct Stats {
    slots: Box<[Slot]>,
    /// `latency-tracking`.
    track_times: AtomicBool,
    /// Keys deleted because their time was over.
    pub expired_keys: AtomicU64,
    /// Fields of hashes deleted because their time was over.
    pub expired_fields: AtomicU64,
    /// Keys evicted.
    pub evicted_keys: AtomicU64,
    /// Error replies by code.
    pub errors: Mutex<HashMap<String, u64>>,
    /// The value of [`Stats::changes`] when the last snapshot was taken.
    saved_changes: AtomicU64,
    /// The number of lazily freed objects when the counters were last reset.
    pub lazily_freed_before: AtomicU64,
    /// Sessions closed for exceeding an output limit.
    pub output_limit_disconnections: AtomicU64,
    /// Sessions closed for exceeding `client-query-buffer-limit`.
    pub query_limit_disconnections: AtomicU64,
    /// Clients closed for `maxmemory-clients`.
    pub evicted_clients: AtomicU64,
}

/// The calling thread's slot.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
    }
    SLOT.with(|slot| *slot)
}

impl Stats {
    /// Counters for `commands` commands, all zero.
    pub fn new(commands: usize) -> Self {
        let slot = |_| Slot {
            commands: (0..commands).map(|_| CommandCounters::default()).collect(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        };
        Stats {
            slots: (0..SLOTS).map(slot).collect(),
            track_times: AtomicBool::new(true),
            expired_keys: AtomicU64::new(0),
            expired_fields: AtomicU64::new(0),
            evicted_keys: AtomicU64::new(0),
            errors: Mutex::default(),
            saved_changes: AtomicU64::new(0),
            lazily_freed_before: AtomicU64::new(0),
            output_limit_disconnections: AtomicU64::new(0),
            query_limit_disconnections: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
        }
    }

    /// `calls` runs of a command that took `nanos` together. Each is counted with their mean.
    #[inline]
    pub fn ran(&self, command: CommandId, calls: u64, nanos: u64) {
        let counters = &self.slots[slot()].commands[command as usize];
        counters.calls.fetch_add(calls, Ordering::Relaxed);
        counters.nanos.fetch_add(nanos, Ordering::Relaxed);
        if self.track_times.load(Ordering::Relaxed) && calls > 0 {
            counters.times.get_or_init(Box::default).record(nanos / calls, calls);
        }
    }

    /// A run answered with this error; counted besides [`Stats::ran`].
    pub fn failed(&self, command: CommandId, code: &str) {
        self.slots[slot()].commands[command as usize].failed.fetch_add(1, Ordering::Relaxed);
        self.count_error(code);
    }

    /// A call was refused before it ran.
    pub fn rejected(&self, command: Option<CommandId>, code: &str) {
        if let Some(command) = command {
            self.slots[slot()].commands[command as usize].rejected.fetch_add(1, Ordering::Relaxed);
        }
        self.count_error(code);
    }

    /// A script raised this error itself.
    pub(crate) fn count_error(&self, code: &str) {
        /// Scripts can raise any code; remembering all of them would grow without bound.
        const CODES_MAX: usize = 128;
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < CODES_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// `n` changes were made, as Redis counts them.
    #[inline]
    pub fn changed(&self, n: u64) {
        self.slots[slot()].changes.fetch_add(n, Ordering::Relaxed);
    }

    /// Changes since start.
    pub fn changes(&self) -> u64 {
        self.sum(|s| &s.changes)
    }

    /// Changes since the last snapshot.
    pub fn unsaved_changes(&self) -> u64 {
        self.changes().saturating_sub(self.saved_changes.load(Ordering::Relaxed))
    }

    /// A snapshot holds everything up to a value of [`Stats::changes`].
    pub fn saved(&self, changes: u64) {
        self.saved_changes.store(changes, Ordering::Relaxed);
    }

    /// Keys found and not found by reading commands.
    #[inline]
    pub fn looked_up(&self, hits: u64, misses: u64) {
        let slot = &self.slots[slot()];
        slot.hits.fetch_add(hits, Ordering::Relaxed);
        slot.misses.fetch_add(misses, Ordering::Relaxed);
    }

    /// Bytes that went in and out.
    #[inline]
    pub fn moved(&self, bytes_in: u64, bytes_out: u64) {
        let slot = &self.slots[slot()];
        slot.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        slot.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }

    /// The totals of one command.
    pub fn command(&self, command: CommandId) -> CommandTotals {
        let mut totals = CommandTotals::default();
        for slot in &self.slots {
            let counters = &slot.commands[command as usize];
            totals.calls += counters.calls.load(Ordering::Relaxed);
            totals.nanos += counters.nanos.load(Ordering::Relaxed);
            totals.rejected += counters.rejected.load(Ordering::Relaxed);
            totals.failed += counters.failed.load(Ordering::Relaxed);
        }
        totals
    }

    /// `latency-tracking`: whether times are kept as histograms.
    pub fn set_track_times(&self, on: bool) {
        self.track_times.store(on, Ordering::Relaxed);
    }

    /// The times of the calls of one command.
    pub fn histogram(&self, command: CommandId) -> Histogram {
        let mut sum = Histogram::default();
        let counters = self.slots.iter().map(|slot| &slot.commands[command as usize]);
        counters.filter_map(|c| c.times.get()).for_each(|recorder| sum.add(recorder));
        sum
    }

    /// Commands run since start.
    pub fn total_calls(&self) -> u64 {
        let slots = self.slots.iter().flat_map(|s| s.commands.iter());
        slots.map(|c| c.calls.load(Ordering::Relaxed)).sum()
    }

    /// Keys found, keys not found.
    pub fn lookups(&self) -> (u64, u64) {
        (self.sum(|s| &s.hits), self.sum(|s| &s.misses))
    }

    /// Bytes received, bytes sent.
    pub fn traffic(&self) -> (u64, u64) {
        (self.sum(|s| &s.bytes_in), self.sum(|s| &s.bytes_out))
    }

    fn sum(&self, counter: impl Fn(&Slot) -> &AtomicU64) -> u64 {
        self.slots.iter().map(|slot| counter(slot).load(Ordering::Relaxed)).sum()
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        let zero = |counter: &AtomicU64| counter.store(0, Ordering::Relaxed);
        for slot in &self.slots {
            for c in &slot.commands {
                [&c.calls, &c.nanos, &c.rejected, &c.failed].into_iter().for_each(zero);
                c.times.get().into_iter().for_each(|recorder| recorder.clear());
            }
            [&slot.hits, &slot.misses, &slot.bytes_in, &slot.bytes_out].into_iter().for_each(zero);
        }
        [
            &self.expired_keys,
            &self.expired_fields,
            &self.evicted_keys,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
            &self.evicted_clients,
        ]
        .into_iter()
        .for_each(zero);
        self.errors.lock().clear();
    }
}
