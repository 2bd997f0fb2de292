//! Starts the server of a row.

use super::identity::Identity;
use super::matrix::{Row, Target};
use crate::load::Endpoint;
use anyhow::Result;
pub use capture::lab::Server;
use capture::lab::{Launch, free_port};
use std::path::{Path, PathBuf};

/// The settings that all servers of a run share.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The server's binary, for Varve's rows.
    pub varve: PathBuf,
    /// Cores of the servers; none for no pinning.
    pub cores: Vec<usize>,
    /// The number of threads, for servers on which it can be set.
    pub threads: usize,
    /// The size of values, with which the echo server replies.
    pub value_size: usize,
    /// The folder in which data directories are created.
    pub dir: PathBuf,
    /// The most connections that a server will have.
    pub connections: usize,
    /// Memory it may use, bytes.
    pub memory: Option<u64>,
    /// The identity of the servers of rows through TLS.
    pub identity: Option<Identity>,
}

/// Starts `row`'s server and waits until it answers PING. With it comes where its clients connect, if they
/// speak TLS; its first port is for whoever asks it for figures.
pub fn start(row: &Row, setting: &Setting) -> Result<(Server, Option<Endpoint>)> {
    let program = match &row.target {
        Target::Running(addr) => return Ok((Server::running(*addr)?, None)),
        Target::Echo => std::env::current_exe()?,
        Target::Varve { .. } => setting.varve.clone(),
        Target::Program { program, .. } => program.clone(),
    };
    let identity = setting.identity.as_ref().filter(|_| row.tls);
    let secure = identity.map(|_| free_port()).transpose()?;
    let options = |port: u16, data: &Path| {
        let mut options = row.options(port, data, setting.threads, setting.connections);
        if row.target == Target::Echo {
            options.extend(["--value-size".to_string(), setting.value_size.to_string()]);
        }
        if let Some((identity, addr)) = identity.zip(secure) {
            options.extend(identity.options(addr.port()));
        }
        options
    };
    let (cores, dir, memory) = (&setting.cores, &setting.dir, setting.memory);
    let launch = Launch { program: &program, options: &options, cores, dir, memory };
    let server = Server::start(&launch)?;
    Ok((server, identity.zip(secure).map(|(identity, addr)| identity.at(addr))))
}
