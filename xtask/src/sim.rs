//! `cargo xtask sim`: builds the simulator and runs it. It is a program of its own, so that xtask's
//! release build does not compile what only tests need.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::Path;
use std::process::Command;

/// What the simulator is told.
#[derive(Args)]
pub struct SimArgs {
    /// As `target/release/sim --help` says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds it for speed, together with what CI builds so, so that nothing is compiled twice.
pub fn run(args: &SimArgs, root: &Path) -> Result<()> {
    let packages = ["server", "xtask", "sim"].map(|name| ["--package", name]).concat();
    let build = ["build", "--quiet", "--release", "--bin", "sim"];
    let built = Command::new("cargo").args(build).args(packages).current_dir(root).status();
    if !built.context("running cargo")?.success() {
        bail!("the simulator does not build");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let played = shares(&args.args)
        .into_iter()
        .map(|share| Command::new(target.join("release/sim")).args(&args.args).args(share).spawn());
    let played: std::io::Result<Vec<_>> = played.collect();
    let mut passed = true;
    for mut share in played.context("running the simulator")? {
        passed &= share.wait().context("running the simulator")?.success();
    }
    if !passed {
        bail!("see above: a violation, or a planted bug that was not found");
    }
    Ok(())
}

/// Many seeds are shared out among processes, one for each core; each is told its share.
fn shares(args: &[String]) -> Vec<Vec<String>> {
    if args.iter().any(|arg| matches!(arg.as_str(), "--seed" | "--planted" | "--help")) {
        return vec![Vec::new()];
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = |skip| ["--step", &cores.to_string(), "--skip", &format!("{skip}")].map(Into::into);
    (0..cores).map(|skip: usize| share(skip).to_vec()).collect()
}
