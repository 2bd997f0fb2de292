//! Figures of Linux's `/proc` about a server process and the machine. Elsewhere, and for servers
//! that run on another machine, there is nothing, and the columns stay empty.

use std::fs;

/// Counters of a process since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time on a CPU, all threads, ns.
    pub cpu_ns: u64,
    /// The part of it in user mode, in clock ticks (10 ms); precise only over seconds.
    pub user_ticks: u64,
    /// The part of it in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Times a thread gave up its CPU to wait.
    pub switches: u64,
}

impl Usage {
    /// Returns the use since `earlier`.
    pub fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// The counters of process `pid`, `None` when they cannot be read.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (user_ticks, system_ticks) = ticks(&stat)?;
    let cpu_ns = cpu_ns(pid)?;
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    // A thread that ended since the listing has no files any more; the rest still counts.
    let switches = tasks.filter_map(|task| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        field(&status, "voluntary_ctxt_switches:")
    });
    Some(Usage { cpu_ns, user_ticks, system_ticks, switches: switches.sum() })
}

/// The process's CPU clock. `schedstat` is updated only once per tick for a running thread, but
/// reading this clock includes the time up to this moment.
#[cfg(target_os = "linux")]
fn cpu_ns(pid: u32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is valid for writes.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes; a clock of a process that has ended is refused.
    let rc = unsafe { libc::clock_gettime(clock, &mut time) };
    (rc == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(not(target_os = "linux"))]
fn cpu_ns(_pid: u32) -> Option<u64> {
    None
}

/// utime and stime out of `/proc/PID/stat`, whose second field may contain anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory of process `pid`, bytes.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmRSS:").map(|kib| kib * 1024)
}

/// The most resident memory that process `pid` ever had, bytes.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "VmHWM:").map(|kib| kib * 1024)
}

/// Memory that new processes can have, bytes.
pub fn available_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    field(&meminfo, "MemAvailable:").map(|kib| kib * 1024)
}

/// All memory, bytes.
pub fn total_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:").map(|kib| kib * 1024)
}

/// Raises this process's limit of open files, and that of the servers it starts, to `wanted`.
pub fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    if !known || limit.rlim_cur >= wanted {
        return Ok(());
    }
    // Beyond the hard limit only root may go.
    let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: `raised` is valid for reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        return Ok(());
    }
    anyhow::bail!(
        "{wanted} open files are needed, {} are allowed: raise the limit (ulimit -n)",
        limit.rlim_max
    )
}

/// The processor's name.
pub fn cpu_model() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The kernel's release.
pub fn kernel() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/osrelease").ok()?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_program_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20";
        assert_eq!(ticks(stat), Some((77, 88)));
        assert_eq!(ticks("12 (x) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn working_takes_cpu_time() {
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let mut x = 1u64;
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 50 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let used = usage(pid).unwrap().since(before);
        assert!(used.cpu_ns > 5_000_000, "{used:?}");
        assert_eq!(usage(u32::MAX / 2), None);
        assert!(resident_bytes(pid).unwrap() > 100_000);
    }
}
