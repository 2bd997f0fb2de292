//! `cargo xtask sim`: builds the simulator and runs it. It is a program of its own, so that xtask's
//! release build does not compile what only tests need.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::Path;
use std::process::Command;

/// What the simulator is told.
#[derive(Args)]
pub struct SimArgs {
    /// As `target/debug/sim --help` says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds it as tests do, so that nothing is compiled twice.
pub fn run(args: &SimArgs, root: &Path) -> Result<()> {
    let build = ["build", "--quiet", "--workspace", "--bin", "sim"];
    let built = Command::new("cargo").args(build).current_dir(root).status();
    if !built.context("running cargo")?.success() {
        bail!("the simulator does not build");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let played = Command::new(target.join("debug/sim")).args(&args.args).status();
    if !played.context("running the simulator")?.success() {
        bail!("see above: a violation, or a planted bug that was not found");
    }
    Ok(())
}
