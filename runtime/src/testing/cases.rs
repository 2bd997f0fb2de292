//! The cases, one function each; [`crate::suite!`] makes a test of every one.

use super::harness::{Client, Running, Subject, eventually};
use super::toy::OUTPUT_MAX;
use std::io::ErrorKind;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// How much later than asked a deadline may fire on a busy machine.
const LATE_MAX: Duration = Duration::from_millis(400);

/// Requests that arrive in single bytes are answered like any other.
pub fn one_byte_at_a_time(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    for byte in "echo one\necho two\nbytes 3\n".chars() {
        client.send(&byte.to_string());
        std::thread::sleep(Duration::from_micros(300));
    }
    client.expect("one");
    client.expect("two");
    client.expect("xxx");
}

/// A large reply to a client that reads slowly arrives whole, while the server queues little.
pub fn slow_reader_is_held_back(runtime: Subject) {
    const SIZE: usize = 32 << 20;
    let server = Running::start(runtime);
    let mut client = server.client();
    client.send(&format!("bytes {SIZE}\necho after\n"));
    std::thread::sleep(Duration::from_millis(100));
    assert!(server.toy.output_max.load(SeqCst) < 2 * OUTPUT_MAX);
    let mut got = 0;
    while got < SIZE {
        let piece = client.bytes((1 << 20).min(SIZE - got));
        assert!(piece.iter().all(|&b| b == b'x'));
        got += piece.len();
        if got.is_multiple_of(8 << 20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    client.expect("");
    client.expect("after");
    assert!(server.toy.output_max.load(SeqCst) < 2 * OUTPUT_MAX);
}

/// Many large replies to a client that first sends everything and then reads.
pub fn slow_reader_of_a_pipeline(runtime: Subject) {
    const REQUESTS: usize = 400;
    let server = Running::start(runtime);
    let mut client = server.client();
    client.send(&"bytes 50000\n".repeat(REQUESTS));
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..REQUESTS {
        assert!(client.bytes(50001).starts_with(b"xxx"));
    }
    client.ask("echo done", "done");
    assert!(server.toy.output_max.load(SeqCst) < 3 * OUTPUT_MAX);
}

/// A client that writes all of a long pipeline before it reads anything, with socket buffers that
/// take next to nothing of it, gets all answers: reading never waits for the peer to read. Another
/// client of the same thread is served meanwhile.
pub fn peer_that_writes_before_it_reads(runtime: Subject) {
    const REQUESTS: usize = 4000;
    let server = Running::start(runtime);
    let (mut client, mut other) = (server.narrow_client(), server.client());
    let text = "0123456789".repeat(20);
    let sending = client.send_aside(format!("echo {text}\n").repeat(REQUESTS));
    let mut rounds = 0;
    while !sending.is_finished() {
        other.ask("echo between", "between");
        rounds += 1;
    }
    sending.join().expect("no panic").expect("everything is taken");
    assert!(rounds > 0);
    assert!(server.toy.output_max.load(SeqCst) < 3 * OUTPUT_MAX);
    (0..REQUESTS).for_each(|_| client.expect(&text));
    client.ask("echo done", "done");
}

/// Thousands of requests written at once are answered in order, on several connections at a time.
pub fn thousands_pipelined(runtime: Subject) {
    const REQUESTS: usize = 20_000;
    let server = Running::start(runtime);
    let text: String = (0..REQUESTS).map(|i| format!("echo {i}\n")).collect();
    std::thread::scope(|scope| {
        for mut client in [server.client(), server.other_client(), server.unix_client()] {
            let text = &text;
            scope.spawn(move || {
                client.send(text);
                (0..REQUESTS).for_each(|i| client.expect(&i.to_string()));
            });
        }
    });
}

/// Clients that go away in the middle of a request, or before reading a long reply.
pub fn client_vanishes_mid_request(runtime: Subject) {
    let server = Running::start(runtime);
    for i in 0..50 {
        let mut client = if i % 2 == 0 { server.client() } else { server.unix_client() };
        client.ask("echo here", "here");
        client.send(if i % 3 == 0 { "bytes 30000000\n" } else { "echo half a requ" });
    }
    assert!(eventually(|| server.toy.closed.load(SeqCst) == 50));
    server.client().ask("echo alive", "alive");
}

/// A client that goes away while a blocking request waits is noticed at once.
pub fn client_vanishes_while_parked(runtime: Subject) {
    let server = Running::start(runtime);
    for mut client in [server.client(), server.unix_client()] {
        client.ask("name parked", "named");
        client.send("park 0\n");
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(server.toy.closed.load(SeqCst), 0);
        drop(client);
        assert!(eventually(|| server.toy.closed.load(SeqCst) == 1));
        server.toy.closed.store(0, SeqCst);
        server.toy.opened.fetch_sub(1, SeqCst);
    }
}

/// A client that leaves while it waits is noticed, however much it has sent before and however it
/// leaves.
pub fn client_vanishes_behind_unread_bytes(runtime: Subject) {
    const LEAVE: [fn(Client); 3] = [drop, Client::reset, |mut client| {
        client.end_sending();
        client.expect("drained");
        client.expect_clean_end();
    }];
    let server = Running::start(runtime);
    let mut gone = 0;
    for behind in ["echo behind\n".to_owned(), "echo behind\n".repeat(200_000)] {
        for leave in LEAVE {
            for mut client in [server.client(), server.narrow_client(), server.unix_client()] {
                client.ask("echo here", "here");
                client.send("park 0\n");
                client.send(&behind);
                assert_eq!(server.toy.closed.load(SeqCst), gone);
                leave(client);
                gone += 1;
                assert!(eventually(|| server.toy.closed.load(SeqCst) == gone));
            }
        }
    }
}

/// Connections that wait, with input before them that they do not take, with output that their peer
/// does not take, and with a peer that has ended its side, cost no time.
pub fn waiting_costs_nothing(runtime: Subject) {
    let server = Running::start(runtime);
    let mut clients = Vec::new();
    for make in [Running::client, Running::unix_client] {
        for line in ["park 0", "sleep 60000", "bytes 100000000"] {
            let mut client = make(&server);
            client.ask("echo here", "here");
            client.send(&format!("{line}\n"));
            std::thread::sleep(Duration::from_millis(10));
            client.send("echo behind\n");
            if line != "park 0" {
                client.end_sending();
            }
            clients.push(client);
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    let loops = || server.runtime.stats().loops.load(SeqCst);
    let before = loops();
    std::thread::sleep(Duration::from_millis(200));
    let turns = loops() - before;
    assert!(turns < 20, "{turns} turns in a fifth of a second");
    assert_eq!(server.toy.closed.load(SeqCst), 0);
    // The server need not drain these connections.
    clients.into_iter().for_each(Client::reset);
    server.client().ask("echo alive", "alive");
}

/// Two thousand connections come and go, four hundred of them open at a time.
pub fn two_thousand_connections(runtime: Subject) {
    let server = Running::start(runtime);
    for wave in 0..5 {
        let mut clients: Vec<Client> = (0..400).map(|_| server.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(&format!("echo {wave}-{i}\n"));
        }
        for (i, client) in clients.iter_mut().enumerate() {
            client.expect(&format!("{wave}-{i}"));
        }
        assert_eq!(server.runtime.stats().connections.load(SeqCst), 400);
        drop(clients);
        assert!(eventually(|| server.runtime.stats().connections.load(SeqCst) == 0));
    }
    assert_eq!(server.toy.closed.load(SeqCst), 2000);
}

/// Requests parsed before the stop was asked for are answered and then the connection ends; no new
/// connection is accepted meanwhile.
pub fn shutdown_with_requests_in_flight(runtime: Subject) {
    let mut server = Running::start(runtime);
    let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
    for client in &mut clients {
        client.ask("echo in", "in");
        client.send("sleep 300\necho after\nbytes 100000\n");
    }
    std::thread::sleep(Duration::from_millis(60));
    // The server does not read this any more, and it must not turn the close into a reset.
    clients.iter_mut().for_each(|client| client.send("echo too late\n"));
    server.shutdown.request();
    assert!(eventually(|| !server.accepts()), "still accepting");
    for client in &mut clients {
        client.expect("slept 300");
        client.expect("after");
        assert_eq!(client.bytes(100_001).len(), 100_001);
        client.expect_clean_end();
    }
    assert!(server.returned_within(Duration::from_secs(5)));
}

/// Idle connections and blocking waits do not delay a stop.
pub fn shutdown_ends_parked_and_idle(runtime: Subject) {
    let mut server = Running::start(runtime);
    let (mut idle, mut parked) = (server.client(), server.client());
    idle.ask("echo idle", "idle");
    parked.ask("echo parked", "parked");
    parked.send("park 0\n");
    std::thread::sleep(Duration::from_millis(50));
    server.shutdown.request();
    idle.expect_clean_end();
    parked.expect("drained");
    parked.expect_clean_end();
    assert!(server.returned_within(Duration::from_secs(5)));
}

/// A client that never reads delays a stop by the drain timeout and no more.
pub fn shutdown_gives_up_on_the_stuck(runtime: Subject) {
    let mut server = Running::start_draining(runtime, Duration::from_millis(200));
    let (mut stuck, mut sleeping) = (server.client(), server.client());
    stuck.send("bytes 50000000\n");
    sleeping.ask("echo in", "in");
    sleeping.send("sleep 60000\n");
    std::thread::sleep(Duration::from_millis(50));
    server.shutdown.request();
    assert!(server.returned_within(Duration::from_secs(3)));
    sleeping.expect_end();
}

/// Other threads wake parked connections, over and over, and each wait gets its own message.
pub fn wakes_from_other_threads(runtime: Subject) {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 200;
    let server = &Running::start(runtime);
    std::thread::scope(|scope| {
        for c in 0..CLIENTS {
            let name = format!("waiter{c}");
            let mut client = server.client();
            client.ask(&format!("name {name}"), "named");
            let (asked, next) = std::sync::mpsc::channel();
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    client.send("park 0\n");
                    asked.send(round).expect("the poster listens");
                    client.expect(&format!("message {round}"));
                }
            });
            scope.spawn(move || {
                for round in next {
                    // Sometimes before the request is parked, sometimes after.
                    std::thread::sleep(Duration::from_micros(20 * (round as u64 % 8)));
                    server.post(&name, &format!("message {round}"));
                }
            });
        }
    });
    assert!(server.runtime.stats().wakes.load(SeqCst) > 0);
}

/// Wakes that come while the connection is busy with requests are never lost.
pub fn wakes_race_with_requests(runtime: Subject) {
    const MESSAGES: u64 = 5000;
    let server = &Running::start(runtime);
    let mut client = server.client();
    client.ask("name counting", "named");
    std::thread::scope(|scope| {
        let poster = scope.spawn(move || (0..MESSAGES).for_each(|_| server.post("counting", "m")));
        while !poster.is_finished() {
            client.ask("echo between", "between");
        }
    });
    // The last wake may still be on its way to the connection, but not for long.
    assert!(eventually(|| {
        client.send("count\n");
        client.line() == MESSAGES.to_string()
    }));
}

/// Wakers outlive their connections, and firing them then does nothing.
pub fn wake_after_close_is_harmless(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    client.ask("name gone", "named");
    let waker = server.toy.waker("gone");
    drop(client);
    assert!(eventually(|| server.toy.closed.load(SeqCst) == 1));
    let mut successor = server.client();
    successor.ask("echo x", "x");
    for _ in 0..1000 {
        waker.wake_by_ref();
    }
    successor.ask("echo y", "y");
    drop(server);
    waker.wake();
}

/// A deadline fires when due: not before, not much after.
pub fn deadline_fires(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    client.ask("echo x", "x");
    for ms in [1, 20, 150] {
        let start = Instant::now();
        client.ask(&format!("sleep {ms}"), &format!("slept {ms}"));
        let took = start.elapsed();
        // The clock a connection is told may have been read a moment before the request came.
        assert!(took + Duration::from_millis(2) >= Duration::from_millis(ms), "{took:?} for {ms}");
        assert!(took < Duration::from_millis(ms) + LATE_MAX, "{took:?} for {ms}");
    }
}

/// Deadlines that move nearer, farther or away.
pub fn deadline_moves_and_is_cancelled(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    client.ask("name mover", "named");
    client.send("park 10000\n");
    std::thread::sleep(Duration::from_millis(30));
    server.post("mover", "cancelled");
    client.expect("cancelled");
    let start = Instant::now();
    client.ask("park 50", "timeout");
    assert!(start.elapsed() < Duration::from_millis(50) + LATE_MAX);
    for round in 0..300 {
        client.send("park 200\n");
        server.post("mover", &round.to_string());
        client.expect(&round.to_string());
    }
    let start = Instant::now();
    client.ask("park 400", "timeout");
    let took = start.elapsed();
    assert!(took > Duration::from_millis(390), "an old deadline fired: {took:?}");
    client.ask("count", "0");
}

/// Hundreds of deadlines at once, in no order.
pub fn many_deadlines(runtime: Subject) {
    let server = Running::start(runtime);
    let mut clients: Vec<(u64, Client)> =
        (0..200).map(|i| (1 + i * 37 % 200, server.client())).collect();
    let start = Instant::now();
    for (ms, client) in &mut clients {
        client.send(&format!("sleep {ms}\n"));
    }
    for (ms, client) in &mut clients {
        client.expect(&format!("slept {ms}"));
    }
    assert!(start.elapsed() < Duration::from_millis(200) + 3 * LATE_MAX);
}

/// A panic closes the connection it happened in, is counted, and nothing else.
pub fn panic_takes_one_connection(runtime: Subject) {
    let server = Running::start(runtime);
    let mut bystanders: Vec<Client> = (0..10).map(|_| server.client()).collect();
    bystanders.iter_mut().for_each(|client| client.ask("echo x", "x"));
    for panics in 1..=5 {
        let mut client = server.client();
        client.send("panic\n");
        client.expect_end();
        assert_eq!(server.runtime.stats().panics.load(SeqCst), panics);
    }
    assert_eq!(server.toy.closed.load(SeqCst), 5);
    bystanders.iter_mut().for_each(|client| client.ask("echo y", "y"));
}

/// A service that panics on a new connection loses that connection only.
pub fn panic_in_connect(runtime: Subject) {
    let server = Running::start(runtime);
    server.toy.panic_on_connect.store(true, SeqCst);
    server.client().expect_end();
    server.toy.panic_on_connect.store(false, SeqCst);
    server.client().ask("echo x", "x");
    assert_eq!(server.runtime.stats().panics.load(SeqCst), 1);
}

/// A refused connection is told why, then closed.
pub fn refusal_is_delivered(runtime: Subject) {
    let server = Running::start(runtime);
    server.toy.refuse.store(true, SeqCst);
    for _ in 0..20 {
        let mut client = server.client();
        client.expect("no room");
        client.expect_end();
    }
    server.toy.refuse.store(false, SeqCst);
    server.client().ask("echo x", "x");
    assert_eq!(server.toy.opened.load(SeqCst), 1);
}

/// A client that shuts its sending side after its requests still gets all answers.
pub fn half_close_gets_answers(runtime: Subject) {
    let server = Running::start(runtime);
    for mut client in [server.client(), server.unix_client()] {
        client.send("echo x\nbytes 3000000\nsleep 30\necho y\n");
        client.end_sending();
        client.expect("x");
        assert_eq!(client.bytes(3_000_001).len(), 3_000_001);
        client.expect("slept 30");
        client.expect("y");
        client.expect_clean_end();
    }
}

/// The end of input is noticed also when it comes while a request holds the connection back.
pub fn half_close_behind_a_parked_request(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    client.ask("echo x", "x");
    client.send("sleep 100\necho z\n");
    std::thread::sleep(Duration::from_millis(30));
    client.send("echo unread\n");
    client.end_sending();
    client.expect("slept 100");
    client.expect("z");
    client.expect("unread");
    client.expect_clean_end();
}

/// An aborted connection is closed without what was queued.
pub fn abort_drops_output(runtime: Subject) {
    let server = Running::start(runtime);
    let mut client = server.client();
    client.ask("echo x", "x");
    client.send("abort\n");
    client.expect_end();
    let mut client = server.client();
    client.send("echo x\nquit\necho not this\n");
    client.expect("x");
    client.expect("bye");
    client.expect_clean_end();
}

/// While some clients send without pause, others are served in between.
pub fn large_input_does_not_starve_others(runtime: Subject) {
    let server = &Running::start(runtime);
    let stop = &std::sync::atomic::AtomicBool::new(false);
    let mut polite = server.client();
    polite.ask("echo x", "x");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut greedy = server.client();
            scope.spawn(move || {
                let flood = "nothing".repeat(16 * 1024);
                while !stop.load(SeqCst) {
                    let sent = greedy.try_send(&format!("echo {flood}\n"));
                    let fine = sent.is_ok_and(|()| greedy.line().len() == flood.len());
                    assert!(fine, "flood was cut off");
                }
            });
        }
        let start = Instant::now();
        for i in 0..100 {
            polite.ask(&format!("echo {i}"), &i.to_string());
        }
        stop.store(true, SeqCst);
        assert!(start.elapsed() < Duration::from_secs(10));
    });
}

