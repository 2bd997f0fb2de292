//! An engine over a storage, and connections that get bytes as from a reactor, but without sockets:
//! this leaves parsing, executing and replying.

use crate::load::request::Generator;
use anyhow::{Context, Result, anyhow, bail};
use engine::config::ConfigStore;
use engine::{Engine, EngineService, Environment, NoHost, Parts};
use runtime::{Connection, Next, Now, Peer, Service, Status};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use storage::Backend;
use storage_memory::{Config, MemoryBackend};

/// Reads up to this long are announced before they are handed over, as the runtimes do.
const ANNOUNCED_MAX: usize = 1024;

/// Requests per connection and turn while the key space is filled.
const LOAD_BATCH: usize = 64;

/// Seeds hashes and random choices: the same for every run.
const SEED: u64 = 0x7661_7276_6521;

/// Opens a storage by the name the server knows it by; disk-based ones live in `dir`.
pub fn open(storage: &str, dir: &Path, shards: u32) -> Result<Arc<dyn Backend>> {
    use storage_ordered::OrderedBackend;
    let engine = match storage {
        "memory" => {
            let config = Config { shards, hash_seed: SEED, ..Config::default() };
            return Ok(Arc::new(MemoryBackend::new(config)));
        }
        "sled" => storage_ordered::Engine::Sled,
        "fjall" => storage_ordered::Engine::Fjall,
        other => bail!("storage `{other}` is none of memory, sled, fjall"),
    };
    let config = storage_ordered::Config {
        shards,
        ..storage_ordered::Config::new(dir.join(storage), engine)
    };
    Ok(Arc::new(OrderedBackend::open(&config).with_context(|| dir.display().to_string())?))
}

/// An engine with nothing around it.
pub struct Rig {
    service: EngineService,
}

impl Rig {
    /// An engine over `backend`, with default configuration and no log.
    pub fn new(backend: Arc<dyn Backend>, stopwatch: fn() -> u64, now: Now) -> Result<Rig> {
        let environment =
            Environment { stopwatch, seed: SEED, started: now, host: Arc::new(NoHost) };
        let engine = Engine::new(Parts {
            backend,
            journal: None,
            config: Arc::new(ConfigStore::new()),
            commands: commands::all(),
            environment,
        });
        let engine = engine.map_err(|error| anyhow!("{error}"))?;
        Ok(Rig { service: EngineService(engine) })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.service.0
    }

    /// `count` connections for one thread.
    pub fn connect(&self, count: usize, now: Now) -> Result<Clients> {
        let connect = |_| {
            let connection =
                self.service.connect(Peer::Unix("bench".into()), Waker::noop().clone(), now);
            connection.map_err(|refusal| anyhow!("{}", String::from_utf8_lossy(&refusal.0)))
        };
        Ok(Clients((0..count).map(connect).collect::<Result<_>>()?))
    }

    /// Sends each of `passes` once for every one of `keys` keys.
    pub fn load(&self, passes: &[Generator], keys: u64, now: Now) -> Result<()> {
        let mut clients = self.connect(1, now)?;
        for pass in passes {
            let mut pass = pass.share(0, 1, 0);
            let mut turn = Round::default();
            for first in (0..keys).step_by(LOAD_BATCH) {
                let count = (keys - first).min(LOAD_BATCH as u64) as usize;
                turn.refill(&mut pass, 1, count);
                clients.turn(&turn, now)?;
            }
        }
        Ok(())
    }
}

/// The bytes that the connections of a thread receive in one turn.
#[derive(Default)]
pub struct Round {
    bytes: Vec<u8>,
    /// Where each connection's share ends.
    ends: Vec<usize>,
}

impl Round {
    /// New requests: `pipeline` of them for each of `connections`.
    pub fn refill(&mut self, requests: &mut Generator, connections: usize, pipeline: usize) {
        self.bytes.clear();
        self.ends.clear();
        for _ in 0..connections {
            requests.fill(&mut self.bytes, pipeline);
            self.ends.push(self.bytes.len());
        }
    }

    fn shares(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end])
    }
}

/// The connections of one thread.
pub struct Clients(Vec<Box<dyn Connection>>);

impl Clients {
    /// Does what the epoll runtime does when bytes arrive on several connections: first announces
    /// all of them, then passes them on, then collects the output. Returns the number of bytes of
    /// output.
    #[inline]
    pub fn turn(&mut self, turn: &Round, now: Now) -> Result<usize> {
        for (connection, bytes) in self.0.iter_mut().zip(turn.shares()) {
            if bytes.len() <= ANNOUNCED_MAX {
                connection.anticipate(bytes);
            }
        }
        let mut answered = 0;
        let mut reading = true;
        for (connection, bytes) in self.0.iter_mut().zip(turn.shares()) {
            let mut status = connection.receive(bytes, now);
            // Filling a table hands over more than is fair in one turn.
            while status.next == Next::AnotherTurn {
                status = connection.resume(now);
            }
            reading &= status == Status::READING;
        }
        for connection in &mut self.0 {
            connection.before_write(now);
            answered += swallow(connection.output());
            black_box(connection.deadline_us());
        }
        if !reading {
            bail!("a connection closed, waits, or has more to write than its limit");
        }
        Ok(answered)
    }
}

/// Takes the output as a socket that never blocks does.
#[inline]
fn swallow(output: &mut resp::Output) -> usize {
    let mut taken = 0;
    while !output.is_empty() {
        let len = black_box(output.front()).len();
        output.consume(len);
        taken += len;
    }
    taken
}
