//! A memory limit for one server: a control group of its own, where this user may make one.
//!
//! Unlike a limit on address space, it counts resident memory and the page cache, so that a storage
//! on disk has to read what does not fit.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The folder in which Linux mounts control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group; dropping it removes it, once its processes have ended.
#[derive(Debug)]
pub struct MemoryLimit {
    dir: PathBuf,
}

impl MemoryLimit {
    /// A group that may use `bytes` of memory and nothing of swap.
    pub fn new(bytes: u64) -> Result<MemoryLimit> {
        let own = fs::read_to_string("/proc/self/cgroup").context("no control groups here")?;
        let (parent, unified) = parent(&own, Path::new(ROOT))
            .context("no control group here has a memory controller")?;
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("varve-bench-{}-{number}", std::process::id()));
        fs::create_dir(&dir).with_context(|| {
            format!("a memory limit needs the right to make {} (run as root)", dir.display())
        })?;
        let limit = MemoryLimit { dir };
        let (memory, swap) = if unified {
            ("memory.max", ("memory.swap.max", "0".to_string()))
        } else {
            ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes.to_string()))
        };
        fs::write(limit.dir.join(memory), bytes.to_string())
            .with_context(|| format!("{} does not take a limit", limit.dir.display()))?;
        // Kernels without swap accounting lack the file, and then there is nothing to limit.
        let _ = fs::write(limit.dir.join(swap.0), swap.1);
        Ok(limit)
    }

    /// Puts process `pid` under the limit.
    pub fn hold(&self, pid: u32) -> Result<()> {
        let file = self.dir.join("cgroup.procs");
        fs::write(&file, pid.to_string()).with_context(|| file.display().to_string())
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // A process that has just been waited for may still be listed for a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The folder that `/proc/self/cgroup` (its text in `own`) puts this process in, and whether it
/// belongs to the unified hierarchy.
fn parent(own: &str, root: &Path) -> Option<(PathBuf, bool)> {
    let path_of = |line: &str| line.rsplit_once(':').map(|(_, path)| path.to_string());
    let version1 = own.lines().find(|line| {
        line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "memory"))
    });
    if let Some(path) = version1.and_then(path_of) {
        return Some((root.join("memory").join(path.trim_start_matches('/')), false));
    }
    let path = own.lines().find(|line| line.starts_with("0::")).and_then(path_of)?;
    let dir = root.join(path.trim_start_matches('/'));
    usable(&dir).ok().map(|()| (dir, true))
}

/// In the unified hierarchy a group passes controllers to its children only when told to.
fn usable(dir: &Path) -> Result<()> {
    let file = dir.join("cgroup.subtree_control");
    let handed_down = fs::read_to_string(&file)?;
    if handed_down.split_whitespace().any(|name| name == "memory") {
        return Ok(());
    }
    match fs::write(&file, "+memory") {
        Ok(()) => Ok(()),
        Err(error) => bail!("{}: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_hierarchies_are_found() {
        let old = "9:pids:/x\n4:memory:/user/1\n0::/\n";
        let found = parent(old, Path::new("/c")).unwrap();
        assert_eq!(found, (PathBuf::from("/c/memory/user/1"), false));
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("user.slice");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        assert_eq!(parent("0::/user.slice\n", dir.path()).unwrap(), (group, true));
        assert_eq!(parent("0::/elsewhere\n", dir.path()), None);
    }
}
