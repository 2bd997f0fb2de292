//! [`Engine`]: the state that all sessions share.

use crate::acl::Acl;
use crate::clients::Clients;
use crate::clients::cross_protocol::CrossProtocol;
use crate::clients::pause::Pause;
use crate::cluster::Cluster;
use crate::command::{CommandId, CommandTable, DuplicateCommand, Spec};
use crate::config::{ConfigStore, Id};
use crate::host::Host;
use crate::notify::blocking::Blocking;
use crate::notify::capture::Captures;
use crate::notify::keyspace::Keyspace;
use crate::notify::monitor::Monitors;
use crate::notify::pubsub::PubSub;
use crate::notify::tracking::Tracking;
use crate::observe::hot_keys::HotKeys;
use crate::observe::latency::LatencyMonitor;
use crate::observe::rates::Rates;
use crate::observe::slowlog::SlowLog;
use crate::observe::stats::Stats;
use crate::peers::breakers::Breakers;
use crate::peers::holds::Holds;
use crate::replication::{Outgoing, Replication, Tee, feed};
use crate::scripting::Scripting;
use crate::tuning::Tuning;
use crate::tuning::switches::{ActiveExpire, Switches};
use crate::upkeep::client_eviction::ClientEviction;
use crate::upkeep::eviction::Eviction;
use ::replication::Id as Id40;
use runtime::Now;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::random::mix;
use storage::{Backend, Db, Journal};

bitflags::bitflags! {
    /// Reasons why commands must be checked more closely before they run.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gate: u32 {
        /// `CLIENT PAUSE` is in force.
        const PAUSED = 1;
        /// The journal cannot write: writes are refused.
        const JOURNAL_FAILED = 1 << 1;
        /// Memory use exceeds `maxmemory`, and no key can be evicted.
        const OVER_MEMORY = 1 << 2;
        /// Memory use exceeds `maxmemory`, and keys can be evicted.
        const CROWDED = 1 << 29;
        /// A script has been running for longer than `busy-reply-threshold`.
        const BUSY = 1 << 30;
        /// The data are still being loaded.
        const LOADING = 1 << 3;
        /// A panic has left half a transaction, so no request is served any more.
        const BROKEN = 1 << 28;
        /// There are clients that monitor.
        const MONITORED = 1 << 4;
        /// There are clients that capture traffic.
        const CAPTURED = 1 << 8;
        /// Times of stages are recorded (`trace`).
        const TRACED = 1 << 6;
        /// This server follows a master.
        const REPLICA = 1 << 9;
        /// The link to the master is down, and its data must not be shown
        /// (`replica-serve-stale-data no`).
        const STALE = 1 << 10;
        /// A cluster decides where requests are executed.
        const CLUSTER = 1 << 12;
        /// There are rate limits.
        const LIMITED = 1 << 14;
        /// A share of the requests is refused, because connections wait too long.
        const OVERLOADED = 1 << 15;
        /// Fewer replicas than `min-replicas-to-write` follow.
        const FEW_REPLICAS = 1 << 11;
    }
}

/// Time, randomness and the process. The engine does not ask the operating system itself.
pub struct Environment {
    /// Nanoseconds since any fixed moment. Used only to measure durations.
    pub stopwatch: fn() -> u64,
    /// The seed of random choices.
    pub seed: u64,
    /// The time of the start.
    pub started: Now,
    /// The process around the engine.
    pub host: Arc<dyn Host>,
}

/// The arguments of [`Engine::new`].
pub struct Parts {
    /// The storage.
    pub backend: Arc<dyn Backend>,
    /// The journal, if there is one.
    pub journal: Option<Arc<dyn Journal>>,
    /// The configuration.
    pub config: Arc<ConfigStore>,
    /// The rows of all commands. Those of the built-in commands are in the crate `commands`.
    pub commands: Vec<&'static [Spec]>,
    /// The environment.
    pub environment: Environment,
}

