//! Directives that change the engine while it runs: who must be told when they are set.

use crate::config::{Id, OutputBufferLimit, Value};
use crate::engine::Engine;
use runtime::Now;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use storage::backend::EncodingLimits;
use storage::journal::Durability;

/// Which output limit applies to a session; the order of `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputClass {
    /// Ordinary clients.
    Normal,
    /// Clients that are sent every command (`MONITOR`).
    Replica,
    /// Clients with subscriptions.
    PubSub,
}

/// An [`OutputBufferLimit`] that is read on every batch of every thread, and hardly ever set.
/// Setting it is not atomic as a whole: a batch may see the hard limit of one value and the soft
/// limit of the next.
#[derive(Debug, Default)]
struct Limit {
    hard_bytes: AtomicU64,
    soft_bytes: AtomicU64,
    soft_seconds: AtomicU64,
    /// What follows from it, see the methods of [`Tuning`].
    ceiling: AtomicUsize,
    push_limit: AtomicUsize,
    per_turn: AtomicUsize,
}

/// Output that one turn of a session may add before others get theirs, in bytes.
const OUTPUT_PER_TURN: usize = 1 << 20;

/// One turn adds at most this part of the hard limit: what the peer reads at once does not count.
const TURNS_PER_LIMIT: usize = 4;

impl Limit {
    fn get(&self) -> OutputBufferLimit {
        OutputBufferLimit {
            hard_bytes: self.hard_bytes.load(Ordering::Relaxed),
            soft_bytes: self.soft_bytes.load(Ordering::Relaxed),
            soft_seconds: self.soft_seconds.load(Ordering::Relaxed),
        }
    }

    fn set(&self, limit: OutputBufferLimit, ceiling: usize) {
        let hard = usize::try_from(limit.hard_bytes).unwrap_or(usize::MAX);
        let (held_at, push_limit, per_turn) = match hard {
            0 => (ceiling, ceiling, OUTPUT_PER_TURN),
            _ => (usize::MAX, hard, (hard / TURNS_PER_LIMIT).clamp(1, OUTPUT_PER_TURN)),
        };
        self.ceiling.store(held_at, Ordering::Relaxed);
        self.push_limit.store(push_limit, Ordering::Relaxed);
        self.per_turn.store(per_turn, Ordering::Relaxed);
        self.hard_bytes.store(limit.hard_bytes, Ordering::Relaxed);
        self.soft_bytes.store(limit.soft_bytes, Ordering::Relaxed);
        self.soft_seconds.store(limit.soft_seconds, Ordering::Relaxed);
    }
}

/// Values derived from directives whose text is too slow to read on every batch.
#[derive(Debug, Default)]
pub struct Tuning {
    limits: [Limit; 3],
    times_each: AtomicBool,
    notable_nanos: AtomicU64,
    /// Until when [`Engine::look_closely`] has it so, monotonic microseconds; 0 for not at all.
    closely_until_us: AtomicU64,
}

/// Below this `slowlog-log-slower-than` a command that takes no time to speak of may be one that is
/// asked for, microseconds.
const TIMED_IN_RUNS_US: i64 = 1000;

/// After a run of quick commands was slow, each is measured by itself for so long, microseconds.
const CLOSE_LOOK_US: u64 = 1_000_000;

impl Tuning {
    /// Whether every command is measured by itself, however quick it is: the slow log or the latency
    /// monitor wants to know.
    #[inline]
    pub fn times_each(&self) -> bool {
        self.times_each.load(Ordering::Relaxed)
    }

    /// The shortest time that the slow log or the latency monitor keeps anything of, nanoseconds;
    /// [`u64::MAX`] where they keep nothing.
    #[inline]
    pub fn notable_nanos(&self) -> u64 {
        self.notable_nanos.load(Ordering::Relaxed)
    }

    #[inline]
    fn of(&self, class: OutputClass) -> &Limit {
        &self.limits[match class {
            OutputClass::Normal => 0,
            OutputClass::Replica => 1,
            OutputClass::PubSub => 2,
        }]
    }

