//! `cargo xtask bench`: which runtime, storage and durability suits this machine and workload.
//!
//! `matrix` lists the servers, and `job` the requests to them. `campaign` and `entry` (or `replay`,
//! for a capture) measure, and `results` are the measurements, made on a `machine`; `report`, `figures`, `html` and
//! `publish` show them. No other tool is necessary; what is missing is left out, and reported.

mod args;
mod budget;
mod calibrate;
mod campaign;
mod figures;
mod html;
mod identity;
mod job;
pub mod machine;
mod matrix;
mod publish;
mod replay;
pub mod report;
mod results;
mod running_row;
mod schema;
mod server;
pub mod stats;
mod syscalls;
mod trace;

use crate::load::workload::{Defaults, Workload};
use crate::places::project_root;
use crate::{cluster_bench, engine_bench, places, worst_bench};
use anyhow::Result;
pub use args::BenchArgs;
use args::Part;
use campaign::{Campaign, Outcome};
use capture::lab::{cpu, proc};
use capture::plan::Plan;
use identity::Identity;
use job::{Sizes, Task};
use machine::Machine;
use matrix::{Row, Target};
use results::{Results, RowResult, SCHEMA, Settings};
use server::Setting;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

fn run_part(part: &Part) -> Result<()> {
    match part {
        Part::Engine(args) => engine_bench::run(args),
        Part::Failover(args) => cluster_bench::failover(args),
        Part::Cluster(args) => cluster_bench::cluster(args),
        Part::Replicas(args) => cluster_bench::replicas(args),
        Part::Sync(args) => cluster_bench::sync(args),
        Part::Worst(args) => worst_bench::run(args),
        Part::Snapshot(args) => cluster_bench::snapshot(args),
    }
}

/// Runs the subcommand.
pub fn run(args: BenchArgs) -> Result<()> {
    if let Some(part) = args.part {
        return run_part(&part);
    }
    let args = args.checked()?;
    if args.list {
        return list();
    }
    let old = args.compare.as_deref().map(Results::load).transpose()?;
    let mut results = match &args.from {
        Some(path) => Results::load(path)?,
        None => match &args.replay {
            Some(file) => measure_replay(&args, file)?,
            None => measure(&args)?,
        },
    };
    results.settings.baseline = args.baseline.clone().or(results.settings.baseline);
    for grid in report::all(&results) {
        println!("{}", grid.terminal());
    }
    let compared = old.map(|old| report::compare(&results, &old));
    if let Some(grid) = &compared {
        let none = "nothing in the earlier run has the same server, workload and pipeline";
        println!("{}", if grid.is_empty() { none.into() } else { grid.terminal() });
    }
    for note in report::notes(&results) {
        println!("{note}");
    }
    let page = args.html();
    html::save(&results, compared.as_ref(), &page)?;
    println!("report in {}", page.display());
    if args.publish {
        for line in publish::publish(&results, &project_root()?)? {
            println!("{line}");
        }
    }
    Ok(())
}

fn list() -> Result<()> {
    for workload in Workload::shipped()? {
        println!("{:20} {}", workload.name, workload.about);
    }
    Ok(())
}

fn measure(args: &BenchArgs) -> Result<Results> {
    let started = Instant::now();
    let workloads: Vec<Workload> =
        args.workloads.iter().map(|name| Workload::find(name)).collect::<Result<_>>()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let (rows, mut left_out) = matrix::rows(args, &path);
    let cores = split(args)?;
    let setting = Setting {
        varve: varve(args, &rows)?,
        cores: cores.server.clone(),
        threads: args.threads,
        value_size: args.value_size,
        dir: data_dir(args)?,
        connections: args.connections,
        memory: None,
        identity: args.tls.then(|| Identity::create(&data_dir(args)?)).transpose()?,
    };
    let mut sizes = sizes(args, &rows, &mut left_out);
    if args.keys.is_none() {
        calibrate::fit(&mut sizes, &rows, &setting, &cores.load, args.budget(), &mut left_out)?;
    }
    let tasks = job::tasks(args, &workloads, &sizes)?;
    proc::allow_files(tasks.iter().map(Task::connections).max().unwrap_or(0) as u64 + 1000)?;
    let campaign = Campaign::new(args, setting, cores.load.clone(), sizes, (rows, left_out));
    let Outcome { rows, left_out, plan } = campaign.run(&tasks)?;
    let limited = workloads.iter().any(|workload| workload.times_memory.is_some());
    let settings = Settings {
        rounds: plan.rounds,
        seconds: plan.window.as_secs_f64(),
        keys: sizes.memory.keys,
        value_size: args.value_size,
        threads: args.threads,
        server_cores: cores.server,
        load_cores: cores.load,
        baseline: args.baseline.clone(),
        disk_keys: Some(sizes.disk.keys).filter(|&keys| keys != sizes.memory.keys),
        memory_limit: limited.then_some(sizes.memory_limit),
    };
    keep(args, started, settings, (rows, left_out))
}

