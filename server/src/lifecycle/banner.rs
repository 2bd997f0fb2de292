//! The text that a server prints when it starts: its choices, and how each is changed.

use crate::process::Process;
use crate::system::nodes;
use engine::Engine;
use engine::config::Id;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::available_parallelism;
use storage::Durability;

/// One choice: its name, the chosen value, and the options that change it.
struct Choice {
    name: &'static str,
    is: String,
    change: &'static str,
}

/// The banner: a line of identity, then one line per choice.
pub(crate) fn text(engine: &Engine, process: &Process) -> String {
    let mut lines = vec![format!(
        "Varve {}: {} keys, process {}",
        env!("CARGO_PKG_VERSION"),
        engine.backend.used_dbs().into_iter().map(|db| engine.backend.len(db)).sum::<u64>(),
        std::process::id()
    )];
    let choices = choices(engine, process);
    let width = choices.iter().map(|choice| choice.is.chars().count()).max().unwrap_or(0).min(64);
    for Choice { name, is, change } in choices {
        lines.push(format!("  {name:<11}{is:<width$}   {change}"));
    }
    lines.join("\n")
}

fn choices(engine: &Engine, process: &Process) -> Vec<Choice> {
    let choice = |name, is, change| Choice { name, is, change };
    vec![
        choice("address", addresses(process), "--bind, --port, --unixsocket"),
        choice(
            "runtime",
            runtime(process),
            "--runtime epoll|tokio|threads|uring, --epoll-execution inline|pool, --threads N",
        ),
        choice(
            "storage",
            format!("{}, {} shards", engine.backend.name(), engine.backend.shard_count()),
            "--storage memory|sled|fjall, --shards N",
        ),
        choice(
            "durability",
            durability(engine),
            "--appendonly yes|no, --appendfsync always|everysec|no, --save",
        ),
        machine(engine),
        choice("data", process.persistence.dir().display().to_string(), "--dir"),
    ]
}

/// The cores that serve, the NUMA nodes, and advice for the number of shards.
fn machine(engine: &Engine) -> Choice {
    let (nodes, cores) = (nodes::count(), available_parallelism().map_or(1, usize::from));
    let mut is = nodes::describe(nodes, cores);
    let shards = engine.backend.shard_count() as usize;
    let in_memory = !engine.backend.persistent();
    if let Some(better) = nodes::better_shards(nodes, cores, shards).filter(|_| in_memory) {
        is += &format!(": --shards {better} would suit");
    }
    Choice { name: "machine", is, change: "--server_cpulist, --bio_cpulist" }
}

fn addresses(process: &Process) -> String {
    let tcp = process.addresses.iter().map(ToString::to_string);
    let unix = Some(process.config.text(Id::Unixsocket).to_string());
    tcp.chain(unix.filter(|path| !path.is_empty())).collect::<Vec<_>>().join(" ")
}

fn runtime(process: &Process) -> String {
    let name = process.runtime.name();
    let execution = match name {
        "epoll" => format!(" {}", process.config.choice(Id::EpollExecution)),
        _ => String::new(),
    };
    let running = process.runtime.stats().threads.load(Relaxed);
    let threads = match running {
        0 => crate::choices::runtimes::thread_count(name, &process.config) as u64,
        running => running,
    };
    let plural = if threads == 1 { "" } else { "s" };
    format!("{name}{execution}, {threads} thread{plural}")
}

fn durability(engine: &Engine) -> String {
    let saves = match engine.config.text(Id::Save) {
        text if text.is_empty() => String::new(),
        text => format!(", snapshots after {text}"),
    };
    let log = match engine.logging_journal() {
        Some(journal) => match journal.durability() {
            Durability::Always => "logged and synced before every reply",
            Durability::EverySecond => "logged, synced every second",
            Durability::Never => "logged, synced when the system likes",
        },
        None if engine.backend.persistent() => "the storage's own",
        None if saves.is_empty() => "none: everything is lost at the end",
        None => "no log",
    };
    format!("{log}{saves}")
}
