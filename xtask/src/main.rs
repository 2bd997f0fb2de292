//! Varve's workbench: everything a contributor runs that is not the server itself.
//!
//! | module | what |
//! | --- | --- |
//! | `bench` | `cargo xtask bench`: architectures beside each other and beside Redis |
//! | `charts` | the bench's report, and its charts |
//! | `cluster_bench` | `bench failover`, `cluster`, `replicas`, `sync` and `snapshot`: several servers with the same data |
//! | `conformance` | golden scripts and generated programs, compared with a real Redis |
//! | `echo` | a server that only echoes, with whose costs the others are compared |
//! | `engine_bench` | `bench engine`: threads and instructions without sockets |
//! | `load` | the load generator |
//! | `new_command` | `cargo xtask new-command` |
//! | `places` | the project's folder, the server's binary, and folders for data |
//! | `sim` | `cargo xtask sim`: the cluster in one thread |
//! | `tidy` | the project's rules |
//! | `worst_bench` | `bench worst`: the worst single command while something large happens |

mod bench;
mod charts;
mod cluster_bench;
mod conformance;
mod echo;
mod engine_bench;
mod load;
mod new_command;
mod places;
mod sim;
mod tidy;
mod worst_bench;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use places::project_root;
use std::process::{Command, ExitCode};

/// The server's allocator, so that the engine costs here what it costs there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Varve's workbench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(Box<bench::BenchArgs>),
    Conformance(conformance::ConformanceArgs),
    NewCommand(new_command::NewCommandArgs),
    /// Check the project's invariants: dependency directions, banned calls, files and documents
    Tidy,
    /// Play the cluster from seeds, with faults and without mercy; --seeds, --seed, --planted, --only
    Sim(sim::SimArgs),
    /// Run .ci/run, as the continuous integration does
    Ci,
    /// Measure how many requests a second one core of the load generator drives
    LoadSpeed(load::speed::SpeedArgs),
    #[command(hide = true)]
    Echo(echo::EchoArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Bench(args) => bench::run(*args),
        Task::Conformance(args) => conformance::run(&args, &project_root()?),
        Task::NewCommand(args) => new_command::run(&args, &project_root()?),
        Task::Tidy => tidy::run(&project_root()?),
        Task::Sim(args) => sim::run(&args, &project_root()?),
        Task::Ci => ci(),
        Task::LoadSpeed(args) => load::speed::measure(&args),
        Task::Echo(args) => echo::run(&args),
    }
}

fn ci() -> Result<()> {
    let status = Command::new("./.ci/run").current_dir(project_root()?).status();
    if !status.context("running .ci/run")?.success() {
        bail!(".ci/run failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
