//! [`ServerBuilder`]: from choices to a server that is bound, loaded and ready to serve.

use crate::choices::{runtimes, storages};
use crate::cluster::RunningNode;
use crate::config::{Loaded, Origin, Reloader};
use crate::error::{StartError, plain};
#[cfg(feature = "admin")]
use crate::lifecycle::admin;
use crate::lifecycle::logging;
use crate::lifecycle::serving::Serving;
use crate::listening::handover::Inherited;
use crate::listening::sockets;
use crate::persistence::data_dir::{self, DataDir};
use crate::persistence::journal::late::LateJournal;
use crate::persistence::loading;
use crate::persistence::log_switch;
use crate::persistence::target::LoadTarget;
use crate::process::resources;
use crate::process::{Configuration, Process};
use crate::server::Server;
use crate::system::cores;
use crate::system::memory::Allocator;
use crate::{cluster, replication, system};
use engine::acl::UserChanges;
use engine::command::{CommandTable, Spec};
use engine::config::{ConfigStore, Id, by_id, lookup};
use engine::gate::Gate;
use engine::scripting::loading::LibraryLoader;
use engine::tuning::durability;
use engine::{Engine, Environment, Host, Parts};
use runtime::{Clock, Now, Runtime};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use storage::{Backend, Journal};

/// Builds a [`Server`]. Everything has a default, and later settings override earlier ones.
#[derive(Default)]
pub struct ServerBuilder {
    loaded: Loaded,
    settings: Vec<(String, Vec<String>)>,
    listen: Vec<SocketAddr>,
    inherited: Inherited,
    runtime: Option<Arc<dyn Runtime>>,
    storage: Option<Arc<dyn Backend>>,
    commands: Vec<&'static [Spec]>,
    allocator: Allocator,
}

impl ServerBuilder {
    /// Starts from this configuration instead of the defaults.
    pub fn config(mut self, loaded: Loaded) -> Self {
        self.loaded = loaded;
        self
    }

    /// Sets one directive, by its name in `redis.conf`: `.set("appendonly", ["no"])`.
    pub fn set<W: ToString>(mut self, name: &str, words: impl IntoIterator<Item = W>) -> Self {
        let words = words.into_iter().map(|word| word.to_string()).collect();
        self.settings.push((name.to_owned(), words));
        self
    }

    /// Listens here instead of on `bind` and `port`; port 0 takes any free one. May be repeated.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// Serves on these sockets, too.
    pub(crate) fn inherit(mut self, sockets: Inherited) -> Self {
        self.inherited = sockets;
        self
    }

