//! Figures that only the process knows, with Redis's names, as rows like the engine's own.

use super::Process;
use crate::system::memory::{MemoryFigures, resident_bytes, total_bytes};
use crate::system::{CpuTime, cpu_time, operating_system};
use engine::config::Id;
use engine::observe::figures::{
    Figure, Sheet, Unit, Value, counter, gauge, human, note, percent, ratio,
};
use std::cell::OnceCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The source of the rows: the process, and figures that are read once per report.
struct Reading<'a> {
    process: &'a Process,
    memory: OnceCell<MemoryFigures>,
    resident: OnceCell<u64>,
    cpu: OnceCell<CpuTime>,
}

type Row = Figure<for<'a, 'b> fn(&'b Reading<'a>) -> Value>;

/// Adds the figures of one section, in order; none if the process has none for it.
pub(super) fn section(process: &Process, name: &str, sheet: &mut Sheet) {
    let rows: &[Row] = match name {
        "server" => SERVER,
        "memory" => MEMORY,
        "persistence" => PERSISTENCE,
        "cpu" => CPU,
        "stats" => STATS,
        _ => return,
    };
    let reading = Reading {
        process,
        memory: OnceCell::new(),
        resident: OnceCell::new(),
        cpu: OnceCell::new(),
    };
    rows.iter().for_each(|row| sheet.add(row, || (row.read)(&reading)));
    match name {
        "server" => threads(process, sheet),
        "memory" => storage(process, sheet),
        "persistence" => disk(process, sheet),
        _ => {}
    }
}

const SERVER: &[Row] = &[
    note("os", |_| operating_system().into()),
    note("monotonic_clock", |_| "POSIX clock_gettime".into()),
    note("multiplexing_api", |_| if cfg!(target_os = "linux") { "epoll" } else { "kqueue" }.into()),
    note("atomicvar_api", |_| "c11-builtin".into()),
    note("process_id", |_| u64::from(std::process::id()).into()),
    note("process_supervised", |r| crate::system::supervisor::supervisor(&r.process.config).into()),
    note("run_id", |r| r.process.run_id.to_string().into()),
    note("tcp_port", |r| r.process.addresses.first().map_or(0, |a| u64::from(a.port())).into()),
    note("executable", |_| {
        std::env::current_exe().unwrap_or_default().display().to_string().into()
    }),
    note("config_file", |r| {
        r.process.file.as_ref().map_or(String::new(), |file| file.display().to_string()).into()
    }),
    note("io_threads_active", |_| 0_u64.into()),
];

fn threads(process: &Process, sheet: &mut Sheet) {
    if let Some(left) = process.ends_in_ms() {
        sheet.put(note("shutdown_in_milliseconds", left.into()));
    }
    for (number, address) in process.addresses.iter().enumerate() {
        let text = format!("name=tcp,bind={},port={}", address.ip(), address.port());
        sheet.add_free(format!("listener{number}"), text);
    }
    sheet.put(note("varve_runtime", process.runtime.name().into()));
    if process.runtime.name() == "epoll" {
        let execution = process.config.choice(Id::EpollExecution).to_owned();
        sheet.put(note("varve_epoll_execution", execution.into()));
    }
    let threads = process.runtime.stats().threads.load(Relaxed).into();
    sheet.put(gauge("varve_threads", Unit::One, "Threads that serve clients", threads));
}

/// A size in bytes.
const fn bytes(
    name: &'static str,
    help: &'static str,
    read: for<'a, 'b> fn(&'b Reading<'a>) -> Value,
) -> Row {
    gauge(name, Unit::Bytes, help, read)
}

