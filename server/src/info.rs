//! Lines of `INFO` that only the process knows, with Redis's names and formats. The engine puts
//! them among its own, and leaves out what is said here.

use crate::host::Process;
use crate::memory::{human, resident_bytes, total_bytes};
use crate::system::{cpu_time, operating_system};
use engine::config::Id;
use runtime::RuntimeStats;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The lines of one section, in order; empty for sections the process has nothing to say about.
pub(crate) fn section(process: &Process, name: &str) -> Vec<(String, String)> {
    let mut lines = Lines::default();
    match name {
        "server" => server(process, &mut lines),
        "memory" => memory(process, &mut lines),
        "persistence" => persistence(process, &mut lines),
        "cpu" => cpu(&mut lines),
        "stats" => stats(&process.runtime.stats(), &mut lines),
        _ => {}
    }
    lines.0
}

#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// A size in bytes, and once more for people.
    fn size(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human(bytes));
    }

    fn flag(&mut self, name: &str, on: bool) {
        self.add(name, u8::from(on));
    }
}

fn server(process: &Process, lines: &mut Lines) {
    lines.add("os", operating_system());
    lines.add("monotonic_clock", "POSIX clock_gettime");
    lines.add("multiplexing_api", if cfg!(target_os = "linux") { "epoll" } else { "kqueue" });
    lines.add("atomicvar_api", "c11-builtin");
    lines.add("process_id", std::process::id());
    lines.add("process_supervised", "no");
    lines.add("run_id", &process.run_id);
    lines.add("tcp_port", process.addresses.first().map_or(0, |address| address.port()));
    let executable = std::env::current_exe().unwrap_or_default();
    lines.add("executable", executable.display());
    let file = process.file.as_ref().map_or(String::new(), |file| file.display().to_string());
    lines.add("config_file", file);
    lines.add("io_threads_active", 0);
    for (number, address) in process.addresses.iter().enumerate() {
        let text = format!("name=tcp,bind={},port={}", address.ip(), address.port());
        lines.add(&format!("listener{number}"), text);
    }
    lines.add("varve_runtime", process.runtime.name());
    if process.runtime.name() == "epoll" {
        lines.add("varve_epoll_execution", process.config.choice(Id::EpollExecution));
    }
    lines.add("varve_threads", process.runtime.stats().threads.load(Relaxed));
}

fn memory(process: &Process, lines: &mut Lines) {
    let figures = (process.allocator.figures)();
    let rss = resident_bytes();
    let peak = process.note_memory(figures.allocated);
    let startup = process.memory_at_start.load(Relaxed);
    let dataset = figures.allocated.saturating_sub(startup);
    lines.size("used_memory", figures.allocated);
    lines.size("used_memory_rss", rss);
    lines.size("used_memory_peak", peak);
    lines.add("used_memory_peak_perc", percent(figures.allocated, peak));
    lines.add("used_memory_overhead", startup);
    lines.add("used_memory_startup", startup);
    lines.add("used_memory_dataset", dataset);
    lines.add("used_memory_dataset_perc", percent(dataset, figures.allocated));
    lines.add("allocator_allocated", figures.allocated);
    lines.add("allocator_active", figures.active);
    lines.add("allocator_resident", figures.resident);
    lines.size("total_system_memory", total_bytes());
    let limit = process.config.memory(Id::Maxmemory);
    lines.size("maxmemory", limit);
    lines.add("maxmemory_policy", process.config.choice(Id::MaxmemoryPolicy));
    lines.add("allocator_frag_ratio", ratio(figures.active, figures.allocated));
    lines.add("allocator_frag_bytes", figures.active.saturating_sub(figures.allocated));
    lines.add("allocator_rss_ratio", ratio(figures.resident, figures.active));
    lines.add("allocator_rss_bytes", difference(figures.resident, figures.active));
    lines.add("rss_overhead_ratio", ratio(rss, figures.resident));
    lines.add("rss_overhead_bytes", difference(rss, figures.resident));
    lines.add("mem_fragmentation_ratio", ratio(rss, figures.allocated));
    lines.add("mem_fragmentation_bytes", difference(rss, figures.allocated));
    lines.add("mem_allocator", process.allocator.name);
    lines.add("active_defrag_running", 0);
    if let Some(engine) = process.engine() {
        let stats = engine.backend.stats();
        lines.add("varve_storage_memory_bytes", stats.memory_bytes);
        for (name, value) in stats.details {
            lines.add(&format!("varve_storage_{name}"), value);
        }
    }
}

fn persistence(process: &Process, lines: &mut Lines) {
    let state = process.saver.state();
    let seconds = |time: Option<Duration>| time.map_or(-1, |time| time.as_secs() as i64);
    lines.flag("rdb_bgsave_in_progress", state.running_since.is_some());
    lines.add("rdb_last_save_time", state.last_success_s);
    lines.add("rdb_last_bgsave_status", if state.last_ok { "ok" } else { "err" });
    lines.add("rdb_last_bgsave_time_sec", seconds(state.last_took));
    lines.add(
        "rdb_current_bgsave_time_sec",
        seconds(state.running_since.map(|since| since.elapsed())),
    );
    lines.add("rdb_saves", state.saves);
    lines.add("rdb_last_cow_size", 0);
    let scheduled = &process.scheduled;
    let rewrite = scheduled.rewrite.load(Relaxed) || scheduled.log.load(Relaxed);
    lines.flag("aof_rewrite_scheduled", rewrite);
    lines.add("rdb_last_load_keys_expired", process.loaded_expired.load(Relaxed));
    lines.add("rdb_last_load_keys_loaded", process.loaded_keys.load(Relaxed));
    if let Some(engine) = process.engine().filter(|engine| engine.backend.persistent()) {
        lines.add("varve_storage_disk_bytes", engine.backend.stats().disk_bytes);
    }
}

fn cpu(lines: &mut Lines) {
    let used = cpu_time();
    let text = |time: Duration| format!("{}.{:06}", time.as_secs(), time.subsec_micros());
    lines.add("used_cpu_sys", text(used.system));
    lines.add("used_cpu_user", text(used.user));
    // Nothing forks, so there are no children to account for.
    lines.add("used_cpu_sys_children", "0.000000");
    lines.add("used_cpu_user_children", "0.000000");
}

fn stats(stats: &RuntimeStats, lines: &mut Lines) {
    let counters: [(&str, &AtomicU64); 5] = [
        ("varve_runtime_loops", &stats.loops),
        ("varve_runtime_wakes", &stats.wakes),
        ("varve_runtime_queue_depth", &stats.queue_depth),
        ("varve_runtime_panics", &stats.panics),
        ("varve_runtime_accept_errors", &stats.accept_errors),
    ];
    for (name, counter) in counters {
        lines.add(name, counter.load(Relaxed));
    }
}

fn ratio(a: u64, b: u64) -> String {
    format!("{:.2}", a as f64 / b.max(1) as f64)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn difference(a: u64, b: u64) -> i64 {
    a as i64 - b as i64
}
