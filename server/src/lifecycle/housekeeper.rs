//! The threads that work between requests: one for expiry, cleaning up, `save` conditions, the log's size; and
//! one that observes how long connections wait, which nothing that it is to notice may hold up.

use crate::process::Process;
use crate::system::{cores, load};
use engine::Engine;
use engine::config::{ConfigStore, Id};
use runtime::Clock;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The range of `hz` in Redis.
const HZ_RANGE: (i64, i64) = (1, 500);

/// While more work waits than a round does, this much rest per time worked: a fifth of a core.
const REST_PER_WORK: u32 = 4;

/// The longest rest while work waits.
const REST_MAX: Duration = Duration::from_millis(20);

/// The pause after a panic of the housekeeping, which may happen each time.
const REST_AFTER_PANIC: Duration = Duration::from_secs(1);

/// The interval at which it is checked whether connections are to be observed.
const UNOBSERVED: Duration = Duration::from_secs(1);

/// How often it is looked at how much of the memory is in use, at most.
const LOOK_AT_MEMORY: Duration = Duration::from_millis(90);

/// The running threads. Dropping it ends them.
pub(crate) struct Housekeeper {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts the threads.
    pub fn start(engine: Arc<Engine>, process: Arc<Process>, clock: Clock) -> io::Result<Self> {
        let mut keeper = Housekeeper { stop: Arc::default(), threads: Vec::new() };
        let (observed, config) = (engine.clone(), process.config.clone());
        let looked = Cell::new(None);
        keeper.repeat("housekeeper", &config, move || round(&engine, &process, clock, &looked))?;
        keeper.repeat("load-watch", &config, move || {
            observed.watch_load(clock.now()).unwrap_or(UNOBSERVED)
        })?;
        Ok(keeper)
    }

    /// Starts a thread that calls `round` again and again, each time after the rest that it returned.
    fn repeat(
        &mut self,
        name: &'static str,
        config: &Arc<ConfigStore>,
        round: impl Fn() -> Duration + Send + 'static,
    ) -> io::Result<()> {
        let (told, config) = (self.stop.clone(), config.clone());
        let work = move || {
            cores::pin_background(&config, Id::BioCpulist);
            while !told.load(Ordering::SeqCst) {
                let rest = catch_unwind(AssertUnwindSafe(&round)).unwrap_or_else(|_| {
                    tracing::error!(thread = name, "it panicked, and goes on");
                    REST_AFTER_PANIC
                });
                std::thread::park_timeout(rest);
            }
        };
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        for thread in self.threads.drain(..) {
            // A panic there was reported when it happened, and must not stop the stopping.
            let _ = thread.join();
        }
    }
}

/// One round of everything; how long to rest then.
fn round(
    engine: &Engine,
    process: &Process,
    clock: Clock,
    looked: &Cell<Option<Instant>>,
) -> Duration {
    let (low, high) = HZ_RANGE;
    let hz = engine.config.integer(Id::Hz).clamp(low, high) as u32;
    let began = Instant::now();
    let more = engine.keep_house(clock.now());
    process.note_memory((process.allocator.figures)().allocated);
    // Rounds follow each other quickly while there is work, and this reads files.
    let due = looked.get().is_none_or(|at| began.duration_since(at) >= LOOK_AT_MEMORY);
    if due && engine.looks_at_memory() {
        looked.set(Some(began));
        engine.note_memory_load(load::memory_percent(), clock.now());
    }
    process.persistence.keep_house();
    match more {
        true => (began.elapsed() * REST_PER_WORK).min(REST_MAX),
        false => Duration::from_secs(1) / hz,
    }
}