impl Reading<'_> {
    fn memory(&self) -> MemoryFigures {
        *self.memory.get_or_init(|| (self.process.allocator.figures)())
    }

    fn resident(&self) -> u64 {
        *self.resident.get_or_init(resident_bytes)
    }

    fn cpu(&self) -> CpuTime {
        *self.cpu.get_or_init(cpu_time)
    }

    fn peak(&self) -> u64 {
        self.process.note_memory(self.memory().allocated)
    }

    fn at_start(&self) -> u64 {
        self.process.memory_at_start.load(Relaxed)
    }

    fn dataset(&self) -> u64 {
        self.memory().allocated.saturating_sub(self.at_start())
    }

    fn limit(&self) -> u64 {
        self.process.config.memory(Id::Maxmemory)
    }
}

fn for_people(bytes: u64) -> Value {
    human(bytes).into()
}

fn difference(a: u64, b: u64) -> Value {
    Value::Signed(a as i64 - b as i64)
}

const MEMORY: &[Row] = &[
    bytes("used_memory", "Allocated", |r| r.memory().allocated.into()),
    note("used_memory_human", |r| for_people(r.memory().allocated)),
    bytes("used_memory_rss", "Physical memory of the process", |r| r.resident().into()),
    note("used_memory_rss_human", |r| for_people(r.resident())),
    bytes("used_memory_peak", "The most that was allocated", |r| r.peak().into()),
    note("used_memory_peak_human", |r| for_people(r.peak())),
    note("used_memory_peak_perc", |r| percent(r.memory().allocated, r.peak())),
    note("used_memory_overhead", |r| r.at_start().into()),
    bytes("used_memory_startup", "Allocated when the server had started", |r| r.at_start().into()),
    bytes("used_memory_dataset", "Allocated since then", |r| r.dataset().into()),
    note("used_memory_dataset_perc", |r| percent(r.dataset(), r.memory().allocated)),
    note("allocator_allocated", |r| r.memory().allocated.into()),
    bytes("allocator_active", "The allocator's pages in use", |r| r.memory().active.into()),
    bytes("allocator_resident", "The allocator's physical memory", |r| r.memory().resident.into()),
    note("total_system_memory", |_| total_bytes().into()),
    note("total_system_memory_human", |_| for_people(total_bytes())),
    bytes("maxmemory", "The limit of memory; 0 is none", |r| r.limit().into()),
    note("maxmemory_human", |r| for_people(r.limit())),
    note("maxmemory_policy", |r| r.process.config.choice(Id::MaxmemoryPolicy).to_owned().into()),
    note("allocator_frag_ratio", |r| ratio(r.memory().active, r.memory().allocated)),
    note("allocator_frag_bytes", |r| r.memory().active.saturating_sub(r.memory().allocated).into()),
    note("allocator_rss_ratio", |r| ratio(r.memory().resident, r.memory().active)),
    note("allocator_rss_bytes", |r| difference(r.memory().resident, r.memory().active)),
    note("rss_overhead_ratio", |r| ratio(r.resident(), r.memory().resident)),
    note("rss_overhead_bytes", |r| difference(r.resident(), r.memory().resident)),
    gauge("mem_fragmentation_ratio", Unit::One, "Physical memory over allocated", |r| {
        ratio(r.resident(), r.memory().allocated)
    }),
    note("mem_fragmentation_bytes", |r| difference(r.resident(), r.memory().allocated)),
    note("mem_allocator", |r| r.process.allocator.name.into()),
    note("active_defrag_running", |_| 0_u64.into()),
];

fn storage(process: &Process, sheet: &mut Sheet) {
    let Some(engine) = process.engine() else { return };
    let stats = engine.backend.stats();
    let help = "What the storage holds in memory, as far as it counts it";
    let held = stats.memory_bytes.into();
    sheet.put(gauge("varve_storage_memory_bytes", Unit::Bytes, help, held));
    for (name, value) in stats.details {
        sheet.add_free(format!("varve_storage_{name}"), value);
    }
}

/// Whole seconds; -1 for `None`.
fn seconds(time: Option<Duration>) -> Value {
    Value::Signed(time.map_or(-1, |time| time.as_secs() as i64))
}

