//! System calls of a process, counted without any other tool: in the kernel by a `perf_event`
//! counter where this user may have one (root, as a rule), else by tracing the process (`ptrace`),
//! which anyone may do to a server they started.
//!
//! Neither is free, tracing least of all, hence a pass of its own that measures nothing else.

#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod trace;

use anyhow::Result;

/// A running count of one process's system calls, all threads.
pub enum Counter {
    /// In the kernel.
    #[cfg(target_os = "linux")]
    Events(events::Events),
    /// By tracing.
    #[cfg(target_os = "linux")]
    Trace(trace::Trace),
}

#[cfg(target_os = "linux")]
impl Counter {
    /// Begins to count for process `pid`, whose threads must all be there and not be frozen.
    pub fn start(pid: u32) -> Result<Counter> {
        match events::Events::start(pid) {
            Ok(events) => Ok(Counter::Events(events)),
            Err(_) => trace::Trace::start(pid).map(Counter::Trace),
        }
    }

    /// Calls so far.
    pub fn count(&self) -> u64 {
        match self {
            Counter::Events(events) => events.count(),
            Counter::Trace(trace) => trace.count(),
        }
    }

    /// The name of the way of counting in `results.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Counter::Events(_) => "perf_event",
            Counter::Trace(_) => "ptrace",
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Counter {
    /// Not on this platform.
    pub fn start(_pid: u32) -> Result<Counter> {
        anyhow::bail!("system calls are counted on Linux only")
    }

    /// There is no counter to ask.
    pub fn count(&self) -> u64 {
        match *self {}
    }

    /// There is no counter to ask.
    pub fn name(&self) -> &'static str {
        match *self {}
    }
}

/// The threads of process `pid`.
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Result<Vec<libc::pid_t>> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    Ok(tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    /// A process that reads `/dev/zero` byte by byte, `reads` times, then waits.
    fn reader(reads: u32) -> Child {
        let script = format!(
            "echo ready; read x; i=0; while [ $i -lt {reads} ]; do read -r x < /dev/null; \
             i=$((i+1)); done; echo done; read x"
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    fn counted(reads: u32, count: impl FnOnce(u32) -> Box<dyn Fn() -> u64>) -> u64 {
        let mut child = reader(reads);
        let mut byte = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        let now = count(child.id());
        let before = now();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut byte[..5]).unwrap();
        let calls = now() - before;
        drop(now);
        child.kill().unwrap();
        child.wait().unwrap();
        calls
    }

    #[test]
    fn tracing_counts_every_call_and_lets_go() {
        let few = counted(100, |pid| {
            let trace = trace::Trace::start(pid).unwrap();
            Box::new(move || trace.count())
        });
        let many = counted(300, |pid| {
            let trace = trace::Trace::start(pid).unwrap();
            Box::new(move || trace.count())
        });
        // Per turn the shell opens, reads and closes at least, and does the same every time.
        let per_turn = (many - few) as f64 / 200.0;
        assert!((3.0..20.0).contains(&per_turn), "{few} {many}");
        assert!((per_turn - per_turn.round()).abs() < 0.1, "{few} {many}");
    }

    #[test]
    fn both_ways_of_counting_agree() {
        let Ok(events) = events::Events::start(std::process::id()) else {
            println!("skipped: this user may not have perf events");
            return;
        };
        drop(events);
        let traced = counted(200, |pid| {
            let trace = trace::Trace::start(pid).unwrap();
            Box::new(move || trace.count())
        });
        let counted = counted(200, |pid| {
            let events = events::Events::start(pid).unwrap();
            Box::new(move || events.count())
        });
        assert!(traced.abs_diff(counted) <= 3, "traced {traced}, counted {counted}");
    }
}
