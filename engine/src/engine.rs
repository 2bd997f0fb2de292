//! [`Engine`]: everything that sessions share.

use crate::acl::Acl;
use crate::blocking::Blocking;
use crate::capture::Captures;
use crate::client_eviction::ClientEviction;
use crate::clients::Clients;
use crate::command::{CommandId, CommandTable, DuplicateCommand, Spec};
use crate::config::{ConfigStore, Id, keyspace_events as bits};
use crate::cross_protocol::CrossProtocol;
use crate::eviction::Eviction;
use crate::figures::Sheet;
use crate::holds::Holds;
use crate::housekeeping::ActiveExpire;
use crate::keyspace::{Class, Keyspace};
use crate::latency::LatencyMonitor;
use crate::monitor::Monitors;
use crate::pause::Pause;
use crate::peers::{Answers, Errand, PeerError, Requests, Target};
use crate::pubsub::{self, PubSub};
use crate::rates::Rates;
use crate::replication::{Outgoing, Replication, Tee, feed};
use crate::scripting::Scripting;
use crate::session::{Session, SessionState};
use crate::slowlog::SlowLog;
use crate::stats::Stats;
use crate::switches::Switches;
use crate::tracking::Tracking;
use crate::tuning::{self, OutputClass, Tuning};
use ::replication::Id as Id40;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng};
use runtime::{Connection, Now, Peer, Refusal, Service};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;
use storage::{Backend, Db, Journal};

/// Reasons for which the dispatcher must look closer before it runs a command.
pub mod gate {
    /// `CLIENT PAUSE` is in force.
    pub const PAUSED: u32 = 1;
    /// The journal cannot write: writes are refused.
    pub const JOURNAL_FAILED: u32 = 1 << 1;
    /// Memory is over `maxmemory`, and nothing can be evicted.
    pub const OVER_MEMORY: u32 = 1 << 2;
    /// Memory is over `maxmemory`, and there is a policy for what gives way.
    pub const CROWDED: u32 = 1 << 29;
    /// A script runs for longer than `busy-reply-threshold`.
    pub const BUSY: u32 = 1 << 30;
    /// The data is still being loaded.
    pub const LOADING: u32 = 1 << 3;
    /// A panic left half a transaction: nothing is served any more.
    pub const BROKEN: u32 = 1 << 28;
    /// Somebody monitors.
    pub const MONITORED: u32 = 1 << 4;
    /// Somebody captures.
    pub const CAPTURED: u32 = 1 << 8;
    /// Times of stages are taken (`trace`).
    pub const TRACED: u32 = 1 << 6;
    /// This server follows a master.
    pub const REPLICA: u32 = 1 << 9;
    /// The master is away, and what is here must not be shown (`replica-serve-stale-data no`).
    pub const STALE: u32 = 1 << 10;
    /// A cluster decides who executes.
    pub const CLUSTER: u32 = 1 << 12;
    /// Fewer replicas than `min-replicas-to-write` follow.
    pub const FEW_REPLICAS: u32 = 1 << 11;
}

/// What the engine is given by the process around it, so that it need not ask the system itself.
pub struct Environment {
    /// Nanoseconds since any fixed moment: for measuring how long a command took, nothing else.
    pub stopwatch: fn() -> u64,
    /// Where random choices come from.
    pub seed: u64,
    /// The time of the start.
    pub started: Now,
    /// The process around the engine.
    pub host: Arc<dyn Host>,
}

/// When work in the background is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once, or not at all.
    Now,
    /// At once, or when what is under way has ended.
    Soon,
    /// When the transaction that asks has ended, at the earliest.
    Later,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    Started,
    /// It will.
    Scheduled,
}

/// What the process around the engine does for commands that are about it.
///
/// Every method has a default that says it is not available, so tests and embedders implement only
/// what they need.
pub trait Host: Send + Sync {
    /// Ends the server (`SHUTDOWN`); `save` as `SAVE`/`NOSAVE` asked, `None` for the default.
    ///
    /// # Errors
    /// When saving failed and the shutdown was therefore given up.
    fn shutdown(&self, _save: Option<bool>, _now: bool, _force: bool) -> Result<(), String> {
        Err("shutdown is not available here".into())
    }

    /// Takes back a shutdown under way (`SHUTDOWN ABORT`).
    ///
    /// # Errors
    /// When none is.
    fn abort_shutdown(&self) -> Result<(), String> {
        Err("No shutdown in progress.".into())
    }