    /// Serves with this runtime, whatever `runtime` says.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Keeps the data here, whatever `storage` says.
    pub fn storage(mut self, storage: Arc<dyn Backend>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Adds commands to the built-in ones. May be repeated.
    pub fn commands(mut self, rows: &'static [Spec]) -> Self {
        self.commands.push(rows);
        self
    }

    /// Sets the allocator that the program uses, for memory figures and `maxmemory`.
    pub fn allocator(mut self, allocator: Allocator) -> Self {
        self.allocator = allocator;
        self
    }

    /// The configuration that the server will have.
    pub(crate) fn configure(&mut self) -> Result<Arc<ConfigStore>, StartError> {
        let loaded = &mut self.loaded;
        for (name, words) in std::mem::take(&mut self.settings) {
            let wrong = |reason: &str| StartError::other(format!("'{name}': {reason}"));
            let (_, directive) = lookup(&name).ok_or_else(|| wrong("unknown directive"))?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            loaded.store.load(directive, &words).map_err(|reason| wrong(&reason))?;
            loaded.given.insert(directive.id, Origin::Program);
        }
        Ok(loaded.store.clone())
    }

    /// The configuration, and its values before chosen defaults are written into it.
    fn configuration(&mut self) -> Result<Configuration, StartError> {
        let store = self.configure()?;
        let reloader = Reloader::new(&self.loaded);
        Ok(Configuration { store, file: self.loaded.file.clone(), reloader })
    }

    /// Binds, opens and loads everything. If it fails nothing is left behind: sockets come first,
    /// so that a second server on a used port touches no data. Clients are not served yet, unless
    /// loading takes long: then they get the few commands that need no data, and `-LOADING`.
    ///
    /// With `server_cpulist`, the calling thread is pinned, because the threads that it starts are so, too.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn build(mut self) -> Result<Server, StartError> {
        let configuration = self.configuration()?;
        let config = configuration.store.clone();
        cores::pin_server(&config).map_err(StartError::Other)?;
        let commands = self.all_commands()?;
        let runtime = self.choose_runtime(&config)?;
        let in_cluster = cluster::wanted(&self.loaded)?;
        let open = self.choose_storage(&config)?;
        let journal_wanted = loading::journal_wanted(&self.loaded)?;
        let supervised = !self.inherited.from_us && !self.inherited.sockets.is_empty();
        let mut bound = sockets::bind(&config, &self.listen, std::mem::take(&mut self.inherited))?;
        let mut process = self.open_process(configuration, runtime, bound.addresses.clone())?;
        process.supervised_sockets = supervised;
        let clock = process.clock;
        let process = Arc::new(process);
        let backend = open(&config, process.persistence.dir())?;
        let (addresses, dir) = (&bound.addresses, process.persistence.dir());
        let entrance = in_cluster.then(|| cluster::enter(&config, addresses, dir, clock));
        let entrance = entrance.transpose()?;
        // Without a log now there may be one later (`CONFIG SET appendonly yes`).
        let journal = cfg!(feature = "aof").then(Arc::<LateJournal>::default);
        let late = journal.clone().map(|journal| journal as Arc<dyn Journal>);
        let parts = Parts {
            backend: backend.clone(),
            journal: entrance.as_ref().map_or(late, |entrance| Some(entrance.journal())),
            config: config.clone(),
            commands: commands.clone(),
            environment: environment(&process),
        };
        let engine = self.put_together(parts, &process, journal_wanted || in_cluster)?;
        let streams = std::mem::take(&mut bound.streams);
        engine.set_gate(Gate::LOADING, true);
        let mut serving = Serving::new(streams, &engine, process.clone(), clock)?;
        let node = match entrance {
            Some(entrance) => serving.while_loading(|| entrance.start(&engine, &process))??,
            None => {
                let data = LoadTarget::new(backend, config, commands);
                load(&mut serving, &data, journal_wanted, (&engine, &process), journal)?;
                RunningNode::default()
            }
        };
        let leaving = node.clone();
        process.before_end(move || leaving.hand_over());
        engine.set_gate(Gate::LOADING, false);
        Ok(Server { engine, process, bound, clock, serving, node })
    }

    /// The built-in commands and those that were added, whose names can be changed as configured.
    fn all_commands(&self) -> Result<Vec<&'static [Spec]>, StartError> {
        let commands = [commands::all(), self.commands.clone()].concat();
        check_names(&self.loaded.renamed_commands, &commands)?;
        Ok(commands)
    }

    /// Opens the data folder, and makes the process around the engine.
    fn open_process(
        &self,
        configuration: Configuration,
        runtime: Arc<dyn Runtime>,
        addresses: Vec<SocketAddr>,
    ) -> Result<Process, StartError> {
        let config = &configuration.store;
        let dir = DataDir::open(Path::new(&*config.text(Id::Dir)))?;
        set(config, Id::Dir, &dir.path.display().to_string())?;
        let clock = Clock::new();
        Ok(Process::new(configuration, runtime, self.allocator, addresses, dir, clock))
    }

    /// Makes the engine, with its users, in a process that obeys its limits from now on.
    fn put_together(
        &self,
        parts: Parts,
        process: &Arc<Process>,
        logs: bool,
    ) -> Result<Arc<Engine>, StartError> {
        let engine = Engine::with_names(parts, &self.loaded.renamed_commands);
        let engine = engine.map_err(StartError::Other)?;
        engine.set_logging(logs);
        process.attach(&engine);
        load_users(&engine, &self.loaded)?;
        process.users_at_start.get_or_init(|| engine.acl.user_lines());
        resources::fit_maxclients(&process.config);
        resources::follow(process);
        Ok(engine)
    }

    /// Whether [`ServerBuilder::build`] would succeed, as far as this can be checked without
    /// sockets and data.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn check(mut self) -> Result<(), StartError> {
        let config = self.configure()?;
        let commands = self.all_commands()?;
        cores::check(&config).map_err(StartError::Other)?;
        self.choose_runtime(&config)?;
        let in_cluster = cluster::wanted(&self.loaded)?;
        drop(self.choose_storage(&config)?);
        let log = config.text(Id::Appenddirname);
        let log = loading::journal_wanted(&self.loaded)?.then_some(&*log);
        data_dir::check(Path::new(&*config.text(Id::Dir)), log)?;
        let addresses = sockets::check(&config, &self.listen)?;
        if in_cluster && !addresses.is_empty() {
            cluster::check(&config, &addresses)?;
        }
        logging::check(&config.text(Id::Logfile))?;
        #[cfg(feature = "admin")]
        admin::configured(&config)?;
        check_users(&self.loaded, commands)?;
        #[cfg(feature = "tls")]
        crate::listening::tls::Encryption::default().reload(&config).map_err(StartError::Other)?;
        Ok(())
    }

    fn choose_runtime(&mut self, config: &ConfigStore) -> Result<Arc<dyn Runtime>, StartError> {
        if let Some(runtime) = self.runtime.take() {
            return Ok(runtime);
        }
        let (name, runtime) = runtimes::make(config, self.loaded.given.contains_key(&Id::Runtime))?;
        set(config, Id::Runtime, name)?;
        Ok(runtime)
    }

    fn choose_storage(&mut self, config: &ConfigStore) -> Result<Open, StartError> {
        if let Some(storage) = self.storage.take() {
            return Ok(Box::new(move |_, _| Ok(storage)));
        }
        let (name, open) = storages::choice(config, self.loaded.given.contains_key(&Id::Storage))?;
        set(config, Id::Storage, name)?;
        Ok(Box::new(move |config, dir| {
            open(config, dir).map_err(|error| StartError::other(format!("{name}: {error}")))
        }))
    }
}

