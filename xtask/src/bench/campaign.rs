//! The measuring itself: start every row's server, load it, and run all rows once per round.
//!
//! Rounds are outermost and rows innermost, so that the two servers of a ratio run within
//! seconds of each other: a machine that slows down slows both. Servers that are not being
//! measured are frozen.

use super::args::BenchArgs;
use super::budget::{Allotment, Budget};
use super::job::{Job, Sizes, Task};
use super::matrix::{self, Row, Target};
use super::results::{Footprint, LeftOut, Loaded, RowResult};
use super::running_row::{RunningRow, Window};
use super::server::{Server, Setting};
use crate::load::idle;
use crate::load::workload::{Wanted, Workload};
use anyhow::{Context, Result, bail};
use capture::lab::proc;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// The longest time, and the highest number of requests, for counting system calls.
const COUNTING: Duration = Duration::from_millis(60);
const COUNTED: u64 = 10_000;

/// The time after the last PING when connections count as idle, and a server has returned the
/// memory that it returns: redis-server checks after two seconds.
const IDLE: Duration = Duration::from_millis(3500);

/// The results of a whole campaign.
pub struct Outcome {
    /// Rows that ran.
    pub rows: Vec<RowResult>,
    /// Rows, or parts of them, that did not.
    pub left_out: Vec<LeftOut>,
    /// Length of the first task's windows, and rounds.
    pub plan: Allotment,
}

/// The state of a measurement.
pub struct Campaign<'a> {
    args: &'a BenchArgs,
    setting: Setting,
    load_cores: Vec<usize>,
    sizes: Sizes,
    entries: Vec<RunningRow>,
    left_out: Vec<LeftOut>,
    bar: ProgressBar,
    budget: Budget,
    runs: u64,
}

impl<'a> Campaign<'a> {
    /// A campaign over `rows`; `left_out` are those that cannot even be tried.
    pub fn new(
        args: &'a BenchArgs,
        setting: Setting,
        load_cores: Vec<usize>,
        sizes: Sizes,
        (rows, left_out): (Vec<Row>, Vec<matrix::LeftOut>),
    ) -> Self {
        let entries = rows.into_iter().map(RunningRow::new).collect();
        let left_out =
            left_out.into_iter().map(|(name, reason)| LeftOut { name, reason }).collect();
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {wide_msg}")
        {
            bar.set_style(style);
        }
        let budget = Budget::new(args.budget(), args.seconds);
        Campaign { args, setting, load_cores, sizes, entries, left_out, bar, budget, runs: 0 }
    }

