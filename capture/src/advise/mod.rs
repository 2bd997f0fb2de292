//! Which combination to take for a captured workload: trials of all of them, a verdict, and the
//! configuration file to use.

mod args;
mod setup;
mod show;
#[cfg(test)]
mod tests;
mod verdict;

pub use args::{AdviseArgs, Demands, Durability, ReplayArgs, bytes, duration};
pub use setup::Setup;
pub use show::{config, text};
pub use verdict::{Contender, Figures, Verdict, judge};

use crate::lab::{Launch, Server, cpu};
use crate::plan::Plan;
use crate::replay;
use crate::trial;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Runs the subcommand: trials with progress on standard error, then the advice on standard output.
/// `program` is the server to try.
///
/// # Errors
/// Fails if the capture cannot be read, nothing satisfies the demands, or the configuration does not start.
pub fn run(args: &AdviseArgs, program: &Path) -> Result<()> {
    let plan = Plan::load(&args.file, args.replay.first)?;
    let cores = cpu::allowed();
    let threads = args.threads.unwrap_or((cores.len() / 2).max(1));
    let split = cpu::split(&cores, threads);
    let dir = tempfile::Builder::new().prefix("varve-advise-").tempdir_in(&args.dir)?;
    let mut contenders = setups(args, threads, &plan);
    announce(&plan, &args.replay, contenders.len(), args.rounds);
    let lab = Lab { program, cores: &split.server, dir: dir.path(), args, load: &split.load };
    for round in 0..args.rounds {
        for (index, contender) in contenders.iter_mut().enumerate() {
            eprintln!("round {} of {}: {}/{}", round + 1, args.rounds, index + 1, contender.name);
            lab.try_one(contender, &plan);
        }
    }
    let verdict = judge(contenders, &plan, &args.demands);
    print!("{}", text(&verdict, &plan, &args.demands));
    let Some(chosen) = verdict.chosen() else {
        bail!("no combination satisfies what was asked for");
    };
    let setup = chosen.setup.as_ref().context("a contender that cannot be set up was chosen")?;
    let config = config(chosen, setup, &plan, &args.demands, &args.file);
    prove(program, &config, dir.path())?;
    println!("\nThe configuration (it was started once, and answers):\n\n{config}");
    if let Some(out) = &args.out {
        std::fs::write(out, &config).with_context(|| out.display().to_string())?;
        println!("written to {}", out.display());
    }
    Ok(())
}

/// Prints to standard error what the replay will do and how long it will take.
pub fn announce(plan: &Plan, args: &ReplayArgs, contenders: usize, rounds: u32) {
    eprintln!(
        "{} requests of {} connections in {:.1} s, {:.0} per second",
        plan.requests,
        plan.connections,
        plan.length_us as f64 / 1e6,
        plan.rate()
    );
    plan.remarks().iter().for_each(|line| eprintln!("{line}"));
    if let replay::Speed::Times(times) = args.speed {
        let each = plan.length_us as f64 / 1e6 / times + 1.0;
        let minutes = each * contenders as f64 * f64::from(rounds) / 60.0;
        eprintln!("{contenders} servers, {rounds} round(s): about {minutes:.0} min");
    }
}

/// Every combination asked for; those that cannot work are refused right away.
fn setups(args: &AdviseArgs, threads: usize, plan: &Plan) -> Vec<Contender> {
    let combination = |storage: &String, runtime: &String| {
        let durability = args.demands.durability;
        Setup::new(runtime, storage, threads, durability, plan.concurrency)
    };
    let setups = args
        .storages
        .iter()
        .flat_map(|storage| args.runtimes.iter().map(move |runtime| combination(storage, runtime)));
    setups.map(Contender::new).collect()
}

struct Lab<'a> {
    program: &'a Path,
    cores: &'a [usize],
    load: &'a [usize],
    dir: &'a Path,
    args: &'a AdviseArgs,
}

impl Lab<'_> {
    fn try_one(&self, contender: &mut Contender, plan: &Plan) {
        let Some(setup) = contender.setup.clone().filter(|_| contender.failure.is_none()) else {
            return;
        };
        let options = |port: u16, data: &Path| setup.options(port, data);
        let (program, cores, dir) = (self.program, self.cores, self.dir);
        let launch = Launch { program, options: &options, cores, dir, memory: None };
        let options = self.args.replay.options(self.load.to_vec());
        match Server::start(&launch).and_then(|server| trial::run(&server, plan, &options)) {
            Ok(trial) => contender.trials.push(trial),
            Err(error) => contender.failure = Some(format!("{error:#}")),
        }
    }
}

/// Starts the program with a configuration file, as its user will.
fn prove(program: &Path, config: &str, dir: &Path) -> Result<()> {
    let file: PathBuf = dir.join("advised.conf");
    std::fs::write(&file, config)?;
    let options = |port: u16, data: &Path| {
        let (port, data) = (port.to_string(), data.display().to_string());
        let words = [file.display().to_string(), "--port".into(), port, "--dir".into(), data];
        words.to_vec()
    };
    let launch = Launch { program, options: &options, cores: &[], dir, memory: None };
    Server::start(&launch).map(drop).context("the advised configuration does not start")
}
