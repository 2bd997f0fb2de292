//! Starts the server of a row.

use super::matrix::{Row, Target};
use anyhow::Result;
use capture::lab::Launch;
pub use capture::lab::Server;
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
}

/// Starts `row`'s server and waits until it answers PING.
pub fn start(row: &Row, setting: &Setting) -> Result<Server> {
    let program = match &row.target {
        Target::Running(addr) => return Server::running(*addr),
        Target::Echo => std::env::current_exe()?,
        Target::Varve { .. } => setting.varve.clone(),
        Target::Program { program, .. } => program.clone(),
    };
    let options = |port: u16, data: &Path| {
        let mut options = row.options(port, data, setting.threads, setting.connections);
        if row.target == Target::Echo {
            options.extend(["--value-size".to_string(), setting.value_size.to_string()]);
        }
        options
    };
    let (cores, dir, memory) = (&setting.cores, &setting.dir, setting.memory);
    Server::start(&Launch { program: &program, options: &options, cores, dir, memory })
}
