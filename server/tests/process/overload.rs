//! Load shedding on every runtime: a server that is too slow refuses, and stops refusing.

use crate::support::{Varve, folder, possible};
use redis::{Connection, RedisResult, Value, cmd};
use std::sync::atomic::{AtomicBool, Ordering};
use storage::testing::until;

const RUNTIMES: &[&[&str]] = &[
    &["--runtime", "epoll", "--threads", "1"],
    &["--runtime", "epoll", "--threads", "1", "--epoll-execution", "pool"],
    &["--runtime", "tokio", "--threads", "1"],
    &["--runtime", "uring", "--threads", "1"],
    &["--runtime", "threads", "--threads", "32"],
];

/// Keeps its thread and its shard for a while.
const SLOW: &str = "local e = os.clock() + 0.03 while os.clock() < e do end return \
    redis.call('incr', KEYS[1])";

fn is_refused(client: &mut Connection, command: &redis::Cmd) -> bool {
    let outcome: RedisResult<Value> = command.query(client);
    outcome.is_err_and(|error| error.code() == Some("OVERLOADED"))
}

fn figure(client: &mut Connection, name: &str) -> u64 {
    let info: String = cmd("INFO").arg("stats").query(client).expect("INFO is never refused");
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).expect("a figure")
}

#[test]
fn a_server_that_has_little_memory_left_takes_no_more() {
    let (_folder, data) = folder();
    // More than this is in use on every machine.
    let limits = ["--overload-delay-target", "1000", "--overload-memory-target", "1"];
    let varve = Varve::start(&data, &limits);
    let mut client = varve.connect();
    let mut set = cmd("SET");
    set.arg("k").arg("v");
    until("what needs memory is refused", || is_refused(&mut client, &set));
    until("nearly all of it is", || figure(&mut client, "overload_memory_share") == 1008);
    assert!((0..63).all(|_| !is_refused(&mut client, cmd("GET").arg("k"))));
    assert!((0..63).all(|_| !is_refused(&mut client, cmd("DEL").arg("k"))));
    assert!(figure(&mut client, "overload_memory_percent") > 1);
    let mut change = cmd("CONFIG");
    let () = change.arg("SET").arg("overload-memory-target").arg(100).query(&mut client).unwrap();
    until("nothing is refused", || figure(&mut client, "overload_memory_share") == 0);
    assert!(!is_refused(&mut client, &set));
}

#[test]
fn a_slow_server_refuses_until_it_is_no_longer_slow() {
    for runtime in possible(RUNTIMES) {
        let (_folder, data) = folder();
        let options = [*runtime, &["--overload-delay-target", "10"]].concat();
        let varve = Varve::start(&data, &options);
        let mut client = varve.connect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (over, mut client) = (&over, varve.connect());
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        is_refused(&mut client, cmd("EVAL").arg(SLOW).arg(1).arg("slow"));
                    }
                });
            }
            until("something is refused", || is_refused(&mut client, cmd("GET").arg("key")));
            over.store(true, Ordering::SeqCst);
        });
        assert!(figure(&mut client, "overload_refused_requests") > 0, "{runtime:?}");
        until("nothing is refused", || figure(&mut client, "overload_refused_share") == 0);
        assert!(!is_refused(&mut client, cmd("GET").arg("key")), "{runtime:?}");
        assert_eq!(varve.stop().status.code(), Some(0), "{runtime:?}");
    }
}