/// The capture `file` against every row.
fn measure_replay(args: &BenchArgs, file: &Path) -> Result<Results> {
    let started = Instant::now();
    let plan = Plan::load(file, args.replay_args.first)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let (rows, left_out) = matrix::rows(args, &path);
    let cores = split(args)?;
    let connections = plan.concurrency as usize;
    let setting = Setting {
        varve: varve(args, &rows)?,
        cores: cores.server.clone(),
        threads: args.threads,
        value_size: args.value_size,
        dir: data_dir(args)?,
        connections,
        memory: None,
        identity: None,
    };
    proc::allow_files(connections as u64 + 1000)?;
    let settings = Settings {
        rounds: args.rounds.unwrap_or(1),
        seconds: plan.length_us as f64 / 1e6,
        keys: plan.keys,
        value_size: plan.preload.value_size as usize,
        threads: args.threads,
        server_cores: cores.server,
        load_cores: cores.load.clone(),
        baseline: args.baseline.clone(),
        disk_keys: None,
        memory_limit: None,
    };
    let measured = replay::run(args, (file, &plan), &setting, cores.load, (rows, left_out))?;
    keep(args, started, settings, measured)
}

/// Puts the results together and writes them down.
fn keep(
    args: &BenchArgs,
    started: Instant,
    settings: Settings,
    (rows, left_out): (Vec<RowResult>, Vec<results::LeftOut>),
) -> Result<Results> {
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let results = Results {
        schema: SCHEMA,
        unix_seconds,
        machine: Machine::here(),
        settings,
        rows,
        left_out,
    };
    results.save(&args.json)?;
    println!("{:.0} s, results in {}\n", started.elapsed().as_secs_f64(), args.json.display());
    Ok(results)
}

/// As many keys as asked for; by default no more than fit in memory in all rows at once.
fn sizes(args: &BenchArgs, rows: &[Row], left_out: &mut Vec<matrix::LeftOut>) -> Sizes {
    let defaults = |keys| Defaults { keys, value_size: args.value_size };
    let mut sizes = Sizes {
        memory: defaults(args.keys()),
        disk: defaults(args.disk_keys()),
        memory_limit: args.memory_limit << 20,
    };
    let room = proc::available_bytes().unwrap_or(u64::MAX) / 4 * 3;
    while args.keys.is_none() && sizes.memory.keys > 10_000 && sizes.bytes(rows) > room {
        sizes.memory.keys /= 2;
        sizes.disk.keys = sizes.disk.keys.min(sizes.memory.keys);
    }
    if sizes.memory.keys < args.keys() {
        let reason = format!("more than {} do not fit in memory in all rows", sizes.memory.keys);
        left_out.push((format!("{} keys", args.keys()), reason));
    }
    sizes
}

fn split(args: &BenchArgs) -> Result<cpu::Split> {
    match (&args.server_cores, &args.load_cores) {
        (Some(server), Some(load)) => {
            Ok(cpu::Split { server: cpu::parse_list(server)?, load: cpu::parse_list(load)? })
        }
        _ => Ok(cpu::split(&cpu::allowed(), args.threads)),
    }
}

fn varve(args: &BenchArgs, rows: &[Row]) -> Result<PathBuf> {
    let needed = rows.iter().any(|row| matches!(row.target, Target::Varve { .. }));
    places::server_binary(args.binary.as_deref(), needed)
}

fn data_dir(args: &BenchArgs) -> Result<PathBuf> {
    places::folder(&args.dir)
}
