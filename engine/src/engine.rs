//! [`Engine`]: the state that all sessions share.

use crate::acl::Acl;
use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::command::{CommandId, CommandTable, DuplicateCommand, Spec};
use crate::config::{ConfigStore, Id};
use crate::gate::{Gate, Gates};
use crate::host::Host;
use crate::notify::Notify;
use crate::observe::Observe;
use crate::peers::Peers;
use crate::replication::feed::Recording;
use crate::replication::{Outgoing, Replication, Tee};
use crate::scripting::Scripting;
use crate::tuning::Tuning;
use crate::upkeep::eviction::Eviction;
use ::replication::Id as Id40;
use runtime::Now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::random::mix;
use storage::{Backend, Db, Journal};

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

/// The numbers of commands that are special to the engine.
pub(crate) struct Known {
    /// `EXEC`, which runs what is queued.
    pub exec: CommandId,
    /// `CLIENT REPLY`, which decides whether there are replies.
    pub client_reply: CommandId,
}

/// The state shared by all sessions of a server.
pub struct Engine {
    /// The storage.
    pub backend: Arc<dyn Backend>,
    /// The journal, the stream to replicas, and which of them effects go to now.
    pub(crate) tee: Tee,
    /// The configuration.
    pub config: Arc<ConfigStore>,
    /// The table of commands.
    pub commands: CommandTable,
    /// All clients.
    pub clients: Clients,
    /// Notifications of clients.
    pub notify: Notify,
    /// Other servers.
    pub peers: Peers,
    /// Counters and measurements.
    pub observe: Observe,
    /// Users.
    pub acl: Acl,
    /// Replicas of this server, and its master.
    pub replication: Replication,
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
    /// The commands that are special to the engine.
    pub(crate) known: Known,
    /// Reasons why requests are looked at more closely.
    pub(crate) gates: Gates,
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
        let known = Known { exec, client_reply };
        let out = outgoing(parts.environment.seed);
        let engine = Engine {
            observe: Observe::new(commands.entries().len()),
            random: AtomicU64::new(parts.environment.seed),
            backend: parts.backend,
            tee: Tee::new(parts.journal, out.clone()),
            config: parts.config,
            commands,
            clients: Clients::default(),
            notify: Notify::default(),
            peers: Peers::default(),
            acl: Acl::default(),
            replication: Replication::new(out),
            eviction: Eviction::default(),
            scripting: Scripting::default(),
            environment: parts.environment,
            cluster: OnceLock::new(),
            tuning: Tuning::default(),
            known,
            gates: Gates::default(),
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
        engine.set_logged(engine.tee.journal.is_some());
        engine.notify.keyspace.set_guarded(engine.is_to_be_guarded());
        engine.follow_tuning();
        engine.follow_acl();
        engine
    }

    /// The reasons that are in force now.
    #[inline]
    pub fn gate(&self) -> Gate {
        self.gates.get()
    }

    /// The reasons, to be changed.
    #[inline]
    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Whether times of stages are recorded.
    #[inline]
    pub fn is_traced(&self) -> bool {
        self.gate().contains(Gate::TRACED)
    }

    /// The destination of effects, if they have one now: the log, the replicas, or both.
    #[inline]
    pub fn journal(&self) -> Option<&dyn Journal> {
        match self.tee.recording() {
            recording if recording.is_empty() || recording == Recording::APART => None,
            Recording::LOGGED => self.tee.journal.as_deref(),
            _ => Some(&self.tee),
        }
    }

    /// The journal that the engine was given, even while effects are not logged in it.
    pub fn any_journal(&self) -> Option<&dyn Journal> {
        self.tee.journal.as_deref()
    }

    /// The journal, if effects are logged now.
    pub fn logging_journal(&self) -> Option<&dyn Journal> {
        if self.is_logging() { self.tee.journal.as_deref() } else { None }
    }

    /// Whether effects are logged.
    #[inline]
    pub fn is_logging(&self) -> bool {
        self.tee.is(Recording::LOGGED)
    }

    /// Begins or ends logging (`CONFIG SET appendonly`) with the next effect.
    pub fn set_logging(&self, on: bool) {
        self.set_logged(on && self.tee.journal.is_some());
    }

    /// Adds reasons to look closer, or takes them away.
    pub fn set_gate(&self, reasons: Gate, on: bool) {
        self.gates.set(reasons, on);
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
