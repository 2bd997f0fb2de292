//! [`LatencyObserver`]: reports the times of the log's operations as events of the latency monitor.

use crate::persistence::snapshot::Saver;
use engine::observe::latency::LatencyMonitor;
use runtime::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage_aof::{Moment, Observer};

/// Reports to the engine's latency monitor, with Redis's names of events.
pub(super) struct LatencyObserver {
    pub latency: Arc<LatencyMonitor>,
    pub clock: Clock,
    /// The writer of snapshots, which may use the disk at the same time.
    pub saver: Arc<Saver>,
    pub rewriting: Arc<AtomicBool>,
}

impl LatencyObserver {
    fn is_disk_shared(&self) -> bool {
        self.rewriting.load(Ordering::Relaxed) || self.saver.is_running()
    }
}

impl Observer for LatencyObserver {
    fn is_on(&self) -> bool {
        self.latency.is_on()
    }

    fn took(&self, what: Moment, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let note = |event| self.latency.note(event, nanos, self.clock.now().wall_ms);
        match what {
            Moment::Write { syncing } => {
                note(match (syncing, self.is_disk_shared()) {
                    (true, _) => "aof-write-pending-fsync",
                    (false, true) => "aof-write-active-child",
                    (false, false) => "aof-write-alone",
                });
                note("aof-write");
            }
            Moment::Sync => note("aof-fsync-always"),
            Moment::Stat => note("aof-fstat"),
            Moment::Rename => note("aof-rename"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::testing::Harness;
    use storage_memory::{Config, MemoryBackend};

    #[test]
    fn moments_have_the_names_that_redis_gives_them() {
        let server = Harness::new(Vec::new(), Arc::new(MemoryBackend::new(Config::default())));
        let engine = server.engine();
        let (saver, rewriting) = (Arc::new(Saver::new()), Arc::<AtomicBool>::default());
        let clock = Clock::default();
        let moments = LatencyObserver {
            latency: engine.observe.latency.clone(),
            clock,
            saver,
            rewriting: rewriting.clone(),
        };
        let long = Duration::from_millis(7);
        moments.took(Moment::Sync, long);
        assert!(!moments.is_on() && engine.observe.latency.all().is_empty(), "off by default");
        engine.observe.latency.set_threshold_ms(5);
        assert!(moments.is_on());
        moments.took(Moment::Sync, Duration::from_millis(4));
        assert!(engine.observe.latency.all().is_empty(), "quick enough");
        let write = |syncing| Moment::Write { syncing };
        for (what, rewrites, expected) in [
            (write(false), false, &["aof-write", "aof-write-alone"][..]),
            (write(false), true, &["aof-write", "aof-write-active-child"]),
            (write(true), true, &["aof-write", "aof-write-pending-fsync"]),
            (Moment::Sync, false, &["aof-fsync-always"]),
            (Moment::Stat, false, &["aof-fstat"]),
            (Moment::Rename, false, &["aof-rename"]),
        ] {
            rewriting.store(rewrites, Ordering::Relaxed);
            moments.took(what, long);
            let all = engine.observe.latency.all();
            let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, expected);
            assert!(all.iter().all(|(_, series)| series.max_ms == 7), "{what:?}");
            engine.observe.latency.reset(|_| true);
        }
    }
}