/// The state shared by all sessions of a server.
pub struct Engine {
    /// The storage.
    pub backend: Arc<dyn Backend>,
    /// The journal in which effects can be logged. Use [`Engine::journal`], which knows whether
    /// they are.
    pub journal: Option<Arc<dyn Journal>>,
    /// Whether effects are logged, and whether replicas are told.
    pub(crate) tee: Tee,
    /// The configuration.
    pub config: Arc<ConfigStore>,
    /// The table of commands.
    pub commands: CommandTable,
    /// All clients.
    pub clients: Clients,
    /// Evicts clients when they use too much memory.
    pub(crate) client_eviction: ClientEviction,
    /// Warns of HTTP requests, and remembers when it did last.
    pub cross_protocol: CrossProtocol,
    /// Watched keys and keyspace events.
    pub keyspace: Keyspace,
    /// Clients that wait for keys.
    pub blocking: Blocking,
    /// The circuit breakers of what this server depends on.
    pub breakers: Arc<Breakers>,
    /// Keys that are being sent to another server.
    pub(crate) holds: Holds,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Client-side caching.
    pub tracking: Tracking,
    /// Users.
    pub acl: Acl,
    /// Counters.
    pub stats: Stats,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Keys on which most is spent (`HOTKEYS`).
    pub hot_keys: HotKeys,
    /// Slow events (`LATENCY`).
    pub latency: Arc<LatencyMonitor>,
    /// Rates per second.
    pub rates: Rates,
    /// Clients that see every command (`MONITOR`).
    pub monitors: Monitors,
    /// Clients that are sent every request (`CAPTURE`).
    pub captures: Captures,
    /// Replicas of this server, and its master.
    pub replication: Replication,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// `DEBUG SET-ACTIVE-EXPIRE`.
    pub active_expire: ActiveExpire,
    /// Other switches of `DEBUG`.
    pub switches: Switches,
    /// Chooses the keys to evict when memory use exceeds `maxmemory`.
    pub eviction: Eviction,
    /// Scripts and functions.
    pub scripting: Scripting,
    /// The environment that the engine was made with.
    pub environment: Environment,
    /// The cluster that decides where requests are executed, if there is one.
    pub(crate) cluster: OnceLock<Arc<dyn Cluster>>,
    /// Limits derived from directives.
    pub tuning: Tuning,
    pub(crate) exec: CommandId,
    pub(crate) client_reply: CommandId,
    gate: AtomicU32,
    random: AtomicU64,
}

impl Engine {
    /// Creates an engine.
    ///
    /// # Errors
    /// Fails if two commands have the same name.
    pub fn new(parts: Parts) -> Result<Arc<Self>, DuplicateCommand> {
        let commands = CommandTable::new(parts.commands.iter().copied())?;
        Ok(Self::assemble(parts, commands))
    }

    /// Like [`Engine::new`], but renames commands (`rename-command`): each pair is the old and the
    /// new name; an empty new name removes the command.
    ///
    /// # Errors
    /// Fails like [`Engine::new`] and [`CommandTable::rename`].
    pub fn with_names(parts: Parts, names: &[(String, String)]) -> Result<Arc<Self>, String> {
        let commands = CommandTable::new(parts.commands.iter().copied());
        let mut commands = commands.map_err(|error| error.to_string())?;
        for (old, new) in names {
            let renamed = commands.rename(old, new);
            renamed.map_err(|reason| format!("rename-command {old}: {reason}"))?;
        }
        Ok(Self::assemble(parts, commands))
    }

    fn assemble(parts: Parts, commands: CommandTable) -> Arc<Self> {
        let (exec, client_reply) = (commands.id_of("exec"), commands.id_of("client|reply"));
        let out = outgoing(parts.environment.seed);
        let engine = Engine {
            stats: Stats::new(commands.entries().len()),
            random: AtomicU64::new(parts.environment.seed),
            backend: parts.backend,
            tee: Tee::new(parts.journal.clone(), out.clone()),
            journal: parts.journal,
            config: parts.config,
            commands,
            clients: Clients::default(),
            keyspace: Keyspace::default(),
            blocking: Blocking::default(),
            breakers: Arc::default(),
            holds: Holds::default(),
            pubsub: PubSub::default(),
            tracking: Tracking::default(),
            acl: Acl::default(),
            client_eviction: ClientEviction::default(),
            cross_protocol: CrossProtocol::default(),
            slowlog: SlowLog::default(),
            hot_keys: HotKeys::default(),
            latency: Arc::default(),
            rates: Rates::default(),
            monitors: Monitors::default(),
            captures: Captures::default(),
            replication: Replication::new(out),
            pause: Pause::default(),
            active_expire: ActiveExpire::default(),
            switches: Switches::default(),
            eviction: Eviction::default(),
            scripting: Scripting::default(),
            environment: parts.environment,
            cluster: OnceLock::new(),
            tuning: Tuning::default(),
            exec,
            client_reply,
            gate: AtomicU32::new(0),
        };
        engine.begin()
    }

