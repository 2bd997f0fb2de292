//! Workloads turned into jobs, and jobs into tasks that share loaded servers.

use super::args::{Aof, BenchArgs};
use super::matrix::{Row, Target};
use super::results::Cell;
use crate::load::messages::Messages;
use crate::load::request::Generator;
use crate::load::workload::{Defaults, Depths, Wanted, Workload};
use crate::load::{Pacing, Stop};
use anyhow::{Context, Result};
use engine::command::CommandTable;
use std::time::Duration;

/// The assumed memory use, to check that all servers fit in memory together: for a storage in
/// memory the bytes per key beyond its value, for a storage on disk the bytes in all.
const KEY_BYTES: u64 = 150;
const DISK_BYTES: u64 = 200 << 20;

/// The command line's sizes of data, for every row alike or nearly so.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// `--keys`, `--value-size`.
    pub memory: Defaults,
    /// The same for storages on disk, which take ten times as long to load.
    pub disk: Defaults,
    /// Bytes of memory that a server of a larger-than-memory workload may use.
    pub memory_limit: u64,
}

impl Sizes {
    /// The sizes of `workload` on `row`.
    pub fn of(&self, workload: &Workload, row: &Row) -> Defaults {
        let defaults = if row.is_on_disk() { self.disk } else { self.memory };
        workload.fitted(defaults, self.memory_limit)
    }

    /// Bytes that `keys` keys take in the server of `row`: an estimate.
    pub fn row_bytes(&self, row: &Row, keys: u64) -> u64 {
        match (&row.target, row.is_on_disk()) {
            (Target::Echo | Target::Running(_), _) => 0,
            (_, true) => DISK_BYTES,
            (_, false) => keys * (KEY_BYTES + self.memory.value_size as u64),
        }
    }

    /// Bytes that all `rows` take with their keys: an estimate.
    pub fn bytes(&self, rows: &[Row]) -> u64 {
        rows.iter().map(|row| self.row_bytes(row, self.memory.keys)).sum()
    }
}

/// The requests of a job.
#[derive(Clone)]
pub enum Load {
    /// Requests: to rows in memory, and to rows on disk, which may hold fewer keys.
    Mix(Box<(Generator, Generator)>),
    /// Messages.
    Messages(Messages),
}

/// One workload at one pipeline depth.
pub struct Job {
    /// The workload.
    pub workload: Workload,
    /// Requests in a batch.
    pub pipeline: usize,
    /// Connections.
    pub connections: usize,
    /// How fast.
    pub wanted: Wanted,
    /// The requests.
    pub load: Load,
    /// Requests that create the data that a window uses up.
    pub refill: Option<Generator>,
    /// Whether it matters for rows that make writes durable.
    durable: bool,
}

impl Job {
    /// The cell its measurements go to.
    pub fn empty_cell(&self) -> Cell {
        let (rate, rate_share) = match self.wanted {
            Wanted::Given(Pacing::Open { per_second }) => (Some(per_second), None),
            Wanted::Given(Pacing::Closed) => (None, None),
            Wanted::Share(share) => (None, Some(share)),
        };
        let operation = match &self.load {
            Load::Mix(_) => None,
            Load::Messages(messages) => Some(messages.operation().to_string()),
        };
        Cell {
            workload: self.workload.name.clone(),
            pipeline: self.pipeline,
            connections: self.connections,
            rate,
            operation,
            rate_share,
            saturation: None,
            samples: Vec::new(),
            syscalls_per_op: None,
            syscalls_by: None,
            trace: None,
            failure: None,
        }
    }

    /// Where a window ends: after its time, or after its requests, `most` of them.
    pub fn stop(&self, window: Duration, most: u64) -> Stop {
        let requests = self.workload.requests.map(|requests| requests.min(most));
        requests.map_or(Stop::After(window), Stop::Requests)
    }

    /// Whether `row` runs it.
    pub fn runs_on(&self, row: &Row) -> bool {
        let echo = row.target == Target::Echo;
        let messages = matches!(self.load, Load::Messages(_));
        let durable = self.durable || row.aof == Aof::Off;
        durable && fits(&self.workload, row) && !(echo && messages)
    }
}

/// Whether `workload` wants to run on `row` at all.
fn fits(workload: &Workload, row: &Row) -> bool {
    let storage = match &row.target {
        Target::Varve { storage, .. } => {
            workload.storages.is_empty() || workload.storages.contains(storage)
        }
        _ => true,
    };
    storage && (workload.times_memory.is_none() || row.is_on_disk())
}

/// Work from starting servers to stopping them.
pub enum Task {
    /// All rows hold the same data, and rounds go over all of them.
    Shared(Vec<Job>),
    /// One row after the other, each with the machine to itself.
    Alone(Vec<Job>),
    /// One row after the other: the memory that elements or idle connections take.
    Footprint(Box<Workload>),
}

impl Task {
    /// The workload that says which data it needs.
    pub fn workload(&self) -> &Workload {
        match self {
            Task::Shared(jobs) | Task::Alone(jobs) => &jobs[0].workload,
            Task::Footprint(workload) => workload,
        }
    }

    /// Its jobs; a footprint has none.
    pub fn jobs(&self) -> &[Job] {
        match self {
            Task::Shared(jobs) | Task::Alone(jobs) => jobs,
            Task::Footprint(_) => &[],
        }
    }

