//! `CONFIG SET threads` under load: nobody is dropped, nothing is lost, and the new threads work.

use crate::support::{Varve, folder, possible};
use redis::{Connection, cmd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::testing::until;

/// Connections that keep the server busy.
const CLIENTS: usize = 6;

/// Requests that are sent at once.
const PIPELINE: u64 = 16;

/// Pipelines that each connection must get through after each change.
const ROUNDS: u64 = 50;

/// Each runtime, and the numbers of threads that it goes through.
const RUNTIMES: &[(&[&str], [usize; 4])] = &[
    (&["--runtime", "epoll", "--threads", "1"], [2, 1, 3, 1]),
    (&["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"], [2, 1, 3, 1]),
    (&["--runtime", "tokio", "--threads", "1"], [2, 1, 3, 1]),
    (&["--runtime", "uring", "--threads", "1"], [2, 1, 3, 1]),
    // A thread for each client, and the last number is less than there are clients: it is reached when they leave.
    (&["--runtime", "threads", "--threads", "8"], [10, 8, 12, 7]),
];

/// Ends the load, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Counts up in a key of its own until it is over. Each answer tells whether all before it was done, and once.
fn count_up(client: &mut Connection, key: usize, over: &AtomicBool, rounds: &AtomicU64) {
    let mut pipeline = redis::pipe();
    for _ in 0..PIPELINE {
        pipeline.cmd("INCR").arg(key);
    }
    let mut last = 0;
    while !over.load(Ordering::SeqCst) {
        let answers: Vec<u64> = pipeline.query(client).expect("the connection stays");
        let expected: Vec<u64> = (last + 1..=last + PIPELINE).collect();
        assert_eq!(answers, expected, "connection {key}");
        last += PIPELINE;
        rounds.fetch_add(1, Ordering::SeqCst);
    }
}

/// A figure of a section of `INFO`.
fn figure(client: &mut Connection, section: &str, name: &str) -> usize {
    let info: String = cmd("INFO").arg(section).query(client).expect("a section");
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).expect("a figure")
}

#[test]
fn threads_come_and_go_under_load_and_nobody_is_dropped() {
    for (runtime, steps) in RUNTIMES {
        if possible(&[*runtime]).next().is_none() {
            continue;
        }
        let (_folder, data) = folder();
        let varve = Varve::start(&data, &[*runtime, &["--appendonly", "no"]].concat());
        let mut admin = varve.connect();
        let received = figure(&mut admin, "stats", "total_connections_received");
        let (over, rounds) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; CLIENTS]);
        std::thread::scope(|scope| {
            let _over = Over(&over);
            for (key, rounds) in rounds.iter().enumerate() {
                let (mut client, over) = (varve.connect(), &over);
                scope.spawn(move || count_up(&mut client, key, over, rounds));
            }
            for threads in steps {
                let mut set = cmd("CONFIG");
                let () = set.arg("SET").arg("threads").arg(threads).query(&mut admin).unwrap();
                let before = rounds.each_ref().map(|rounds| rounds.load(Ordering::SeqCst));
                until("every connection goes on", || {
                    let all = rounds.iter().zip(before);
                    all.clone().all(|(now, then)| now.load(Ordering::SeqCst) >= then + ROUNDS)
                });
                until("that many serve", || {
                    figure(&mut admin, "server", "varve_threads") == *threads
                });
            }
        });
        let came = figure(&mut admin, "stats", "total_connections_received") - received;
        assert_eq!(came, CLIENTS, "{runtime:?}: nobody had to come again");
        assert_eq!(varve.stop().status.code(), Some(0), "{runtime:?}");
    }
}
