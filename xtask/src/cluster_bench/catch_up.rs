//! `cargo xtask bench sync` and `bench snapshot`: somebody new gets everything from a server that goes on
//! serving: a replica from its master, a node from its leader. How fast that is, and what those notice
//! who ask the server meanwhile.

use super::CatchUpArgs;
use super::nodes::{self, Nodes};
use super::replicated::{REDIS, has_redis, replica, server};
use crate::bench::report::Grid;
use crate::bench::stats::{Ratio, Spread};
use crate::load::keys::{Distribution, Keys};
use crate::load::request::Generator;
use crate::load::{self, Pacing, Report, RunConfig, Stop};
use anyhow::{Context, Result, bail, ensure};
use capture::lab::{Client, Server, proc};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The election timeout of the cluster: nobody is to be elected, however busy the machine is.
const ELECTION_MS: u64 = 10_000;

/// The longest that catching up may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks whether the newcomer has everything.
const LOOK: Duration = Duration::from_millis(5);

/// A window of the load, after which it is looked whether the newcomer has everything.
const WINDOW: Duration = Duration::from_millis(500);

/// Connections of the load.
const CONNECTIONS: usize = 20;

/// A key that is written before the newcomer comes.
const MARK: &str = "mark";

/// The observations of one newcomer.
struct CaughtUp {
    /// From the start of its process until it had everything.
    took: Duration,
    /// The 99th percentile of the load's latencies before, µs.
    before_us: f64,
    /// The same while the newcomer caught up.
    during_us: f64,
    /// The growth of the sending process's peak memory over its memory before, a share of that.
    growth: f64,
}

/// Everything that one row of the table is about.
struct Case<'a> {
    name: &'static str,
    /// Starts the sender and a newcomer, and observes both.
    run: Box<dyn Fn() -> Result<CaughtUp> + 'a>,
    observed: Vec<CaughtUp>,
}

impl<'a> Case<'a> {
    fn new(name: &'static str, run: impl Fn() -> Result<CaughtUp> + 'a) -> Case<'a> {
        Case { name, run: Box::new(run), observed: Vec::new() }
    }
}

/// Measures replicas of Varve and of Redis.
pub fn sync(args: &CatchUpArgs, binary: &Path, dir: &Path) -> Result<Grid> {
    let mut cases = vec![Case::new("a replica of Varve", || of_replica(args, binary, dir))];
    cases.extend(redis(args, dir));
    measure(args, cases)
}

/// Measures nodes of a cluster, beside replicas of Redis.
pub fn snapshot(args: &CatchUpArgs, binary: &Path, dir: &Path) -> Result<Grid> {
    let mut cases = vec![Case::new("a fourth node of a cluster", || of_node(args, binary, dir))];
    cases.extend(redis(args, dir));
    measure(args, cases)
}

fn redis<'a>(args: &'a CatchUpArgs, dir: &'a Path) -> Option<Case<'a>> {
    let run = || of_replica(args, Path::new(REDIS), dir);
    has_redis().then(|| Case::new("a replica of Redis", run))
}

fn measure(args: &CatchUpArgs, mut cases: Vec<Case<'_>>) -> Result<Grid> {
    for _ in 0..args.rounds {
        for case in &mut cases {
            case.observed.push((case.run)().with_context(|| case.name)?);
        }
    }
    let title = format!(
        "Catching up on {} MiB while {} writes/s come, {} rounds, medians",
        args.bytes() >> 20,
        args.rate,
        args.rounds
    );
    let header =
        ["", "s", "MB/s", "p99 before, µs", "p99 during, µs", "ratio, wanted ≤ 2", "memory"];
    let mut grid = Grid::new(title, &header);
    grid.rows = cases.iter().filter_map(|case| row(case, args.bytes())).collect();
    Ok(grid)
}

fn row(case: &Case<'_>, bytes: u64) -> Option<Vec<String>> {
    let spread = |of: &dyn Fn(&CaughtUp) -> f64| Spread::of(case.observed.iter().map(of).collect());
    let took = spread(&|seen| seen.took.as_secs_f64())?.median;
    let ratio = Ratio(spread(&|seen| seen.during_us / seen.before_us)?);
    Some(vec![
        case.name.into(),
        format!("{took:.2}"),
        format!("{:.0}", bytes as f64 / 1e6 / took),
        format!("{:.0}", spread(&|seen| seen.before_us)?.median),
        format!("{:.0}", spread(&|seen| seen.during_us)?.median),
        ratio.to_string(),
        format!("{:+.0} %", spread(&|seen| seen.growth)?.median * 100.0),
    ])
}

/// A replica of `program` follows a master of `program`.
fn of_replica(args: &CatchUpArgs, program: &Path, dir: &Path) -> Result<CaughtUp> {
    let options = ["--appendonly", "no"];
    let master = server(program, dir, &options)?;
    fill(args, master.addr())?;
    let follow = || replica(program, dir, &options, master.addr());
    observe(args, &master, follow)
}

