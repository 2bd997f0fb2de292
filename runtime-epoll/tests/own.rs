//! Tests of guarantees specific to this runtime: connections are spread over the reactors, and a
//! pool keeps the others going.

use runtime::Runtime;
use runtime::testing::{Client, Running};
use runtime_epoll::{Config, EpollRuntime, Execution};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

fn serving(threads: usize, execution: Execution, pin: bool) -> Running {
    let runtime = EpollRuntime::new(Config { threads, execution, pin });
    Running::start(Arc::new(runtime.expect("a valid configuration")))
}

#[test]
fn connections_spread_evenly_over_reactors() {
    let server = serving(4, Execution::Inline, false);
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo x", "x"));
    let per_thread = server.toy.threads.lock().unwrap().clone();
    assert_eq!(per_thread.len(), 4, "{per_thread:?}");
    assert!(per_thread.values().all(|&n| n == 10), "{per_thread:?}");
}

#[test]
fn a_blocking_call_in_the_pool_stalls_nobody_else() {
    let server = serving(1, Execution::Pool { workers: 2 }, false);
    let (mut blocking, mut other) = (server.client(), server.client());
    other.ask("echo x", "x");
    let start = Instant::now();
    blocking.send("block 500\n");
    for i in 0..50 {
        other.ask(&format!("echo {i}"), &i.to_string());
    }
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    blocking.expect("blocked");
}

#[test]
fn the_queue_of_a_busy_pool_is_counted() {
    let server = serving(1, Execution::Pool { workers: 1 }, false);
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo x", "x"));
    clients.iter_mut().for_each(|client| client.send("block 100\n"));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(server.runtime.stats().queue_depth.load(SeqCst), 4);
    clients.iter_mut().for_each(|client| client.expect("blocked"));
}

#[test]
fn a_pool_gets_more_workers_and_fewer_and_loses_nothing() {
    let server = serving(1, Execution::Pool { workers: 1 }, false);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo x", "x"));
    server.runtime.resize(3).expect("grow");
    let start = Instant::now();
    clients[..3].iter_mut().for_each(|client| client.send("block 700\n"));
    clients[..3].iter_mut().for_each(|client| client.expect("blocked"));
    assert!(start.elapsed() < Duration::from_millis(1400), "{:?}", start.elapsed());
    // More jobs than workers, old and new.
    clients.iter_mut().for_each(|client| client.send("block 50\n"));
    server.runtime.resize(1).expect("shrink");
    clients.iter_mut().for_each(|client| client.expect("blocked"));
    let start = Instant::now();
    clients[..3].iter_mut().for_each(|client| client.send("block 100\n"));
    clients[..3].iter_mut().for_each(|client| client.expect("blocked"));
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[test]
fn pinned_threads_serve() {
    let server = serving(3, Execution::Inline, true);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo x", "x"));
}

#[test]
fn nonsense_is_refused() {
    let bad = Config { threads: 0, ..Config::default() };
    assert!(EpollRuntime::new(bad).is_err());
    let bad = Config { execution: Execution::Pool { workers: 0 }, ..Config::default() };
    assert!(EpollRuntime::new(bad).is_err());
    let idle = EpollRuntime::new(Config::default()).expect("valid");
    assert!(idle.resize(2).is_err(), "not serving");
}