    /// Tells storage and keyspace what they need to know, and applies the configuration.
    fn begin(self) -> Arc<Self> {
        let engine = Arc::new(self);
        let stopwatch = engine.environment.stopwatch;
        let watches = Arc::downgrade(&engine.scripting.watches);
        let held_up = move || Some(!watches.upgrade()?.overdue(stopwatch()).is_empty());
        engine.backend.when_waiting(Box::new(held_up));
        engine.set_logged(engine.journal.is_some());
        engine.keyspace.set_guarded(engine.is_to_be_guarded());
        engine.follow_tuning();
        engine.follow_acl();
        engine
    }

    /// The reasons that are in force now.
    #[inline]
    pub fn gate(&self) -> Gate {
        Gate::from_bits_retain(self.gate.load(Ordering::Relaxed))
    }

    /// The destination of effects, if they have one now: the log, the replicas, or both.
    #[inline]
    pub fn journal(&self) -> Option<&dyn Journal> {
        match self.tee.recording.load(Ordering::Relaxed) {
            0 => None,
            feed::LOGGED => self.journal.as_deref(),
            feed::APART => None,
            _ => Some(&self.tee),
        }
    }

    /// The journal, if effects are logged now.
    pub fn logging_journal(&self) -> Option<&dyn Journal> {
        if self.is_logging() { self.journal.as_deref() } else { None }
    }

    /// Whether effects are logged.
    #[inline]
    pub fn is_logging(&self) -> bool {
        self.tee.is(feed::LOGGED)
    }

    /// Begins or ends logging (`CONFIG SET appendonly`) with the next effect.
    pub fn set_logging(&self, on: bool) {
        self.set_logged(on && self.journal.is_some());
    }

    /// Adds reasons to look closer, or takes them away.
    pub fn set_gate(&self, reasons: Gate, on: bool) {
        match on {
            true => self.gate.fetch_or(reasons.bits(), Ordering::SeqCst),
            false => self.gate.fetch_and(!reasons.bits(), Ordering::SeqCst),
        };
    }

    /// The next random number (splitmix64 from the environment's seed), for work that belongs to no
    /// request. Requests use [`Cx::random`](crate::Cx::random).
    pub fn random(&self) -> u64 {
        mix(self.random.fetch_add(GOLDEN, Ordering::Relaxed))
    }

    /// Gives the history a new replication id.
    pub fn change_replication_id(&self) {
        let history = ::replication::History::new(self.new_history_id());
        self.replication.out.rename(history);
    }

    /// Number of databases.
    pub fn databases(&self) -> Db {
        self.config.integer(Id::Databases) as Db
    }
}

/// SplitMix64's step, by which threads share one sequence.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The stream to replicas, whose history has an id that follows from a seed.
fn outgoing(seed: u64) -> Arc<Outgoing> {
    let history = hex_digits(seed);
    Arc::new(Outgoing::new(Id40::parse(history.as_bytes()).unwrap_or(Id40::NONE)))
}

/// Forty hexadecimal digits that follow from a seed.
pub(crate) fn hex_digits(seed: u64) -> String {
    let start = |i: u64| seed.wrapping_sub(GOLDEN.wrapping_mul(i));
    let word = |i| mix(start(i));
    let mut digits: String = (2..=4).map(|i| format!("{:016x}", word(i))).collect();
    digits.truncate(40);
    digits
}
