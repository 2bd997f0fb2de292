//! `--replay`: a capture against every row, in place of the workloads; with the advice that
//! `varve advise` gives.

use super::args::BenchArgs;
use super::matrix::{self, Row, Target};
use super::results::{Cell, LeftOut, Loaded, RowResult, Sample, ServerCost};
use super::server::{self, Setting};
use anyhow::{Result, bail};
use capture::advise::{self, Contender, Setup};
use capture::plan::Plan;
use capture::replay::{Options, Speed};
use capture::trial::{self, Trial};
use std::path::Path;

/// Replays the capture in `file` against all rows, round by round, and prints the advice.
pub fn run(
    args: &BenchArgs,
    (file, plan): (&Path, &Plan),
    setting: &Setting,
    load_cores: Vec<usize>,
    (rows, left_out): (Vec<Row>, Vec<matrix::LeftOut>),
) -> Result<(Vec<RowResult>, Vec<LeftOut>)> {
    // The echo server does not reply as a capture needs it.
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.target != Target::Echo).collect();
    if rows.is_empty() {
        bail!("no server to replay against");
    }
    let rounds = args.rounds.unwrap_or(1);
    advise::announce(plan, &args.replay_args, rows.len(), rounds);
    let options = args.replay_args.options(load_cores);
    let mut contenders: Vec<Contender> =
        rows.iter().map(|row| contender(row, args, plan)).collect();
    for round in 0..rounds {
        for (row, contender) in rows.iter().zip(&mut contenders) {
            eprintln!("round {} of {rounds}: {}", round + 1, row.name);
            if contender.failure.is_none() {
                let server = server::start(row, setting);
                match server.and_then(|(server, _)| trial::run(&server, plan, &options)) {
                    Ok(trial) => contender.trials.push(trial),
                    Err(error) => contender.failure = Some(format!("{error:#}")),
                }
            }
        }
    }
    let mut left_out: Vec<LeftOut> =
        left_out.into_iter().map(|(name, reason)| LeftOut { name, reason }).collect();
    let mut results = Vec::new();
    for (row, contender) in rows.iter().zip(&contenders) {
        match &contender.failure {
            Some(reason) if contender.trials.is_empty() => {
                left_out.push(LeftOut { name: row.name.clone(), reason: reason.clone() });
            }
            _ => results.push(result(row, contender, plan, file, &options)),
        }
    }
    give_advice(contenders, plan, args, file);
    Ok((results, left_out))
}

fn contender(row: &Row, args: &BenchArgs, plan: &Plan) -> Contender {
    let setup = match &row.target {
        Target::Varve { runtime, storage } => {
            let (durability, clients) = (args.promise, plan.concurrency);
            Some(Setup::new(runtime, storage, args.threads, durability, clients))
        }
        _ => None,
    };
    Contender { name: row.name.clone(), setup, trials: Vec::new(), failure: None }
}

fn result(
    row: &Row,
    contender: &Contender,
    plan: &Plan,
    file: &Path,
    options: &Options,
) -> RowResult {
    let rate = match options.speed {
        Speed::Times(times) => Some(plan.rate() * times),
        Speed::Max => None,
    };
    let name = file.file_stem().map_or("capture".into(), |stem| stem.to_string_lossy());
    let samples = contender.trials.iter().enumerate();
    let unanswered: u64 = contender.trials.iter().map(|trial| trial.report.unanswered).sum();
    let mut notes = Vec::new();
    if unanswered > 0 {
        notes.push(format!("did not keep up with the capture: {unanswered} requests unanswered"));
    }
    let cell = Cell {
        workload: format!("replay {name}"),
        pipeline: 1,
        connections: plan.connections as usize,
        rate,
        operation: None,
        rate_share: None,
        saturation: None,
        samples: samples.map(|(round, trial)| sample(round as u32, trial)).collect(),
        syscalls_per_op: None,
        syscalls_by: None,
        trace: None,
        failure: contender.failure.clone(),
    };
    let last = contender.trials.last();
    RowResult {
        name: row.name.clone(),
        aof: row.aof.name().into(),
        redis_like: row.is_redis_like(),
        tls: row.tls,
        version: None,
        start_ms: last.and_then(|trial| trial.start_ms),
        loaded: last.map(loaded),
        threads: contender.setup.as_ref().map(|setup| setup.threads),
        notes,
        footprints: Vec::new(),
        cells: vec![cell],
    }
}

fn loaded(trial: &Trial) -> Loaded {
    Loaded {
        keys: trial.keys,
        seconds: trial.report.elapsed.as_secs_f64(),
        empty_bytes: trial.empty_bytes,
        full_bytes: trial.end_bytes,
        recovery_ms: None,
        recovered_keys: None,
    }
}

fn sample(round: u32, trial: &Trial) -> Sample {
    let report = &trial.report;
    Sample {
        round,
        replies: report.replies,
        errors: report.errors,
        nulls: report.nulls,
        seconds: report.elapsed.as_secs_f64(),
        p50_us: report.latency_us(50.0),
        p99_us: report.latency_us(99.0),
        p999_us: report.latency_us(99.9),
        max_us: report.latencies.max() as f64,
        server: trial.usage.map(|used| ServerCost {
            cpu_ns: used.cpu_ns,
            user_ticks: used.user_ticks,
            system_ticks: used.system_ticks,
            switches: used.switches,
        }),
    }
}

fn give_advice(contenders: Vec<Contender>, plan: &Plan, args: &BenchArgs, file: &Path) {
    let verdict = advise::judge(contenders, plan, &args.demands());
    println!("{}", advise::text(&verdict, plan, &args.demands()));
    if let Some((chosen, setup)) = verdict.chosen().and_then(|c| Some((c, c.setup.as_ref()?))) {
        println!("{}", advise::config(chosen, setup, plan, &args.demands(), file));
    }
}
