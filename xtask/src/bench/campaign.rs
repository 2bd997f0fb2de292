//! The measuring itself: start every row's server, load it, and run all rows once per round.
//!
//! Rounds are outermost and rows innermost, so that the two servers of a ratio run within
//! seconds of each other: a machine that slows down slows both. Servers that are not being
//! measured are frozen.

use super::args::BenchArgs;
use super::matrix::{self, Row, Target};
use super::results::{Cell, LeftOut, Loaded, RowResult, Sample, ServerCost, Trace};
use super::server::{self, Server, Setting};
use super::{syscalls, trace};
use crate::load::request::Generator;
use crate::load::workload::{Defaults, Workload};
use crate::load::{self, Edge, Pacing, Plan, Report, Stop};
use anyhow::{Context, Result, bail};
use capture::lab::{Client, proc};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Connections and pipeline of the loading phase.
const LOAD_CONNECTIONS: usize = 16;
const LOAD_PIPELINE: usize = 64;

/// What a memory storage is assumed to take per key beyond its value, bytes: for the check that
/// all servers fit in memory together.
const KEY_BYTES: u64 = 150;

/// One workload at one pipeline depth.
struct Job {
    workload: Workload,
    pipeline: usize,
    connections: usize,
    pacing: Pacing,
    generator: Generator,
}

impl Job {
    fn empty_cell(&self) -> Cell {
        let rate = match self.pacing {
            Pacing::Open { per_second } => Some(per_second),
            Pacing::Closed => None,
        };
        Cell {
            workload: self.workload.name.clone(),
            pipeline: self.pipeline,
            connections: self.connections,
            rate,
            operation: None,
            rate_share: None,
            saturation: None,
            samples: Vec::new(),
            syscalls_per_op: None,
            syscalls_by: None,
            trace: None,
            failure: None,
        }
    }
}

/// One row while it runs: its server for the present group of jobs, and what it measured so far.
struct Entry {
    row: Row,
    server: Option<Server>,
    result: RowResult,
}

/// See the module.
pub struct Campaign<'a> {
    args: &'a BenchArgs,
    setting: Setting,
    load_cores: Vec<usize>,
    defaults: Defaults,
    entries: Vec<Entry>,
    left_out: Vec<LeftOut>,
    bar: ProgressBar,
    runs: u64,
}

impl<'a> Campaign<'a> {
    /// A campaign over `rows`; `left_out` are those that cannot even be tried.
    pub fn new(
        args: &'a BenchArgs,
        setting: Setting,
        load_cores: Vec<usize>,
        (rows, left_out): (Vec<Row>, Vec<matrix::LeftOut>),
    ) -> Self {
        let defaults = Defaults { keys: args.keys(), value_size: args.value_size };
        let entries = rows.into_iter().map(Entry::new).collect();
        let left_out =
            left_out.into_iter().map(|(name, reason)| LeftOut { name, reason }).collect();
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {wide_msg}")
        {
            bar.set_style(style);
        }
        Campaign { args, setting, load_cores, defaults, entries, left_out, bar, runs: 0 }
    }

    /// Measures everything; returns the rows that ran and those that did not.
    pub fn run(mut self, workloads: &[Workload]) -> Result<(Vec<RowResult>, Vec<LeftOut>)> {
        let groups = self.groups(workloads)?;
        self.check_memory()?;
        let jobs: usize = groups.iter().map(Vec::len).sum();
        self.bar.set_length((jobs * self.entries.len()) as u64 * u64::from(self.args.rounds()));
        for group in &groups {
            self.start_all();
            if self.entries.is_empty() {
                bail!("no server could be started: {:?}", self.left_out);
            }
            self.load_all(&group[0])?;
            for round in 0..self.args.rounds() {
                self.round(group, round);
            }
            if self.args.syscalls {
                self.count_syscalls(group);
            }
            if self.args.trace {
                self.trace(group);
            }
            self.restart_all();
        }
        self.bar.finish_and_clear();
        Ok((self.entries.into_iter().map(|entry| entry.result).collect(), self.left_out))
    }

