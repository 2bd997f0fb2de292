//! `cargo xtask bench cluster`: what a cluster of three does, beside Redis with two replicas and
//! `WAIT 1`, and beside one server alone. Rounds are interleaved, so that a ratio is one of neighbours
//! in time. All servers share this machine's cores with each other and with the load; those that have
//! nothing to do are not frozen, because a cluster that stood still would elect again.

use super::ClusterArgs;
use super::nodes::{Nodes, ask, until};
use crate::bench::report::Grid;
use crate::bench::stats::{Ratio, Spread};
use crate::load::keys::{Distribution, Keys};
use crate::load::request::Generator;
use crate::load::{self, Pacing, RunConfig, Stop};
use anyhow::{Result, bail};
use capture::lab::{Launch, Server};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The time before a window, in which nothing is measured.
const WARMUP: Duration = Duration::from_millis(300);

/// The election timeout of the cluster: nobody is to be elected, however busy the machine is.
const ELECTION_MS: u64 = 5_000;

/// The pipeline with which keys are written before anything is measured.
const LOAD_PIPELINE: usize = 64;

const SET: &str = "SET {key} {value}";
const GET: &str = "GET {key}";

/// The servers, and what is asked of them.
struct Bed {
    nodes: Nodes,
    /// They run as long as this.
    _others: Vec<Server>,
    subjects: Vec<Subject>,
}

/// Something that is measured: a server that gets the load, and how it is asked.
struct Subject {
    name: &'static str,
    addr: SocketAddr,
    /// The first request of each connection; empty for none.
    opening: &'static [&'static str],
    /// The request behind each batch of writes; empty for none.
    closing: &'static [&'static str],
}

/// The positions of the subjects. Where there is no `redis-server` the last two are missing.
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const ALONE: usize = 2;
const REDIS_SYNCED: usize = 3;
const REDIS: usize = 4;

/// A comparison.
struct Line {
    name: &'static str,
    request: &'static str,
    connections: usize,
    pipeline: usize,
    /// The positions of the subject, and of the one beside it.
    pair: (usize, usize),
    /// The wanted ratio.
    wanted: &'static str,
}

/// A round's operations per second: of the subject, and of the one beside it.
type Pair = (f64, f64);

/// Measures, and makes the table.
pub fn measure(args: &ClusterArgs, binary: &Path, dir: &Path) -> Result<Grid> {
    let bed = Bed::start(args, binary, dir)?;
    let lines = lines(args.connections, bed.subjects.len());
    let mut measured: Vec<Vec<Pair>> = lines.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds {
        for (line, pairs) in lines.iter().zip(&mut measured) {
            pairs.push(bed.pair(line, args, round)?);
        }
    }
    let title = format!(
        "Operations per second, {} connections, {} rounds of {} s, values of {} bytes",
        args.connections, args.rounds, args.seconds, args.value_size
    );
    let mut grid = Grid::new(title, &["", "ops/s", "beside", "ops/s", "ratio", "wanted"]);
    for (line, pairs) in lines.iter().zip(&measured) {
        grid.rows.extend(row(line, &bed.subjects, pairs));
    }
    Ok(grid)
}

fn row(line: &Line, subjects: &[Subject], pairs: &[Pair]) -> Option<Vec<String>> {
    let median = |of: fn(&Pair) -> f64| Spread::of(pairs.iter().map(of).collect());
    let (one, other) = (median(|pair| pair.0)?, median(|pair| pair.1)?);
    let ratio = Ratio(Spread::of(pairs.iter().map(|(one, other)| one / other).collect())?);
    let (subject, beside) = (subjects.get(line.pair.0)?, subjects.get(line.pair.1)?);
    let shown = |spread: Spread| format!("{:.0}", spread.median);
    Some(vec![
        format!("{}, {}", line.name, subject.name),
        shown(one),
        beside.name.into(),
        shown(other),
        ratio.to_string(),
        line.wanted.into(),
    ])
}

/// The comparisons, given the number of subjects.
fn lines(connections: usize, subjects: usize) -> Vec<Line> {
    let line = |name, request, (connections, pipeline), pair, wanted| Line {
        name,
        request,
        connections,
        pipeline,
        pair,
        wanted,
    };
    let (p1, p16, c1) = ((connections, 1), (connections, 16), (1, 1));
    let all = [
        line("SET p1", SET, p1, (LEADER, REDIS_SYNCED), "≥ 1.0"),
        line("SET p16", SET, p16, (LEADER, REDIS_SYNCED), "≥ 1.0"),
        line("SET, one connection", SET, c1, (LEADER, REDIS_SYNCED), "≥ 0.8"),
        line("SET p1", SET, p1, (LEADER, REDIS), ""),
        line("SET p16", SET, p16, (LEADER, REDIS), ""),
        line("GET p1", GET, p1, (LEADER, ALONE), "≥ 0.9"),
        line("GET p1", GET, p1, (FOLLOWER, ALONE), "≥ 0.5"),
        line("GET p16", GET, p16, (FOLLOWER, ALONE), ""),
    ];
    all.into_iter().filter(|line| line.pair.0.max(line.pair.1) < subjects).collect()
}