    /// The limit of a class.
    pub fn output_limit(&self, class: OutputClass) -> OutputBufferLimit {
        self.of(class).get()
    }

    /// Unread output above which a session executes nothing more for now, in bytes:
    /// `client-output-ceiling` where the class has no hard limit. One with a limit is executed on,
    /// and closed when that is reached.
    #[inline]
    pub fn output_ceiling(&self, class: OutputClass) -> usize {
        self.of(class).ceiling.load(Ordering::Relaxed)
    }

    /// Unread bytes above which a client is closed that others send to (subscribers, monitors): the
    /// class's hard limit, or else the ceiling, for what others send cannot wait.
    pub fn push_limit(&self, class: OutputClass) -> usize {
        self.of(class).push_limit.load(Ordering::Relaxed)
    }

    /// Output that one turn of a session adds before it is written and others get their turns.
    #[inline]
    pub fn output_per_turn(&self, class: OutputClass) -> usize {
        self.of(class).per_turn.load(Ordering::Relaxed)
    }
}

/// Applies the directives in force, and every later change of them.
pub(crate) fn follow(engine: &Arc<Engine>) {
    for id in FOLLOWED {
        if let Err(reason) = check(engine, *id) {
            tracing::warn!("{reason}");
        }
        apply(engine, *id);
    }
    let weak: Weak<Engine> = Arc::downgrade(engine);
    engine.config.on_change(Box::new(move |id, _value: &Value| {
        if let (Some(engine), true) = (weak.upgrade(), FOLLOWED.contains(&id)) {
            check(&engine, id)?;
            apply(&engine, id);
        }
        Ok(())
    }));
}

/// Whether the engine can do what a directive asks for.
fn check(engine: &Engine, id: Id) -> Result<(), String> {
    let evicts = engine.config.choice(Id::MaxmemoryPolicy) != "noeviction";
    if id == Id::MaxmemoryPolicy && evicts && !engine.backend.can_sample() {
        let storage = engine.backend.name();
        return Err(format!("the storage {storage} keeps its data on disk and evicts nothing"));
    }
    Ok(())
}

/// The directives this module acts on.
const FOLLOWED: &[Id] = &[
    Id::ClientOutputBufferLimit,
    Id::ClientOutputCeiling,
    Id::MaxmemoryClients,
    Id::NotifyKeyspaceEvents,
    Id::LatencyMonitorThreshold,
    Id::Maxmemory,
    Id::MaxmemoryPolicy,
    Id::LfuLogFactor,
    Id::LfuDecayTime,
    Id::LatencyTracking,
    Id::SlowlogLogSlowerThan,
    Id::SlowlogMaxLen,
    Id::Appendfsync,
    Id::HashMaxListpackEntries,
    Id::HashMaxListpackValue,
    Id::SetMaxIntsetEntries,
    Id::SetMaxListpackEntries,
    Id::SetMaxListpackValue,
    Id::ZsetMaxListpackEntries,
    Id::ZsetMaxListpackValue,
    Id::ListMaxListpackSize,
    Id::StreamNodeMaxBytes,
    Id::StreamNodeMaxEntries,
    Id::Trace,
    Id::ReplBacklogSize,
    Id::MinReplicasToWrite,
    Id::MinReplicasMaxLag,
    Id::ReplicaServeStaleData,
];

