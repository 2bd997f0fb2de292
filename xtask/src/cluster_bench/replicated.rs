//! Servers without a cluster, and masters with replicas that follow them, of Varve and of Redis.

use super::nodes::{ask, until};
use anyhow::Result;
use capture::lab::{Launch, Server};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program that Varve is compared with.
pub const REDIS: &str = "redis-server";

/// The first words of a replica's options.
pub const FOLLOWING: [&str; 2] = ["--replicaof", "127.0.0.1"];

/// Starts a server with the options of Redis `more`.
pub fn server(program: &Path, dir: &Path, more: &[&str]) -> Result<Server> {
    let options = |port: u16, data: &Path| -> Vec<String> {
        let (port, data) = (port.to_string(), data.display().to_string());
        let words = ["--port", &port, "--dir", &data, "--bind", "127.0.0.1", "--save", ""];
        words.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    Server::start(&Launch { program, options: &options, cores: &[], dir, memory: None })
}

/// Starts a replica of the server at `master`.
pub fn replica(program: &Path, dir: &Path, more: &[&str], master: SocketAddr) -> Result<Server> {
    let port = master.port().to_string();
    server(program, dir, &[more, &FOLLOWING, &[&port]].concat())
}

/// Starts a master, and two replicas that follow it.
pub fn with_replicas(program: &Path, dir: &Path, more: &[&str]) -> Result<Vec<Server>> {
    let mut all = vec![server(program, dir, more)?];
    let addr = all[0].addr();
    for _ in 0..2 {
        all.push(replica(program, dir, more, addr)?);
    }
    until("both replicas follow", || {
        ask(addr, &["WAIT", "2", "100"]).ok().filter(|reply| reply.starts_with(":2"))
    })?;
    Ok(all)
}

/// Whether there is a Redis; if not, it is said that it is left out.
pub fn has_redis() -> bool {
    let asked = Command::new(REDIS).arg("--version").stdout(Stdio::null()).status();
    let has = asked.is_ok_and(|status| status.success());
    if !has {
        println!("Redis is left out: there is no {REDIS}");
    }
    has
}
