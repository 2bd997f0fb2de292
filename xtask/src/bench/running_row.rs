//! One row while it runs: its server for the current task, and its measurements so far.

use super::job::{Job, LOAD_CONNECTIONS, Load};
use super::matrix::{Row, Target};
use super::results::{Cell, RowResult, Sample, ServerCost, Trace};
use super::server::{self, Server, Setting};
use super::syscalls::Counter;
use super::{budget, trace};
use crate::load::request::Generator;
use crate::load::workload::Wanted;
use crate::load::{self, Edge, Endpoint, Pacing, Report, RunConfig, Stop, messages};
use anyhow::{Context, Error, Result, anyhow, bail};
use capture::lab::{Client, proc};
use std::time::Duration;

/// Pipeline of the loading phase.
const LOAD_PIPELINE: usize = 64;

/// The state of one row while it runs.
pub struct RunningRow {
    /// Which row.
    pub row: Row,
    /// Its server, where the present task needs one and it could be started.
    pub server: Option<Server>,
    /// Where that server's clients connect, if not at its first address.
    secure: Option<Endpoint>,
    /// The measurements so far.
    pub result: RowResult,
}

/// How one window is measured.
#[derive(Debug, Clone)]
pub struct Window {
    /// Its length.
    pub length: Duration,
    /// The highest number of requests, for jobs whose windows end after a number of requests.
    pub requests: u64,
    /// Cores of the load.
    pub cores: Vec<usize>,
    /// Numbers the windows, so that each inserts keys of its own.
    pub run: u64,
}

impl RunningRow {
    /// A row that has measured nothing yet.
    pub fn new(row: Row) -> RunningRow {
        let result = RowResult {
            name: row.name.clone(),
            aof: row.aof.name().into(),
            redis_like: row.is_redis_like(),
            tls: row.tls,
            version: None,
            start_ms: None,
            loaded: None,
            threads: None,
            notes: Vec::new(),
            footprints: Vec::new(),
            cells: Vec::new(),
        };
        RunningRow { row, server: None, secure: None, result }
    }

    /// Starts the row's server, and leaves it frozen.
    pub fn start(&mut self, setting: &Setting) -> Result<()> {
        let (server, secure) = server::start(&self.row, setting)?;
        let start_ms = server.start_time.map(|time| time.as_secs_f64() * 1000.0);
        self.result.start_ms = self.result.start_ms.or(start_ms);
        if self.result.version.is_none() && self.row.target != Target::Echo {
            let mut client = Client::connect(server.addr())?;
            self.result.version = client.info("server", "redis_version")?;
        }
        if self.row.has_thread_per_client() {
            let threads = self.row.threads(setting.threads, setting.connections);
            self.result.threads = self.result.threads.max(Some(threads));
        }
        server.freeze();
        (self.server, self.secure) = (Some(server), secure);
        Ok(())
    }

    /// Where the load connects to `server`, the row's.
    pub fn endpoint(&self, server: &Server) -> Endpoint {
        self.secure.clone().unwrap_or_else(|| server.addr().into())
    }

    /// Adds a note for readers, unless it is there already.
    pub fn note(&mut self, note: String) {
        if !self.result.notes.contains(&note) {
            self.result.notes.push(note);
        }
    }

    /// Sends each pass's requests `count` times, as fast as the server takes them. Fails for an
    /// error reply, because the data would not be those of the workload.
    pub fn send_all(&self, passes: &[Generator], count: u64, window: &Window) -> Result<()> {
        let server = self.server.as_ref().context("not running")?;
        for pass in passes {
            let plan = RunConfig {
                server: self.endpoint(server),
                connections: LOAD_CONNECTIONS,
                pipeline: LOAD_PIPELINE,
                pacing: Pacing::Closed,
                warmup: Duration::ZERO,
                stop: Stop::Requests(count),
                cores: window.cores.clone(),
                run: window.run,
            };
            let report = load::run(&plan, pass, &mut |_| {})?;
            if let Some(error) = report.tally.first_error {
                bail!("{} of {count} requests failed: {error}", report.tally.errors);
            }
        }
        Ok(())
    }

    /// The rate of a job on this row: the requested one, or the share of the measured throughput.
    fn pacing(&self, job: &Job) -> Result<Pacing> {
        match job.wanted {
            Wanted::Given(pacing) => Ok(pacing),
            Wanted::Share(share) => {
                let cell = self.result.cells.iter().find(|cell| cell.matches(&job.empty_cell()));
                let saturation = cell.and_then(|cell| cell.saturation);
                let per_second = share * saturation.context("its saturation is not known")?;
                Ok(Pacing::Open { per_second })
            }
        }
    }

    /// Measures the throughput of a closed loop, for a job that runs at a share of it.
    pub fn saturate(&mut self, job: &Job, window: &Window) -> Result<()> {
        let report = self.run(job, Pacing::Closed, window, &mut |_| {})?;
        let done = report.tally.replies - report.tally.errors;
        let per_second = done as f64 / report.elapsed.as_secs_f64().max(1e-9);
        if done == 0 {
            bail!("nothing was answered: {}", report.tally.first_error.unwrap_or_default());
        }
        self.cell(job).saturation = Some(per_second);
        Ok(())
    }