/// Calls that say that they take long hold up their own connection only, however many there are:
/// clients that are there, whose requests may have come in the same moment, and new ones are served.
pub fn long_calls_hold_nobody_else(runtime: Subject) {
    const HELD: Duration = Duration::from_millis(1500);
    let server = Running::start(runtime);
    let mut others: Vec<Client> = (0..8).map(|_| server.client()).collect();
    let mut parked = server.unix_client();
    parked.ask("name parked", "named");
    parked.send("park 0\n");
    let mut holders: Vec<Client> = (0..4).map(|_| server.client()).collect();
    holders.iter_mut().for_each(|client| client.ask("echo here", "here"));
    let start = Instant::now();
    for (round, holder) in holders.iter_mut().enumerate() {
        others[0].send("echo before\n");
        holder.send(&format!("hold {}\necho after\n", HELD.as_millis()));
        others.iter_mut().for_each(|client| client.send(&format!("echo {round}\n")));
        others[0].expect("before");
        others.iter_mut().for_each(|client| client.expect(&round.to_string()));
        others[1].ask("sleep 5", "slept 5");
        server.client().ask("bytes 3", "xxx");
    }
    server.post("parked", "found");
    parked.expect("found");
    assert!(start.elapsed() < HELD, "{:?}", start.elapsed());
    for client in &mut holders {
        client.expect("held");
        client.expect("after");
        client.ask("name held", "named");
        client.send("park 0\n");
        server.post("held", "found");
        client.expect("found");
    }
}

