//! Counting in the kernel: one `perf_event` counter per thread on the tracepoint that every system
//! call passes.

use super::threads;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;

/// Where the tracepoint's number is, by kernel age.
const IDS: [&str; 2] = [
    "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
    "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
];

const TYPE_TRACEPOINT: u32 = 2;
/// Threads that a counted thread starts are counted with it.
const INHERIT: u64 = 1 << 1;
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// The first version of the kernel's `perf_event_attr`, which every later kernel understands.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

/// Counters of a process's system calls in the kernel. Dropping it ends the counting.
pub struct Events(Vec<File>);

impl Events {
    /// Counts for all threads of process `pid`.
    pub fn start(pid: u32) -> Result<Events> {
        let id = IDS.iter().find_map(|path| std::fs::read_to_string(path).ok());
        let id = id.context("the tracepoint cannot be read")?.trim().parse()?;
        threads(pid)?.into_iter().map(|thread| open(id, thread)).collect::<Result<_>>().map(Events)
    }

    /// Calls since the start.
    pub fn count(&self) -> u64 {
        let read = |mut file: &File| {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes).map(|()| u64::from_ne_bytes(bytes)).unwrap_or(0)
        };
        self.0.iter().map(read).sum()
    }
}

fn open(id: u64, thread: libc::pid_t) -> Result<File> {
    let size = size_of::<Attributes>() as u32;
    let attributes = Attributes {
        kind: TYPE_TRACEPOINT,
        size,
        config: id,
        flags: INHERIT,
        ..Default::default()
    };
    let (any_cpu, no_group) = (-1 as libc::c_int, -1 as libc::c_int);
    // SAFETY: `attributes` has the layout and says the size the kernel reads; the other arguments
    // are integers.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            thread,
            any_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("perf_event_open");
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}