const PERSISTENCE: &[Row] = &[
    gauge("rdb_bgsave_in_progress", Unit::One, "Whether a snapshot is being written", |r| {
        r.process.persistence.saver.state().running_since.is_some().into()
    }),
    gauge(
        "rdb_last_save_time",
        Unit::Seconds,
        "When the last snapshot succeeded, Unix time",
        |r| r.process.persistence.saver.state().last_success_s.into(),
    ),
    note("rdb_last_bgsave_status", |r| {
        if r.process.persistence.saver.state().last_ok { "ok" } else { "err" }.into()
    }),
    gauge("rdb_last_bgsave_time_sec", Unit::Seconds, "How long the last snapshot took", |r| {
        seconds(r.process.persistence.saver.state().last_took)
    }),
    note("rdb_current_bgsave_time_sec", |r| {
        seconds(r.process.persistence.saver.state().running_since.map(|since| since.elapsed()))
    }),
    counter("rdb_saves", Unit::One, "Snapshots written", |r| {
        r.process.persistence.saver.state().saves.into()
    }),
    note("rdb_last_cow_size", |_| 0_u64.into()),
    note("aof_rewrite_scheduled", |r| {
        let scheduled = &r.process.persistence.scheduled;
        (scheduled.rewrite.load(Relaxed) || scheduled.log.load(Relaxed)).into()
    }),
    note("rdb_last_load_keys_expired", |r| {
        r.process.persistence.loaded_expired.load(Relaxed).into()
    }),
    note("rdb_last_load_keys_loaded", |r| r.process.persistence.loaded_keys.load(Relaxed).into()),
];

fn disk(process: &Process, sheet: &mut Sheet) {
    if let Some(engine) = process.engine().filter(|engine| engine.backend.persistent()) {
        let help = "What the storage holds on disk";
        let held = engine.backend.stats().disk_bytes.into();
        sheet.put(gauge("varve_storage_disk_bytes", Unit::Bytes, help, held));
    }
}

fn cpu_seconds(time: Duration) -> Value {
    Value::Real(time.as_secs_f64(), 6)
}

const CPU: &[Row] = &[
    counter("used_cpu_sys", Unit::Seconds, "Processor time in the kernel", |r| {
        cpu_seconds(r.cpu().system)
    }),
    counter("used_cpu_user", Unit::Seconds, "Processor time outside the kernel", |r| {
        cpu_seconds(r.cpu().user)
    }),
    // Nothing forks, so there are no children to account for.
    note("used_cpu_sys_children", |_| cpu_seconds(Duration::ZERO)),
    note("used_cpu_user_children", |_| cpu_seconds(Duration::ZERO)),
];

fn load(counter: &AtomicU64) -> Value {
    counter.load(Relaxed).into()
}

const STATS: &[Row] = &[
    counter("varve_runtime_loops", Unit::One, "Turns of the reactors' loops", |r| {
        load(&r.process.runtime.stats().loops)
    }),
    counter("varve_runtime_wakes", Unit::One, "Wake-ups of reactors by other threads", |r| {
        load(&r.process.runtime.stats().wakes)
    }),
    gauge("varve_runtime_queue_depth", Unit::One, "Connections waiting for a thread", |r| {
        load(&r.process.runtime.stats().queue_depth)
    }),
    counter("varve_runtime_panics", Unit::One, "Panics that ended a connection", |r| {
        load(&r.process.runtime.stats().panics)
    }),
    counter(
        "varve_runtime_accept_errors",
        Unit::One,
        "Connections that could not be accepted",
        |r| load(&r.process.runtime.stats().accept_errors),
    ),
    #[cfg(feature = "tls")]
    counter(
        "varve_tls_handshakes_refused",
        Unit::One,
        "Connections closed because too many TLS handshakes were under way",
        |r| r.process.encryption.handshakes.refused().into(),
    ),
];
