//! `cargo xtask bench worst`: the worst single command while something large happens.
//!
//! A probe sends one command after another and a batch of writes beside each, while a table grows, a
//! snapshot is written, a log is rewritten, a large collection is dropped, or many keys expire. `cases`
//! says what happens, `probe` measures, `results` are the measurements, and `report` shows them.

mod cases;
mod probe;
mod report;
mod results;

use crate::bench::machine::Machine;
use crate::places;
use anyhow::{Context, Result, bail, ensure};
use capture::lab::{Launch, Server, cpu};
use cases::Case;
use clap::Args;
use probe::Until;
use results::{Measured, SCHEMA, WorstResults};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The worst single command while a table grows, a snapshot or a log rewrite runs, ten million
/// elements are dropped, or a hundred thousand keys expire
#[derive(Debug, Clone, Args)]
pub struct WorstArgs {
    /// Events during which commands are timed
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "growth,snapshot,rewrite,del,unlink,flushall,expire"
    )]
    cases: Vec<Case>,
    /// Part of ten million keys or elements, and of a hundred thousand keys that expire
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Rounds; in each, every server runs every case once
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only the server and the echo server
    #[arg(long)]
    no_peers: bool,
    /// The server's binary; by default it is built
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where servers keep their data
    #[arg(long, default_value = "target/xtask-bench")]
    dir: PathBuf,
    /// Write the results to this file, and a page with charts beside it
    #[arg(long, default_value = "target/xtask-bench/worst.json")]
    json: PathBuf,
    /// Add to the results that are in the file, in place of those of the same cases
    #[arg(long)]
    add: bool,
    /// Do not measure: take the results from the file
    #[arg(long)]
    show: bool,
    /// Write docs/worst.md and its charts
    #[arg(long)]
    publish: bool,
    /// Fail if the server's worst command takes so many milliseconds longer than the echo server's, in
    /// the best of the rounds
    #[arg(long, value_name = "MS")]
    at_most: Option<f64>,
}

/// The servers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Varve,
    Redis,
    Echo,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Varve => "varve",
            Target::Redis => "redis-server",
            Target::Echo => results::ECHO,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &WorstArgs) -> Result<()> {
    ensure!(
        args.scale > 0.0 && args.scale <= 100.0 && args.rounds > 0,
        "scale and rounds must be positive"
    );
    let results = if args.show { WorstResults::load(&args.json)? } else { measure(args)? };
    for grid in report::grids(&results) {
        println!("{}", grid.terminal());
    }
    let page = args.json.with_extension("html");
    std::fs::write(&page, report::page(&results)?)?;
    println!("report in {}", page.display());
    if args.publish {
        report::publish(&results, &places::project_root()?.join("docs"))?;
        println!("wrote docs/worst.md and its charts");
    }
    match args.at_most.and_then(|most_ms| results.exceeds(most_ms * 1000.0)) {
        Some(problem) => bail!("{problem}"),
        None => Ok(()),
    }
}

fn measure(args: &WorstArgs) -> Result<WorstResults> {
    let earlier = args.add.then(|| WorstResults::load(&args.json)).transpose()?;
    let binary = places::server_binary(args.binary.as_deref(), true)?;
    let dir = places::folder(&args.dir)?;
    let cores = cpu::allowed();
    if let [_, .., last] = cores.as_slice() {
        cpu::pin(&[*last])?;
    }
    let redis = if args.no_peers { None } else { program("redis-server") };
    let mut targets = vec![(Target::Varve, binary)];
    targets.extend(redis.map(|program| (Target::Redis, program)));
    // Last, since it runs for as long as the server did.
    targets.push((Target::Echo, std::env::current_exe()?));
    let mut measured = Vec::new();
    for round in 0..args.rounds {
        for case in &args.cases {
            measured.extend(case_once(args, (round, *case), &targets, (&dir, &cores))?);
        }
    }
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let machine = Machine::here();
    let mut results =
        WorstResults { schema: SCHEMA, unix_seconds, machine, scale: args.scale, measured };
    results.add(earlier);
    results.save(&args.json)?;
    Ok(results)
}

/// All servers in one case, once.
fn case_once(
    args: &WorstArgs,
    (round, case): (u32, Case),
    targets: &[(Target, PathBuf)],
    place: (&Path, &[usize]),
) -> Result<Vec<Measured>> {
    let (mut took, mut measured) = (Duration::ZERO, Vec::new());
    for (target, program) in targets {
        let (case_name, server) = (case.name().to_string(), target.name().to_string());
        eprintln!("round {} of {}: {case_name}, {server}", round + 1, args.rounds);
        let until = if *target == Target::Echo { Until::Time(took) } else { Until::Done };
        let one = one(args, case, (*target, program), place, until);
        let one = one.with_context(|| format!("{case_name}, {server}"))?;
        if *target == Target::Varve {
            took = Duration::from_secs_f64(one.seconds);
        }
        measured.push(Measured { round, case: case_name, server, ..one });
    }
    Ok(measured)
}

/// One server in one case.
fn one(
    args: &WorstArgs,
    case: Case,
    (target, program): (Target, &Path),
    (dir, cores): (&Path, &[usize]),
    until: Until,
) -> Result<Measured> {
    let options = |port: u16, data: &Path| options(target, case, port, data);
    // Not kept apart from the load: threads and processes in the background take the core that is idle.
    let launch = Launch { program, options: &options, cores, dir, memory: None };
    let server = Server::start(&launch)?;
    probe::measure(server.addr(), case, args.scale, until)
}

fn options(target: Target, case: Case, port: u16, data: &Path) -> Vec<String> {
    let (port, data) = (port.to_string(), data.display().to_string());
    let log = if case == Case::Rewrite { "yes" } else { "no" };
    let redis = [
        "--port",
        &port,
        "--dir",
        &data,
        "--save",
        "",
        "--appendonly",
        log,
        "--auto-aof-rewrite-percentage",
        "0",
    ];
    let own = [
        "--storage",
        "memory",
        "--threads",
        "1",
        "--runtime",
        "epoll",
        "--epoll-execution",
        "inline",
    ];
    let words: Vec<&str> = match target {
        Target::Echo => vec!["echo", "--port", &port],
        Target::Redis => redis.to_vec(),
        Target::Varve => redis.into_iter().chain(own).collect(),
    };
    words.into_iter().map(String::from).collect()
}

/// A program on PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