    /// Jobs that can share a loaded server stand together.
    fn groups(&self, workloads: &[Workload]) -> Result<Vec<Vec<Job>>> {
        let mut groups: Vec<(String, Vec<Job>)> = Vec::new();
        for workload in workloads {
            let data = workload.data(self.defaults);
            let jobs = self.jobs(workload)?;
            match groups.iter_mut().find(|(other, _)| *other == data) {
                Some((_, group)) => group.extend(jobs),
                None => groups.push((data, jobs)),
            }
        }
        Ok(groups.into_iter().map(|(_, jobs)| jobs).collect())
    }

    fn jobs(&self, workload: &Workload) -> Result<Vec<Job>> {
        let generator = workload.generator(self.defaults)?;
        let pipelines = workload.pipeline.map_or(self.args.pipelines.clone(), |p| vec![p]);
        let pacing = match self.args.rate {
            Some(per_second) => Pacing::Open { per_second },
            None => workload.pacing(),
        };
        let connections = workload.connections.unwrap_or(self.args.connections);
        let job = |pipeline| Job {
            workload: workload.clone(),
            pipeline,
            connections,
            pacing,
            generator: generator.clone(),
        };
        Ok(pipelines.into_iter().map(job).collect())
    }

    fn check_memory(&self) -> Result<()> {
        let Some(available) = proc::available_bytes() else { return Ok(()) };
        let per_server = self.defaults.keys * (KEY_BYTES + self.defaults.value_size as u64);
        let needed = per_server * self.entries.len() as u64;
        if needed > available {
            bail!(
                "{} servers with {} keys each need about {} MiB, {} MiB are available: use fewer \
                 --keys or fewer rows",
                self.entries.len(),
                self.defaults.keys,
                needed >> 20,
                available >> 20
            );
        }
        Ok(())
    }

    fn start_all(&mut self) {
        let mut running = Vec::new();
        for mut entry in std::mem::take(&mut self.entries) {
            self.bar.set_message(format!("starting {}", entry.row.name));
            match entry.start(&self.setting) {
                Ok(()) => running.push(entry),
                Err(error) => {
                    let (name, reason) = (entry.row.name, format!("{error:#}"));
                    let rounds = u64::from(self.args.rounds());
                    self.bar.set_length(self.bar.length().unwrap_or(0).saturating_sub(rounds));
                    self.left_out.push(LeftOut { name, reason });
                }
            }
        }
        self.entries = running;
    }

