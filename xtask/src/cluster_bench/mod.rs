//! `cargo xtask bench failover` and `bench cluster`: three nodes of a cluster on this machine. How long
//! nobody takes a write when the leader is killed or stopped, and what the cluster does beside Redis
//! with two replicas and `WAIT 1`.

mod failover;
mod nodes;
mod throughput;

use crate::bench::report::Grid;
use crate::places;
use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;

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
    /// Rounds; in each, everything runs once
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Length of a window, seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Connections
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Size of values, bytes
    #[arg(long, default_value_t = 64)]
    value_size: usize,
    #[command(flatten)]
    place: Place,
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
    ensure!(args.rounds > 0 && args.seconds > 0.0, "rounds and seconds must be positive");
    ensure!((1..=4_096).contains(&args.connections), "connections go from 1 to 4096");
    let (binary, dir) = args.place.prepare()?;
    args.place.show(&throughput::measure(args, &binary, &dir)?)
}
