//! `cargo xtask sim`: plays the simulator's seeds and its planted bugs, shared out among the cores.

use anyhow::{Context, Result, bail};
use clap::Args;
use sim::{Planted, Report};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Which seeds, with which bugs.
#[derive(Args)]
pub struct SimArgs {
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed; alone, only this one
    #[arg(long)]
    seed: Option<u64>,
    /// For each planted bug, which of the seeds is the first to find it
    #[arg(long)]
    planted: bool,
    /// Only this planted bug
    #[arg(long)]
    only: Option<String>,
}

/// Plays. A build for debugging, which would take ten times as long, has the release build do it.
pub fn run(args: &SimArgs, root: &Path) -> Result<()> {
    if cfg!(debug_assertions) {
        return in_release(root);
    }
    // What panics is reported as a violation, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let passed = if args.planted { planted(args) } else { sound(args) };
    if !passed {
        bail!("see above: a violation, or a planted bug that was not found");
    }
    Ok(())
}

/// This program with the same arguments, built for speed.
fn in_release(root: &Path) -> Result<()> {
    let words = ["run", "--quiet", "--release", "--package", "xtask", "--"];
    let args = std::env::args_os().skip(1);
    let played = Command::new("cargo").args(words).args(args).current_dir(root).status();
    if !played.context("running cargo")?.success() {
        bail!("the simulator failed");
    }
    Ok(())
}

/// Without bugs: false if a seed found something.
fn sound(args: &SimArgs) -> bool {
    let (first, seeds) = args.seed.map_or((1, args.seeds), |seed| (seed, 1));
    let reports = play(first, seeds);
    let bad = reports.iter().filter_map(|report| Some((report.seed, report.violation.as_ref()?)));
    let violations = bad.inspect(|(seed, violation)| println!("seed {seed}: {violation}")).count();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{} seeds: {violations} violations, {} answers, {} entries, {} checks gave up",
        reports.len(),
        sum(|it| it.answered),
        sum(|it| it.commit),
        sum(|it| it.gave_up)
    );
    if let [only] = &reports[..] {
        println!("digest {:016x}", only.digest);
    }
    violations == 0
}

/// The reports of so many seeds, in their order, played by a thread for each core.
fn play(first: u64, seeds: u64) -> Vec<Report> {
    let next = AtomicU64::new(first);
    let take = || Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < first + seeds);
    let work = || std::iter::from_fn(take).map(|seed| sim::run(seed, None)).collect::<Vec<_>>();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reports = std::thread::scope(|scope| {
        let players: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let played = players.into_iter().map(|player| player.join().expect("panics are reports"));
        played.flatten().collect::<Vec<_>>()
    });
    reports.sort_by_key(|report| report.seed);
    reports
}

/// With bugs: false if one was not found.
fn planted(args: &SimArgs) -> bool {
    let mut found_all = true;
    for bug in Planted::ALL {
        let name = format!("{bug:?}");
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        match sim::find(*bug, args.seed.unwrap_or(1), args.seeds) {
            Some((seed, what)) => println!("{name}: seed {seed}: {what:.120}"),
            None => {
                found_all = false;
                println!("{name}: NOT FOUND in {} seeds", args.seeds);
            }
        }
    }
    found_all
}
