//! The command line of `cargo xtask bench`.

use crate::cluster_bench::{CatchUpArgs, ClusterArgs, FailoverArgs, ReplicasArgs};
use crate::engine_bench::EngineArgs;
use crate::worst_bench::WorstArgs;
use anyhow::{Result, bail};
use capture::advise::{Demands, Durability};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How writes are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Aof {
    /// No append-only file.
    Off,
    /// Synced once a second.
    Everysec,
    /// Synced before the reply.
    Always,
}

impl Aof {
    /// As it is written on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Aof::Off => "off",
            Aof::Everysec => "everysec",
            Aof::Always => "always",
        }
    }
}

/// Compare runtimes, storages and durability with each other, with the machine's limit (a bare
/// echo server) and with other servers found on PATH.
/// Parts of the bench with a command line of their own.
#[derive(Debug, Clone, Subcommand)]
pub enum Part {
    Engine(EngineArgs),
    Failover(FailoverArgs),
    Cluster(ClusterArgs),
    Worst(WorstArgs),
    Replicas(ReplicasArgs),
    /// How fast a replica gets everything from its master, and what clients notice of it
    Sync(CatchUpArgs),
    /// How fast a node that joins a cluster gets everything, and what clients notice of it
    Snapshot(CatchUpArgs),
}

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub part: Option<Part>,
    /// Execution models to run; those the server does not have are left out, and said
    #[arg(long, value_delimiter = ',')]
    #[arg(default_value = "epoll-inline,epoll-pool,tokio,threads,uring")]
    pub runtimes: Vec<String>,
    /// Storages to run
    #[arg(long, value_delimiter = ',', default_value = "memory,sled,fjall")]
    pub storages: Vec<String>,
    /// Durability to run; by default all three, on rows that make it durable only for workloads
    /// that write. With --quick, none
    #[arg(long, value_delimiter = ',')]
    pub aof: Vec<Aof>,
    /// Shipped workloads by name (see --list), or paths of TOML files
    #[arg(long, value_delimiter = ',', default_value = "get,set")]
    pub workloads: Vec<String>,
    /// Requests in one batch per connection
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub pipelines: Vec<usize>,
    /// Client connections
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Rounds; in each, every row runs once
    #[arg(long)]
    pub rounds: Option<u32>,
    /// Measured seconds per row, round, workload and pipeline; by default what the budget allows
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Seconds that the whole run should take, within which windows are made shorter or longer
    #[arg(long)]
    pub budget: Option<f64>,
    /// Keys, loaded before the workloads that read them
    #[arg(long)]
    pub keys: Option<u64>,
    /// Keys on rows whose storage is on disk, where loading takes ten times as long; by default a
    /// quarter of --keys, all of them when --keys is given
    #[arg(long)]
    pub disk_keys: Option<u64>,
    /// MiB of memory for the servers of larger-than-memory workloads
    #[arg(long, default_value_t = 128)]
    pub memory_limit: u64,
    /// Bytes per value
    #[arg(long, default_value_t = 64)]
    pub value_size: usize,
    /// Server threads (and, where there are enough cores, load threads). Rows of the runtime
    /// `threads`, where a client has a thread of its own, get one per connection
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Cores of the servers, such as `0` or `0-3`; by default the first of those there are
    #[arg(long, requires = "load_cores")]
    pub server_cores: Option<String>,
    /// Cores of the load generator; by default the last
    #[arg(long, requires = "server_cores")]
    pub load_cores: Option<String>,
    /// Replay this capture (see `varve capture`) instead of running workloads; once, unless
    /// --rounds says otherwise
    #[arg(long, value_name = "CAPTURE")]
    pub replay: Option<PathBuf>,
    /// How it is replayed.
    #[command(flatten)]
    pub replay_args: capture::advise::ReplayArgs,
    /// Longest latency that 99 % of a capture's requests may have, such as 500us, 2ms
    #[arg(long, value_parser = capture::advise::duration)]
    pub p99_budget: Option<Duration>,
    /// Most memory the server may take for a capture, such as 1gb
    #[arg(long, value_parser = capture::advise::bytes)]
    pub memory_budget: Option<u64>,
    /// How a capture's writes are to be made durable
    #[arg(long = "durability", default_value = "everysec")]
    pub promise: Durability,
    /// More servers to compare with: programs, or host:port of one that runs. The workloads'
    /// keys are written there
    #[arg(long, value_delimiter = ',')]
    pub against: Vec<String>,
    /// Do not look for other servers on PATH
    #[arg(long)]
    pub no_peers: bool,
    /// Measure this binary instead of building target/release/varve
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Row that ratios refer to; by default a Redis-like peer with the same durability
    #[arg(long)]
    pub baseline: Option<String>,
    /// Open loop: so many requests per second instead of as many as the server takes
    #[arg(long)]
    pub rate: Option<f64>,
    /// Run Varve's rows and those of Redis-like servers once more, through TLS
    #[arg(long, conflicts_with = "replay")]
    pub tls: bool,
    /// Do not count system calls per operation, which takes a short pass of its own
    #[arg(long)]
    pub no_syscalls: bool,
    /// Also tell where the server's time goes, stage by stage, in a pass of its own
    #[arg(long)]
    pub trace: bool,
    /// Under a minute: 100,000 keys, shorter runs, pipelines 1 and 16 unless given
    #[arg(long)]
    pub quick: bool,
    /// Where servers keep their data while they are measured
    #[arg(long, default_value = "target/xtask-bench")]
    pub dir: PathBuf,
    /// Write the results to this file
    #[arg(long, default_value = "target/xtask-bench/results.json")]
    pub json: PathBuf,
    /// Write the report, a page with charts, to this file; by default report.html beside the
    /// results
    #[arg(long, value_name = "PATH")]
    pub html: Option<PathBuf>,
    /// Do not measure: take the results from this file
    #[arg(long, value_name = "RESULTS")]
    pub from: Option<PathBuf>,
    /// Compare with an earlier results.json
    #[arg(long, value_name = "OLD")]
    pub compare: Option<PathBuf>,
    /// Regenerate docs/benchmarks.md, its charts, and the table in README.md
    #[arg(long)]
    pub publish: bool,
    /// List the shipped workloads
    #[arg(long)]
    pub list: bool,
}

