//! A server as a node of a cluster (`cluster-enabled yes`): checks the configuration and passes it
//! on.
//!
//! The data of the group are in a folder of its own below the data folder. Nothing else is loaded:
//! neither a snapshot of Redis nor the append-only file.

use crate::config::Loaded;
use crate::error::StartError;
use crate::process::Process;
use crate::system::{self, fail_stop};
use cluster::{Announce, Announced, Certificates, NodeConfig, Prepared, is_host};
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

/// Why the election timeout does not change while a node runs.
const SAME_EVERYWHERE: &str =
    "a leader counts on all nodes having the same: stop them all, and start them with another";

/// A node that runs, until this is stopped.
#[derive(Clone, Default)]
pub(crate) struct RunningNode(Arc<Mutex<Option<cluster::Running>>>);

/// The prepared node, and the listeners for other nodes.
pub(crate) struct Entrance {
    prepared: Prepared,
    listeners: Vec<TcpListener>,
    own: Own,
}

/// Where a node is found, unless the configuration says otherwise.
struct Own {
    host: String,
    port: u16,
    bus_port: u16,
}

/// Whether the configuration asks for a cluster. Directives that exclude a cluster are refused or,
/// if they are only defaults, changed.
///
/// # Errors
/// Fails with the directives that exclude each other.
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
    if !cfg!(feature = "tls") && store.boolean(Id::TlsCluster) {
        return refuse("'tls-cluster yes' needs a server built with the feature `tls`");
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

/// Where the node is found, the host that it announces, and the secret that other nodes must present.
///
/// # Errors
/// Fails if the configuration leaves one of them open, or open to everyone.
fn named(
    config: &ConfigStore,
    addresses: &[SocketAddr],
) -> Result<(Own, String, Arc<str>), StartError> {
    let Some(first) = addresses.first() else {
        return Err(StartError::other("a node of a cluster needs a TCP port"));
    };
    let bus_port = port(config, Id::ClusterPort).or_else(|| first.port().checked_add(BUS_OFFSET));
    let bus_port = bus_port
        .ok_or_else(|| StartError::other("no port is left for other nodes: set 'cluster-port'"))?;
    let secret = secret(config, addresses)?;
    let own =
        Own { host: own_address(addresses).unwrap_or_default(), port: first.port(), bus_port };
    let host = own.host(&config.text(Id::ClusterAnnounceIp));
    let host = host.map_err(|why| StartError::Other(format!("'cluster-announce-ip': {why}")))?;
    Ok((own, host, secret))
}

/// A port that is configured.
fn port(config: &ConfigStore, id: Id) -> Option<u16> {
    u16::try_from(config.integer(id)).ok().filter(|port| *port != 0)
}

/// Whether a node of this configuration, whose clients connect to `addresses`, can be started.
///
/// # Errors
/// Fails for what the configuration leaves open.
pub(crate) fn check(config: &ConfigStore, addresses: &[SocketAddr]) -> Result<(), StartError> {
    named(config, addresses).map(drop)
}

/// Binds the port for other nodes, and opens the group's log.
///
/// # Errors
/// Fails if a port cannot be bound or the log cannot be opened.
pub(crate) fn enter(
    config: &ConfigStore,
    addresses: &[SocketAddr],
    dir: &Path,
    clock: Clock,
) -> Result<Entrance, StartError> {
    refuse_what_is_there(config, dir)?;
    let (own, host, secret) = named(config, addresses)?;
    let bus_port = own.bus_port;
    let (low, high) = ELECTION_RANGE_MS;
    let election = config.integer(Id::ClusterNodeTimeout).clamp(low, high) as u64;
    let of_node = NodeConfig {
        folder: dir.join(FOLDER),
        announce: Announce {
            host,
            port: port(config, Id::ClusterAnnouncePort).unwrap_or(own.port),
            bus_port: port(config, Id::ClusterAnnounceBusPort).unwrap_or(bus_port),
            secret,
        },
        groups: config.integer(Id::ClusterGroups) as u16,
        election: Duration::from_millis(election),
        fresh: [system::random(), system::random()],
        clock,
    };
    let listeners = listen(addresses, bus_port)?;
    let prepared = Prepared::open(of_node).map_err(StartError::Other)?;
    Ok(Entrance { prepared, listeners, own })
}

/// The address at which others reach this node, as far as its listeners tell: the first that is not
/// this machine's own, if there is one. `None` if it listens on all addresses; then the other nodes
/// find the address out.
fn own_address(addresses: &[SocketAddr]) -> Option<String> {
    let ips = || addresses.iter().map(SocketAddr::ip);
    let outer = ips().find(|ip| !ip.is_loopback() && !ip.is_unspecified());
    let everywhere = ips().any(|ip| ip.is_unspecified());
    outer.or_else(|| ips().next().filter(|_| !everywhere)).map(|ip| ip.to_string())
}

/// A node begins with what its group has. Data of a server that was alone would be neither loaded nor safe: the next
/// snapshot would replace them.
fn refuse_what_is_there(config: &ConfigStore, dir: &Path) -> Result<(), StartError> {
    if dir.join(FOLDER).exists() {
        return Ok(());
    }
    for id in [Id::Dbfilename, Id::Appenddirname] {
        let path = dir.join(&*config.text(id));
        if path.exists() {
            let text = format!(
                "'cluster-enabled yes': {} holds data, and a node begins without any: move it away, or choose another 'dir'",
                path.display()
            );
            return Err(StartError::Other(text));
        }
    }
    Ok(())
}

/// The secret that other nodes must present. Without one, whoever reaches the port could become a
/// node, so it may be missing only if no other machine can reach the port.
fn secret(config: &ConfigStore, addresses: &[SocketAddr]) -> Result<Arc<str>, StartError> {
    let secret = config.text(Id::ClusterSecret);
    if !secret.bytes().all(|byte| (0x21..0x7F).contains(&byte)) {
        return Err(StartError::other("'cluster-secret': only printable ASCII, without spaces"));
    }
    let outside = addresses.iter().any(|address| !address.ip().is_loopback());
    let open = !config.boolean(Id::TlsCluster);
    if secret.is_empty() && open && outside && config.boolean(Id::ProtectedMode) {
        return Err(StartError::other(
            "other machines reach the port for nodes: set the same 'cluster-secret' on all of them (VARVE_CLUSTER_SECRET_FILE), or 'tls-cluster yes', or 'protected-mode no'",
        ));
    }
    Ok(secret)
}

/// Listens for other nodes at every address where clients are listened for.
fn listen(addresses: &[SocketAddr], port: u16) -> Result<Vec<TcpListener>, StartError> {
    let mut ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    ips.sort();
    ips.dedup();
    let bind = |ip| {
        let address = SocketAddr::new(ip, port);
        let failed = |source| StartError::Listen { address: address.to_string(), source };
        crate::listening::sockets::bus(address).map_err(failed)
    };
    ips.into_iter().map(bind).collect()
}

impl Entrance {
    /// Where the engine's effects go.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.prepared.groups()
    }

    /// Restores the state, and starts the node.
    ///
    /// # Errors
    /// Fails if the last snapshot cannot be loaded.
    pub fn start(self, engine: &Arc<Engine>, process: &Process) -> Result<RunningNode, StartError> {
        let ended = |error| {
            tracing::error!(%error, "this node cannot go on, and ends at once; the others do");
            fail_stop::end(None);
        };
        let certificates = certificates(process);
        let running = self.prepared.start(engine.clone(), self.listeners, certificates, ended);
        let running = running.map_err(StartError::Other)?;
        let node = RunningNode(Arc::new(Mutex::new(Some(running))));
        let (told, own) = (node.clone(), self.own);
        engine.config.on_change(Box::new(move |id, value| told.changed(&own, id, value)));
        Ok(node)
    }
}

