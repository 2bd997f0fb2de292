//! The limits of the machine itself: a loop in registers, and one that reads a table as large as the data at random,
//! on one thread and on several; and the time a cache line takes from core to core. An engine can scale no better.

use capture::lab::cpu;
use serde::Serialize;
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The bytes of a key and what belongs to it.
const BYTES_PER_KEY: u64 = 160;

/// Steps between two looks at whether the window is over.
const STEPS: u64 = 1000;

/// One window's work per second, of all threads, with and without memory.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Speed {
    /// Of the loop in registers.
    #[serde(rename = "machine_registers")]
    pub registers: f64,
    /// Of the loop that reads memory at random.
    #[serde(rename = "machine_memory")]
    pub memory: f64,
}

/// A table of about as many bytes as so many keys take.
pub struct Ceiling(Vec<u64>);

impl Ceiling {
    /// Fills the table.
    pub fn new(keys: u64) -> Ceiling {
        let words = keys.clamp(1024, 1 << 25) * BYTES_PER_KEY / 8;
        Ceiling((0..1 << words.ilog2()).collect())
    }

    /// The speed of `threads` threads, each pinned to one of `cores`.
    pub fn speed(&self, threads: usize, cores: &[usize], window: Duration) -> Speed {
        let registers = together(threads, cores, window, &|at| {
            (0..STEPS).fold(at, |at, _| black_box(at.wrapping_mul(5)))
        });
        let mask = self.0.len() - 1;
        let memory = together(threads, cores, window, &|at| {
            // Independent reads, as those of prefetched keys are.
            let read = |at: u64| self.0[(storage::random::mix(at) as usize) & mask];
            black_box((0..STEPS).fold(0, |sum: u64, step| sum.wrapping_add(read(at + step))));
            at + STEPS
        });
        Speed { registers, memory }
    }
}

/// Steps per second of all threads together.
fn together(
    threads: usize,
    cores: &[usize],
    window: Duration,
    work: &(dyn Fn(u64) -> u64 + Sync),
) -> f64 {
    let (ready, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let run = |index: usize| {
            let (ready, over) = (&ready, &over);
            move || {
                // Where pinning is not possible, the scheduler does what it can.
                let _ = cpu::pin(cores.get(index % cores.len().max(1)).copied().as_slice());
                ready.wait();
                let (begun, mut steps, mut at) = (Instant::now(), 0, (index as u64 + 1) << 40);
                while !over.load(Ordering::Relaxed) {
                    at = work(at);
                    steps += STEPS;
                }
                steps as f64 / begun.elapsed().as_secs_f64().max(1e-9)
            }
        };
        let handles: Vec<_> = (0..threads).map(|index| scope.spawn(run(index))).collect();
        ready.wait();
        std::thread::sleep(window);
        over.store(true, Ordering::Relaxed);
        handles.into_iter().map(|handle| handle.join().unwrap_or(0.0)).sum()
    })
}

/// Nanoseconds a cache line takes from one core to another, the mean of so many round trips; `None` with one core.
pub fn line_ns(cores: &[usize], round_trips: u64) -> Option<f64> {
    let (first, second) = (*cores.first()?, *cores.get(1)?);
    let line = AtomicU64::new(0);
    let pass_on = |core: usize, odd: u64| {
        let _ = cpu::pin(&[core]);
        let begun = Instant::now();
        for trip in 0..round_trips {
            // Acquire and release, as a lock does.
            while line.load(Ordering::Acquire) != 2 * trip + odd {
                spin_loop();
            }
            line.store(2 * trip + odd + 1, Ordering::Release);
        }
        begun.elapsed().as_nanos() as f64 / (2 * round_trips) as f64
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| pass_on(second, 1));
        let own = scope.spawn(|| pass_on(first, 0));
        let _ = other.join();
        own.join().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_does_something_on_as_many_threads_as_asked() {
        let cores = cpu::allowed();
        let ceiling = Ceiling::new(1024);
        for threads in [1, 3] {
            let speed = ceiling.speed(threads, &cores, Duration::from_millis(2));
            assert!(speed.registers > 0.0 && speed.memory > 0.0);
        }
        let (line, several) = (line_ns(&cores, 100), cores.len() > 1);
        assert_eq!(line.is_some_and(|ns| ns > 0.0), several);
    }
}