    /// Writes a snapshot (`SAVE`).
    ///
    /// # Errors
    /// When one is running, or writing failed.
    fn save(&self) -> Result<(), String> {
        Err("saving is not available here".into())
    }

    /// Writes a snapshot in the background (`BGSAVE`).
    ///
    /// # Errors
    /// When one is running, or something else with which it does not go together is and it is not
    /// to be begun later.
    fn save_in_background(&self, _when: When) -> Result<Begun, String> {
        Err("saving is not available here".into())
    }

    /// Compacts the journal in the background (`BGREWRITEAOF`).
    ///
    /// # Errors
    /// When there is no journal, or a compaction is running.
    fn rewrite_journal(&self, _when: When) -> Result<Begun, String> {
        Err("The append only file is disabled".into())
    }

    /// Writes the configuration back to its file (`CONFIG REWRITE`); with `all`, every directive,
    /// those at their defaults too.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    fn rewrite_config(&self, _all: bool) -> Result<(), String> {
        Err("The server is running without a config file".into())
    }

    /// What an `aclfile` holds (`ACL LOAD`).
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read_acl_file(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("there are no files here".into())
    }

    /// Replaces an `aclfile` at once and durably (`ACL SAVE`).
    ///
    /// # Errors
    /// Why it cannot be written.
    fn write_acl_file(&self, _path: &str, _text: &[u8]) -> Result<(), String> {
        Err("there are no files here".into())
    }

    /// Fills `bytes` with what nobody can guess (`ACL GENPASS`). `seeded` gives the engine's own
    /// random numbers, which are good enough for tests only.
    ///
    /// # Errors
    /// When the system has none.
    fn fill_random(&self, bytes: &mut [u8], seeded: &mut dyn FnMut() -> u64) -> Result<(), String> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&seeded().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    /// Throws the data away and loads it again from disk (`DEBUG RELOAD`, `DEBUG LOADAOF`).
    ///
    /// # Errors
    /// When that failed.
    fn reload(&self, _from_journal: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Begins to follow a master, or stops following: `generation` is the engine's, and whatever belongs to
    /// an earlier one ends by itself. Must not wait for locks.
    fn follow(&self, _source: Option<(&str, u16)>, _generation: u64) {}

    /// A replica waits for all data: has them sent soon, to all who wait.
    fn begin_sync(&self) {}

    /// Puts the figures of an `INFO` section that only the process knows into the sheet: `server`, `memory`,
    /// `cpu`, `persistence`, `clients`, `stats`. They are shown in this order, among the engine's own; a
    /// name given here replaces the engine's row of that name. Other commands read single figures from
    /// here too: `MEMORY STATS` the section `memory`, `LASTSAVE` `rdb_last_save_time` of `persistence`.
    fn figures(&self, _section: &str, _sheet: &mut Sheet) {}

    /// Replaces the data by what the snapshot file holds, without saving first
    /// (`DEBUG RELOAD NOSAVE`). With `keep`, what is there stays; a key that the file has too is
    /// replaced with `merge`, and an error without: what was loaded before it stays.
    ///
    /// # Errors
    /// When that failed.
    fn load_snapshot(&self, _keep: bool, _merge: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Ends the process at once with a line in its log that says why (`DEBUG PANIC` and its kin);
    /// what it says if it does not.
    fn crash(&self, _why: &str) -> &'static str {
        "crashing is not available here"
    }

    /// Begins the process anew after a while, with the same arguments: a graceful one writes
    /// configuration and data first, the other just ends as a crash does (`DEBUG RESTART`,
    /// `CRASH-AND-RECOVER`). Returns only if it cannot.
    fn restart(&self, _graceful: bool, _delay: Duration) {}

    /// A number that the allocator knows by this name, after setting it to `new` (`DEBUG MALLCTL`);
    /// `None` for one that can only be set.
    ///
    /// # Errors
    /// The system's words for what is not there, or not allowed.
    fn allocator_number(&self, _name: &[u8], _new: Option<i64>) -> Result<Option<i64>, String> {
        Err("No such file or directory".into())
    }

    /// A text that the allocator knows by this name, before setting it to `new`; empty sets what
    /// takes no value.
    ///
    /// # Errors
    /// As [`Host::allocator_number`].
    fn allocator_text(&self, _name: &[u8], _new: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        Err("No such file or directory".into())
    }

    /// Sends requests to another server and waits for its answers (`MIGRATE`).
    fn exchange(&self, _target: &Target<'_>, _requests: &Requests) -> Answers {
        Answers::none(PeerError::Connecting)
    }

    /// Has another thread do what [`Host::exchange`] does for an errand, and then call
    /// [`Engine::end_errand`]. Returns at once.
    ///
    /// # Errors
    /// The errand, when there is no other thread.
    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        Err(errand)
    }

    /// Ends the process without delay, because data and log may not agree: no snapshot, no orderly
    /// shutdown, only what was logged is made durable. Called while shards are locked. Should it
    /// return, the engine refuses every command from then on.
    fn fail_stop(&self, _cause: &str) {}

    /// The time in microseconds since 1970 (`TIME`); `now` is when the request was received.
    fn time_us(&self, now: Now) -> u64 {
        now.wall_ms * 1000
    }

    /// Holds the calling thread for a while (`DEBUG SLEEP`).
    fn sleep(&self, _time: Duration) {}

    /// Gives unused memory back to the system (`MEMORY PURGE`).
    ///
    /// # Errors
    /// When the allocator refuses.
    fn purge_memory(&self) -> Result<(), String> {
        Ok(())
    }

    /// What the allocator tells of itself (`MEMORY MALLOC-STATS`), if it does.
    fn allocator_report(&self) -> Option<String> {
        None
    }

    /// Bytes of memory the process has allocated.
    fn memory_used(&self) -> u64 {
        0
    }

    /// Bytes that the calling thread has allocated since it began, less those that it has freed; 0
    /// where the allocator does not tell. Asked often: it should cost next to nothing.
    fn allocated_here(&self) -> i64 {
        0
    }
}

