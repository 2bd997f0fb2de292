//! Pins a thread to a core.

/// Pins the calling thread to the `n`-th of the cores that the process may use, modulo their
/// number.
#[cfg(target_os = "linux")]
pub fn pin_to_core(n: usize) {
    let allowed = allowed_cores();
    if allowed.is_empty() {
        return;
    }
    let core = allowed[n % allowed.len()];
    // SAFETY: a zeroed cpu_set_t is an empty set, `core` is below CPU_SETSIZE since it came from
    // such a set, and the kernel only reads the set.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result != 0 {
        tracing::warn!(core, error = %std::io::Error::last_os_error(), "cannot pin a thread");
    }
}

/// The cores that the process may use. They are read on the main thread, because a pinned thread's
/// set, which its child threads inherit, has only one core.
#[cfg(target_os = "linux")]
fn allowed_cores() -> Vec<usize> {
    // SAFETY: the kernel fills the set it is given; CPU_ISSET is asked below CPU_SETSIZE.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let process = libc::getpid();
        if libc::sched_getaffinity(process, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect()
    }
}

/// On other systems, threads stay where the scheduler puts them.
#[cfg(not(target_os = "linux"))]
pub fn pin_to_core(_: usize) {
    tracing::warn!("this system does not pin threads");
}
