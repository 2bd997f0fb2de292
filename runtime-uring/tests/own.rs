//! Tests of guarantees specific to this runtime: what happens to input for which there is no buffer, which nobody wants
//! yet, or which an end overtakes, that no report of room is lost, and how connections are spread.

mod kernel;

use runtime::Runtime;
use runtime::testing::{Client, Running, eventually};
use runtime_uring::{BUFFER_SIZE, BUFFERS, Config};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

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

/// A socket says only once that it takes output again, perhaps before the thread knows that its last send was cut short.
#[test]
fn peers_that_read_all_the_time_get_everything() {
    const PIECES: usize = 400;
    const PIECE: usize = 100_000;
    let Some(server) = serving(1, false) else { return };
    let mut readers = [server.narrow_client(), server.client(), server.unix_client()];
    let mut others: Vec<Client> = (0..40).map(|_| server.client()).collect();
    let reading = AtomicUsize::new(readers.len());
    std::thread::scope(|scope| {
        for client in &mut readers {
            let reading = &reading;
            scope.spawn(move || {
                let _done = Done(reading);
                client.send(&format!("more {}\necho behind\n", PIECES * PIECE));
                (0..PIECES).for_each(|_| assert_eq!(client.bytes(PIECE), [b'x'; PIECE]));
                client.expect("");
                client.expect("behind");
            });
        }
        while reading.load(Relaxed) > 0 {
            others.iter_mut().for_each(|client| client.send("echo here\n"));
            others.iter_mut().for_each(|client| client.expect("here"));
        }
    });
}

/// Counts down when it is dropped, also by a panic.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A client whose input was held back once, so that the kernel reports its end in two ways. Its last requests, and what
/// `leave` does to it, come in one batch.
fn leaves_behind_requests(leave: impl FnOnce(Client)) {
    let Some(server) = serving(1, false) else { return };
    let (mut client, mut other) = (server.client(), server.client());
    client.send("sleep 100\n");
    other.ask("sleep 20", "slept 20");
    client.send("echo kept\n");
    client.expect("slept 100");
    client.expect("kept");
    other.send("name busy\nblock 300\n");
    assert!(eventually(|| server.toy.post("busy", "unread")));
    client.send("name last\necho last\n");
    leave(client);
    other.expect("named");
    other.expect("blocked");
    assert!(eventually(|| server.toy.post("last", "unread")), "input was dropped");
    assert!(eventually(|| server.toy.closed.load(SeqCst) == 1), "the end was not noticed");
}

#[test]
fn requests_before_an_end_are_answered() {
    leaves_behind_requests(|mut client| {
        client.end_sending();
        client.expect("named");
        client.expect("last");
        client.expect_clean_end();
    });
}

#[test]
fn requests_before_a_reset_are_executed() {
    leaves_behind_requests(Client::reset);
}

#[test]
fn a_long_call_beside_many_connections_holds_nobody() {
    const HELD: Duration = Duration::from_millis(1000);
    let Some(server) = serving(1, false) else { return };
    let served = |_| {
        let mut client = server.client();
        client.ask("echo here", "here");
        client
    };
    let mut clients: Vec<Client> = (0..1000).map(served).collect();
    let mut holder = server.client();
    for _ in 0..2 {
        let begun = Instant::now();
        holder.send(&format!("hold {}\n", HELD.as_millis()));
        clients.iter_mut().for_each(|client| client.ask("echo here", "here"));
        assert!(begun.elapsed() < HELD, "{:?}", begun.elapsed());
        holder.expect("held");
    }
}

#[test]
fn nonsense_is_refused() {
    let Some(idle) = kernel::uring(1) else { return };
    assert!(idle.resize(2).is_err(), "not serving");
    assert!(idle.resize(0).is_err(), "no threads");
}
