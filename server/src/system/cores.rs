//! The cores on which threads run: `server_cpulist` and its siblings.
//!
//! A thread runs where the one that started it does. So the thread that builds a server is pinned,
//! and with it all that serve clients, whatever runtime starts them and when. Only background
//! threads pin themselves.

use engine::config::{ConfigStore, Id, by_id, cores};
use std::io;

/// The lists, and whether each has a thread of its own kind.
const LISTS: [Id; 4] =
    [Id::ServerCpulist, Id::BioCpulist, Id::AofRewriteCpulist, Id::BgsaveCpulist];

/// The cores that a list of the configuration names.
fn list(config: &ConfigStore, id: Id) -> Vec<usize> {
    // The text was checked when it was set.
    cores::parse(&config.text(id)).unwrap_or_default()
}

/// Checks that each list has a core that this process may use. Those that it may not use are left out by the
/// kernel.
///
/// # Errors
/// Fails for the first list that has none.
pub(crate) fn check(config: &ConfigStore) -> Result<(), String> {
    LISTS.iter().try_for_each(|id| {
        let cores = list(config, *id);
        let tried = std::thread::scope(|scope| scope.spawn(|| pin(&cores)).join());
        tried.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|error| {
            let (name, text) = (by_id(*id).name, config.text(*id));
            format!("'{name} {text}': none of these cores can be used: {error}")
        })
    })
}

/// Pins the calling thread, and those that it starts, to `server_cpulist`, if there is one.
///
/// # Errors
/// Fails like [`check`], also for the lists of background threads.
pub(crate) fn pin_server(config: &ConfigStore) -> Result<(), String> {
    check(config)?;
    let cores = list(config, Id::ServerCpulist);
    if !cores.is_empty() {
        remember();
    }
    pin(&cores).map_err(|error| error.to_string())
}

/// Pins the calling thread to the list `id` or, if that is empty, to `bio_cpulist`.
pub(crate) fn pin_background(config: &ConfigStore, id: Id) {
    let own = list(config, id);
    let cores = if own.is_empty() { list(config, Id::BioCpulist) } else { own };
    if let Err(error) = pin(&cores) {
        let thread = std::thread::current();
        tracing::warn!(%error, thread = thread.name(), "cannot pin a thread");
    }
}

/// Calls `open` on a thread that is pinned to `bio_cpulist`, and with it those that `open` starts.
#[cfg(any(feature = "storage-sled", feature = "storage-fjall"))]
pub(crate) fn on_background<T: Send>(config: &ConfigStore, open: impl FnOnce() -> T + Send) -> T {
    if list(config, Id::BioCpulist).is_empty() {
        return open();
    }
    let pinned = || {
        pin_background(config, Id::BioCpulist);
        open()
    };
    let opened = std::thread::scope(|scope| scope.spawn(pinned).join());
    opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(target_os = "linux")]
mod kernel {
    use super::io;
    use std::sync::OnceLock;

    /// The cores of the program's first thread before it was pinned.
    static BEFORE: OnceLock<libc::cpu_set_t> = OnceLock::new();

    fn set(cores: &libc::cpu_set_t) -> io::Result<()> {
        // SAFETY: the kernel only reads the set, whose size it is given.
        match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Pins the calling thread to these cores, below 1024; leaves it where it is if there are none.
    pub fn pin(cores: &[usize]) -> io::Result<()> {
        if cores.is_empty() {
            return Ok(());
        }
        // SAFETY: a zeroed cpu_set_t is an empty set, and every core is below CPU_SETSIZE.
        let wanted = unsafe {
            let mut wanted: libc::cpu_set_t = std::mem::zeroed();
            cores.iter().for_each(|core| libc::CPU_SET(*core, &mut wanted));
            wanted
        };
        set(&wanted)
    }

    /// Remembers the cores of the calling thread for [`unpin`]; the first call counts.
    pub fn remember() {
        // SAFETY: the kernel fills the set it is given, whose zeroed form is valid.
        let (done, before) = unsafe {
            let mut before: libc::cpu_set_t = std::mem::zeroed();
            (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut before), before)
        };
        if done == 0 {
            // A later server of the same process would remember what an earlier one has set.
            let _ = BEFORE.set(before);
        }
    }

    /// Lets the calling thread run where it could before it was pinned: a program that takes its place inherits that.
    pub fn unpin() {
        if let Some(Err(error)) = BEFORE.get().map(set) {
            tracing::warn!(%error, "the next program begins with the cores of this one");
        }
    }
}

/// On other systems, threads stay where the scheduler puts them.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use super::io;

    pub fn pin(cores: &[usize]) -> io::Result<()> {
        let refused =
            || io::Error::new(io::ErrorKind::Unsupported, "this system does not pin threads");
        cores.is_empty().then_some(()).ok_or_else(refused)
    }

    pub fn remember() {}

    pub fn unpin() {}
}

pub(crate) use kernel::unpin;
use kernel::{pin, remember};