fn apply(engine: &Engine, id: Id) {
    let config = &engine.config;
    match id {
        Id::ClientOutputBufferLimit | Id::ClientOutputCeiling => {
            let ceiling = config.memory(Id::ClientOutputCeiling) as usize;
            let limits = engine.tuning.limits.iter().zip(config.output_buffer_limits());
            limits.for_each(|(limit, new)| limit.set(new, ceiling));
        }
        Id::MaxmemoryClients => engine.update_client_limit(),
        Id::NotifyKeyspaceEvents => engine.keyspace.set_event_flags(config.integer(id) as u32),
        Id::SlowlogLogSlowerThan => {
            engine.slowlog.threshold_us.store(config.integer(id), Ordering::Relaxed);
            follow_measuring(engine);
        }
        Id::LatencyMonitorThreshold => {
            engine.latency.set_threshold_ms(config.integer(id) as u64);
            follow_measuring(engine);
        }
        Id::Maxmemory => {
            engine.update_memory_gate();
            engine.update_client_limit();
        }
        Id::MaxmemoryPolicy => {
            engine.eviction.forget();
            engine.update_memory_gate();
        }
        Id::LfuLogFactor | Id::LfuDecayTime => {
            let setting = |id| u32::try_from(config.integer(id)).unwrap_or(u32::MAX);
            engine.backend.set_frequency(setting(Id::LfuLogFactor), setting(Id::LfuDecayTime));
        }
        Id::LatencyTracking => engine.stats.set_track_times(config.boolean(id)),
        Id::SlowlogMaxLen => {
            engine.slowlog.max_len.store(config.integer(id) as usize, Ordering::Relaxed);
        }
        Id::Appendfsync => {
            if let Some(journal) = &engine.journal {
                journal.set_durability(durability(config.choice(id)));
            }
        }
        Id::ReplBacklogSize => engine.replication.out.resize(config.memory(id)),
        Id::MinReplicasToWrite | Id::MinReplicasMaxLag => engine.update_replica_gate(None),
        Id::ReplicaServeStaleData => engine.update_stale_gate(),
        Id::Trace => engine.trace(config.boolean(id)),
        _ => engine.backend.set_encoding_limits(&encoding_limits(engine)),
    }
}

/// How exactly commands must be measured, and what is to be heard of.
fn follow_measuring(engine: &Engine) {
    let slower_than_us = engine.config.integer(Id::SlowlogLogSlowerThan);
    let each = (0..TIMED_IN_RUNS_US).contains(&slower_than_us) || engine.latency.is_on();
    let closely = engine.tuning.closely_until_us.load(Ordering::Relaxed) > 0;
    engine.tuning.times_each.store(each || closely, Ordering::Relaxed);
    // A negative threshold is no time at all.
    let slow = u64::try_from(slower_than_us).map_or(u64::MAX, |us| us.saturating_mul(1000));
    let notable = slow.min(engine.latency.threshold_nanos().unwrap_or(u64::MAX));
    engine.tuning.notable_nanos.store(notable, Ordering::Relaxed);
}

impl Engine {
    /// Has every command be measured by itself for a while.
    pub(crate) fn look_closely(&self, now: Now) {
        self.tuning.closely_until_us.store(now.mono_us + CLOSE_LOOK_US, Ordering::Relaxed);
        follow_measuring(self);
    }

    /// Ends that when it is time.
    pub(crate) fn end_close_look(&self, now: Now) {
        let until_us = self.tuning.closely_until_us.load(Ordering::Relaxed);
        if until_us > 0 && until_us <= now.mono_us {
            self.tuning.closely_until_us.store(0, Ordering::Relaxed);
            follow_measuring(self);
        }
    }
}

/// The policy an `appendfsync` value names.
pub fn durability(appendfsync: &str) -> Durability {
    match appendfsync {
        "always" => Durability::Always,
        "no" => Durability::Never,
        _ => Durability::EverySecond,
    }
}

fn encoding_limits(engine: &Engine) -> EncodingLimits {
    let size = |id| engine.config.integer(id) as usize;
    EncodingLimits {
        hash_entries: size(Id::HashMaxListpackEntries),
        hash_value: size(Id::HashMaxListpackValue),
        set_intset_entries: size(Id::SetMaxIntsetEntries),
        set_entries: size(Id::SetMaxListpackEntries),
        set_value: size(Id::SetMaxListpackValue),
        zset_entries: size(Id::ZsetMaxListpackEntries),
        zset_value: size(Id::ZsetMaxListpackValue),
        list_size: engine.config.integer(Id::ListMaxListpackSize),
        stream_node_entries: size(Id::StreamNodeMaxEntries),
        stream_node_bytes: engine.config.memory(Id::StreamNodeMaxBytes) as usize,
    }
}
