//! The cores that this process may use, and pinning threads to them.
//!
//! The load generator and the server must not share a core, or the scheduler would be measured. On
//! systems other than Linux threads cannot be pinned, and the functions report that.

use anyhow::{Result, bail};

/// The cores on which this process may run, in ascending order; empty if the platform does not
/// tell.
pub fn allowed() -> Vec<usize> {
    imp::allowed()
}

/// Pins the calling thread, and the threads that it starts from now on, to `cores`. Without cores
/// nothing changes.
pub fn pin(cores: &[usize]) -> Result<()> {
    if cores.is_empty() { Ok(()) } else { imp::pin(cores) }
}

/// Runs `f` with the calling thread pinned to `cores`, then gives it all of `allowed` back.
///
/// A child process spawned inside inherits the cores, and so do all threads it ever starts.
pub fn pinned<T>(cores: &[usize], f: impl FnOnce() -> T) -> Result<T> {
    let before = allowed();
    pin(cores)?;
    let value = f();
    pin(&before)?;
    Ok(value)
}

/// The division of the machine's cores between the server and the load generator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Cores of the servers; empty when there is only one core and nothing can be kept apart.
    pub server: Vec<usize>,
    /// Cores of the load generator, one thread each.
    pub load: Vec<usize>,
}

/// The first `server_threads` cores for the server, and of the rest as many for the load, from
/// the top; at least one each.
pub fn split(cores: &[usize], server_threads: usize) -> Split {
    if cores.len() < 2 {
        return Split::default();
    }
    let server = server_threads.clamp(1, cores.len() - 1);
    let load = server.clamp(1, cores.len() - server);
    Split { server: cores[..server].to_vec(), load: cores[cores.len() - load..].to_vec() }
}

/// Reads `0,2-3` as cores 0, 2 and 3.
pub fn parse_list(text: &str) -> Result<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) = (low.trim().parse()?, high.trim().parse()?);
        if low > high || high >= 1024 {
            bail!("`{part}` is no range of cores");
        }
        cores.extend(low..=high);
    }
    Ok(cores)
}

#[cfg(target_os = "linux")]
mod imp {
    use anyhow::{Result, bail};

    fn empty() -> libc::cpu_set_t {
        // SAFETY: cpu_set_t is an array of integers; all zeroes is its empty set.
        unsafe { std::mem::zeroed() }
    }

    pub fn allowed() -> Vec<usize> {
        let mut set = empty();
        // SAFETY: `set` is valid for writes of its own size; 0 means the calling thread.
        let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
        let count = if rc == 0 { libc::CPU_SETSIZE as usize } else { 0 };
        // SAFETY: every index is below CPU_SETSIZE.
        (0..count).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
    }

    pub fn pin(cores: &[usize]) -> Result<()> {
        let mut set = empty();
        for &core in cores.iter().filter(|&&core| core < libc::CPU_SETSIZE as usize) {
            // SAFETY: the index is below CPU_SETSIZE.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        // SAFETY: `set` is valid for reads of its own size; 0 means the calling thread.
        let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
        if rc != 0 {
            bail!("pinning to cores {cores:?}: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use anyhow::Result;

    pub fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub fn pin(_cores: &[usize]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_keep_server_and_load_apart() {
        assert_eq!(split(&[0, 1], 1), Split { server: vec![0], load: vec![1] });
        assert_eq!(split(&[0, 1], 8), Split { server: vec![0], load: vec![1] });
        assert_eq!(split(&[0, 1, 2, 3], 2), Split { server: vec![0, 1], load: vec![2, 3] });
        assert_eq!(split(&[3], 1), Split::default());
    }

    #[test]
    fn lists_of_cores_are_read_and_checked() {
        assert_eq!(parse_list("0,2-3").unwrap(), [0, 2, 3]);
        assert!(parse_list("3-1").is_err());
        assert!(parse_list("x").is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pinning_holds_inside_and_is_undone_after() {
        let before = allowed();
        let inside = pinned(&before[..1], allowed).unwrap();
        assert_eq!(inside, before[..1]);
        assert_eq!(allowed(), before);
    }
}
