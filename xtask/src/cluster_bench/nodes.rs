//! [`Nodes`]: three processes that are one cluster.

use anyhow::{Context, Result, bail, ensure};
use capture::lab::{Client, Launch, Server, free_port};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that forming a cluster, or an election, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Nodes of one cluster. Dropping them ends them, and removes their data.
pub struct Nodes(pub Vec<Server>);

/// Waits until `what` gives something.
pub fn until<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = what() {
            return Ok(found);
        }
        std::thread::sleep(LOOK);
    }
    bail!("not within {} s: {name}", PATIENCE.as_secs())
}

/// The reply to a request on a connection of its own, as text.
pub fn ask(addr: SocketAddr, words: &[&str]) -> Result<String> {
    let reply = Client::connect(addr)?.call(words)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// The same, if it is no error.
fn ask_for(addr: SocketAddr, words: &[&str]) -> Option<String> {
    ask(addr, words).ok().filter(|reply| !reply.starts_with('-'))
}

/// Starts a node that is not yet in a cluster; the port of its peers is returned with it.
fn node(binary: &Path, dir: &Path, election_ms: u64) -> Result<(Server, u16)> {
    let bus = free_port()?.port();
    let options = |port: u16, data: &Path| -> Vec<String> {
        let (port, bus) = (port.to_string(), bus.to_string());
        let election = election_ms.to_string();
        let data = data.display().to_string();
        let words = ["--port", &port, "--cluster-port", &bus, "--dir", &data];
        let more = ["--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"];
        let last = ["--cluster-node-timeout", &election];
        words.into_iter().chain(more).chain(last).map(str::to_owned).collect()
    };
    let launch = Launch { program: binary, options: &options, cores: &[], dir, memory: None };
    Ok((Server::start(&launch)?, bus))
}

impl Nodes {
    /// Starts `count` nodes which form a cluster, the first of which founds it.
    pub fn start(binary: &Path, dir: &Path, count: usize, election_ms: u64) -> Result<Nodes> {
        let started = (0..count).map(|_| node(binary, dir, election_ms));
        let (servers, buses): (Vec<_>, Vec<_>) =
            started.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let nodes = Nodes(servers);
        nodes.found(&buses)?;
        Ok(nodes)
    }

    fn found(&self, buses: &[u16]) -> Result<()> {
        let first = self.addr(0);
        let founded = ask(first, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])?;
        if !founded.starts_with("+OK") {
            bail!("the first node does not found the cluster: {}", founded.trim_end());
        }
        for (server, bus) in self.0.iter().zip(buses).skip(1) {
            self.introduce(server, *bus)?;
        }
        self.wait_until_whole()
    }

    /// The first node meets another one.
    fn introduce(&self, server: &Server, bus: u16) -> Result<()> {
        let (port, bus) = (server.addr().port().to_string(), bus.to_string());
        let met = ask(self.addr(0), &["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        ensure!(met.starts_with("+OK"), "the first node does not meet it: {}", met.trim_end());
        Ok(())
    }

    /// Starts one more node, which is not one of [`Nodes`] and ends with what is returned, and lets
    /// the cluster meet it.
    pub fn meet(&self, binary: &Path, dir: &Path, election_ms: u64) -> Result<Server> {
        let (server, bus) = node(binary, dir, election_ms)?;
        self.introduce(&server, bus)?;
        Ok(server)
    }

    /// The address of a node.
    pub fn addr(&self, at: usize) -> SocketAddr {
        self.0[at].addr()
    }

    /// The node that leads.
    pub fn leader(&self) -> Option<usize> {
        (0..self.0.len()).find(|at| {
            let shown = ask_for(self.addr(*at), &["CLUSTER", "NODES"]).unwrap_or_default();
            shown.lines().any(|line| line.contains("myself,master") && line.contains("0-16383"))
                && ask_for(self.addr(*at), &["SET", "who", "leads"]).is_some()
        })
    }

    /// Waits until all nodes vote, each has a connection to each, and one of them leads, whose
    /// writes all have.
    pub fn wait_until_whole(&self) -> Result<()> {
        let count = self.0.len();
        let voters = format!("varve_cluster_voters:{count}\r\n");
        until("all nodes vote", || {
            (0..count).all(|at| self.sees(at, "INFO", |text| text.contains(&voters))).then_some(())
        })?;
        until("each has a connection to each", || {
            let connected = |text: &str| text.matches(" connected").count() == count;
            (0..count).all(|at| self.sees(at, "NODES", connected)).then_some(())
        })?;
        let leader = until("a node leads", || self.leader())?;
        let mark = format!("{:?}", Instant::now());
        until("all nodes have what is written", || {
            ask_for(self.addr(leader), &["SET", "mark", &mark])?;
            (0..count).all(|at| self.has(at, &mark)).then_some(())
        })
    }

    fn sees(&self, at: usize, what: &str, holds: impl Fn(&str) -> bool) -> bool {
        ask_for(self.addr(at), &["CLUSTER", what]).is_some_and(|text| holds(&text))
    }

    fn has(&self, at: usize, mark: &str) -> bool {
        let read = || -> Result<bool> {
            let mut client = Client::connect(self.addr(at))?;
            client.call(&["READONLY"])?;
            let reply = client.call(&["GET", "mark"])?;
            Ok(String::from_utf8_lossy(&reply).contains(mark))
        };
        read().unwrap_or(false)
    }

    /// Starts a node again on its data, once it has ended.
    pub fn start_again(&mut self, at: usize) -> Result<()> {
        self.0.get_mut(at).context("there is such a node")?.start_again().map(drop)
    }
}
