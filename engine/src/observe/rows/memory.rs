//! `INFO memory`.

use super::clients::clients_memory;
use crate::config::Id;
use crate::observe::figures::{Value, human};
use crate::observe::row::{Reading, Row, bytes, count, level, shown, zero};
use std::sync::atomic::Ordering::Relaxed;

fn used(r: &Reading<'_>) -> u64 {
    r.engine.environment.host.memory_used()
}

/// Scripts and the sources of libraries.
fn scripts(r: &Reading<'_>) -> usize {
    let figures = r.engine.scripting.figures();
    figures.script_bytes + figures.library_bytes
}

pub(super) const ROWS: &[Row] = &[
    Row::Host,
    bytes("used_memory", "Allocated", |r| used(r).into()),
    shown("used_memory_human", |r| human(used(r)).into()),
    shown("used_memory_rss", |r| used(r).into()),
    shown("used_memory_peak", |r| used(r).into()),
    shown("used_memory_dataset", |r| used(r).into()),
    bytes("maxmemory", "The limit of memory; 0 is none", |r| {
        r.engine.config.memory(Id::Maxmemory).into()
    }),
    shown("maxmemory_human", |r| human(r.engine.config.memory(Id::Maxmemory)).into()),
    shown("maxmemory_policy", |r| r.engine.config.choice(Id::MaxmemoryPolicy).to_owned().into()),
    // VMs run both scripts and functions, and are counted with the scripts.
    bytes("used_memory_lua", "Lua's virtual machines", |r| {
        r.engine.scripting.figures().vm_bytes.into()
    }),
    shown("used_memory_vm_eval", |r| r.engine.scripting.figures().vm_bytes.into()),
    shown("used_memory_lua_human", |r| human(r.engine.scripting.figures().vm_bytes as u64).into()),
    bytes("used_memory_scripts_eval", "Cached scripts", |r| {
        r.engine.scripting.figures().script_bytes.into()
    }),
    level("number_of_cached_scripts", "Cached scripts", |r| {
        r.engine.scripting.figures().scripts.into()
    }),
    level("number_of_functions", "Functions", |r| r.engine.scripting.figures().functions.into()),
    level("number_of_libraries", "Libraries of functions", |r| {
        r.engine.scripting.figures().libraries.into()
    }),
    zero("used_memory_vm_functions"),
    shown("used_memory_vm_total", |r| r.engine.scripting.figures().vm_bytes.into()),
    shown("used_memory_vm_total_human", |r| {
        human(r.engine.scripting.figures().vm_bytes as u64).into()
    }),
    bytes("used_memory_functions", "Libraries of functions", |r| {
        r.engine.scripting.figures().library_bytes.into()
    }),
    shown("used_memory_scripts", |r| scripts(r).into()),
    shown("used_memory_scripts_human", |r| human(scripts(r) as u64).into()),
    shown("mem_fragmentation_ratio", |_| Value::Real(1.0, 2)),
    zero("mem_not_counted_for_evict"),
    bytes("mem_replication_backlog", "What is kept for replicas that come back", |r| {
        r.engine.replication.out.held_bytes().into()
    }),
    zero("mem_total_replication_buffers"),
    zero("mem_clients_slaves"),
    bytes("mem_clients_normal", "Buffers of connections", |r| clients_memory(r.engine).into()),
    zero("mem_cluster_links"),
    bytes("mem_aof_buffer", "Appended to the log and not yet written", |r| {
        r.engine.logging_journal().map_or(0, |journal| journal.backlog_bytes()).into()
    }),
    shown("mem_allocator", |_| "unknown".into()),
    zero("active_defrag_running"),
    level("lazyfree_pending_objects", "Objects dropped and not yet freed", |r| {
        r.engine.backend.lazily_freed().pending.into()
    }),
    count("lazyfreed_objects", "Objects freed in the background", |r| {
        let before = r.engine.observe.stats.lazily_freed_before.load(Relaxed);
        r.engine.backend.lazily_freed().freed.saturating_sub(before).into()
    }),
];