/// How connections to other nodes are encrypted, if they are.
fn certificates(process: &Process) -> Option<Certificates> {
    #[cfg(feature = "tls")]
    if process.config.boolean(Id::TlsCluster) {
        let encryption = process.encryption.clone();
        return Some(Arc::new(move || encryption.nodes()));
    }
    let _ = process;
    None
}

impl Own {
    /// The host to announce, given the configured one.
    fn host(&self, said: &str) -> Result<String, String> {
        match said {
            "" => Ok(self.host.clone()),
            said if is_host(said) => Ok(said.to_owned()),
            _ => Err("neither an address nor the name of a host".into()),
        }
    }
}

impl RunningNode {
    /// A directive is about to change.
    fn changed(&self, own: &Own, id: Id, value: &Value) -> Result<(), String> {
        let port = |said: &i64, otherwise| match u16::try_from(*said) {
            Ok(0) | Err(_) => otherwise,
            Ok(port) => port,
        };
        let announced = match (id, value) {
            (Id::Appendonly, Value::Number(wanted)) if *wanted != 0 => {
                return Err("the group's log takes the place of the append-only file".into());
            }
            (Id::ClusterNodeTimeout, _) => return Err(SAME_EVERYWHERE.into()),
            (Id::ClusterAnnounceIp, Value::Text(said)) => Announced::Host(own.host(said)?),
            (Id::ClusterAnnouncePort, Value::Number(said)) => Announced::Port(port(said, own.port)),
            (Id::ClusterAnnounceBusPort, Value::Number(said)) => {
                Announced::BusPort(port(said, own.bus_port))
            }
            _ => return Ok(()),
        };
        // Held by who hands over: the node ends.
        let running = self.0.try_lock().ok_or("the node is about to end")?;
        running.iter().for_each(|running| running.announce(announced.clone()));
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 7000)).collect()
    }

    #[test]
    fn an_address_that_others_can_use_is_told() {
        let told = |list: &[&str]| own_address(&addresses(list));
        assert_eq!(told(&["127.0.0.1", "10.0.0.5"]).as_deref(), Some("10.0.0.5"));
        assert_eq!(told(&["127.0.0.1"]).as_deref(), Some("127.0.0.1"));
        assert_eq!(told(&["0.0.0.0", "127.0.0.1"]), None);
    }

    #[test]
    fn a_port_that_others_reach_needs_a_secret() {
        let store = ConfigStore::new();
        let set = |id, word: &str| store.load(by_id(id), &[word]).unwrap();
        assert!(secret(&store, &addresses(&["127.0.0.1", "::1"])).is_ok());
        assert!(secret(&store, &addresses(&["127.0.0.1", "10.0.0.5"])).is_err());
        set(Id::ClusterSecret, "x y");
        assert!(secret(&store, &addresses(&["127.0.0.1"])).is_err());
        set(Id::ClusterSecret, "long-and-random");
        assert_eq!(&*secret(&store, &addresses(&["0.0.0.0"])).unwrap(), "long-and-random");
        set(Id::ClusterSecret, "");
        set(Id::ProtectedMode, "no");
        assert!(secret(&store, &addresses(&["0.0.0.0"])).is_ok());
    }

    #[test]
    fn data_of_a_server_that_was_alone_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = ConfigStore::new();
        assert!(refuse_what_is_there(&store, dir.path()).is_ok());
        std::fs::write(dir.path().join("dump.rdb"), "data").unwrap();
        let error = refuse_what_is_there(&store, dir.path()).unwrap_err().to_string();
        assert!(error.contains("dump.rdb holds data"), "{error}");
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        assert!(refuse_what_is_there(&store, dir.path()).is_ok());
    }
}
