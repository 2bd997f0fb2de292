//! `server_cpulist`, `bio_cpulist`: the cores on which each thread of a server may run.

use crate::support::{Varve, folder, free_port, possible, run};
use redis::cmd;
use storage::testing::{until, until_some};

/// The threads that are not for clients.
const BACKGROUND: &[&str] = &["housekeeper", "load-watch", "aof-sync", "aof-rewrite", "snapshot"];

/// The allocator's thread is older than the configuration; the kernel's own threads for io_uring are not the server's.
const OTHERS: [&str; 2] = ["jemalloc_bg_thd", "iou-"];

const RUNTIMES: &[&[&str]] = &[
    &["--runtime", "epoll", "--threads", "1"],
    &["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"],
    &["--runtime", "tokio", "--threads", "1"],
    &["--runtime", "uring", "--threads", "1"],
    &["--runtime", "threads", "--threads", "2"],
];

/// The names of a process's threads with the cores of each.
fn threads(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let status = |task: std::fs::DirEntry| {
        // A thread may just have ended.
        let text = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        Some((field("Name:")?, field("Cpus_allowed_list:")?))
    };
    tasks.flatten().filter_map(status).collect()
}

/// Two cores that this process may use, as texts; `None` on a machine with one.
fn two_cores() -> Option<(String, String)> {
    let (_, list) = threads(std::process::id()).into_iter().next()?;
    let cores = cores_of(&list);
    Some((cores.first()?.to_string(), cores.get(1)?.to_string()))
}

fn cores_of(list: &str) -> Vec<usize> {
    server::engine::config::cores::parse(list).expect("the kernel writes such lists")
}

/// The number of threads for clients, once every thread runs on the cores that it should.
fn serving(pid: u32, server: &str, background: &str) -> usize {
    until_some("every thread is on its cores", || {
        let mut all = threads(pid);
        all.retain(|(name, _)| !OTHERS.iter().any(|other| name.starts_with(other)));
        let is_background = |name: &str| BACKGROUND.contains(&name);
        let is_right = |(name, cores): &&(String, String)| {
            cores == if is_background(name) { background } else { server }
        };
        let serving = all.iter().filter(|(name, _)| !is_background(name)).count();
        all.iter().all(|thread| is_right(&thread)).then_some(serving)
    })
}

#[test]
fn each_kind_of_thread_runs_on_its_cores() {
    let Some((first, second)) = two_cores() else { return };
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let pins = ["--server-cpulist", &first, "--bio_cpulist", &second, "--appendonly", "yes"];
        let varve = Varve::start(&data, &[*runtime, &pins].concat());
        // The log's thread is there once the log is loaded, which clients need not wait for.
        until("its background threads run", || {
            let all = threads(varve.pid());
            let runs = |name| all.iter().any(|(other, _)| other == name);
            ["housekeeper", "load-watch", "aof-sync"].into_iter().all(runs)
        });
        let before = serving(varve.pid(), &first, &second);
        // Threads that are added later are pinned like those before them.
        let mut client = varve.connect();
        let () = cmd("CONFIG").arg("SET").arg("threads").arg("4").query(&mut client).unwrap();
        until("there are more threads", || serving(varve.pid(), &first, &second) > before);
        assert_eq!(varve.stop().status.code(), Some(0), "{runtime:?}");
    }
}

#[test]
fn snapshots_and_rewrites_may_have_cores_of_their_own() {
    let Some((first, second)) = two_cores() else { return };
    let (_folder, data) = folder();
    let pins = ["--bgsave-cpulist", &second, "--aof_rewrite_cpulist", &second];
    let more = ["--server_cpulist", &first, "--appendonly", "yes"];
    let varve = Varve::start(&data, &[&pins[..], &more[..]].concat());
    let mut client = varve.connect();
    for (command, thread) in [("BGSAVE", "snapshot"), ("BGREWRITEAOF", "aof-rewrite")] {
        until("the thread is seen at work on its core", || {
            // It may have been refused because the other one still works.
            let _: redis::RedisResult<String> = cmd(command).query(&mut client);
            threads(varve.pid()).iter().any(|(name, cores)| name == thread && *cores == second)
        });
    }
}

#[test]
fn without_a_list_threads_run_everywhere_also_after_an_upgrade_from_one() {
    let Some((first, _)) = two_cores() else { return };
    let (_, everywhere) = threads(std::process::id()).remove(0);
    let (folder, data) = folder();
    let file = folder.path().join("varve.conf");
    std::fs::write(&file, format!("server_cpulist {first}\n")).unwrap();
    let varve = Varve::start_from(&file, &data, &["--appendonly", "yes"]);
    serving(varve.pid(), &first, &first);
    std::fs::write(&file, "").unwrap();
    varve.signal(libc::SIGUSR2);
    until("the next program runs everywhere", || {
        let all = threads(varve.pid());
        all.iter().any(|(name, _)| name == "housekeeper")
            && all.iter().all(|(_, cores)| *cores == everywhere)
    });
}

#[test]
fn a_list_that_is_none_stops_the_start() {
    let (_folder, data) = folder();
    let port = free_port().to_string();
    let args = ["--port", &port, "--dir", data.to_str().unwrap(), "--server_cpulist", "0-x"];
    let ended = run(&args);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("server_cpulist"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}
