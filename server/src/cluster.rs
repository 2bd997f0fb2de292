//! A server as a node of a cluster (`cluster-enabled yes`): what the configuration says, checked and passed on.
//!
//! What the group agreed upon is in a folder of its own below the data folder, and is the only thing that is
//! loaded: neither a snapshot of Redis's nor the append-only file is.

use crate::config::Loaded;
use crate::error::StartError;
use crate::{fail_stop, system};
use cluster::{Announce, Plan, Prepared};
use engine::Engine;
use engine::config::{ConfigStore, Id, Value, by_id};
use parking_lot::Mutex;
use runtime::Clock;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::Journal;

/// The folder of the group's log and snapshots, below the data folder.
const FOLDER: &str = "cluster";

/// From a node's port to the one where other nodes connect.
const BUS_OFFSET: u16 = 1_000;

/// After so long without a word of the leader another is elected, unless the configuration says otherwise.
const ELECTION_MS: i64 = 1_000;

/// The same, as far as it may be set.
const ELECTION_RANGE_MS: (i64, i64) = (100, 600_000);

/// A node that runs, until this is stopped.
#[derive(Clone, Default)]
pub(crate) struct Seat(Arc<Mutex<Option<cluster::Running>>>);

/// What was prepared, and where other nodes come in.
pub(crate) struct Entrance {
    prepared: Prepared,
    listeners: Vec<TcpListener>,
}

/// Whether the configuration asks for a cluster. What does not go together with one is refused, or, where it is
/// only a default, gives way.
///
/// # Errors
/// What does not go together.
pub(crate) fn wanted(loaded: &Loaded) -> Result<bool, StartError> {
    let store = &loaded.store;
    if !store.boolean(Id::ClusterEnabled) {
        return Ok(false);
    }
    let refuse = |what: &str| Err(StartError::other(format!("'cluster-enabled yes': {what}")));
    if store.boolean(Id::Appendonly) && loaded.given.contains_key(&Id::Appendonly) {
        return refuse(
            "the group's log takes the place of the append-only file ('appendonly yes')",
        );
    }
    if loaded.given.contains_key(&Id::Storage) && store.choice(Id::Storage) != "memory" {
        return refuse("only the storage 'memory' can be kept by a group so far");
    }
    if !store.text(Id::Replicaof).is_empty() {
        return refuse("a node follows who was elected ('replicaof' is not allowed)");
    }
    for (id, word) in [(Id::Appendonly, "no"), (Id::Storage, "memory"), (Id::Databases, "1")] {
        store.load(by_id(id), &[word]).map_err(StartError::Other)?;
    }
    if !loaded.given.contains_key(&Id::ClusterNodeTimeout) {
        let word = ELECTION_MS.to_string();
        store.load(by_id(Id::ClusterNodeTimeout), &[&word]).map_err(StartError::Other)?;
    }
    Ok(true)
}

/// Binds the port for other nodes, and opens the group's log.
///
/// # Errors
/// Those of binding, and what is wrong with the log.
pub(crate) fn enter(
    config: &ConfigStore,
    addresses: &[SocketAddr],
    dir: &Path,
    clock: Clock,
) -> Result<Entrance, StartError> {
    let Some(first) = addresses.first() else {
        return Err(StartError::other("a node of a cluster needs a TCP port"));
    };
    let port = |id| u16::try_from(config.integer(id)).ok().filter(|port| *port != 0);
    let bus_port = port(Id::ClusterPort).or_else(|| first.port().checked_add(BUS_OFFSET));
    let bus_port = bus_port
        .ok_or_else(|| StartError::other("no port is left for other nodes: set 'cluster-port'"))?;
    let known = (!first.ip().is_unspecified()).then(|| first.ip().to_string());
    let host = Some(config.text(Id::ClusterAnnounceIp).to_string()).filter(|ip| !ip.is_empty());
    let (low, high) = ELECTION_RANGE_MS;
    let election = config.integer(Id::ClusterNodeTimeout).clamp(low, high) as u64;
    let plan = Plan {
        folder: dir.join(FOLDER),
        announce: Announce {
            host: host.or(known).unwrap_or_default(),
            port: port(Id::ClusterAnnouncePort).unwrap_or(first.port()),
            bus_port: port(Id::ClusterAnnounceBusPort).unwrap_or(bus_port),
        },
        election: Duration::from_millis(election),
        fresh: [system::random(), system::random()],
        clock,
    };
    let listeners = listen(addresses, bus_port)?;
    let prepared = Prepared::open(plan).map_err(StartError::Other)?;
    Ok(Entrance { prepared, listeners })
}

/// Listens for other nodes at every address where clients are listened for.
fn listen(addresses: &[SocketAddr], port: u16) -> Result<Vec<TcpListener>, StartError> {
    let mut ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    ips.sort();
    ips.dedup();
    let bind = |ip| {
        let address = SocketAddr::new(ip, port);
        let failed = |source| StartError::Listen { address: address.to_string(), source };
        crate::listen::bus(address).map_err(failed)
    };
    ips.into_iter().map(bind).collect()
}

impl Entrance {
    /// Where the engine's effects go.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.prepared.member()
    }

    /// Brings the state back, and takes part from now on.
    ///
    /// # Errors
    /// What is wrong with the last snapshot.
    pub fn start(self, engine: &Arc<Engine>) -> Result<Seat, StartError> {
        let ended = |error| {
            tracing::error!(%error, "this node cannot go on, and ends at once; the others do");
            fail_stop::end(None);
        };
        let running = self.prepared.start(engine.clone(), self.listeners, ended);
        let running = running.map_err(StartError::Other)?;
        engine.config.on_change(Box::new(|id, value| match (id, value) {
            (Id::Appendonly, Value::Number(wanted)) if *wanted != 0 => {
                Err("the group's log takes the place of the append-only file".into())
            }
            _ => Ok(()),
        }));
        Ok(Seat(Arc::new(Mutex::new(Some(running)))))
    }
}

impl Seat {
    /// Hands the leadership over, if it is here, and waits for that for a moment.
    pub fn hand_over(&self) {
        if let Some(running) = &*self.0.lock() {
            running.hand_over();
        }
    }

    /// Takes no part any more.
    pub fn stop(&self) {
        drop(self.0.lock().take());
    }
}