/// A server that stops waits for a long call as for any other.
pub fn shutdown_during_a_long_call(runtime: Subject) {
    let mut server = Running::start(runtime);
    let (mut holder, mut other) = (server.client(), server.client());
    holder.ask("echo here", "here");
    holder.send("hold 300\n");
    // Nobody tells when it is held.
    std::thread::sleep(Duration::from_millis(50));
    other.ask("echo here", "here");
    server.shutdown.request();
    other.expect_clean_end();
    holder.expect("held");
    holder.expect_clean_end();
    assert!(server.returned_within(Duration::from_secs(2)), "still serving");
}

/// Unix-domain sockets are served like TCP.
pub fn unix_socket(runtime: Subject) {
    let server = Running::start(runtime);
    let mut clients: Vec<Client> = (0..20).map(|_| server.unix_client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.ask(&format!("echo {i}"), &i.to_string());
    }
    let mut large = server.unix_client();
    large.send("bytes 5000000\nquit\n");
    assert_eq!(large.bytes(5_000_001).len(), 5_000_001);
    large.expect("bye");
    large.expect_clean_end();
}

/// Where threads can be resized, connections survive it: those being served, parked or asleep.
pub fn resize_while_serving(runtime: Subject) {
    let server = &Running::start(runtime);
    let mut first = server.client();
    first.ask("echo x", "x");
    let alive = || server.runtime.stats().threads.load(SeqCst) as usize;
    let few = alive().max(2);
    if let Err(error) = server.runtime.resize(few) {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        return;
    }
    assert!(server.runtime.resize(0).is_err(), "no threads at all");
    let mut parked = server.client();
    parked.ask("name parked", "named");
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            for i in 0..3000 {
                first.ask(&format!("echo {i}"), &i.to_string());
            }
        });
        for more in [2, 1, 3, 0, 1] {
            server.runtime.resize(few + more).expect("grow");
            assert!(eventually(|| alive() == few + more), "{} threads", few + more);
            parked.send("park 0\n");
            std::thread::sleep(Duration::from_millis(10));
            server.runtime.resize(few).expect("shrink");
            assert!(eventually(|| alive() == few));
            server.post("parked", "still there");
            parked.expect("still there");
            server.client().ask("echo new", "new");
        }
        worker.join().expect("served throughout");
    });
    parked.ask("sleep 20", "slept 20");
}
