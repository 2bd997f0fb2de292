//! `varve doctor`: checks whether this machine is set up for a server with this configuration, and
//! advises what to change.

use crate::config::{self, Loaded};
use crate::error::StartError;
use crate::system::{nodes, raise_open_files};
use clap::Args;
use engine::config::{ConfigStore, Id};
use std::fs::File;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Look at this machine: limits, memory, huge pages, the disk's speed, ports; and say what to do
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A file and directives, as for serving: [FILE] [--directive words…]…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    /// The observed value.
    seen: String,
    /// The recommended change; `None` where the check passed.
    advice: Option<String>,
}

impl Finding {
    fn good(name: &'static str, seen: impl ToString) -> Finding {
        Finding { name, seen: seen.to_string(), advice: None }
    }

    fn bad(name: &'static str, seen: impl ToString, advice: impl ToString) -> Finding {
        Finding { advice: Some(advice.to_string()), ..Finding::good(name, seen) }
    }

    /// Good or not, as `is_good` says.
    fn judge(name: &'static str, seen: impl ToString, is_good: bool, advice: &str) -> Finding {
        if is_good { Finding::good(name, seen) } else { Finding::bad(name, seen, advice) }
    }
}

/// Checks everything and prints the results.
///
/// # Errors
/// Fails for a wrong configuration, or if something should be changed, so that scripts can check
/// the exit code.
pub fn run(args: &DoctorArgs) -> Result<(), StartError> {
    let loaded = config::load(&args.words, std::env::vars())?;
    loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let findings = look(&loaded);
    for Finding { name, seen, advice } in &findings {
        println!("{} {name:<18} {seen}", if advice.is_none() { "ok  " } else { "do  " });
        if let Some(advice) = advice {
            println!("     {:<18} -> {advice}", "");
        }
    }
    match findings.iter().filter(|finding| finding.advice.is_some()).count() {
        0 => Ok(()),
        n => Err(StartError::other(format!("{n} of {} could be better", findings.len()))),
    }
}

fn look(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.store;
    let mut findings = vec![open_files(config)];
    findings.extend(overcommit(&read("/proc/sys/vm/overcommit_memory")));
    findings.extend(huge_pages(&read("/sys/kernel/mm/transparent_hugepage/enabled")));
    findings.extend(backlog(config, &read("/proc/sys/net/core/somaxconn")));
    findings.extend(memory(config, &read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max")));
    findings.extend(shards(config, nodes::count(), available_parallelism().map_or(1, usize::from)));
    let folder = PathBuf::from(&*config.text(Id::Dir));
    findings.push(sync_speed(&folder, config));
    findings.extend(ports(config));
    findings
}

/// A file of the kernel's; empty where there is none, as on other systems.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// As many files as clients, and some.
fn open_files(config: &ConfigStore) -> Finding {
    let wanted = config.integer(Id::Maxclients) as u64 + crate::process::resources::RESERVED_FILES;
    match raise_open_files(wanted) {
        Ok(limit) => Finding::judge(
            "open files",
            format!("{limit}, {wanted} wanted for maxclients"),
            limit >= wanted,
            "ulimit -n, or LimitNOFILE= in the unit; else fewer clients are let in",
        ),
        Err(error) => Finding::bad("open files", error, "the limit cannot be read"),
    }
}

/// This server never forks, so unlike with Redis the heuristic is enough; only strict accounting may refuse it memory.
fn overcommit(setting: &str) -> Option<Finding> {
    let seen = format!("vm.overcommit_memory = {}", setting.trim());
    let advice =
        "sysctl vm.overcommit_memory=0 (or 1): with 2 the kernel may refuse memory that is there";
    (!setting.is_empty()).then(|| Finding::judge("overcommit", seen, setting.trim() != "2", advice))
}

fn huge_pages(setting: &str) -> Option<Finding> {
    let chosen = setting.split(['[', ']']).nth(1)?;
    let advice = "echo madvise >/sys/kernel/mm/transparent_hugepage/enabled: whole huge pages stay in memory for a few keys";
    Some(Finding::judge("huge pages", chosen, chosen != "always", advice))
}

fn backlog(config: &ConfigStore, setting: &str) -> Option<Finding> {
    let most: i64 = setting.trim().parse().ok()?;
    let wanted = config.integer(Id::TcpBacklog);
    let seen = format!("{most}, tcp-backlog is {wanted}");
    Some(Finding::judge(
        "somaxconn",
        seen,
        most >= wanted,
        "sysctl net.core.somaxconn, or a lower tcp-backlog",
    ))
}

/// Compares `maxmemory` with the memory of the machine, or of the container.
fn memory(config: &ConfigStore, meminfo: &str, group: &str) -> Option<Finding> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024);
    let total = group.trim().parse().unwrap_or(u64::MAX).min(total);
    let limit = config.memory(Id::Maxmemory);
    let mib = |bytes: u64| bytes >> 20;
    let seen = match limit {
        0 => format!("{} MiB, no maxmemory", mib(total)),
        limit => format!("{} MiB, maxmemory {} MiB", mib(total), mib(limit)),
    };
    // Clients' buffers and memory that the allocator holds back come on top.
    let fits = limit != 0 && limit <= total / 10 * 9;
    Some(Finding::judge(
        "memory",
        seen,
        fits,
        "maxmemory below nine tenths of that, and a maxmemory-policy",
    ))
}

