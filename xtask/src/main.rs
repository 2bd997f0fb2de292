//! Varve's workbench: everything a contributor runs that is not the server itself.

mod bench;
mod cpu;
mod echo;
mod load;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Varve's workbench", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(Box<bench::BenchArgs>),
    /// Run .ci/run, as the continuous integration does
    Ci,
    #[command(hide = true)]
    Echo(echo::EchoArgs),
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Bench(args) => bench::run(*args),
        Task::Ci => ci(),
        Task::Echo(args) => echo::run(&args),
    }
}

fn ci() -> Result<()> {
    let status = std::process::Command::new("./.ci/run").current_dir(project_root()?).status();
    let status = status.context("running .ci/run")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// The workspace's folder: where this crate was built from.
fn project_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_path_buf).context("the xtask crate has no parent folder")
}
