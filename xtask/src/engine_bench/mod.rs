//! `cargo xtask bench engine`: engine and storage without sockets. Threads 1 to N over one engine
//! show how it scales and where threads wait for each other, beside what the machine itself gives
//! them and what a model predicts; instruction counts per command show what a change costs.

mod baseline;
mod cases;
mod ceiling;
mod count;
mod instructions;
mod model;
mod rig;
mod scaling;
mod scaling_results;

use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;

/// Engine and storage without sockets: how they scale over threads, and what a command costs in
/// instructions
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Count instructions per request under callgrind and compare with ci/instructions.toml
    #[arg(long)]
    instructions: bool,
    /// With --instructions: only these commands
    #[arg(long, value_delimiter = ',', requires = "instructions")]
    only: Vec<String>,
    /// With --instructions: what was counted is the new baseline
    #[arg(long, requires = "instructions")]
    accept: bool,
    /// The run under callgrind: one command, always the same way
    #[arg(long, hide = true)]
    count: Option<String>,
    /// Storages to run: memory, sled, fjall
    #[arg(long, value_delimiter = ',', default_value = "memory")]
    storages: Vec<String>,
    /// Shipped workloads by name, or paths of TOML files
    #[arg(long, value_delimiter = ',', default_value = "get,set")]
    workloads: Vec<String>,
    /// How keys are drawn: uniform, zipf, hot (all requests to one key)
    #[arg(long, value_delimiter = ',', default_value = "uniform,zipf,hot")]
    keys: Vec<String>,
    /// How many keys there are
    #[arg(long, default_value_t = 1_000_000)]
    key_count: u64,
    /// Numbers of threads to measure; by default one to as many as there are cores
    #[arg(long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Connections per thread
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests in one batch per connection
    #[arg(long, default_value_t = 16)]
    pipeline: usize,
    /// Rounds; in each, every number of threads runs once
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Length of a window, seconds
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Write the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the part.
pub fn run(args: &EngineArgs) -> Result<()> {
    let bounded = |n| (1..=4096).contains(&n);
    ensure!(bounded(args.pipeline), "a pipeline goes from 1 to 4096");
    ensure!(bounded(args.connections), "connections go from 1 to 4096");
    if let Some(name) = &args.count {
        return count::run(cases::Case::find(name)?, args.pipeline);
    }
    if args.instructions {
        return instructions::run(&args.only, args.accept);
    }
    scaling::run(args)
}
