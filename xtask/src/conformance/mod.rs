//! `cargo xtask conformance`: our answers against a real Redis's.
//!
//! Two sources of questions: the golden scripts ([`scripts`]), and programs made up from the
//! command table ([`campaign`]). Our side is an engine in this process; the other is a server that
//! this command starts, or one that is running already. Differences that are meant are listed,
//! with their reasons, in `golden/differences.txt`.

mod campaign;
mod compare;
mod generate;
mod known;
mod lag;
mod oracle;
mod scripts;
mod shrink;
mod side;
mod state;
#[cfg(test)]
mod tests;

use anyhow::Result;
use clap::Args;
use oracle::Oracle;
use std::net::SocketAddr;
use std::path::Path;

/// Compare the golden scripts' answers with those of a real server
#[derive(Args)]
pub struct ConformanceArgs {
    /// The server program to start and compare with
    #[arg(long, default_value = "redis-server")]
    oracle: String,
    /// Compare with a running server instead (it will be flushed)
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<SocketAddr>,
    /// The other side is as new as we are: steps marked `@newer` count, no difference is known
    #[arg(long)]
    ours: bool,
    /// Take our side's answers from a running Varve instead (with --against: compare the two)
    #[arg(long, value_name = "HOST:PORT")]
    mirror: Option<SocketAddr>,
    /// Only scripts whose name begins so
    only: Option<String>,
    #[command(flatten)]
    generated: campaign::GenerateArgs,
}

/// Runs the comparison: of the golden scripts, or of generated programs when any were asked for.
///
/// # Errors
/// Fails if a server or a script fails, or any answer differs without being listed.
pub fn run(args: &ConformanceArgs, root: &Path) -> Result<()> {
    let oracle = match args.against {
        Some(address) => Oracle::running(address),
        None => Oracle::start(&args.oracle)?,
    };
    match args.generated.asked() {
        true => campaign::run(&args.generated, args.ours, oracle.address, root),
        false => scripts::run(args, oracle.address, root),
    }
}
