//! [`Watch`]: the part of a running script's state that other threads can see.
//!
//! A script that runs too long usually notices this itself, at instructions and in long loops of
//! its libraries, and reports it ([`super::running`]). Within one long command it cannot, so a
//! transaction that waits for a lock checks whether a script's time is over.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Whether `EVAL` or `FCALL` called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `EVAL`.
    Script,
    /// `FCALL`.
    Function,
}

/// The deadline of what does not run.
const NEVER: u64 = u64::MAX;

/// One VM's script.
#[derive(Debug)]
pub struct Watch {
    /// The time from which others need not wait for it, by the stopwatch.
    deadline_ns: AtomicU64,
    is_function: AtomicBool,
    /// It has called a writing command: it cannot be killed any more.
    pub wrote: AtomicBool,
    /// Whether it was asked to end.
    pub kill: AtomicBool,
    /// The server ends: it is over, whatever it has done.
    pub end: AtomicBool,
}

impl Watch {
    /// A script begins, which has until `deadline_ns`; `None` for as long as it likes.
    pub fn begin(&self, kind: Kind, deadline_ns: Option<u64>) {
        for flag in [&self.wrote, &self.kill, &self.end] {
            flag.store(false, Ordering::Relaxed);
        }
        self.is_function.store(kind == Kind::Function, Ordering::Relaxed);
        self.deadline_ns.store(deadline_ns.unwrap_or(NEVER), Ordering::Release);
    }

    /// It has ended.
    pub fn end(&self) {
        self.deadline_ns.store(NEVER, Ordering::Release);
    }

    pub fn kind(&self) -> Kind {
        match self.is_function.load(Ordering::Relaxed) {
            true => Kind::Function,
            false => Kind::Script,
        }
    }

    pub fn is_overdue(&self, now_ns: u64) -> bool {
        self.deadline_ns.load(Ordering::Acquire) <= now_ns
    }
}

/// The watches of all VMs.
#[derive(Debug, Default)]
pub struct Watches(Mutex<Vec<Weak<Watch>>>);

impl Watches {
    /// One for a new VM.
    pub fn add(&self) -> Arc<Watch> {
        let (wrote, kill, end, is_function) = Default::default();
        let deadline_ns = AtomicU64::new(NEVER);
        let watch = Arc::new(Watch { deadline_ns, is_function, wrote, kill, end });
        let mut all = self.0.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&watch));
        watch
    }

    /// The scripts whose time is over.
    pub fn overdue(&self, now_ns: u64) -> Vec<Arc<Watch>> {
        let all = self.0.lock();
        all.iter().filter_map(Weak::upgrade).filter(|watch| watch.is_overdue(now_ns)).collect()
    }
}
