//! The thread that works between requests: expiry, cleaning up, `save` conditions, the log's size.

use crate::process::Process;
use engine::Engine;
use engine::config::Id;
use runtime::Clock;
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

/// The running thread. Dropping it ends the thread.
pub(crate) struct Housekeeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts the thread.
    pub fn start(engine: Arc<Engine>, process: Arc<Process>, clock: Clock) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let work = move || {
            while !told.load(Ordering::SeqCst) {
                let round = catch_unwind(AssertUnwindSafe(|| round(&engine, &process, clock)));
                let rest = round.unwrap_or_else(|_| {
                    tracing::error!("the housekeeper panicked; it goes on");
                    REST_AFTER_PANIC
                });
                std::thread::park_timeout(rest);
            }
        };
        let thread = std::thread::Builder::new().name("housekeeper".into()).spawn(work)?;
        Ok(Housekeeper { stop, thread: Some(thread) })
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported when it happened, and must not stop the stopping.
            let _ = thread.join();
        }
    }
}

/// One round of everything; how long to rest then.
fn round(engine: &Engine, process: &Process, clock: Clock) -> Duration {
    let (low, high) = HZ_RANGE;
    let hz = engine.config.integer(Id::Hz).clamp(low, high) as u32;
    let began = Instant::now();
    let more = engine.keep_house(clock.now());
    process.note_memory((process.allocator.figures)().allocated);
    process.persistence.keep_house();
    match more {
        true => (began.elapsed() * REST_PER_WORK).min(REST_MAX),
        false => Duration::from_secs(1) / hz,
    }
}
