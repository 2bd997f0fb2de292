//! The admin port of this process: its address, and the conditions for the server to be ready.

use crate::StartError;
use crate::process::Process;
use admin::health::gates;
use admin::serving::Serving;
use admin::{Access, Admin, Check};
use async_trait::async_trait;
use engine::Engine;
use engine::cluster::Cluster;
use engine::config::{ConfigStore, Id};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// The address of the admin port, and who may use it; `None` if there is to be none.
///
/// # Errors
/// Fails if the address is none, or others could reach it without a token.
pub(crate) fn configured(config: &ConfigStore) -> Result<Option<(SocketAddr, Access)>, StartError> {
    let port = config.integer(Id::AdminPort) as u16;
    if port == 0 {
        return Ok(None);
    }
    let ip = config.text(Id::AdminBind);
    let ip: IpAddr =
        ip.parse().map_err(|_| StartError::other(format!("admin-bind: '{ip}' is no address")))?;
    let access = Access::new(ip, &config.text(Id::AdminToken)).map_err(StartError::Other)?;
    Ok(Some((SocketAddr::new(ip, port), access)))
}

/// Starts the admin port, if there is to be one, even while the data are being loaded.
///
/// # Errors
/// Fails if it cannot listen, or would be reachable for others without a token.
pub(super) fn start(
    engine: &Arc<Engine>,
    process: &Process,
) -> Result<Option<Serving>, StartError> {
    let Some((address, access)) = configured(&process.config)? else { return Ok(None) };
    let failed = |source| StartError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let mut checks = gates(engine);
    checks.push(Box::new(Disk(process.persistence.dir().to_owned(), Arc::default())));
    checks.push(Box::new(Quorum(engine.clone())));
    let (engine, clock, listing) = (engine.clone(), process.clock, Arc::default());
    let admin = Admin { engine, clock, checks, access, listing };
    let serving = Serving::start(listener, admin).map_err(failed)?;
    tracing::info!(%address, "the admin port is open");
    Ok(Some(serving))
}

/// Checks that every slot of the cluster is led by a node that this one reaches. A server without a cluster passes.
struct Quorum(Arc<Engine>);

#[async_trait]
impl Check for Quorum {
    fn name(&self) -> &'static str {
        "quorum"
    }

    async fn check(&self) -> Result<(), String> {
        let topology = self.0.cluster().map(Cluster::topology);
        match topology {
            Some(topology) if topology.voters == 0 => Err("no cluster is formed".into()),
            Some(topology) if !topology.is_ok => Err("nobody is known to lead all slots".into()),
            _ => Ok(()),
        }
    }
}

/// Checks that the data folder can be written. Only one thread tries at a time, so that a disk that
/// hangs blocks one thread only, and no check removes another's file.
struct Disk(PathBuf, Arc<Mutex<()>>);

/// Writes a file and removes it.
fn try_writing(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!("health-{}.tmp", std::process::id()));
    std::fs::write(&path, "ready?\n").and_then(|()| std::fs::remove_file(&path))
}

#[async_trait]
impl Check for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn check(&self) -> Result<(), String> {
        let (folder, turn) = (self.0.clone(), self.1.clone().lock_owned().await);
        let try_it = move || {
            let tried = try_writing(&folder);
            drop(turn);
            tried
        };
        let tried = tokio::task::spawn_blocking(try_it).await;
        tried.map_err(std::io::Error::other).flatten().map_err(|error| error.to_string())
    }
}
