//! Applies directives when they are set.

use super::durability;
use crate::acl::{DEFAULT_USER, UserChanges};
use crate::config::{Id, KeyspaceEvents, Value};
use crate::engine::Engine;
use crate::gate::Gate;
use runtime::Now;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use storage::backend::EncodingLimits;

/// If `slowlog-log-slower-than` is below this, in microseconds, even a quick command may have to be
/// recorded.
const TIMED_IN_RUNS_US: i64 = 1000;

/// After a run of quick commands was slow, each is measured by itself for so long, microseconds.
const CLOSE_LOOK_US: u64 = 1_000_000;

/// Whether the engine supports the value of a directive.
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
    Id::OverloadDelayTarget,
    Id::OverloadInterval,
    Id::OverloadMemoryTarget,
    Id::Timeout,
    Id::UnauthenticatedTimeout,
];

/// And those that [`RateLimits`](crate::clients::rate_limits::RateLimits) takes together.
const RATE_LIMITS: &[Id] = &[
    Id::RateLimitAction,
    Id::RateLimitAddress,
    Id::RateLimitAddressBytes,
    Id::RateLimitBurst,
    Id::RateLimitClient,
    Id::RateLimitClientBytes,
    Id::RateLimitUser,
    Id::RateLimitUserBytes,
];

fn apply(engine: &Engine, id: Id) {
    let config = &engine.config;
    match id {
        Id::ClientOutputBufferLimit | Id::ClientOutputCeiling => apply_output_limits(engine),
        Id::MaxmemoryClients => apply_client_limit(engine),
        Id::NotifyKeyspaceEvents => apply_events(engine),
        Id::SlowlogLogSlowerThan => {
            engine.observe.slowlog.threshold_us.store(config.integer(id), Ordering::Relaxed);
            follow_measuring(engine);
        }
        Id::LatencyMonitorThreshold => {
            engine.observe.latency.set_threshold_ms(config.integer(id) as u64);
            follow_measuring(engine);
        }
        Id::Maxmemory => {
            engine.update_memory_gate();
            apply_client_limit(engine);
        }
        Id::MaxmemoryPolicy => {
            engine.eviction.forget();
            engine.update_memory_gate();
        }
        Id::LfuLogFactor | Id::LfuDecayTime => apply_frequency(engine),
        Id::LatencyTracking => engine.observe.stats.set_track_times(config.boolean(id)),
        Id::SlowlogMaxLen => {
            engine.observe.slowlog.max_len.store(config.integer(id) as usize, Ordering::Relaxed);
        }
        Id::Appendfsync => apply_durability(engine),
        Id::ReplBacklogSize => engine.replication.out.resize(config.memory(id)),
        Id::MinReplicasToWrite | Id::MinReplicasMaxLag => engine.update_replica_gate(None),
        Id::ReplicaServeStaleData => engine.update_stale_gate(),
        Id::Trace => trace(engine, config.boolean(id)),
        Id::OverloadDelayTarget | Id::OverloadInterval | Id::OverloadMemoryTarget => {
            engine.clients.follow_overload(config, &engine.gates)
        }
        // Idle connections have no deadline, or a later one.
        Id::Timeout | Id::UnauthenticatedTimeout => engine.clients.wake_all(),
        id if RATE_LIMITS.contains(&id) => apply_rate_limits(engine),
        _ => engine.backend.set_encoding_limits(&encoding_limits(engine)),
    }
}

fn apply_durability(engine: &Engine) {
    let durability = durability(engine.config.choice(Id::Appendfsync));
    engine.tee.journal.iter().for_each(|journal| journal.set_durability(durability));
}

fn apply_client_limit(engine: &Engine) {
    engine.clients.update_memory_limit(&engine.config, &engine.observe.stats);
}

fn apply_events(engine: &Engine) {
    let events = KeyspaceEvents::of(engine.config.integer(Id::NotifyKeyspaceEvents));
    engine.notify.keyspace.set_events(events);
}

fn apply_rate_limits(engine: &Engine) {
    engine.set_gate(Gate::LIMITED, engine.clients.rate_limits.follow(&engine.config));
}

fn apply_frequency(engine: &Engine) {
    let setting = |id| u32::try_from(engine.config.integer(id)).unwrap_or(u32::MAX);
    engine.backend.set_frequency(setting(Id::LfuLogFactor), setting(Id::LfuDecayTime));
}

