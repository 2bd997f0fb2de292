//! Tests of guarantees specific to this runtime: what happens to input for which there is no buffer, or which nobody wants
//! yet, and how connections are spread.

mod kernel;

use runtime::Runtime;
use runtime::testing::{Client, Running};
use runtime_uring::{BUFFER_SIZE, BUFFERS, Config};
use std::sync::Arc;
use std::time::Duration;

fn serving(threads: usize, pin: bool) -> Option<Running> {
    kernel::with(Config { threads, pin }).map(|runtime| Running::start(Arc::new(runtime)))
}

#[test]
fn connections_spread_evenly_over_reactors() {
    let Some(server) = serving(4, true) else { return };
    let mut clients: Vec<Client> = (0..40).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo x", "x"));
    let per_thread = server.toy.threads.lock().unwrap().clone();
    assert_eq!(per_thread.len(), 4, "{per_thread:?}");
    assert!(per_thread.values().all(|&n| n == 10), "{per_thread:?}");
}

#[test]
fn input_beyond_the_buffers_waits_in_the_sockets_and_is_not_lost() {
    const CLIENTS: usize = 64;
    let Some(server) = serving(1, false) else { return };
    // Together they send four times what fits into the buffers, while the thread does not look.
    let text = "0123456789abcdef".repeat(4 * usize::from(BUFFERS) * BUFFER_SIZE / CLIENTS / 16);
    let mut blocking = server.client();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.ask("echo here", "here"));
    blocking.send("block 300\n");
    let sending: Vec<_> =
        clients.iter().map(|client| client.send_aside(format!("echo {text}\n"))).collect();
    clients.iter_mut().for_each(|client| client.expect(&text));
    blocking.expect("blocked");
    sending.into_iter().for_each(|sent| sent.join().expect("no panic").expect("taken"));
}

#[test]
fn a_peer_of_whom_nothing_is_wanted_has_to_wait() {
    let Some(runtime) = kernel::uring(1) else { return };
    let server = Running::start_draining(Arc::new(runtime), Duration::from_millis(100));
    let (mut held, mut other) = (server.narrow_client(), server.client());
    held.ask("echo here", "here");
    held.send("sleep 600000\n");
    let much = "echo behind\n".repeat(2_000_000);
    let sending = held.send_aside(much);
    // Time enough to take all of it.
    (0..20).for_each(|_| other.ask("sleep 20", "slept 20"));
    assert!(!sending.is_finished(), "24 MB were taken for a connection that wants none");
    drop(server);
    assert!(sending.join().expect("no panic").is_err());
}

#[test]
fn a_reply_of_many_chunks_arrives_in_order() {
    let Some(server) = serving(1, false) else { return };
    for mut client in [server.client(), server.narrow_client(), server.unix_client()] {
        // Each of these is queued at once, and more of them than one send takes.
        let requests = "more 100000\necho between\n".repeat(90);
        let sending = client.send_aside(requests);
        for _ in 0..90 {
            assert!(client.bytes(100_000).iter().all(|&byte| byte == b'x'));
            client.expect("");
            client.expect("between");
        }
        sending.join().expect("no panic").expect("taken");
    }
}

#[test]
fn a_server_that_stops_leaves_nothing_under_way() {
    let Some(mut server) = serving(3, false) else { return };
    let mut clients: Vec<Client> = (0..200).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| client.send("more 3000000\nsleep 60000\n"));
    clients.truncate(100);
    clients.iter_mut().for_each(|client| assert_eq!(client.bytes(10), b"xxxxxxxxxx"));
    server.shutdown.request();
    clients.into_iter().for_each(Client::reset);
    assert!(server.returned_within(Duration::from_secs(10)));
}

#[test]
fn nonsense_is_refused() {
    let Some(idle) = kernel::uring(1) else { return };
    assert!(idle.resize(2).is_err(), "not serving");
    assert!(idle.resize(0).is_err(), "no threads");
}
