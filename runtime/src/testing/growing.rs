//! The cases about connections that go to threads which were just added.

use super::harness::{Client, Running, Subject, eventually};
use std::sync::atomic::Ordering::SeqCst;

/// Connections without a request.
const IDLE: usize = 280;

/// Connections in a long call, which cannot go before it is over.
const HELD: usize = 24;

fn clients(server: &Running, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo here", "here"));
    clients
}

fn alive(server: &Running) -> usize {
    server.runtime.stats().threads.load(SeqCst) as usize
}

/// Connections that were to move when even more threads come are served as ever, wherever they are.
pub fn growing_twice_forgets_nobody(runtime: Subject) {
    let server = Running::start(runtime);
    let mut idle = clients(&server, IDLE);
    let mut held = clients(&server, HELD);
    let few = alive(&server);
    held.iter_mut().for_each(|client| client.send("hold 300\n"));
    for more in 1..=3 {
        if server.runtime.resize(few + more).is_err() {
            return;
        }
        assert!(eventually(|| alive(&server) >= few + more), "{more} more threads");
        // Who is asked here has seen that there are more.
        idle.iter_mut().for_each(|client| client.ask("echo between", "between"));
    }
    held.iter_mut().for_each(|client| client.expect("held"));
    for client in idle.iter_mut().chain(&mut held) {
        client.ask("echo after", "after");
        client.ask("sleep 1", "slept 1");
    }
}

/// Connections that are on their way to new threads when the server stops finish their requests.
pub fn shutdown_while_growing(runtime: Subject) {
    let server = Running::start(runtime);
    let mut clients = clients(&server, IDLE);
    let few = alive(&server);
    clients.iter_mut().for_each(|client| client.send("sleep 100\n"));
    let taken = 2 * IDLE as u64;
    assert!(eventually(|| server.toy.lines.load(SeqCst) == taken), "requests that were not taken");
    // Where threads cannot be added, this is a shutdown like any other.
    let _ = server.runtime.resize(few + 3);
    server.shutdown.request();
    for client in &mut clients {
        client.expect("slept 100");
        client.expect_clean_end();
    }
}
