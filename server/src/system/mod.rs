//! Functions of the operating system and the allocator: limits, CPU time, random numbers, a
//! stopwatch.
//!
//! Promises: each function is small and independent.
//!
//! The module knows nothing of the server.
//!
//! | module | what |
//! | --- | --- |
//! | [`memory`] | the allocator's figures, and the machine's |
//! | `cores` | the cores on which threads run |
//! | `load` | how much of the memory is in use |
//! | `nodes` | the NUMA nodes of the machine, and advice for the number of shards |
//! | `mallctl` | jemalloc's settings by name |
//! | `supervisor` | going into the background, notifying the supervisor |
//! | `writable` | whether a folder can be written to |
//! | `fail_stop` | the immediate end of the process |

pub(crate) mod cores;
pub(crate) mod fail_stop;
pub(crate) mod load;
pub(crate) mod mallctl;
pub mod memory;
pub(crate) mod nodes;
pub(crate) mod supervisor;
pub(crate) mod writable;

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since the first call, for measuring durations.
pub(crate) fn stopwatch() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// A number that cannot be guessed from outside: the standard library seeds its hash maps from the
/// kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// Fills a buffer with random bytes that are fit for secrets.
pub(crate) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}

/// Forty random hexadecimal digits, the form of Redis's run ids.
pub(crate) fn run_id() -> String {
    let digits: String = (0..3).map(|_| format!("{:016x}", random())).collect();
    digits[..40].to_owned()
}

/// CPU time in user and in kernel mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuTime {
    pub user: Duration,
    pub system: Duration,
}

/// The CPU time of the whole process.
pub(crate) fn cpu_time() -> CpuTime {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct behind the valid pointer; all-zero is a valid `rusage`,
    // so it is initialised even if the call fails.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000)
    };
    CpuTime { user: duration(usage.ru_utime), system: duration(usage.ru_stime) }
}

/// Raises the limit of open files to `wanted`, or as far as possible. Returns the resulting limit.
pub(crate) fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    let raised = libc::rlimit {
        rlim_cur: wanted,
        // Root may raise the hard limit, too.
        rlim_max: limit.rlim_max.max(wanted),
    };
    let softly = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), ..limit };
    for new in [raised, softly] {
        // SAFETY: the pointer is valid for the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &new) } == 0 {
            return Ok(new.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Name and release of the operating system, and its machine: `Linux 6.1.0 x86_64`.
pub(crate) fn operating_system() -> String {
    let mut name = std::mem::MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: uname fills the struct behind the valid pointer; all-zero is a valid `utsname` (of
    // empty texts), so it is initialised even if the call fails.
    let name = unsafe {
        libc::uname(name.as_mut_ptr());
        name.assume_init()
    };
    let text = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_forty_digits_and_differ() {
        let (a, b) = (run_id(), run_id());
        assert!(a.len() == 40 && a.bytes().all(|byte| byte.is_ascii_hexdigit()), "{a}");
        assert_ne!(a, b);
    }

    #[test]
    fn the_system_answers() {
        assert!(operating_system().split(' ').all(|part| !part.is_empty()));
        let before = stopwatch();
        let used = cpu_time();
        assert!(used.user + used.system > Duration::ZERO);
        assert!(stopwatch() > before);
        assert!(raise_open_files(64).unwrap() >= 64);
    }
}
