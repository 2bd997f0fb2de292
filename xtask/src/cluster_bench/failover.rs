//! `cargo xtask bench failover`: the leader is killed again and again, while a client at each node
//! writes without a pause.

use super::FailoverArgs;
use super::nodes::{Nodes, until};
use crate::bench::report::Grid;
use anyhow::{Context, Result, bail};
use capture::lab::Client;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two attempts of a client whose node does not take writes.
const REST: Duration = Duration::from_millis(1);

/// An acknowledged write: at which node, and when.
type Written = (usize, Instant);

/// A client at each node that writes whenever its node takes it.
struct Writers {
    written: Arc<Mutex<Vec<Written>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(nodes: &Nodes) -> Writers {
        let (written, ended) = (Arc::<Mutex<Vec<Written>>>::default(), Arc::default());
        let write = |at: usize| {
            let (addr, written, ended) = (nodes.addr(at), Arc::clone(&written), Arc::clone(&ended));
            std::thread::spawn(move || write(at, addr, &written, &ended))
        };
        let threads = (0..nodes.0.len()).map(write).collect();
        Writers { written, ended, threads }
    }

    /// How long nobody took a write around `when`, at which the node `before` was told to go:
    /// the longest time between two writes, from the last one before to the first at another node.
    /// Nothing while there is none.
    fn gap(&self, before: usize, when: Instant) -> Option<Duration> {
        let written = self.written.lock();
        gap(&written, before, when)
    }
}

fn gap(written: &[Written], before: usize, when: Instant) -> Option<Duration> {
    let from = written.iter().rposition(|(_, at)| *at < when)?;
    let until = written.iter().position(|(node, at)| *node != before && *at >= when)?;
    let steps = written.get(from..=until)?.windows(2);
    steps.map(|pair| pair[1].1 - pair[0].1).max()
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn write(at: usize, addr: SocketAddr, written: &Mutex<Vec<Written>>, ended: &AtomicBool) {
    let mut client = None;
    while !ended.load(Ordering::SeqCst) {
        match write_once(&mut client, addr) {
            Ok(true) => written.lock().push((at, Instant::now())),
            Ok(false) => std::thread::sleep(REST),
            Err(_) => {
                client = None;
                std::thread::sleep(REST);
            }
        }
    }
}

/// Writes once, on a new connection if there is none. Returns whether the node has taken it.
fn write_once(client: &mut Option<Client>, addr: SocketAddr) -> Result<bool> {
    let connected = match client {
        Some(client) => client,
        none => none.insert(Client::connect(addr)?),
    };
    Ok(connected.call(&["SET", "key", "value"])?.starts_with(b"+OK"))
}

/// How the leader goes.
#[derive(Clone, Copy)]
enum Way {
    Killed,
    Stopped,
}

/// Measures, and makes the table.
pub fn measure(args: &FailoverArgs, binary: &Path, dir: &Path) -> Result<Grid> {
    let mut nodes = Nodes::start(binary, dir, 3, args.election_ms)?;
    let election = Duration::from_millis(args.election_ms);
    let killed = rounds(&mut nodes, Way::Killed, args.kills, election)?;
    let stopped = rounds(&mut nodes, Way::Stopped, args.stops, election)?;
    let title = format!("How long nobody took a write, election timeout {} ms", args.election_ms);
    let mut grid = Grid::new(title, &["the leader", "times", "p50 ms", "max ms", "wanted"]);
    let goal = |factor: f64| (election.as_secs_f64() * factor * 1_000.0).round();
    let wanted = format!("p50 ≤ {}, max ≤ {}", goal(1.5), goal(3.0));
    grid.rows.extend(row("kill -9", killed, wanted));
    grid.rows.extend(row("SIGTERM", stopped, "max ≤ 100".into()));
    Ok(grid)
}

fn row(name: &str, mut gaps: Vec<Duration>, wanted: String) -> Option<Vec<String>> {
    gaps.sort_unstable();
    let ms = |gap: &Duration| format!("{:.0}", gap.as_secs_f64() * 1_000.0);
    let (middle, longest) = (gaps.get(gaps.len() / 2)?, gaps.last()?);
    Some(vec![name.into(), gaps.len().to_string(), ms(middle), ms(longest), wanted])
}

fn rounds(nodes: &mut Nodes, way: Way, count: usize, election: Duration) -> Result<Vec<Duration>> {
    (0..count).map(|_| round(nodes, way, election)).collect()
}

/// The leader goes, another one leads, and who went comes back.
fn round(nodes: &mut Nodes, way: Way, election: Duration) -> Result<Duration> {
    nodes.wait_until_whole()?;
    // Who came back just now neither votes nor leads for an election timeout.
    std::thread::sleep(election + election / 2);
    let leader = until("a node leads", || nodes.leader())?;
    let writers = Writers::start(nodes);
    until("it takes writes", || {
        writers.written.lock().iter().any(|(at, _)| *at == leader).then_some(())
    })?;
    let when = Instant::now();
    let server = nodes.0.get(leader).context("there is such a node")?;
    match way {
        Way::Killed => server.signal(libc::SIGKILL),
        Way::Stopped => server.signal(libc::SIGTERM),
    }
    let gap = until("another node takes writes", || writers.gap(leader, when))?;
    drop(writers);
    if gap.is_zero() {
        bail!("two writes at the same time");
    }
    nodes.start_again(leader)?;
    Ok(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_the_longest_time_without_a_write_until_another_node_leads() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let of = |written: &[(usize, u64)]| {
            let written: Vec<_> = written.iter().map(|(node, ms)| (*node, at(*ms))).collect();
            gap(&written, 0, at(10)).map(|gap| gap.as_millis())
        };
        assert_eq!(of(&[(0, 1), (0, 9), (2, 1_000), (2, 5_000)]), Some(991), "killed");
        assert_eq!(of(&[(0, 9), (0, 12), (0, 20), (1, 60), (1, 300)]), Some(40), "stopped");
        assert_eq!(of(&[(0, 9), (0, 12)]), None, "nobody yet");
        assert_eq!(of(&[(1, 12)]), None);
    }
}
