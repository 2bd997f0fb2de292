//! Figures for `INFO persistence`, in Redis's names and order.

use super::Aof;
use std::sync::atomic::Ordering;

impl Aof {
    pub(super) fn info(&self) -> Vec<(&'static str, String)> {
        let log = &self.syncer.log;
        let seconds = |took: Option<u64>| took.map_or("-1".into(), |s| s.to_string());
        let status = |ok: bool| if ok { "ok" } else { "err" }.to_owned();
        let (running, now, last, failed) = {
            let state = self.progress.state();
            let now = state.began.map(|began| began.elapsed().as_secs());
            let last = state.last_took.map(|took| took.as_secs());
            (state.began.is_some(), now, last, state.failed.is_some())
        };
        vec![
            ("aof_enabled", "1".into()),
            ("aof_rewrite_in_progress", u8::from(running).to_string()),
            ("aof_rewrite_scheduled", "0".into()),
            ("aof_last_rewrite_time_sec", seconds(last)),
            ("aof_current_rewrite_time_sec", seconds(now)),
            ("aof_last_bgrewrite_status", status(!failed)),
            ("aof_rewrites", self.progress.rewrites.load(Ordering::Relaxed).to_string()),
            ("aof_last_write_status", status(!log.health.failed())),
            ("aof_last_cow_size", "0".into()),
            ("aof_current_size", self.size().to_string()),
            ("aof_base_size", self.progress.size_at_rewrite().to_string()),
            ("aof_pending_rewrite", "0".into()),
            ("aof_buffer_length", log.backlog_bytes().to_string()),
            ("aof_pending_bio_fsync", u8::from(log.is_syncing()).to_string()),
            ("aof_fsyncs", log.sync_times.count.load(Ordering::Relaxed).to_string()),
            ("aof_fsync_usec", log.sync_times.total_us.load(Ordering::Relaxed).to_string()),
            ("aof_last_fsync_usec", log.sync_times.last_us.load(Ordering::Relaxed).to_string()),
            ("aof_delayed_fsync", self.syncer.delayed_syncs.load(Ordering::Relaxed).to_string()),
        ]
    }
}