/// Who is to execute a request; texts are `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This server. Effects go to `stream`; `fence` is what [`Cluster::is_current`] is asked about.
    Serve {
        /// The stream of the slot's effects.
        stream: u16,
        /// Stands for the time during which this server executes: a term of leadership.
        fence: u64,
    },
    /// Another, from now on.
    Moved(Box<str>),
    /// Another, this once.
    Ask(Box<str>),
    /// Nobody at this moment: some of the keys are there, some here.
    TryAgain,
    /// Nobody that is known.
    Down,
}

/// Who executes now, where several servers agree on that ([`Engine::join`]). Without it this server
/// executes everything, and nobody is asked.
pub trait Cluster: Send + Sync {
    /// Who executes requests for `slot` of this session (which may have said `READONLY` or
    /// `ASKING`). Asked before the locks are taken.
    fn route(&self, slot: u16, session: &SessionState) -> Route;

    /// Whether [`Route::Serve`] with this stream and fence would still be the answer. Asked while the
    /// shards of the keys are locked: who steps down lowers the fence first, then takes every shard
    /// once, and knows then that nothing more is executed behind it. Has to be cheap.
    fn is_current(&self, stream: u16, fence: u64) -> bool;
}

/// A host that offers nothing, for tests.
pub struct NoHost;

impl Host for NoHost {}

/// What an engine is made of.
pub struct Parts {
    /// Where the data lives.
    pub backend: Arc<dyn Backend>,
    /// Where effects are logged, if they are.
    pub journal: Option<Arc<dyn Journal>>,
    /// The configuration.
    pub config: Arc<ConfigStore>,
    /// Every command there is: the built-in ones are in the crate `commands`.
    pub commands: Vec<&'static [Spec]>,
    /// The process around it.
    pub environment: Environment,
}

