//! `INFO persistence`.

use crate::gate::Gate;
use crate::observe::figures::{Figure, Sheet, Unit, Value, counter, gauge, note};
use crate::observe::row::{Reading, Row, level, shown, zero};

/// The log's figures that are numeric metrics; its other figures are text for people.
const OF_THE_LOG: [Figure<()>; 11] = [
    gauge("aof_current_size", Unit::Bytes, "The log's files", ()),
    gauge("aof_base_size", Unit::Bytes, "The log's files after the last rewrite", ()),
    gauge("aof_buffer_length", Unit::Bytes, "Appended to the log and not yet handed over", ()),
    gauge("aof_pending_bio_fsync", Unit::One, "Syncs of the log under way", ()),
    counter("aof_fsyncs", Unit::One, "Syncs of the log", ()),
    counter("aof_fsync_usec", Unit::Micros, "Time spent in syncs of the log", ()),
    gauge("aof_last_fsync_usec", Unit::Micros, "How long the last sync of the log took", ()),
    counter("aof_delayed_fsync", Unit::One, "Syncs of the log that writes waited for", ()),
    counter("aof_rewrites", Unit::One, "Rewrites of the log", ()),
    gauge("aof_rewrite_in_progress", Unit::One, "Whether the log is being rewritten", ()),
    gauge("aof_last_rewrite_time_sec", Unit::Seconds, "How long the last rewrite took", ()),
];

/// A log that is off can be rewritten as well, but then no figures of its size and its syncs are
/// shown.
fn log(r: &Reading<'_>, sheet: &mut Sheet) {
    let logging = r.engine.is_logging();
    let of_rewrites = |name: &str| name.contains("rewrite") && name != "aof_pending_rewrite";
    let told = r.engine.tee.journal.iter().flat_map(|journal| journal.stats());
    for (name, text) in told.filter(|(name, _)| logging || of_rewrites(name)) {
        let known = OF_THE_LOG.into_iter().find(|figure| figure.name == name);
        let read = || text.parse().map_or_else(|_| Value::Text(text.into()), Value::Signed);
        sheet.add(&known.unwrap_or(note(name, ())), read);
    }
}

pub(super) const ROWS: &[Row] = &[
    Row::Host,
    level("loading", "Whether the data is still being loaded", |r| {
        (r.engine.gate().contains(Gate::LOADING)).into()
    }),
    zero("async_loading"),
    // Nothing forks, so nothing is copied on write.
    zero("current_cow_peak"),
    zero("current_cow_size"),
    zero("current_cow_size_age"),
    shown("current_fork_perc", |_| "0.00".into()),
    zero("current_save_keys_processed"),
    zero("current_save_keys_total"),
    level("rdb_changes_since_last_save", "Changes since the last snapshot", |r| {
        r.engine.observe.stats.unsaved_changes().into()
    }),
    zero("rdb_bgsave_in_progress"),
    shown("rdb_last_save_time", |r| (r.engine.environment.started.wall_ms / 1000).into()),
    shown("rdb_last_bgsave_status", |_| "ok".into()),
    shown("rdb_last_bgsave_time_sec", |_| Value::Signed(-1)),
    shown("rdb_current_bgsave_time_sec", |_| Value::Signed(-1)),
    zero("rdb_saves"),
    zero("rdb_last_cow_size"),
    zero("rdb_last_load_keys_expired"),
    zero("rdb_last_load_keys_loaded"),
    level("aof_enabled", "Whether there is a log", |r| r.engine.is_logging().into()),
    Row::Free(log),
    zero("aof_rewrite_in_progress"),
    zero("aof_rewrite_scheduled"),
    shown("aof_last_rewrite_time_sec", |_| Value::Signed(-1)),
    shown("aof_current_rewrite_time_sec", |_| Value::Signed(-1)),
    shown("aof_last_bgrewrite_status", |_| "ok".into()),
    zero("aof_rewrites"),
    zero("aof_rewrites_consecutive_failures"),
    shown("aof_last_write_status", |r| {
        match r.engine.journal().is_some_and(|j| j.failure().is_some()) {
            true => "err".into(),
            false => "ok".into(),
        }
    }),
    zero("aof_last_cow_size"),
    zero("module_fork_in_progress"),
    zero("module_fork_last_cow_size"),
];
