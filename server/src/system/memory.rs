//! The memory that the process uses, according to the allocator and the kernel.

use std::ffi::{CStr, c_char, c_void};
use std::fs;

/// Figures of the process's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Handed out by the allocator and not given back: `used_memory`.
    pub allocated: u64,
    /// Pages the allocator has in use.
    pub active: u64,
    /// Bytes of physical memory that the allocator holds.
    pub resident: u64,
    /// The allocator's own bookkeeping.
    pub metadata: u64,
}

/// Where the figures come from: the name of the allocator, and how to ask it.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// `mem_allocator` in `INFO`.
    pub name: &'static str,
    /// Reads the figures.
    pub figures: fn() -> MemoryFigures,
    /// Bytes that the calling thread has allocated and not freed; 0 if that is not known.
    pub here: fn() -> i64,
    /// The allocator's report (`MEMORY MALLOC-STATS`); `None` for one without.
    pub report: fn() -> Option<String>,
}

impl Default for Allocator {
    /// For an unknown allocator, the kernel's figure is used for all figures.
    fn default() -> Self {
        Allocator { name: "libc", figures: of_the_kernel, here: || 0, report: || None }
    }
}

/// jemalloc, for programs that made it their global allocator.
pub const JEMALLOC: Allocator = Allocator {
    name: "jemalloc-5.3.1",
    figures: of_jemalloc,
    here: of_this_thread,
    report: report_of_jemalloc,
};

/// Bytes of a report that are kept: with very many arenas it goes on for long.
const REPORT_MAX: usize = 1 << 20;

fn report_of_jemalloc() -> Option<String> {
    /// Appends a piece of the report, as long as there is room.
    extern "C" fn keep(report: *mut c_void, piece: *const c_char) {
        // SAFETY: jemalloc hands back the pointer that it is given below, which nobody else uses
        // during that call, and a text that a zero byte ends.
        let (report, piece) = unsafe { (&mut *report.cast::<Vec<u8>>(), CStr::from_ptr(piece)) };
        let piece = piece.to_bytes();
        let room = (report.capacity() - report.len()).min(piece.len());
        report.extend_from_slice(&piece[..room]);
    }
    // The allocator may hold its locks while it writes, so the buffer must not grow.
    let mut report: Vec<u8> = Vec::with_capacity(REPORT_MAX);
    // SAFETY: the function and what it is called with live until the call has returned; no options
    // are given.
    unsafe {
        let to = (&raw mut report).cast();
        tikv_jemalloc_sys::malloc_stats_print(Some(keep), to, std::ptr::null());
    }
    Some(String::from_utf8_lossy(&report).into_owned())
}

fn of_jemalloc() -> MemoryFigures {
    use tikv_jemalloc_ctl::{epoch, stats};
    // The figures are as of the last advance. A failure leaves them older, nothing worse.
    let _ = epoch::advance();
    let figure = |value: Result<usize, _>| value.unwrap_or(0) as u64;
    MemoryFigures {
        allocated: figure(stats::allocated::read()),
        active: figure(stats::active::read()),
        resident: figure(stats::resident::read()),
        metadata: figure(stats::metadata::read()),
    }
}

fn of_this_thread() -> i64 {
    use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};
    thread_local! {
        /// Where jemalloc keeps the thread's two counters.
        static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
            Option::zip(allocatedp::read().ok(), deallocatedp::read().ok());
    }
    let held = COUNTERS.try_with(|counters| {
        counters.map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()) as i64)
    });
    held.unwrap_or(0)
}

fn of_the_kernel() -> MemoryFigures {
    let rss = resident_bytes();
    MemoryFigures { allocated: rss, active: rss, resident: rss, metadata: 0 }
}

/// The process's resident memory from `/proc`; 0 if there is none.
pub(crate) fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let pages: Option<u64> = text.split(' ').nth(1)?.parse().ok();
        pages
    });
    pages.unwrap_or(0) * page_bytes()
}

/// The machine's memory.
pub(crate) fn total_bytes() -> u64 {
    let Ok(text) = fs::read_to_string("/proc/meminfo") else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf takes an integer and returns one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_something() {
        let figures = (Allocator::default().figures)();
        assert!(figures.allocated > 1 << 20 && figures.allocated < total_bytes());
    }
}