/// The state shared by all sessions of a server.
pub struct Engine {
    /// Where the data lives.
    pub backend: Arc<dyn Backend>,
    /// Where effects can be logged; whether they are is another matter: [`Engine::journal`].
    pub journal: Option<Arc<dyn Journal>>,
    /// Whether they are, and whether replicas are told.
    pub(crate) tee: Tee,
    /// The configuration.
    pub config: Arc<ConfigStore>,
    /// Every command.
    pub commands: CommandTable,
    /// Every connection.
    pub clients: Clients,
    /// Who has to go when clients hold too much memory.
    pub(crate) client_eviction: ClientEviction,
    /// When a browser's request was last warned of.
    pub cross_protocol: CrossProtocol,
    /// Who watches keys.
    pub keyspace: Keyspace,
    /// Who waits for keys.
    pub blocking: Blocking,
    /// Keys on their way to another server.
    pub(crate) holds: Holds,
    /// Who listens to channels.
    pub pubsub: PubSub,
    /// Who caches keys.
    pub tracking: Tracking,
    /// Users.
    pub acl: Acl,
    /// Counters.
    pub stats: Stats,
    /// Commands that took long.
    pub slowlog: SlowLog,
    /// Moments that were long (`LATENCY`).
    pub latency: Arc<LatencyMonitor>,
    /// What happens per second.
    pub rates: Rates,
    /// Who sees every command (`MONITOR`).
    pub monitors: Monitors,
    /// Who is sent every request (`CAPTURE`).
    pub captures: Captures,
    /// Who follows us, and whom we follow.
    pub replication: Replication,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// `DEBUG SET-ACTIVE-EXPIRE`.
    pub active_expire: ActiveExpire,
    /// What else `DEBUG` turns on and off.
    pub switches: Switches,
    /// What gives way when memory is full.
    pub eviction: Eviction,
    /// Scripts and functions.
    pub scripting: Scripting,
    /// What the process gave.
    pub environment: Environment,
    /// Who executes what, if that is not always this server.
    pub(crate) cluster: OnceLock<Arc<dyn Cluster>>,
    /// Limits derived from directives that are texts.
    pub tuning: Tuning,
    pub(crate) exec: CommandId,
    pub(crate) client_reply: CommandId,
    gate: AtomicU32,
    random: AtomicU64,
}

impl Engine {
    /// Puts an engine together.
    ///
    /// # Errors
    /// When two commands have one name.
    pub fn new(parts: Parts) -> Result<Arc<Self>, DuplicateCommand> {
        let commands = CommandTable::new(parts.commands.iter().copied())?;
        Ok(Self::assemble(parts, commands))
    }

    /// As [`Engine::new`], with other names for commands (`rename-command`): old and new, an empty
    /// one for a command that is taken away.
    ///
    /// # Errors
    /// As [`Engine::new`] and [`CommandTable::rename`].
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
        let id = |name| commands.entries().iter().find(|entry| entry.full_name == name);
        let id = |name| id(name).map_or(CommandId::MAX, |entry| entry.id);
        let (exec, client_reply) = (id("exec"), id("client|reply"));
        let history = hex_digits(parts.environment.seed);
        let out = Arc::new(Outgoing::new(Id40::parse(history.as_bytes()).unwrap_or(Id40::NONE)));
        let tee =
            Tee { journal: parts.journal.clone(), out: out.clone(), recording: AtomicU8::new(0) };
        let engine = Arc::new(Engine {
            stats: Stats::new(commands.entries().len()),
            random: AtomicU64::new(parts.environment.seed),
            backend: parts.backend,
            tee,
            journal: parts.journal,
            config: parts.config,
            commands,
            clients: Clients::default(),
            keyspace: Keyspace::default(),
            blocking: Blocking::default(),
            holds: Holds::default(),
            pubsub: PubSub::default(),
            tracking: Tracking::default(),
            acl: Acl::default(),
            client_eviction: ClientEviction::default(),
            cross_protocol: CrossProtocol::default(),
            slowlog: SlowLog::default(),
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
        });
        engine.begin();
        tuning::follow(&engine);
        crate::acl::follow(&engine);
        engine
    }

    /// Tells storage and keyspace what they need to know of the rest.
    fn begin(&self) {
        let stopwatch = self.environment.stopwatch;
        let watches = Arc::downgrade(&self.scripting.watches);
        let held_up = move || Some(!watches.upgrade()?.overdue(stopwatch()).is_empty());
        self.backend.when_waiting(Box::new(held_up));
        self.set_logged(self.journal.is_some());
        self.keyspace.set_guarded(self.is_to_be_guarded());
    }

    /// The [`gate`] bits in force.
    #[inline]
    pub fn gate(&self) -> u32 {
        self.gate.load(Ordering::Relaxed)
    }

    /// Where effects go, if they go anywhere now: to the log, to replicas, or both.
    #[inline]
    pub fn journal(&self) -> Option<&dyn Journal> {
        match self.tee.recording.load(Ordering::Relaxed) {
            0 => None,
            feed::LOGGED => self.journal.as_deref(),
            feed::APART => None,
            _ => Some(&self.tee),
        }
    }

    /// Where effects are logged, if they are now.
    pub fn logging_journal(&self) -> Option<&dyn Journal> {
        if self.is_logging() { self.journal.as_deref() } else { None }
    }

    /// Whether effects are logged.
    #[inline]
    pub fn is_logging(&self) -> bool {
        self.tee.is(feed::LOGGED)
    }

    /// Begins or ends logging (`CONFIG SET appendonly`): from the next effect on.
    pub fn set_logging(&self, on: bool) {
        self.set_logged(on && self.journal.is_some());
    }

    /// Sets or clears a [`gate`] bit.
    pub fn set_gate(&self, bit: u32, on: bool) {
        match on {
            true => self.gate.fetch_or(bit, Ordering::SeqCst),
            false => self.gate.fetch_and(!bit, Ordering::SeqCst),
        };
    }

    /// The next random number (splitmix64 from the environment's seed) for what is nobody's request;
    /// requests have [`Cx::random`](crate::Cx::random).
    pub fn random(&self) -> u64 {
        SplitMix64::seed_from_u64(self.random.fetch_add(GOLDEN, Ordering::Relaxed)).next_u64()
    }

    /// Gives the history a new identity.
    pub fn change_replication_id(&self) {
        let history = ::replication::History::new(self.new_history_id());
        self.replication.out.rename(history);
    }

    /// Number of databases.
    pub fn databases(&self) -> Db {
        self.config.integer(Id::Databases) as Db
    }

    /// Publishes a keyspace event if its class is listened to; `own` as in [`PubSub::publish`]. Source: Redis's
    /// "Keyspace notifications" documentation.
    pub fn notify_event(
        &self,
        db: Db,
        key: &[u8],
        class: Class,
        event: &str,
        mut own: Option<pubsub::Own<'_>>,
    ) {
        let flags = self.keyspace.event_flags();
        if flags & class as u32 == 0 {
            return;
        }
        let limit = self.tuning.push_limit(OutputClass::PubSub);
        if flags & bits::KEYSPACE as u32 != 0 {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            let own = own.as_mut().map(|(own, kept)| (*own, &mut **kept));
            self.pubsub.publish(false, &channel, event.as_bytes(), limit, own);
        }
        if flags & bits::KEYEVENT as u32 != 0 {
            let channel = format!("__keyevent@{db}__:{event}");
            self.pubsub.publish(false, channel.as_bytes(), key, limit, own);
        }
    }
}

