//! How much of the memory that this process may use is in use: of the machine, and of the control group (a container, a
//! unit of systemd).

use super::memory::resident_bytes;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The memory in use, in percent: of the machine's, as far as the kernel cannot take it back, or this process's own of what its
/// control group may use, whichever is more. `None` if the system does not tell.
///
/// Reads three small files.
pub(crate) fn memory_percent() -> Option<u32> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let limit = group_limit().and_then(|path| read_to_string(path).ok());
    let group = limit.and_then(|limit| of_group(&limit, resident_bytes()));
    machine.into_iter().chain(group).max()
}

/// From the text of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u32> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    percent(total.saturating_sub(available), total)
}

/// From the limit of a control group in bytes; without one it is a word, or a number that is never reached.
fn of_group(limit: &str, resident: u64) -> Option<u32> {
    percent(resident, limit.trim().parse().ok()?)
}

fn percent(used: u64, of: u64) -> Option<u32> {
    let percent = u128::from(used) * 100 / u128::from(Some(of).filter(|of| *of > 0)?);
    u32::try_from(percent).ok()
}

/// The file with the limit of this process's control group; it stays in the one in which it began.
fn group_limit() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
        limits(&groups).into_iter().find(|path| path.exists())
    };
    FOUND.get_or_init(find).as_deref()
}

/// Where the limit may be: in the group's own folder, or, in a container, which sees only its own group, in the
/// first; with version 2 of control groups or 1.
fn limits(groups: &str) -> Vec<PathBuf> {
    let own = groups.lines().filter_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        [_, "", path] => Some(("/sys/fs/cgroup", path, "memory.max")),
        [_, "memory", path] => Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")),
        _ => None,
    });
    let own =
        own.map(|(root, path, file)| Path::new(root).join(path.trim_start_matches('/')).join(file));
    let first = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    own.chain(first.map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_of_machine_and_group_counts() {
        let meminfo = "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    251 kB\n";
        assert_eq!(of_machine(meminfo), Some(74));
        assert_eq!(of_machine("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(of_group("1000\n", 919), Some(91));
        assert_eq!(of_group("max\n", 919), None);
        assert_eq!(of_group("9223372036854771712\n", 1 << 40), Some(0));
        assert!(memory_percent().is_some_and(|percent| (1..=100).contains(&percent)));
    }

    #[test]
    fn the_groups_own_limit_comes_first() {
        let of = |groups: &str| limits(groups).remove(0).display().to_string();
        assert_eq!(of("0::/a.slice/b.service\n"), "/sys/fs/cgroup/a.slice/b.service/memory.max");
        let first = of("5:cpu:/x\n4:memory:/y\n");
        assert_eq!(first, "/sys/fs/cgroup/memory/y/memory.limit_in_bytes");
        assert_eq!(limits("").len(), 2);
    }
}
