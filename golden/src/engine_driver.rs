//! [`EngineDriver`]: scripts against an engine in this process.

use crate::log_proof;
use crate::transcript::ScriptDriver;
use engine::config::ConfigStore;
use engine::testing::Recorder;
use engine::{Engine, EngineService, Environment, NoHost, Parts};
use resp::Value;
use runtime::{Connection, Flow, Next, Now, Peer, Service};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use storage::{Backend, Journal};

/// The time at which scripts begin: 2023-11-14, so that times look like times.
const START: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };

struct TestWaker(AtomicBool);

impl Wake for TestWaker {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Client {
    connection: Box<dyn Connection>,
    waker: Arc<TestWaker>,
    received: Vec<u8>,
    closed: bool,
    told: bool,
}

type MakeBackend = Box<dyn FnMut() -> Arc<dyn Backend>>;

/// Drives an engine without sockets. Its clock stands still until told otherwise. The log is kept,
/// and must lead to the same data when it is replayed.
pub struct EngineDriver {
    make: MakeBackend,
    service: EngineService,
    log: Option<Arc<Recorder>>,
    protocol: u8,
    now: Now,
    clients: BTreeMap<String, Client>,
}

fn fresh(backend: Arc<dyn Backend>, log: Option<Arc<Recorder>>) -> EngineService {
    let config = ConfigStore::new();
    let allow = [("enable-debug-command", "yes"), ("appendonly", "no")];
    for (name, value) in allow {
        let (_, row) = engine::config::lookup(name).expect("a known directive");
        config.load(row, &[value]).expect("a valid value");
    }
    on(backend, Arc::new(config), log)
}

/// An engine over `backend`.
pub(crate) fn on(
    backend: Arc<dyn Backend>,
    config: Arc<ConfigStore>,
    log: Option<Arc<Recorder>>,
) -> EngineService {
    let environment =
        Environment { stopwatch: || 0, seed: 42, started: START, host: Arc::new(NoHost) };
    let journal = log.map(|log| log as Arc<dyn Journal>);
    let parts = Parts { backend, journal, config, commands: commands::all(), environment };
    EngineService(Engine::new(parts).expect("built-in commands have distinct names"))
}

impl EngineDriver {
    /// A driver over fresh backends: `make` is called for each script and protocol.
    pub fn new(make: impl FnMut() -> Arc<dyn Backend> + 'static) -> Self {
        Self::with(make, Some(Arc::default()))
    }

    /// Like [`EngineDriver::new`], for long runs: nothing is logged.
    pub fn unlogged(make: impl FnMut() -> Arc<dyn Backend> + 'static) -> Self {
        Self::with(make, None)
    }

    fn with(
        mut make: impl FnMut() -> Arc<dyn Backend> + 'static,
        log: Option<Arc<Recorder>>,
    ) -> Self {
        let service = fresh(make(), log.clone());
        let (clients, make) = (BTreeMap::new(), Box::new(make));
        EngineDriver { make, service, log, protocol: 2, now: START, clients }
    }

    /// The server's wall clock shows `wall_ms` (milliseconds since 1970) from now on.
    pub fn set_clock(&mut self, wall_ms: u64) {
        self.now.wall_ms = wall_ms;
    }

    fn connect(&mut self, name: &str) -> Result<(), String> {
        let waker = Arc::new(TestWaker(AtomicBool::new(false)));
        let port = 50_000 + self.clients.len() as u16;
        let peer = Peer::Tcp {
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
            local: SocketAddr::from(([127, 0, 0, 1], 6379)),
        };
        let handle = Waker::from(waker.clone());
        let connection = self
            .service
            .connect(peer, handle, self.now)
            .map_err(|r| String::from_utf8_lossy(&r.0).into_owned())?;
        let mut client =
            Client { connection, waker, received: Vec::new(), closed: false, told: false };
        if self.protocol == 3 {
            client.call(Some(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"), self.now);
            client.received.clear();
        }
        self.clients.insert(name.to_owned(), client);
        Ok(())
    }

    /// Runs every session that was woken or whose deadline passed, until all is quiet.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for client in self.clients.values_mut().filter(|c| !c.closed) {
                let woken = client.waker.0.swap(false, Ordering::SeqCst);
                let due = client.connection.deadline_us().is_some_and(|d| d <= self.now.mono_us);
                if woken || due {
                    client.call(None, self.now);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
    }
}

impl Client {
    /// Makes one call into the connection, and takes its output.
    fn call(&mut self, bytes: Option<&[u8]>, now: Now) {
        let mut status = match bytes {
            Some(bytes) => self.connection.receive(bytes, now),
            None => self.connection.resume(now),
        };
        loop {
            self.connection.before_write(now);
            let output = self.connection.output();
            let written = output.len();
            self.received.extend_from_slice(&output.to_vec());
            output.consume(written);
            if status.flow != Flow::Open {
                self.connection.closed(now);
                self.closed = true;
                return;
            }
            if status.next == Next::Nothing {
                return;
            }
            // Work that was left for another turn, or until the output was written, continues now.
            status = self.connection.resume(now);
        }
    }
}

impl ScriptDriver for EngineDriver {
    fn reset(&mut self, protocol: u8) -> Result<(), String> {
        self.clients.clear();
        self.log = self.log.as_ref().map(|_| Arc::default());
        self.service = fresh((self.make)(), self.log.clone());
        self.protocol = protocol;
        self.now = START;
        Ok(())
    }

    fn send(&mut self, client: &str, args: &[Vec<u8>]) -> Result<(), String> {
        if !self.clients.contains_key(client) {
            self.connect(client)?;
        }
        let mut bytes = Vec::new();
        resp::encode_command(args, &mut bytes);
        let now = self.now;
        let client = self.clients.get_mut(client).ok_or("no such client")?;
        if !client.closed {
            client.call(Some(&bytes), now);
        }
        self.settle();
        Ok(())
    }

    fn receive(&mut self, client: &str, _awaited: bool) -> Result<Vec<Option<Value>>, String> {
        let client = self.clients.get_mut(client).ok_or("no such client")?;
        let mut values = Vec::new();
        while let Some((value, used)) = resp::decode(&client.received).map_err(|e| e.to_string())? {
            client.received.drain(..used);
            values.push(Some(value));
        }
        if client.closed && !std::mem::replace(&mut client.told, true) {
            values.push(None);
        }
        Ok(values)
    }

    fn clients(&self) -> Vec<String> {
        self.clients.keys().cloned().collect()
    }

    fn advance(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.now.mono_us += ms * 1000;
        self.service.0.keep_house(self.now);
        self.settle();
    }

    fn close(&mut self, client: &str) {
        let now = self.now;
        if let Some(mut client) = self.clients.remove(client) {
            client.connection.closed(now);
        }
        self.settle();
    }

    fn finish(&mut self) -> Result<(), String> {
        self.log.as_ref().map_or(Ok(()), |log| log_proof::check(&self.service.0, log))
    }
}
