//! `cargo xtask bench engine`: engine and storage without sockets. Threads 1 to N over one engine
//! show how it scales and where threads wait for each other; instruction counts per command show
//! what a change costs.

mod baseline;
mod cases;
mod count;
mod instructions;
mod rig;

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};

/// Parts of the bench with a command line of their own.
#[derive(Debug, Clone, Subcommand)]
pub enum Part {
    Engine(EngineArgs),
}

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
    /// What callgrind runs: one command, always the same way
    #[arg(long, hide = true)]
    count: Option<String>,
    /// Requests in one batch per connection
    #[arg(long, default_value_t = 16)]
    pipeline: usize,
}

/// Runs the part.
pub fn run(part: Part) -> Result<()> {
    let Part::Engine(args) = part;
    ensure!((1..=4096).contains(&args.pipeline), "a pipeline goes from 1 to 4096");
    if let Some(name) = &args.count {
        return count::run(cases::Case::find(name)?, args.pipeline);
    }
    instructions::run(&args.only, args.accept)
}