/// The environment that the process provides to the engine.
fn environment(process: &Arc<Process>) -> Environment {
    Environment {
        stopwatch: system::stopwatch,
        seed: system::random(),
        started: process.clock.now(),
        host: process.clone(),
    }
}

/// Restores the data of an earlier run and opens the log. If that takes long, clients are told.
fn load(
    serving: &mut Serving,
    data: &LoadTarget,
    journal_wanted: bool,
    (engine, process): (&Arc<Engine>, &Arc<Process>),
    journal: Option<Arc<LateJournal>>,
) -> Result<(), StartError> {
    let log =
        serving.while_loading(|| loading::load(data, &process.persistence, journal_wanted))??;
    std::mem::take(&mut *data.libraries.lock()).iter().try_for_each(|text| {
        let restored = LibraryLoader::new(engine, false).restore(text);
        restored.map_err(|error| StartError::other(format!("function library: {error}")))
    })?;
    if let (Some(log), Some(journal)) = (log, &journal) {
        journal.open(log.journal());
        journal.set_durability(durability(engine.config.choice(Id::Appendfsync)));
        process.persistence.keep_log(log);
    }
    log_switch::follow(&process.persistence, journal);
    let position = data.position.lock().take();
    replication::restore(engine, process.persistence.dir(), position, process.clock.now());
    Ok(())
}

type Open = Box<dyn FnOnce(&ConfigStore, &Path) -> Result<Arc<dyn Backend>, StartError>>;

/// Changes a directive to the value that is in force.
fn set(config: &ConfigStore, id: Id, word: &str) -> Result<(), StartError> {
    config.load(by_id(id), &[word]).map_err(StartError::Other)
}

/// Makes the users of the configuration's `user` lines, or those of its `aclfile`.
fn load_users(engine: &Engine, loaded: &Loaded) -> Result<(), StartError> {
    let file = engine.config.text(Id::Aclfile);
    if !file.is_empty() && !loaded.users.is_empty() {
        let text = "users are in both the configuration ('user' lines) and an 'aclfile': \
                    only one of them can be the truth";
        return Err(StartError::Other(text.into()));
    }
    UserChanges::of(engine).add_users(&loaded.users).map_err(StartError::Other)?;
    if !file.is_empty() {
        UserChanges::of(engine).load_acl_file().map_err(StartError::Other)?;
    }
    Ok(())
}

/// The host of an engine that only reads users.
struct UserFiles;

impl Host for UserFiles {
    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| plain(&error))
    }
}

/// Whether the users that the configuration names can be made.
fn check_users(loaded: &Loaded, commands: Vec<&'static [Spec]>) -> Result<(), StartError> {
    let parts = Parts {
        backend: storages::empty(&loaded.store),
        journal: None,
        config: loaded.store.clone(),
        commands,
        environment: Environment {
            stopwatch: system::stopwatch,
            seed: 0,
            started: Now::default(),
            host: Arc::new(UserFiles),
        },
    };
    let engine = Engine::with_names(parts, &loaded.renamed_commands).map_err(StartError::Other)?;
    load_users(&engine, loaded)
}

/// Whether commands can be renamed as configured. It is better to report this before anything is
/// opened.
fn check_names(names: &[(String, String)], commands: &[&'static [Spec]]) -> Result<(), StartError> {
    let mut table = CommandTable::new(commands.iter().copied()).map_err(StartError::other)?;
    names.iter().try_for_each(|(old, new)| {
        let renamed = table.rename(old, new);
        renamed.map_err(|reason| StartError::Other(format!("'rename-command {old}': {reason}")))
    })
}
