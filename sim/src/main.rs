//! `cargo xtask sim`: plays seeds, and planted bugs.

use clap::Parser;
use sim::{Planted, Report};
use std::process::ExitCode;

/// Plays the cluster from seeds, and says what it found.
#[derive(Parser)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed; alone, only this one
    #[arg(long)]
    seed: Option<u64>,
    /// Only every so-manieth of the seeds: another process plays the others
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
    /// With which of them to begin
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// For each planted bug, how many of the seeds find it and which is the first
    #[arg(long)]
    planted: bool,
    /// Only this planted bug
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What panics is reported as a violation, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = if args.planted { planted(&args) } else { sound(&args) };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Without bugs: true if a seed found something.
fn sound(args: &Args) -> bool {
    let (first, seeds) = match args.seed {
        Some(seed) => (seed, 1),
        None => (1, args.seeds),
    };
    let chosen = (first + args.skip..first + seeds).step_by(args.step as usize);
    let reports: Vec<Report> = chosen.map(|seed| sim::run(seed, None)).collect();
    let bad: Vec<&Report> = reports.iter().filter(|report| report.violation.is_some()).collect();
    for Report { seed, violation, .. } in &bad {
        println!("seed {seed}: {}", violation.as_deref().unwrap_or_default());
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (answered, commit, gave_up) =
        (sum(|it| it.answered), sum(|it| it.commit), sum(|it| it.gave_up));
    println!(
        "{} seeds: {} violations, {answered} answers, {commit} entries, {gave_up} checks gave up",
        reports.len(),
        bad.len()
    );
    if let [only] = &reports[..] {
        println!("digest {:016x}", only.digest);
    }
    !bad.is_empty()
}

/// With bugs: true if one was not found.
fn planted(args: &Args) -> bool {
    let mut missed = false;
    for bug in Planted::ALL {
        let name = format!("{bug:?}");
        if args.only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        match sim::find(*bug, args.seed.unwrap_or(1), args.seeds) {
            Some((seed, what)) => println!("{name}: seed {seed}: {what:.120}"),
            None => {
                missed = true;
                println!("{name}: NOT FOUND in {} seeds", args.seeds);
            }
        }
    }
    missed
}