    /// Fills every server with the group's key space, and notes what that does to its memory.
    fn load_all(&mut self, job: &Job) -> Result<()> {
        let passes = job.workload.preload(self.defaults)?;
        let keys = job.workload.key_count(self.defaults);
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            self.bar.set_message(format!("loading {keys} keys into {}", entry.row.name));
            let Some(server) = &entry.server else { continue };
            server.thaw();
            let loaded = self.load(server, &passes, keys);
            server.freeze();
            let entry = &mut self.entries[index];
            match loaded {
                Ok(loaded) if !passes.is_empty() && entry.row.target != Target::Echo => {
                    entry.result.loaded.get_or_insert(loaded);
                }
                Ok(_) => {}
                Err(error) => {
                    let (name, reason) = (entry.row.name.clone(), format!("loading: {error:#}"));
                    self.left_out.push(LeftOut { name, reason });
                    entry.server = None;
                }
            }
        }
        Ok(())
    }

    fn load(&self, server: &Server, passes: &[Generator], keys: u64) -> Result<Loaded> {
        let resident = || server.pid().and_then(proc::resident_bytes);
        let (empty_bytes, started) = (resident(), Instant::now());
        for pass in passes {
            let plan = Plan {
                addr: server.addr(),
                connections: LOAD_CONNECTIONS,
                pipeline: LOAD_PIPELINE,
                pacing: Pacing::Closed,
                warmup: Duration::ZERO,
                stop: Stop::Requests(keys),
                cores: self.load_cores.clone(),
                run: 0,
            };
            let report = load::run(&plan, pass, &mut |_| {})?;
            if let Some(error) = report.tally.first_error {
                bail!("{} of {keys} requests failed: {error}", report.tally.errors);
            }
        }
        let (seconds, full_bytes) = (started.elapsed().as_secs_f64(), resident());
        let (recovery_ms, recovered_keys) = (None, None);
        Ok(Loaded { keys, seconds, empty_bytes, full_bytes, recovery_ms, recovered_keys })
    }

    fn round(&mut self, group: &[Job], round: u32) {
        for job in group {
            for index in 0..self.entries.len() {
                self.bar.inc(1);
                let (entry, name) = (&self.entries[index], &job.workload.name);
                self.bar
                    .set_message(format!("{name} pipeline {} {}", job.pipeline, entry.row.name));
                let failed = entry
                    .result
                    .cells
                    .iter()
                    .any(|cell| cell.matches(&job.empty_cell()) && cell.failure.is_some());
                if failed || entry.server.is_none() {
                    continue;
                }
                self.runs += 1;
                let sample = self.measure(index, job, round);
                let cell = self.entries[index].cell(job);
                match sample {
                    Ok((sample, error)) => {
                        cell.failure = error.filter(|_| sample.done() == 0);
                        cell.samples.push(sample);
                    }
                    Err(error) => cell.failure = Some(format!("{error:#}")),
                }
            }
        }
    }

    fn plan(&self, server: &Server, job: &Job, stop: Stop) -> Plan {
        Plan {
            addr: server.addr(),
            connections: job.connections,
            pipeline: job.pipeline,
            pacing: job.pacing,
            warmup: self.args.warmup(),
            stop,
            cores: self.load_cores.clone(),
            run: self.runs,
        }
    }

    /// One window; with it the first error reply, if there was one.
    fn measure(&self, index: usize, job: &Job, round: u32) -> Result<(Sample, Option<String>)> {
        let server = self.entries[index].server.as_ref().context("not running")?;
        let plan = self.plan(server, job, Stop::After(self.args.window()));
        let pid = server.pid();
        let (mut before, mut after) = (None, None);
        server.thaw();
        let report = load::run(&plan, &job.generator, &mut |edge| {
            let usage = pid.and_then(proc::usage);
            match edge {
                Edge::Start => before = usage,
                Edge::End => after = usage,
            }
        });
        server.freeze();
        let report = report?;
        let used = before.zip(after).map(|(before, after)| after.since(before));
        let error = report.tally.first_error.clone();
        Ok((sample(round, &report, used), error))
    }

    fn count_syscalls(&mut self, group: &[Job]) {
        for job in group {
            for index in 0..self.entries.len() {
                self.runs += 1;
                let Some(server) = &self.entries[index].server else { continue };
                let Some(pid) = server.pid() else { continue };
                self.bar.set_message(format!("system calls of {}", self.entries[index].row.name));
                let plan = Plan {
                    warmup: Duration::ZERO,
                    ..self.plan(server, job, Stop::After(self.args.window()))
                };
                server.thaw();
                let counted =
                    syscalls::count(pid, || load::run(&plan, &job.generator, &mut |_| {}));
                server.freeze();
                if let Ok((calls, report)) = counted {
                    let per_op = calls as f64 / report.sent.max(1) as f64;
                    self.entries[index].cell(job).syscalls_per_op = Some(per_op);
                }
            }
        }
    }

    fn trace(&mut self, group: &[Job]) {
        for job in group {
            for index in 0..self.entries.len() {
                self.runs += 1;
                let entry = &self.entries[index];
                let (Some(server), Target::Varve { .. }) = (&entry.server, &entry.row.target)
                else {
                    continue;
                };
                self.bar.set_message(format!("tracing {}", entry.row.name));
                let plan = self.plan(server, job, Stop::After(self.args.window()));
                let plan = Plan { warmup: Duration::ZERO, ..plan };
                let usage = || server.pid().and_then(proc::usage);
                server.thaw();
                let traced = trace::trace(server.addr(), || {
                    let before = usage();
                    load::run(&plan, &job.generator, &mut |_| {})?;
                    Ok(before.zip(usage()).map(|(before, after)| after.since(before).cpu_ns))
                });
                server.freeze();
                match traced {
                    Ok((trace, cpu_ns)) => {
                        let trace = Trace { cpu_ns, ..trace };
                        self.entries[index].cell(job).trace = Some(trace);
                    }
                    Err(error) => {
                        let name = format!("{}, its trace", self.entries[index].row.name);
                        self.left_out.push(LeftOut { name, reason: format!("{error:#}") });
                    }
                }
            }
        }
    }

    /// Recovery time of the rows whose data survives; then all servers of the group end.
    fn restart_all(&mut self) {
        for entry in &mut self.entries {
            let Some(mut server) = entry.server.take() else { continue };
            let Some(loaded) = &mut entry.result.loaded else { continue };
            if !entry.row.is_durable() || loaded.recovery_ms.is_some() || server.pid().is_none() {
                continue;
            }
            self.bar.set_message(format!("restarting {}", entry.row.name));
            match server.restart() {
                Ok((took, keys)) => {
                    loaded.recovery_ms = Some(took.as_secs_f64() * 1000.0);
                    loaded.recovered_keys = Some(keys);
                }
                Err(error) => self.left_out.push(LeftOut {
                    name: format!("{}, its recovery", entry.row.name),
                    reason: format!("{error:#}"),
                }),
            }
        }
    }
}