fn apply_output_limits(engine: &Engine) {
    let ceiling = engine.config.memory(Id::ClientOutputCeiling) as usize;
    let limits = engine.tuning.limits.iter().zip(engine.config.output_buffer_limits());
    limits.for_each(|(limit, new)| limit.set(new, ceiling));
}

/// Determines how exactly commands must be measured, and which events are recorded.
fn follow_measuring(engine: &Engine) {
    let slower_than_us = engine.config.integer(Id::SlowlogLogSlowerThan);
    let each = (0..TIMED_IN_RUNS_US).contains(&slower_than_us) || engine.observe.latency.is_on();
    let closely = engine.tuning.closely_until_us.load(Ordering::Relaxed) > 0;
    engine.tuning.times_each.store(each || closely, Ordering::Relaxed);
    // A negative threshold is no time at all.
    let slow = u64::try_from(slower_than_us).map_or(u64::MAX, |us| us.saturating_mul(1000));
    let notable = slow.min(engine.observe.latency.threshold_nanos().unwrap_or(u64::MAX));
    engine.tuning.notable_nanos.store(notable, Ordering::Relaxed);
}

/// Starts or stops recording the times of stages. The trace is one for the process: an engine that has not
/// started it does not stop another's.
fn trace(engine: &Engine, on: bool) {
    if on != engine.is_traced() {
        engine.set_gate(Gate::TRACED, on);
        runtime::trace::switch(on);
    }
}

impl Engine {
    /// Applies the directives in force, and every later change of them.
    pub(crate) fn follow_tuning(self: &Arc<Self>) {
        for id in FOLLOWED.iter().chain(RATE_LIMITS) {
            if let Err(reason) = check(self, *id) {
                tracing::warn!("{reason}");
            }
            apply(self, *id);
        }
        let weak: Weak<Engine> = Arc::downgrade(self);
        self.config.on_change(Box::new(move |id, _value: &Value| {
            let followed = FOLLOWED.contains(&id) || RATE_LIMITS.contains(&id);
            if let (Some(engine), true) = (weak.upgrade(), followed) {
                check(&engine, id)?;
                apply(&engine, id);
            }
            Ok(())
        }));
    }

    /// Follows `requirepass` and `acllog-max-len`, now and at every later change.
    pub(crate) fn follow_acl(self: &Arc<Self>) {
        if !self.config.text(Id::Requirepass).is_empty() {
            set_default_password(self, &self.config.text(Id::Requirepass));
        }
        self.acl.log.set_max_len(self.config.integer(Id::AcllogMaxLen) as usize);
        let weak: Weak<Engine> = Arc::downgrade(self);
        self.config.on_change(Box::new(move |id, value: &Value| {
            if let Some(engine) = weak.upgrade() {
                match (id, value) {
                    (Id::Requirepass, Value::Text(password)) => {
                        set_default_password(&engine, password);
                    }
                    (Id::AcllogMaxLen, Value::Number(n)) => engine.acl.log.set_max_len(*n as usize),
                    _ => {}
                }
            }
            Ok(())
        }));
    }

    /// Measures every command by itself for a while.
    pub(crate) fn look_closely(&self, now: Now) {
        self.tuning.closely_until_us.store(now.mono_us + CLOSE_LOOK_US, Ordering::Relaxed);
        follow_measuring(self);
    }

    /// Ends that when the time has come.
    pub(crate) fn end_close_look(&self, now: Now) {
        let until_us = self.tuning.closely_until_us.load(Ordering::Relaxed);
        if until_us > 0 && until_us <= now.mono_us {
            self.tuning.closely_until_us.store(0, Ordering::Relaxed);
            follow_measuring(self);
        }
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

/// `requirepass` is the default user's only password; an empty one means none is needed.
fn set_default_password(engine: &Engine, password: &str) {
    let new = match password {
        "" => b"nopass".to_vec(),
        password => [b">", password.as_bytes()].concat(),
    };
    if let Err((_, error)) =
        UserChanges::of(engine).set_user(DEFAULT_USER.as_bytes(), &[b"resetpass".to_vec(), new])
    {
        tracing::error!(error = error.text(), "requirepass could not be applied");
    }
}
