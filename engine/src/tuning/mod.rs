//! Directives that change the engine while it runs, with the parts that must be notified when they
//! are set; and the switches of `DEBUG` ([`switches`]).

mod engine;
pub mod switches;

use crate::config::OutputBufferLimit;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use storage::journal::Durability;
use switches::{ActiveExpire, Switches};

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
    /// The limits that follow from it, see the methods of [`Tuning`].
    ceiling: AtomicUsize,
    push_limit: AtomicUsize,
    per_turn: AtomicUsize,
}

/// Output that one turn of a session may add before others get theirs, in bytes.
const OUTPUT_PER_TURN: usize = 1 << 20;

/// One turn adds at most this part of the hard limit, because output that the peer reads at once
/// does not count.
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
    /// Until when [`Engine::look_closely`](crate::Engine) has it so, monotonic microseconds; 0 for not at all.
    closely_until_us: AtomicU64,
    /// `DEBUG SET-ACTIVE-EXPIRE`.
    pub active_expire: ActiveExpire,
    /// Other switches of `DEBUG`.
    pub switches: Switches,
}

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

    /// The unread bytes above which a client is closed to which others send (subscribers,
    /// monitors): the class's hard limit or, if there is none, the ceiling, because what others
    /// send cannot wait.
    pub fn push_limit(&self, class: OutputClass) -> usize {
        self.of(class).push_limit.load(Ordering::Relaxed)
    }

    /// Output that one turn of a session adds before it is written and others get their turns.
    #[inline]
    pub fn output_per_turn(&self, class: OutputClass) -> usize {
        self.of(class).per_turn.load(Ordering::Relaxed)
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