/// A node becomes the fourth of a cluster.
fn of_node(args: &CatchUpArgs, binary: &Path, dir: &Path) -> Result<CaughtUp> {
    let nodes = Nodes::start(binary, dir, 3, ELECTION_MS)?;
    let leader = nodes::until("a node leads", || nodes.leader())?;
    fill(args, nodes.addr(leader))?;
    nodes.wait_until_whole()?;
    observe(args, &nodes.0[leader], || nodes.meet(binary, dir, ELECTION_MS))
}

/// Sees how the load on `sender` is served, before and while the newcomer that `start` starts gets
/// everything from it.
fn observe(
    args: &CatchUpArgs,
    sender: &Server,
    start: impl FnOnce() -> Result<Server> + Send,
) -> Result<CaughtUp> {
    Client::connect(sender.addr())?.call(&["SET", MARK, MARK])?;
    let began = Instant::now();
    let enough = || began.elapsed().as_secs_f64() >= args.seconds;
    let before = load_until(args, sender.addr(), enough)?;
    let pid = sender.pid().context("it is ours")?;
    let resident = proc::resident_bytes(pid).context("its memory cannot be read")?;
    let over = AtomicBool::new(false);
    let (took, during) = std::thread::scope(|scope| {
        let newcomer = scope.spawn(|| {
            let caught_up = catch_up(start);
            over.store(true, Ordering::SeqCst);
            caught_up
        });
        let during = load_until(args, sender.addr(), || over.load(Ordering::SeqCst));
        let took = newcomer.join().unwrap_or_else(|_| bail!("the observer panicked"));
        Ok::<_, anyhow::Error>((took?, during?))
    })?;
    let peak = proc::peak_bytes(pid).context("its memory cannot be read")?;
    let growth = peak.saturating_sub(resident) as f64 / resident as f64;
    let (before_us, during_us) = (before.latency_us(99.0), during.latency_us(99.0));
    Ok(CaughtUp { took, before_us, during_us, growth })
}

/// Starts the newcomer, waits until it has everything, and ends it.
fn catch_up(start: impl FnOnce() -> Result<Server>) -> Result<Duration> {
    let began = Instant::now();
    let newcomer = start()?;
    while !has_everything(newcomer.addr()) {
        ensure!(began.elapsed() < PATIENCE, "it did not catch up within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
    Ok(began.elapsed())
}

/// Whether it has the mark. One that is loading has no answer, and one that has not begun has no mark:
/// states are taken whole.
fn has_everything(addr: SocketAddr) -> bool {
    let read = || -> Result<bool> {
        let mut client = Client::connect(addr)?;
        client.call(&["READONLY"])?;
        Ok(client.call(&["GET", MARK])?.ends_with(b"mark\r\n"))
    };
    read().unwrap_or(false)
}

/// Writes all keys.
fn fill(args: &CatchUpArgs, addr: SocketAddr) -> Result<()> {
    let keys = Keys::new(Distribution::Sequential, args.keys, 0);
    run(args, addr, keys, Pacing::Closed, Stop::Requests(args.keys)).map(drop)
}

/// Windows of load until `over`, which is asked before each but the first; all that they saw.
fn load_until(
    args: &CatchUpArgs,
    addr: SocketAddr,
    mut over: impl FnMut() -> bool,
) -> Result<Report> {
    let mut number = 0;
    let mut window = || {
        number += 1;
        let keys = Keys::new(Distribution::Uniform, args.keys, number);
        let pacing = Pacing::Open { per_second: args.rate };
        run(args, addr, keys, pacing, Stop::After(WINDOW))
    };
    let mut all = window()?;
    while !over() {
        let more = window()?;
        all.latencies.add(more.latencies).context("histograms differ")?;
    }
    Ok(all)
}

fn run(
    args: &CatchUpArgs,
    server: SocketAddr,
    keys: Keys,
    pacing: Pacing,
    stop: Stop,
) -> Result<Report> {
    let requests = [("SET {key} {value}".to_owned(), 1.0)];
    let generator = Generator::weighted(&requests, &[args.value_size], 1, keys)?;
    let config = RunConfig {
        server: server.into(),
        connections: CONNECTIONS,
        pipeline: 8,
        pacing,
        warmup: Duration::ZERO,
        stop,
        cores: Vec::new(),
        run: 0,
    };
    let report = load::run(&config, &generator, &mut |_| {})?;
    match report.tally.first_error {
        Some(error) => bail!("a write: {error}"),
        None => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_the_ratio_of_each_round() {
        let seen = |took, before_us, during_us| CaughtUp {
            took: Duration::from_secs(took),
            before_us,
            during_us,
            growth: 0.25,
        };
        let mut case = Case::new("somebody", || bail!("not run"));
        case.observed = vec![seen(2, 100.0, 150.0), seen(4, 200.0, 400.0), seen(3, 100.0, 900.0)];
        let shown = row(&case, 300_000_000).unwrap();
        let ratio = "2.00 (1.50–9.00)";
        assert_eq!(shown, ["somebody", "3.00", "100", "100", "400", ratio, "+25 %"]);
    }
}