impl BenchArgs {
    /// Fills in what `--quick` changes, and refuses what makes no sense.
    pub fn checked(mut self) -> Result<Self> {
        if self.quick && self.pipelines == [1, 16, 64] {
            self.pipelines = vec![1, 16];
        }
        if self.replay.is_some() {
            self.aof = vec![match self.promise {
                Durability::None => Aof::Off,
                Durability::Everysec => Aof::Everysec,
                Durability::Always => Aof::Always,
            }];
        }
        let sane = self.rounds() > 0
            && self.keys() > 0
            && (1..=60_000).contains(&self.connections)
            && self.pipelines.iter().all(|p| (1..=65_536).contains(p))
            && (0.01..=3600.0).contains(&self.seconds.unwrap_or(1.0))
            && self.budget.is_none_or(|budget| budget > 0.0)
            && self.memory_limit > 0
            && self.disk_keys.is_none_or(|keys| keys > 0)
            && self.rate.is_none_or(|rate| rate > 0.0);
        if !sane {
            bail!("rounds, seconds, keys, connections, pipelines and rate must be positive");
        }
        Ok(self)
    }

    /// Where the report goes.
    pub fn html(&self) -> PathBuf {
        let beside = || self.from.as_ref().unwrap_or(&self.json).with_file_name("report.html");
        self.html.clone().unwrap_or_else(beside)
    }

    /// The demands that the advice after a replay must respect.
    pub fn demands(&self) -> Demands {
        let (p99_budget, memory_limit) = (self.p99_budget, self.memory_budget);
        Demands { p99_budget, memory_limit, durability: self.promise }
    }

    /// Rounds to run.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(3)
    }

    /// Durability to run.
    pub fn durability(&self) -> Vec<Aof> {
        match (self.aof.is_empty(), self.quick) {
            (false, _) => self.aof.clone(),
            (true, true) => vec![Aof::Off],
            (true, false) => vec![Aof::Off, Aof::Everysec, Aof::Always],
        }
    }

    /// How long the whole run should take.
    pub fn budget(&self) -> Duration {
        let default = if self.quick { 50.0 } else { 280.0 };
        Duration::from_secs_f64(self.budget.unwrap_or(default))
    }

    /// Size of the key space.
    pub fn keys(&self) -> u64 {
        self.keys.unwrap_or(if self.quick { 100_000 } else { 1_000_000 })
    }

    /// The same for rows whose storage is on disk.
    pub fn disk_keys(&self) -> u64 {
        let default = if self.keys.is_some() { self.keys() } else { self.keys() / 4 };
        self.disk_keys.unwrap_or(default).max(1)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    /// The options that the command line `words` gives.
    pub fn parse(words: &[&str]) -> BenchArgs {
        let line = Line::try_parse_from(std::iter::once(&"bench").chain(words)).unwrap();
        line.bench.checked().unwrap()
    }

    #[test]
    fn quick_and_given_options_go_together() {
        assert_eq!(parse(&[]).durability().len(), 3);
        assert_eq!(parse(&["--quick"]).durability(), [Aof::Off]);
        assert_eq!(parse(&["--quick", "--aof", "always"]).durability(), [Aof::Always]);
        assert_eq!(parse(&["--quick"]).pipelines, [1, 16]);
        assert_eq!(parse(&["--keys", "8"]).disk_keys(), 8);
        assert_eq!(parse(&["--quick"]).disk_keys(), 25_000);
    }
}
