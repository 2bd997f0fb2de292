//! `cargo xtask bench cluster`: what a cluster of three does, beside Redis with two replicas and
//! `WAIT 1`, beside one server alone, and beside etcd.

use super::comparison::{self, GET, Line, SET, Subject, Windows};
use super::etcd::Etcd;
use super::nodes::{Nodes, until};
use super::replicated::{REDIS, has_redis, server, with_replicas};
use crate::bench::report::Grid;
use anyhow::Result;
use capture::lab::Server;
use std::path::Path;

/// The election timeout of the cluster: nobody is to be elected, however busy the machine is.
const ELECTION_MS: u64 = 5_000;

/// The servers, and what is asked of them.
struct Bed {
    nodes: Nodes,
    /// They run as long as this.
    _others: Vec<Server>,
    subjects: Vec<Subject>,
}

/// The positions of the subjects. Where there is no Redis the last two are missing.
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const ALONE: usize = 2;
const REDIS_SYNCED: usize = 3;
const REDIS_UNSYNCED: usize = 4;

/// Measures, and makes the table; `etcd` is measured at the end if it is wanted.
pub fn measure(windows: &Windows, etcd: bool, binary: &Path, dir: &Path) -> Result<Grid> {
    let bed = Bed::start(windows, binary, dir)?;
    let mut grid = comparison::measure(&lines(windows.connections), &bed.subjects, windows)?;
    if etcd {
        grid.rows.push(beside_etcd(&bed.subjects[LEADER], windows, dir)?);
    }
    Ok(grid)
}

/// The comparisons.
fn lines(connections: usize) -> Vec<Line> {
    let (p1, p16, c1) = ((connections, 1), (connections, 16), (1, 1));
    vec![
        Line::new("SET p1", SET, p1, (LEADER, REDIS_SYNCED), "≥ 1.0"),
        Line::new("SET p16", SET, p16, (LEADER, REDIS_SYNCED), "≥ 1.0"),
        Line::new("SET, one connection", SET, c1, (LEADER, REDIS_SYNCED), "≥ 0.8"),
        Line::new("SET p1", SET, p1, (LEADER, REDIS_UNSYNCED), ""),
        Line::new("SET p16", SET, p16, (LEADER, REDIS_UNSYNCED), ""),
        Line::new("GET p1", GET, p1, (LEADER, ALONE), "≥ 0.9"),
        Line::new("GET p1", GET, p1, (FOLLOWER, ALONE), "≥ 0.5"),
        Line::new("GET p16", GET, p16, (FOLLOWER, ALONE), ""),
    ]
}

/// The leader under the load of etcd's own check, and three members of etcd under that check.
fn beside_etcd(leader: &Subject, windows: &Windows, dir: &Path) -> Result<Vec<String>> {
    let check = Windows { value_size: Etcd::VALUE, connections: Etcd::CLIENTS, ..windows.clone() };
    let line = Line::new("SET p1", SET, (check.connections, 1), (LEADER, LEADER), "≥ 5");
    let etcd = Etcd::start(dir)?.check()?;
    let ours = comparison::window(leader, &line, &check, windows.rounds)?;
    let name = format!("{} clients, {} bytes, {}", Etcd::CLIENTS, Etcd::VALUE, leader.name);
    let (shown, beside) = (format!("{ours:.0}"), format!("{etcd:.0}"));
    let ratio = format!("{:.2}", ours / etcd);
    Ok(vec![name, shown, "etcd, three members, check perf".into(), beside, ratio, "≥ 5".into()])
}

impl Bed {
    fn start(windows: &Windows, binary: &Path, dir: &Path) -> Result<Bed> {
        let nodes = Nodes::start(binary, dir, 3, ELECTION_MS)?;
        let leader = until("a node leads", || nodes.leader())?;
        let alone = server(binary, dir, &["--appendonly", "no"])?;
        let index = &["CLIENT", "CONSISTENCY", "QUORUM", "READS", "INDEX"];
        let follower = Subject::new("READS INDEX at a follower", nodes.addr((leader + 1) % 3));
        let mut subjects = vec![
            Subject::new("the leader of three", nodes.addr(leader)),
            Subject { opening: index, ..follower },
            Subject::new("one server, no log", alone.addr()),
        ];
        let mut others = vec![alone];
        if has_redis() {
            let redis = |more| with_replicas(Path::new(REDIS), dir, more);
            let synced = redis(&["--appendonly", "yes", "--appendfsync", "always"])?;
            let plain = redis(&["--appendonly", "no"])?;
            let wait = &["WAIT", "1", "0"];
            let of = |name, all: &[Server]| Subject {
                closing: wait,
                ..Subject::new(name, all[0].addr())
            };
            subjects.push(of("Redis, always, 2 replicas, WAIT 1", &synced));
            subjects.push(of("Redis, no log, 2 replicas, WAIT 1", &plain));
            others.extend(synced.into_iter().chain(plain));
        }
        let bed = Bed { nodes, _others: others, subjects };
        bed.fill(windows)?;
        Ok(bed)
    }

    /// Writes all keys to all servers that have their own.
    fn fill(&self, windows: &Windows) -> Result<()> {
        for (at, subject) in self.subjects.iter().enumerate().filter(|(at, _)| *at != FOLLOWER) {
            comparison::fill(subject, windows, at)?;
        }
        self.nodes.wait_until_whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_redis_only_what_needs_none_is_compared() {
        let left = |subjects: usize| {
            let lines = lines(50).into_iter();
            lines.filter(|line| line.pair.0.max(line.pair.1) < subjects).collect::<Vec<_>>()
        };
        assert_eq!(left(REDIS_UNSYNCED + 1).len(), 8);
        let left = left(REDIS_SYNCED);
        assert!(left.len() == 3 && left.iter().all(|line| line.request == GET));
    }
}