/// Compares the shards of a storage in memory with the cores and NUMA nodes.
fn shards(config: &ConfigStore, nodes: usize, cores: usize) -> Option<Finding> {
    const NAME: &str = "shards";
    if config.choice(Id::Storage) != "memory" {
        return None;
    }
    let machine = nodes::describe(nodes, cores);
    let seen = match config.integer(Id::Shards) {
        0 => return Some(Finding::good(NAME, format!("as many as suit {machine}"))),
        shards => shards as usize,
    };
    let better = nodes::better_shards(nodes, cores, seen).map(|better| {
        format!("--shards {better}, or leave it out: threads that want the same shard wait")
    });
    Some(Finding { name: NAME, seen: format!("{seen} for {machine}"), advice: better })
}

/// Syncs to try, and how long to try at most.
const SYNCS: usize = 50;
const SYNC_PATIENCE: Duration = Duration::from_secs(3);

/// Above this, `appendfsync always` lets hardly anything through, and `everysec` falls behind.
const SYNC_SLOW: Duration = Duration::from_millis(20);

fn sync_speed(folder: &Path, config: &ConfigStore) -> Finding {
    const NAME: &str = "disk sync";
    match time_syncs(folder) {
        Err(error) => Finding::bad(
            NAME,
            format!("{}: {error}", folder.display()),
            "the folder must exist, or its parent, and this user must be able to write there",
        ),
        Ok(mut times) => {
            times.sort();
            let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
            let seen =
                format!("{half:.1?} in the middle, {most:.1?} at most, in {}", folder.display());
            let matters = config.boolean(Id::Appendonly);
            let advice = "a disk with a write cache that survives power loss, or `appendfsync no`";
            Finding::judge(NAME, seen, !matters || most < SYNC_SLOW, advice)
        }
    }
}

/// How long each of some small writes took to become durable in `folder`, or where it would be made.
fn time_syncs(folder: &Path) -> io::Result<Vec<Duration>> {
    let folder = match folder.is_dir() {
        true => folder,
        false => match folder.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent.unwrap_or(folder),
        },
    };
    let path = folder.join(format!("varve-doctor-{}", std::process::id()));
    let timed = File::create_new(&path).and_then(|mut file| {
        let begin = Instant::now();
        let mut times = Vec::with_capacity(SYNCS);
        while times.len() < SYNCS && begin.elapsed() < SYNC_PATIENCE {
            let start = Instant::now();
            file.write_all(&[0x5A; 4096])?;
            file.sync_data()?;
            times.push(start.elapsed());
        }
        Ok(times)
    });
    // What could not be made is not there.
    let _ = std::fs::remove_file(&path);
    timed
}

