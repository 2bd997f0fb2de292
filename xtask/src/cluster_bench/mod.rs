//! Several servers with the same data on this machine: a cluster, or a master and its replicas.
//! `cargo xtask bench failover`: how long nobody takes a write when the leader is killed or stopped.
//! `bench cluster` and `bench replicas`: what they do beside Redis with two replicas. `bench sync` and
//! `bench snapshot`: how fast somebody new gets everything, and what clients notice of it.

mod catch_up;
mod comparison;
mod etcd;
mod failover;
mod nodes;
mod replicas;
mod replicated;
mod throughput;

use crate::bench::report::Grid;
use crate::places;
use anyhow::{Result, ensure};
use clap::Args;
use comparison::Windows;
use std::path::{Path, PathBuf};

/// How long nobody takes a write when the leader of three nodes is killed, or stopped
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// How often the leader is killed
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// How often it is stopped by SIGTERM
    #[arg(long, default_value_t = 10)]
    stops: usize,
    /// The election timeout, milliseconds
    #[arg(long, default_value_t = 1_000)]
    election_ms: u64,
    #[command(flatten)]
    place: Place,
}

/// Three nodes beside Redis with two replicas and `WAIT 1`, and beside one node alone
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    windows: Windows,
    /// Compare with three members of etcd under `etcdctl check perf --load=l` as well, which takes a minute
    #[arg(long)]
    etcd: bool,
    #[command(flatten)]
    place: Place,
}

/// A master with two replicas, beside Redis with two replicas
#[derive(Debug, Clone, Args)]
pub struct ReplicasArgs {
    #[command(flatten)]
    windows: Windows,
    #[command(flatten)]
    place: Place,
}

/// A newcomer gets everything while clients write: how fast, and what they notice
#[derive(Debug, Clone, Args)]
pub struct CatchUpArgs {
    /// How often everything is started anew and measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Keys
    #[arg(long, default_value_t = 250_000)]
    keys: u64,
    /// Size of values, bytes
    #[arg(long, default_value_t = 1_024)]
    value_size: usize,
    /// Writes per second that clients send
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// How long these are observed before the newcomer comes, seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[command(flatten)]
    place: Place,
}

impl CatchUpArgs {
    /// The size of all values.
    fn bytes(&self) -> u64 {
        self.keys * self.value_size as u64
    }
}

/// Where servers come from, and where their data go.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The server's binary; by default it is built
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the data go; its disk is measured as well
    #[arg(long, default_value = "target/xtask-bench")]
    dir: PathBuf,
    /// Write the table to this file, as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

impl Place {
    /// The binary and the folder, which exist afterwards.
    fn prepare(&self) -> Result<(PathBuf, PathBuf)> {
        let binary = places::server_binary(self.binary.as_deref(), true)?;
        Ok((binary, places::folder(&self.dir)?))
    }

    /// Prints a table, and writes it where it was asked for.
    fn show(&self, grid: &Grid) -> Result<()> {
        println!("{}", grid.terminal());
        if let Some(path) = &self.markdown {
            std::fs::write(path, grid.markdown())?;
        }
        Ok(())
    }
}

/// Runs `bench failover`.
pub fn failover(args: &FailoverArgs) -> Result<()> {
    ensure!(args.kills + args.stops > 0, "nothing is to be done: --kills, --stops");
    ensure!(args.election_ms >= 100, "an election takes 100 ms at least");
    let (binary, dir) = args.place.prepare()?;
    args.place.show(&failover::measure(args, &binary, &dir)?)
}

/// Runs `bench cluster`.
pub fn cluster(args: &ClusterArgs) -> Result<()> {
    args.windows.check()?;
    let (binary, dir) = args.place.prepare()?;
    args.place.show(&throughput::measure(&args.windows, args.etcd, &binary, &dir)?)
}

/// Runs `bench replicas`.
pub fn replicas(args: &ReplicasArgs) -> Result<()> {
    args.windows.check()?;
    let (binary, dir) = args.place.prepare()?;
    args.place.show(&replicas::measure(&args.windows, &binary, &dir)?)
}

/// Runs `bench sync`: a replica follows a master.
pub fn sync(args: &CatchUpArgs) -> Result<()> {
    catch_up(args, catch_up::sync)
}

/// Runs `bench snapshot`: a node joins a cluster.
pub fn snapshot(args: &CatchUpArgs) -> Result<()> {
    catch_up(args, catch_up::snapshot)
}

type Measure = fn(&CatchUpArgs, &Path, &Path) -> Result<Grid>;

fn catch_up(args: &CatchUpArgs, measure: Measure) -> Result<()> {
    ensure!(args.rounds > 0 && args.seconds > 0.0, "rounds and seconds must be positive");
    ensure!(args.keys > 0 && args.rate > 0.0, "keys and their rate must be positive");
    let (binary, dir) = args.place.prepare()?;
    args.place.show(&measure(args, &binary, &dir)?)
}