/// SplitMix64's step, by which threads share one sequence.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Forty hexadecimal digits that follow from a seed.
pub(crate) fn hex_digits(seed: u64) -> String {
    let start = |i: u64| seed.wrapping_sub(GOLDEN.wrapping_mul(i));
    let word = |i| SplitMix64::seed_from_u64(start(i)).next_u64();
    let mut digits: String = (2..=4).map(|i| format!("{:016x}", word(i))).collect();
    digits.truncate(40);
    digits
}

/// What a client from elsewhere is told in protected mode: Redis's code, our words.
const PROTECTED: &str = "-DENIED The server is in protected mode: it has no password, so it only \
    serves clients on its own machine. To serve others, set one (requirepass), or switch the mode \
    off there with CONFIG SET protected-mode no, or start with --protected-mode no where the \
    network is closed to strangers.\r\n";

impl Engine {
    /// Whether `protected-mode` keeps this client out: there is no password, and it comes from
    /// another machine.
    fn is_protected_from(&self, peer: &Peer) -> bool {
        let Peer::Tcp { remote, .. } = peer else { return false };
        !remote.ip().to_canonical().is_loopback()
            && self.config.boolean(Id::ProtectedMode)
            && !self.acl.has_default_password()
    }
}

/// An engine as what a runtime serves.
pub struct EngineService(pub Arc<Engine>);

impl Service for EngineService {
    fn connect(&self, peer: Peer, waker: Waker, now: Now) -> Result<Box<dyn Connection>, Refusal> {
        let engine = &self.0;
        if engine.clients.len() >= engine.config.integer(Id::Maxclients) as usize {
            engine.clients.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal(b"-ERR max number of clients reached\r\n".to_vec()));
        }
        if engine.is_protected_from(&peer) {
            engine.clients.rejected.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal(PROTECTED.as_bytes().to_vec()));
        }
        Ok(Box::new(Session::new(engine.clone(), peer, waker, now)))
    }

    fn may_block(&self) -> bool {
        self.0.backend.may_block()
    }
}