    /// Measures one window and keeps it as a sample of `round`; a failure is kept too.
    pub fn measure(&mut self, job: &Job, round: u32, window: &Window) {
        let sampled = self.pacing(job).and_then(|pacing| {
            let pid = self.server.as_ref().and_then(Server::pid);
            let (mut before, mut after) = (None, None);
            let report = self.run(job, pacing, window, &mut |edge| {
                let usage = pid.and_then(proc::usage);
                match edge {
                    Edge::Start => before = usage,
                    Edge::End => after = usage,
                }
            })?;
            let used = before.zip(after).map(|(before, after)| after.since(before));
            Ok((sample(round, &report, used), report.tally.first_error))
        });
        let ended = self.server.as_mut().and_then(Server::end);
        let cell = self.cell(job);
        match sampled {
            Ok((sample, error)) => {
                cell.failure = error.filter(|_| sample.done() == 0);
                cell.samples.push(sample);
            }
            Err(error) => cell.failure = Some(ended.unwrap_or(format!("{error:#}"))),
        }
    }

    /// Counts system calls over one more window.
    pub fn count_syscalls(&mut self, job: &Job, window: &Window) -> Result<()> {
        let pid = self.server.as_ref().and_then(Server::pid).context("not our process")?;
        let pacing = self.pacing(job)?;
        let (mut counter, mut failure): (Option<Counter>, Option<Error>) = (None, None);
        let (mut before, mut after) = (0, 0);
        let report = self.run(job, pacing, window, &mut |edge| match edge {
            Edge::Start => match Counter::start(pid) {
                Ok(started) => {
                    before = started.count();
                    counter = Some(started);
                }
                Err(error) => failure = Some(error),
            },
            Edge::End => {
                after = counter.as_ref().map_or(0, Counter::count);
            }
        })?;
        let counter = counter.ok_or_else(|| failure.unwrap_or(anyhow!("nothing was counted")))?;
        if report.tally.replies > 0 {
            let per_op = (after - before) as f64 / report.tally.replies as f64;
            let name = counter.name().to_string();
            let cell = self.cell(job);
            cell.syscalls_per_op = Some(per_op);
            cell.syscalls_by = Some(name);
        }
        Ok(())
    }

    /// Lets the server trace where its time goes over one more window.
    pub fn trace(&mut self, job: &Job, window: &Window) -> Result<()> {
        let server = self.server.as_ref().context("not running")?;
        let pacing = self.pacing(job)?;
        let usage = || server.pid().and_then(proc::usage);
        server.thaw();
        let traced = trace::trace(server.addr(), || {
            let before = usage();
            self.run_thawed(server, job, pacing, (Duration::ZERO, window), &mut |_| {})?;
            Ok(before.zip(usage()).map(|(before, after)| after.since(before).cpu_ns))
        });
        server.freeze();
        let (trace, cpu_ns) = traced?;
        self.cell(job).trace = Some(Trace { cpu_ns, ..trace });
        Ok(())
    }

    /// Runs one window with the server thawed, and before it creates the data that the window uses
    /// up.
    fn run(
        &self,
        job: &Job,
        pacing: Pacing,
        window: &Window,
        edge: &mut (dyn FnMut(Edge) + Send),
    ) -> Result<Report> {
        let server = self.server.as_ref().context("not running")?;
        server.thaw();
        let report =
            self.run_thawed(server, job, pacing, (budget::warmup(window.length), window), edge);
        server.freeze();
        report
    }

    fn run_thawed(
        &self,
        server: &Server,
        job: &Job,
        pacing: Pacing,
        (warmup, window): (Duration, &Window),
        edge: &mut (dyn FnMut(Edge) + Send),
    ) -> Result<Report> {
        let stop = job.stop(window.length, window.requests);
        if let (Some(refill), Stop::Requests(count)) = (&job.refill, stop) {
            self.send_all(std::slice::from_ref(refill), count, window)?;
        }
        let warmup = match stop {
            Stop::Requests(_) => Duration::ZERO,
            Stop::After(_) => warmup,
        };
        let plan = RunConfig {
            server: self.endpoint(server),
            connections: job.connections,
            pipeline: job.pipeline,
            pacing,
            warmup,
            stop,
            cores: window.cores.clone(),
            run: window.run,
        };
        match &job.load {
            Load::Mix(both) => {
                let requests = if self.row.is_on_disk() { &both.1 } else { &both.0 };
                load::run(&plan, requests, edge)
            }
            Load::Messages(messages) => messages::run(&plan, messages, edge),
        }
    }

    /// The cell that `job` fills.
    pub fn cell(&mut self, job: &Job) -> &mut Cell {
        let empty = job.empty_cell();
        let cells = &mut self.result.cells;
        let at = cells.iter().position(|cell| cell.matches(&empty)).unwrap_or_else(|| {
            cells.push(empty);
            cells.len() - 1
        });
        &mut cells[at]
    }

    /// Whether `job` is worth another window here.
    pub fn can_run(&self, job: &Job) -> bool {
        let empty = job.empty_cell();
        let failed = |cell: &Cell| cell.matches(&empty) && cell.failure.is_some();
        self.server.is_some() && job.runs_on(&self.row) && !self.result.cells.iter().any(failed)
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
