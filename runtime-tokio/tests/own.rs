//! Tests of guarantees specific to this runtime: a turn that may block leaves the core to other connections.

use runtime::testing::{Client, Running};
use runtime_tokio::{Config, TokioRuntime};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// The service is asked before each turn: it may come to block while connections are open.
#[test]
fn a_turn_that_may_block_stalls_nobody_else() {
    let runtime = TokioRuntime::new(Config { threads: 1 }).expect("a valid configuration");
    let server = Running::start(Arc::new(runtime));
    let (mut blocking, mut other) = (server.client(), server.client());
    let ask = |other: &mut Client| other.ask("echo x", "x");
    ask(&mut blocking);
    ask(&mut other);
    server.toy.may_block.store(true, SeqCst);
    let start = Instant::now();
    blocking.send("block 1000\n");
    (0..50).for_each(|_| ask(&mut other));
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
    blocking.expect("blocked");
    // And comes back, so that nobody is left behind.
    server.toy.may_block.store(false, SeqCst);
    ask(&mut blocking);
    ask(&mut other);
}