const PORTS: [(&str, Id); 5] = [
    ("port", Id::Port),
    ("tls-port", Id::TlsPort),
    ("websocket-port", Id::WebsocketPort),
    ("websocket-tls-port", Id::WebsocketTlsPort),
    ("admin-port", Id::AdminPort),
];

fn ports(config: &ConfigStore) -> Vec<Finding> {
    let set = PORTS.iter().filter(|(_, id)| config.integer(*id) != 0);
    set.map(|(name, id)| port(name, config.integer(*id) as u16)).collect()
}

/// Whether a port of this machine is free.
fn port(name: &'static str, port: u16) -> Finding {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Finding::good(name, format!("{port} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let who = who_listens(port);
            Finding::bad(
                name,
                format!("{port} is taken by {who}"),
                "end it, or choose another port",
            )
        }
        Err(error) => Finding::bad(name, format!("{port}: {error}"), "choose another port"),
    }
}

/// Redis and its like answer a line of words.
fn who_listens(port: u16) -> &'static str {
    let asked = ("127.0.0.1", port).to_socket_addrs().and_then(|mut found| {
        let address = found.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 1];
        io::Read::read_exact(&mut stream, &mut answer)?;
        Ok(matches!(answer[0], b'+' | b'-'))
    });
    if matches!(asked, Ok(true)) { "a server that speaks RESP" } else { "another program" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Loaded {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        config::load(&words, []).unwrap()
    }

    fn is_good(finding: Option<Finding>) -> bool {
        finding.expect("something was found").advice.is_none()
    }

    #[test]
    fn what_the_kernel_says_is_judged() {
        assert!(is_good(overcommit("1\n")) && !is_good(overcommit("2\n")));
        assert!(is_good(huge_pages("always [madvise] never\n")));
        assert!(!is_good(huge_pages("[always] madvise never\n")));
        let few = config(&["--tcp-backlog", "511"]).store;
        assert!(is_good(backlog(&few, "4096\n")) && !is_good(backlog(&few, "128\n")));
        for nothing in [overcommit(""), huge_pages(""), backlog(&few, "")] {
            assert!(nothing.is_none());
        }
    }

    #[test]
    fn memory_is_that_of_the_container() {
        let meminfo = "MemTotal:       1048576 kB\nMemFree: 1 kB\n";
        let judged = |limit: &str, group: &str| {
            is_good(memory(&config(&["--maxmemory", limit]).store, meminfo, group))
        };
        assert!(judged("900mb", "max\n") && judged("900mb", ""));
        assert!(
            !judged("0", "max\n") && !judged("1gb", "max\n") && !judged("900mb", "536870912\n")
        );
    }

    #[test]
    fn shards_are_compared_with_the_machine() {
        let judged = |words: &[&str], nodes| shards(&config(words).store, nodes, 4);
        assert!(is_good(judged(&[], 2)) && is_good(judged(&["--shards", "256"], 1)));
        let few = judged(&["--shards", "256"], 2).and_then(|finding| finding.advice);
        assert!(few.is_some_and(|advice| advice.starts_with("--shards 512")));
        assert!(judged(&["--storage", "sled"], 2).is_none());
    }

    #[test]
    fn folders_and_ports_are_tried() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!time_syncs(folder.path()).unwrap().is_empty());
        assert!(!time_syncs(&folder.path().join("to-be-made")).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(time_syncs(&folder.path().join("not/there")).is_err());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        let talking = std::thread::spawn(move || {
            let (mut client, _) = taken.accept().unwrap();
            client.write_all(b"+PONG\r\n").unwrap();
        });
        assert_eq!(who_listens(number), "a server that speaks RESP");
        talking.join().unwrap();
    }
}
