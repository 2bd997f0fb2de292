//! Counting by tracing: every thread of the process stops at the beginning and the end of each
//! system call, and a thread of ours counts and lets it go on.
//!
//! The kernel accepts orders for a traced thread only from the thread that attached to it, so one
//! thread does it all; when that thread ends, the kernel lets everything go.

use super::threads;
use anyhow::{Context, Result, anyhow, bail};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The mark of a stop that was caused by neither a system call nor a signal of the process.
const EVENT_STOP: libc::c_int = 128;

/// A process whose system calls are counted by tracing. Dropping it lets the process run on
/// untraced.
pub struct Trace {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Stops at either end of a call: two for each.
    stops: AtomicU64,
    end: AtomicBool,
}

impl Trace {
    /// Attaches to all threads of process `pid`.
    pub fn start(pid: u32) -> Result<Trace> {
        let shared = Arc::new(Shared::default());
        let (attached, wait) = channel();
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || follow(pid, &theirs, &attached));
        let trace = Trace { shared, thread: Some(thread) };
        wait.recv().map_err(|_| anyhow!("the tracing thread ended"))??;
        Ok(trace)
    }

    /// Calls since the start.
    pub fn count(&self) -> u64 {
        self.shared.stops.load(Ordering::Relaxed) / 2
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to report, and a panic there is not worth one here.
            let _ = thread.join();
        }
    }
}

fn follow(pid: u32, shared: &Shared, attached: &Sender<Result<()>>) {
    let done = attach(pid);
    let failed = done.is_err();
    if attached.send(done).is_err() || failed {
        return;
    }
    while !shared.end.load(Ordering::Relaxed) {
        match next_stop() {
            Some((thread, status)) => go_on(thread, status, shared),
            // Nothing is stopped: all run or wait. Sleeping costs the traced less than spinning
            // beside it would.
            None => std::thread::sleep(Duration::from_micros(20)),
        }
    }
}

fn attach(pid: u32) -> Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
    for thread in threads(pid)? {
        order(libc::PTRACE_SEIZE as i64, thread, options as usize)
            .with_context(|| format!("tracing thread {thread}"))?;
        // It runs on until stopped once: only then can it be told to stop at system calls.
        order(libc::PTRACE_INTERRUPT as i64, thread, 0)?;
    }
    Ok(())
}

fn order(request: i64, thread: libc::pid_t, data: usize) -> Result<()> {
    let no_address: *mut libc::c_void = null_mut();
    // SAFETY: none of the requests used here reads or writes our memory: data is a number.
    let rc = unsafe { libc::ptrace(request as _, thread, no_address, data as *mut libc::c_void) };
    if rc < 0 {
        bail!("ptrace: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// The next traced thread that has stopped. Only threads this one traces are looked at: the
/// servers are other threads' children.
fn next_stop() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    let options = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    // SAFETY: `status` is valid for writes.
    let thread = unsafe { libc::waitpid(-1, &mut status, options) };
    (thread > 0).then_some((thread, status))
}

fn go_on(thread: libc::pid_t, status: libc::c_int, shared: &Shared) {
    if !libc::WIFSTOPPED(status) {
        return;
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    let at_call = libc::SIGTRAP | 0x80;
    // A failure means that the thread has been killed meanwhile: there is nothing to continue.
    let _ = if signal == at_call {
        shared.stops.fetch_add(1, Ordering::Relaxed);
        order(libc::PTRACE_SYSCALL as i64, thread, 0)
    } else if event == EVENT_STOP && signal != libc::SIGTRAP {
        // The whole process was stopped by a signal, and is to stay so.
        order(libc::PTRACE_LISTEN as i64, thread, 0)
    } else if event != 0 {
        order(libc::PTRACE_SYSCALL as i64, thread, 0)
    } else {
        // A signal of its own: it gets it.
        order(libc::PTRACE_SYSCALL as i64, thread, signal as usize)
    };
}