    /// Whether `row`'s server is needed.
    pub fn runs_on(&self, row: &Row) -> bool {
        match self {
            Task::Footprint(workload) => {
                row.aof == Aof::Off && row.target != Target::Echo && fits(workload, row)
            }
            _ => self.jobs().iter().any(|job| job.runs_on(row)),
        }
    }

    /// The most connections a server has at once.
    pub fn connections(&self) -> usize {
        let jobs = self.jobs().iter().map(|job| job.connections).max();
        jobs.or(self.workload().idle).unwrap_or(1).max(LOAD_CONNECTIONS)
    }
}

/// Connections of the loading phase.
pub const LOAD_CONNECTIONS: usize = 16;

/// All tasks, jobs that can share a loaded server standing together.
pub fn tasks(args: &BenchArgs, workloads: &[Workload], sizes: &Sizes) -> Result<Vec<Task>> {
    let table = CommandTable::new(commands::all()).context("the table of commands")?;
    let none_writes = !workloads.iter().any(|workload| workload.writes(&table));
    let mut tasks: Vec<(String, Task)> = Vec::new();
    for workload in workloads {
        let data = workload.data(sizes.memory);
        if workload.element.is_some() || workload.idle.is_some() {
            tasks.push((String::new(), Task::Footprint(Box::new(workload.clone()))));
            continue;
        }
        let mut jobs = jobs(args, workload, sizes, none_writes || workload.writes(&table))?;
        match tasks.iter_mut().find(|(other, _)| *other == data) {
            Some((_, Task::Shared(shared))) => shared.append(&mut jobs),
            _ if workload.alone => tasks.push((data, Task::Alone(jobs))),
            _ => tasks.push((data, Task::Shared(jobs))),
        }
    }
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}

fn jobs(args: &BenchArgs, workload: &Workload, sizes: &Sizes, durable: bool) -> Result<Vec<Job>> {
    let depths = workload.pipeline.as_ref().map_or(args.pipelines.clone(), Depths::list);
    let wanted = match args.rate {
        Some(per_second) => Wanted::Given(Pacing::Open { per_second }),
        None => workload.pacing()?,
    };
    let mut jobs = Vec::new();
    let (load, connections) = match &workload.messages {
        Some(messages) => (Load::Messages(messages.clone()), messages.connections()),
        None => (
            Load::Mix(Box::new(generators(workload, sizes)?)),
            workload.connections.unwrap_or(args.connections),
        ),
    };
    let refill = workload.refill(sizes.memory)?;
    for pipeline in depths {
        let (workload, load, refill) = (workload.clone(), load.clone(), refill.clone());
        jobs.push(Job { workload, pipeline, connections, wanted, load, refill, durable });
    }
    Ok(jobs)
}

/// The generators for rows in memory, and those for rows on disk.
fn generators(workload: &Workload, sizes: &Sizes) -> Result<(Generator, Generator)> {
    let [memory, disk] =
        [sizes.memory, sizes.disk].map(|defaults| workload.fitted(defaults, sizes.memory_limit));
    let generator = workload.generator(memory)?;
    let same = workload.key_count(memory) == workload.key_count(disk);
    let on_disk = if same { generator.clone() } else { workload.generator(disk)? };
    Ok((generator, on_disk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::args::tests::parse;

    fn row(storage: &str, aof: Aof) -> Row {
        let target = Target::Varve { runtime: "tokio".into(), storage: storage.into() };
        Row { name: storage.into(), target, aof, tls: false }
    }

    fn tasks_of(names: &[&str]) -> Vec<Task> {
        let workloads: Vec<_> = names.iter().map(|name| Workload::find(name).unwrap()).collect();
        let memory = Defaults { keys: 100, value_size: 64 };
        let sizes = Sizes { memory, disk: Defaults { keys: 50, ..memory }, memory_limit: 1 << 20 };
        tasks(&parse(&[]), &workloads, &sizes).unwrap()
    }

    #[test]
    fn workloads_with_the_same_data_share_their_servers() {
        let tasks = tasks_of(&["get", "set", "incr", "growing", "idle", "hot-key"]);
        let jobs: Vec<usize> = tasks.iter().map(|task| task.jobs().len()).collect();
        assert_eq!(jobs, [9, 3, 1, 0]);
        assert!(matches!(tasks[2], Task::Alone(_)) && matches!(tasks[3], Task::Footprint(_)));
    }

    #[test]
    fn durable_rows_run_what_writes_unless_nothing_does() {
        let tasks = tasks_of(&["get", "set"]);
        let on = |task: &Task, row: &Row| task.jobs().iter().filter(|j| j.runs_on(row)).count();
        assert_eq!(on(&tasks[0], &row("memory", Aof::Off)), 6);
        assert_eq!(on(&tasks[0], &row("memory", Aof::Always)), 3);
        assert_eq!(on(&tasks_of(&["get"])[0], &row("memory", Aof::Always)), 3);
    }

    #[test]
    fn what_does_not_fit_in_memory_runs_on_disk_only() {
        let task = &tasks_of(&["larger-than-memory"])[0];
        assert!(task.runs_on(&row("fjall", Aof::Off)));
        assert!(!task.runs_on(&row("memory", Aof::Off)));
        let echo = Row { target: Target::Echo, ..row("echo", Aof::Off) };
        assert!(!task.runs_on(&echo) && !tasks_of(&["queue"])[0].runs_on(&echo));
    }
}