impl Entry {
    fn new(row: Row) -> Entry {
        let result = RowResult {
            name: row.name.clone(),
            aof: row.aof.name().into(),
            redis_like: row.is_redis_like(),
            version: None,
            start_ms: None,
            loaded: None,
            threads: None,
            notes: Vec::new(),
            footprints: Vec::new(),
            cells: Vec::new(),
        };
        Entry { row, server: None, result }
    }

    fn start(&mut self, setting: &Setting) -> Result<()> {
        let server = server::start(&self.row, setting)?;
        let start_ms = server.start_time.map(|time| time.as_secs_f64() * 1000.0);
        self.result.start_ms = self.result.start_ms.or(start_ms);
        if self.result.version.is_none() && self.row.target != Target::Echo {
            let mut client = Client::connect(server.addr())?;
            self.result.version = client.info("server", "redis_version")?;
        }
        server.freeze();
        self.server = Some(server);
        Ok(())
    }

    fn cell(&mut self, job: &Job) -> &mut Cell {
        let empty = job.empty_cell();
        let cells = &mut self.result.cells;
        let at = cells.iter().position(|cell| cell.matches(&empty)).unwrap_or_else(|| {
            cells.push(empty);
            cells.len() - 1
        });
        &mut cells[at]
    }
}

fn sample(round: u32, report: &Report, used: Option<proc::Usage>) -> Sample {
    Sample {
        round,
        replies: report.tally.replies,
        errors: report.tally.errors,
        nulls: report.tally.nulls,
        seconds: report.elapsed.as_secs_f64(),
        p50_us: report.latency_us(50.0),
        p99_us: report.latency_us(99.0),
        p999_us: report.latency_us(99.9),
        max_us: report.latencies.max() as f64,
        server: used.map(|used| ServerCost {
            cpu_ns: used.cpu_ns,
            user_ticks: used.user_ticks,
            system_ticks: used.system_ticks,
            switches: used.switches,
        }),
    }
}