    /// Measures everything.
    pub fn run(mut self, tasks: &[Task]) -> Result<Outcome> {
        let windows: Vec<u64> = tasks.iter().map(|task| self.windows(task)).collect();
        self.bar.set_length(windows.iter().sum::<u64>() * u64::from(self.args.rounds()));
        self.bar.enable_steady_tick(Duration::from_millis(500));
        let mut first = None;
        for (index, task) in tasks.iter().enumerate() {
            self.setting.connections = task.connections();
            self.setting.memory = task.workload().times_memory.map(|_| self.sizes.memory_limit);
            self.say_where_it_does_not_run(task);
            let later = (windows[index + 1..].iter().sum(), (tasks.len() - index - 1) as u32);
            let plan = match task {
                Task::Shared(jobs) => self.shared(task, jobs, windows[index], later)?,
                Task::Alone(jobs) => self.alone(task, jobs),
                Task::Footprint(workload) => self.footprints(task, workload),
            };
            first = first.or(plan);
        }
        self.bar.finish_and_clear();
        self.explain_threads();
        let plan = first.unwrap_or(Allotment { window: Duration::ZERO, rounds: 1 });
        let rows: Vec<RowResult> = self.entries.into_iter().map(|entry| entry.result).collect();
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|row| row.start_ms.is_some() || row.version.is_some())
            .collect();
        if rows.is_empty() {
            bail!("no server could be started: {:?}", self.left_out);
        }
        Ok(Outcome { rows, left_out: self.left_out, plan })
    }

    /// Windows of one round of `task`, over all rows.
    fn windows(&self, task: &Task) -> u64 {
        let of = |entry: &RunningRow| {
            task.jobs().iter().filter(|job| job.runs_on(&entry.row)).count() as u64
        };
        self.entries.iter().map(of).sum()
    }

    fn leave_out(&mut self, name: String, reason: String) {
        self.left_out.push(LeftOut { name, reason });
    }

    /// Data larger than memory is not a question to those who keep all of it there.
    fn say_where_it_does_not_run(&mut self, task: &Task) {
        let workload = task.workload();
        if workload.times_memory.is_none() {
            return;
        }
        let rows = self.entries.iter().map(|entry| &entry.row);
        let names: Vec<_> = rows
            .filter(|row| !row.is_on_disk() && row.target != Target::Echo)
            .map(|row| row.name.clone())
            .collect();
        for name in names {
            let reason = "it keeps all data in memory".to_string();
            self.leave_out(format!("{name}, {}", workload.name), reason);
        }
    }

    /// Loads all rows at once, and runs rounds over all of them. `later` is the work that follows.
    fn shared(
        &mut self,
        task: &Task,
        jobs: &[Job],
        windows: u64,
        later: (u64, u32),
    ) -> Result<Option<Allotment>> {
        if let Err(error) = self.check_memory(task) {
            self.leave_out(task.workload().name.clone(), format!("{error:#}"));
            return Ok(None);
        }
        let started = Instant::now();
        for index in 0..self.entries.len() {
            if task.runs_on(&self.entries[index].row) && self.start(index) {
                self.load(index, task.workload());
            }
        }
        let wanted = (self.args.rounds(), self.args.rounds.is_none());
        let plan = self.budget.plan(wanted, windows, later, started.elapsed());
        self.saturate_all(jobs, plan.window);
        for round in 0..plan.rounds {
            for job in jobs {
                for index in 0..self.entries.len() {
                    self.measure(index, job, round, plan.window);
                }
            }
        }
        for index in 0..self.entries.len() {
            self.count_syscalls(index, jobs, plan.window);
            self.trace(index, jobs, plan.window);
            self.restart(index);
        }
        Ok(Some(plan))
    }

    /// One row after the other, from its start to its stop.
    fn alone(&mut self, task: &Task, jobs: &[Job]) -> Option<Allotment> {
        let rounds = self.args.rounds.unwrap_or(1);
        let wanted = Duration::from_secs(1);
        let window = self.args.seconds.map_or(wanted, Duration::from_secs_f64);
        for round in 0..rounds {
            for index in 0..self.entries.len() {
                if !task.runs_on(&self.entries[index].row) || !self.start(index) {
                    continue;
                }
                self.load(index, task.workload());
                for job in jobs {
                    self.measure(index, job, round, window);
                }
                if round == 0 && task.workload().requests.is_none() {
                    self.count_syscalls(index, jobs, window);
                    self.trace(index, jobs, window);
                    self.restart(index);
                }
                self.entries[index].server = None;
            }
        }
        Some(Allotment { window, rounds })
    }

    /// Memory per element or per idle connection, one row after the other.
    fn footprints(&mut self, task: &Task, workload: &Workload) -> Option<Allotment> {
        for index in 0..self.entries.len() {
            if !task.runs_on(&self.entries[index].row) {
                continue;
            }
            if workload.idle.is_some() && self.entries[index].row.has_thread_per_client() {
                let name = format!("{}, {}", self.entries[index].row.name, workload.name);
                self.leave_out(name, "every connection takes a thread".into());
            } else if self.start(index) {
                self.message(index, &workload.name);
                match self.footprint(index, workload) {
                    Ok(footprint) => self.entries[index].result.footprints.push(footprint),
                    Err(error) => self.failed(index, &workload.name, &error),
                }
            }
            self.entries[index].server = None;
        }
        None
    }

    fn footprint(&mut self, index: usize, workload: &Workload) -> Result<Footprint> {
        let entry = &self.entries[index];
        let server = entry.server.as_ref().context("not running")?;
        let pid = server.pid().context("somebody else's server: its memory is not known")?;
        let resident = || proc::resident_bytes(pid).context("its memory cannot be read");
        server.thaw();
        // Memory that the first connection and request allocate does not belong to an element.
        let endpoint = entry.endpoint(server);
        drop(idle::connect(&endpoint, 1)?);
        let (empty_bytes, started) = (resident()?, Instant::now());
        let (element, count, connections) = if let Some(count) = workload.idle {
            ("connection".to_string(), count as u64, idle::connect(&endpoint, count)?)
        } else {
            let defaults = self.sizes.of(workload, &entry.row);
            let passes = workload.preload(defaults)?;
            let keys = workload.key_count(defaults);
            entry.send_all(&passes, keys, &self.window(Duration::ZERO))?;
            let element = workload.element.clone().unwrap_or_default();
            (element, keys * workload.elements, Vec::new())
        };
        let seconds = started.elapsed().as_secs_f64();
        if !connections.is_empty() {
            std::thread::sleep(IDLE);
        }
        let (full_bytes, disk_bytes) = (resident()?, server.disk_bytes().filter(|&n| n > 0));
        let workload = workload.name.clone();
        Ok(Footprint { workload, element, count, empty_bytes, full_bytes, disk_bytes, seconds })
    }

    fn check_memory(&self, task: &Task) -> Result<()> {
        let Some(available) = proc::available_bytes() else { return Ok(()) };
        let of = |entry: &RunningRow| {
            let keys = task.workload().key_count(self.sizes.of(task.workload(), &entry.row));
            self.sizes.row_bytes(&entry.row, keys)
        };
        let rows = self.entries.iter().filter(|entry| task.runs_on(&entry.row));
        let needed: u64 = rows.map(of).sum();
        if needed > available {
            bail!(
                "its servers together need about {} MiB, {} MiB are available: use fewer --keys \
                 or fewer rows",
                needed >> 20,
                available >> 20
            );
        }
        Ok(())
    }

    /// Starts a row's server; says why where it does not start.
    fn start(&mut self, index: usize) -> bool {
        self.message(index, "starting");
        let entry = &mut self.entries[index];
        match entry.start(&self.setting) {
            Ok(()) => true,
            Err(error) => {
                let (name, reason) = (entry.row.name.clone(), format!("{error:#}"));
                if !self.left_out.iter().any(|out| out.name == name && out.reason == reason) {
                    self.leave_out(name, reason);
                }
                false
            }
        }
    }

    /// Fills a server with the workload's key space, and notes what that does to its memory.
    fn load(&mut self, index: usize, workload: &Workload) {
        if workload.preload.is_empty() {
            return;
        }
        self.message(index, "loading");
        match self.loaded(index, workload) {
            Ok(loaded) => {
                let entry = &mut self.entries[index];
                if entry.row.target != Target::Echo {
                    entry.result.loaded.get_or_insert(loaded);
                }
            }
            Err(error) => {
                self.failed(index, "loading", &error);
                self.entries[index].server = None;
            }
        }
    }

    fn loaded(&self, index: usize, workload: &Workload) -> Result<Loaded> {
        let entry = &self.entries[index];
        let server = entry.server.as_ref().context("not running")?;
        let defaults = self.sizes.of(workload, &entry.row);
        let (passes, keys) = (workload.preload(defaults)?, workload.key_count(defaults));
        let resident = || server.pid().and_then(proc::resident_bytes);
        let (empty_bytes, started) = (resident(), Instant::now());
        server.thaw();
        let sent = entry.send_all(&passes, keys, &self.window(Duration::ZERO));
        server.freeze();
        sent?;
        let (seconds, full_bytes) = (started.elapsed().as_secs_f64(), resident());
        let (recovery_ms, recovered_keys) = (None, None);
        Ok(Loaded { keys, seconds, empty_bytes, full_bytes, recovery_ms, recovered_keys })
    }

    fn failed(&mut self, index: usize, what: &str, error: &anyhow::Error) {
        let ended = self.entries[index].server.as_mut().and_then(Server::end);
        let name = format!("{}, {what}", self.entries[index].row.name);
        self.leave_out(name, ended.unwrap_or(format!("{error:#}")));
    }

    fn saturate_all(&mut self, jobs: &[Job], window: Duration) {
        for job in jobs.iter().filter(|job| matches!(job.wanted, Wanted::Share(_))) {
            for index in 0..self.entries.len() {
                if self.entries[index].can_run(job) {
                    self.message(index, "finding the saturation of");
                    let window = self.next_window(window);
                    if let Err(error) = self.entries[index].saturate(job, &window) {
                        self.entries[index].cell(job).failure = Some(format!("{error:#}"));
                    }
                }
            }
        }
    }

    fn measure(&mut self, index: usize, job: &Job, round: u32, window: Duration) {
        if !job.runs_on(&self.entries[index].row) {
            return;
        }
        self.bar.inc(1);
        if self.entries[index].can_run(job) {
            self.message(index, &format!("{} pipeline {}", job.workload.name, job.pipeline));
            let window = self.next_window(window);
            self.entries[index].measure(job, round, &window);
        }
    }

    fn count_syscalls(&mut self, index: usize, jobs: &[Job], window: Duration) {
        for job in jobs.iter().filter(|_| !self.args.no_syscalls) {
            if self.entries[index].can_run(job) {
                self.message(index, "system calls of");
                let window = self.next_window(window.min(COUNTING));
                let window = Window { requests: COUNTED, ..window };
                // Where they cannot be counted, the column stays empty.
                let _ = self.entries[index].count_syscalls(job, &window);
            }
        }
    }

    fn trace(&mut self, index: usize, jobs: &[Job], window: Duration) {
        for job in jobs.iter().filter(|_| self.args.trace) {
            let varve = matches!(self.entries[index].row.target, Target::Varve { .. });
            if varve && self.entries[index].can_run(job) {
                self.message(index, "tracing");
                let window = self.next_window(window);
                if let Err(error) = self.entries[index].trace(job, &window) {
                    self.failed(index, "its trace", &error);
                }
            }
        }
    }

    fn window(&self, length: Duration) -> Window {
        Window { length, requests: u64::MAX, cores: self.load_cores.clone(), run: self.runs }
    }

    fn next_window(&mut self, length: Duration) -> Window {
        self.runs += 1;
        self.window(length)
    }

    fn message(&self, index: usize, what: &str) {
        self.bar.set_message(format!("{what} {}", self.entries[index].row.name));
    }

    /// Recovery time where the data survives; then the server ends.
    fn restart(&mut self, index: usize) {
        self.message(index, "restarting");
        let entry = &mut self.entries[index];
        let Some(mut server) = entry.server.take() else { return };
        let Some(loaded) = &mut entry.result.loaded else { return };
        if !entry.row.is_durable() || loaded.recovery_ms.is_some() || server.pid().is_none() {
            return;
        }
        match server.restart() {
            Ok((took, keys)) => {
                loaded.recovery_ms = Some(took.as_secs_f64() * 1000.0);
                loaded.recovered_keys = Some(keys);
            }
            Err(error) => {
                let name = format!("{}, its recovery", entry.row.name);
                self.leave_out(name, format!("{error:#}"));
            }
        }
    }

    fn explain_threads(&mut self) {
        let cores = self.setting.cores.len();
        for entry in &mut self.entries {
            if let Some(threads) = entry.result.threads {
                entry.note(format!(
                    "each connection has a thread of its own: {threads} threads on the same {cores} \
                     core(s) as the others"
                ));
            }
        }
    }
}