impl Bed {
    fn start(args: &ClusterArgs, binary: &Path, dir: &Path) -> Result<Bed> {
        let nodes = Nodes::start(binary, dir, 3, ELECTION_MS)?;
        let leader = until("a node leads", || nodes.leader())?;
        let alone = server(binary, dir, &["--appendonly", "no"])?;
        let index = &["CLIENT", "CONSISTENCY", "QUORUM", "READS", "INDEX"];
        let subject = |name, addr| Subject { name, addr, opening: &[], closing: &[] };
        let follower = subject("READS INDEX at a follower", nodes.addr((leader + 1) % 3));
        let mut subjects = vec![
            subject("the leader of three", nodes.addr(leader)),
            Subject { opening: index, ..follower },
            subject("one server, no log", alone.addr()),
        ];
        let mut others = vec![alone];
        match has_redis() {
            true => {
                let synced = redis(dir, &["--appendonly", "yes", "--appendfsync", "always"])?;
                let plain = redis(dir, &["--appendonly", "no"])?;
                let wait = &["WAIT", "1", "0"];
                let of = |name, all: &[Server]| Subject {
                    closing: wait,
                    ..subject(name, all[0].addr())
                };
                subjects.push(of("Redis, always, 2 replicas, WAIT 1", &synced));
                subjects.push(of("Redis, no log, 2 replicas, WAIT 1", &plain));
                others.extend(synced.into_iter().chain(plain));
            }
            false => println!("Redis is left out: there is no redis-server"),
        }
        let bed = Bed { nodes, _others: others, subjects };
        bed.load(args)?;
        Ok(bed)
    }

    /// Writes all keys to all servers that have their own.
    fn load(&self, args: &ClusterArgs) -> Result<()> {
        let load = Line {
            name: "loading",
            request: SET,
            connections: 1,
            pipeline: LOAD_PIPELINE,
            pair: (LEADER, LEADER),
            wanted: "",
        };
        for (at, subject) in self.subjects.iter().enumerate().filter(|(at, _)| *at != FOLLOWER) {
            let keys = Keys::new(Distribution::Sequential, args.keys, at as u64);
            run(subject, &load, args, keys, Stop::Requests(args.keys), 0)?;
        }
        self.nodes.wait_until_whole()
    }

    /// One window of each of a line's two subjects, of which each begins every other round.
    fn pair(&self, line: &Line, args: &ClusterArgs, round: u32) -> Result<Pair> {
        let window = |at: usize| -> Result<f64> {
            let keys = Keys::new(Distribution::Uniform, args.keys, u64::from(round));
            let stop = Stop::After(Duration::from_secs_f64(args.seconds));
            run(&self.subjects[at], line, args, keys, stop, u64::from(round))
        };
        let (one, other) = line.pair;
        if round.is_multiple_of(2) {
            let first = window(one)?;
            return Ok((first, window(other)?));
        }
        let first = window(other)?;
        Ok((window(one)?, first))
    }
}

/// One window; its operations per second.
fn run(
    subject: &Subject,
    line: &Line,
    args: &ClusterArgs,
    keys: Keys,
    stop: Stop,
    number: u64,
) -> Result<f64> {
    let closing = if line.request == SET { subject.closing } else { &[] };
    let requests = [(line.request.to_owned(), 1.0)];
    let generator = Generator::weighted(&requests, &[args.value_size], 1, keys)?;
    let plan = RunConfig {
        server: subject.addr.into(),
        connections: line.connections,
        pipeline: line.pipeline,
        pacing: Pacing::Closed,
        warmup: if number == 0 { Duration::ZERO } else { WARMUP },
        stop,
        cores: Vec::new(),
        run: number,
    };
    let report = load::run(&plan, &generator.within(subject.opening, closing), &mut |_| {})?;
    if let Some(error) = report.tally.first_error {
        bail!("{}, {}: {error}", line.name, subject.name);
    }
    let of_batch = line.pipeline + usize::from(!closing.is_empty());
    let done = report.tally.replies as f64 * line.pipeline as f64 / of_batch as f64;
    Ok(done / report.elapsed.as_secs_f64())
}

fn server(program: &Path, dir: &Path, more: &[&str]) -> Result<Server> {
    let options = |port: u16, data: &Path| -> Vec<String> {
        let (port, data) = (port.to_string(), data.display().to_string());
        let words = ["--port", &port, "--dir", &data, "--bind", "127.0.0.1", "--save", ""];
        words.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    Server::start(&Launch { program, options: &options, cores: &[], dir, memory: None })
}

fn has_redis() -> bool {
    let asked = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// A master, and two replicas that follow it.
fn redis(dir: &Path, more: &[&str]) -> Result<Vec<Server>> {
    let program = Path::new("redis-server");
    let master = server(program, dir, more)?;
    let port = master.addr().port().to_string();
    let following = [more, &["--replicaof", "127.0.0.1", &port]].concat();
    let mut all = vec![master];
    for _ in 0..2 {
        all.push(server(program, dir, &following)?);
    }
    let addr = all[0].addr();
    until("both replicas follow", || {
        ask(addr, &["WAIT", "2", "100"]).ok().filter(|reply| reply.starts_with(":2"))
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_redis_only_what_needs_none_is_compared() {
        assert_eq!(lines(50, REDIS + 1).len(), 8);
        let left = lines(50, REDIS_SYNCED);
        assert!(left.len() == 3 && left.iter().all(|line| line.request == GET));
    }

    #[test]
    fn a_row_has_medians_and_the_ratio_of_neighbours() {
        let addr = ([127, 0, 0, 1], 1).into();
        let subject = |name| Subject { name, addr, opening: &[], closing: &[] };
        let subjects = [subject("one"), subject("two")];
        let line = Line { pair: (0, 1), ..lines(50, 5).remove(0) };
        let shown = row(&line, &subjects, &[(10.0, 5.0), (30.0, 10.0), (20.0, 8.0)]).unwrap();
        assert_eq!(shown, ["SET p1, one", "20", "two", "8", "2.50 (2.00–3.00)", "≥ 1.0"]);
    }
}
