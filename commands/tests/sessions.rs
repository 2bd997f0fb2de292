//! Tests of the limits on the memory a peer can make a session hold, and of the session's work for
//! a peer that disconnects.

use engine::Session;
use engine::testing::{Harness, text};
use runtime::{Connection, Flow, Input, Next, Now, Peer, Status};
use std::sync::Arc;
use std::task::Waker;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

#[test]
fn a_session_fits_the_allocators_320_bytes() {
    assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
}

const MB: usize = 1 << 20;

/// A server with a value of 10,000 bytes in `key`.
fn server() -> Harness {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    let mut server = Harness::new(commands::all(), Arc::new(MemoryBackend::new(config)));
    server.run_args(&["SET", "key", &"x".repeat(10_000)]);
    server
}

fn set(server: &mut Harness, directive: &str, value: &str) {
    let reply = server.run_args(&["CONFIG", "SET", directive, value]);
    assert_eq!(text(&reply), "OK");
}

/// An answer that is a number, or a string that is one.
fn number(server: &mut Harness, line: &str) -> u64 {
    let text = server.text(line);
    let digits = text.trim_start_matches("(integer) ").trim_matches('"');
    digits.parse().unwrap_or_else(|_| panic!("{line}: {text}"))
}

/// A session whose peer reads only when told to.
struct Deaf {
    session: Session,
    status: Status,
    now: Now,
}

impl Deaf {
    fn new(server: &Harness) -> Deaf {
        let (engine, now) = (server.engine().clone(), server.now());
        let session = Session::new(engine, Peer::Unix("deaf".into()), Waker::noop().clone(), now);
        Deaf { session, status: Status::READING, now }
    }

    fn send(&mut self, text: &str) {
        self.status = self.session.receive(text.as_bytes(), self.now);
    }

    /// All turns it wants, with nothing read.
    fn take_turns(&mut self) {
        while self.status.flow == Flow::Open && self.status.next == Next::AnotherTurn {
            self.status = self.session.resume(self.now);
        }
    }

    fn unread(&mut self) -> usize {
        self.session.output().len()
    }

    /// Reads all that is there, and has it go on with what waited for that.
    fn read(&mut self) -> usize {
        let unread = self.unread();
        self.session.output().consume(unread);
        self.session.written();
        if self.status.next == Next::OnceWritten {
            self.status = self.session.resume(self.now);
        }
        unread
    }
}

#[test]
fn a_long_pipeline_is_executed_in_turns_whether_or_not_it_is_read() {
    let mut server = server();
    let mut deaf = Deaf::new(&server);
    deaf.send(&("GET key\r\n".repeat(1000) + "INCR done\r\n"));
    assert_eq!((deaf.status.input, deaf.status.next), (Input::Held, Next::AnotherTurn));
    let turn = deaf.unread();
    assert!((MB..2 * MB).contains(&turn), "{turn} bytes in a turn");
    deaf.take_turns();
    assert_eq!((deaf.status.input, deaf.status.next), (Input::Wanted, Next::Nothing));
    assert_eq!(number(&mut server, "GET done"), 1);
    assert_eq!(deaf.read(), 1000 * 10_010 + 4);
}

#[test]
fn requests_wait_at_the_ceiling_and_go_on_being_taken() {
    let mut server = server();
    set(&mut server, "client-output-ceiling", "2mb");
    let mut deaf = Deaf::new(&server);
    let request = "GET key\r\n".repeat(1000);
    for _ in 0..10 {
        deaf.send(&request);
        deaf.take_turns();
        assert_eq!((deaf.status.input, deaf.status.next), (Input::Wanted, Next::OnceWritten));
    }
    deaf.send("INCR done\r\n");
    assert!((2 * MB..4 * MB).contains(&deaf.unread()), "{}", deaf.unread());
    assert_eq!(number(&mut server, "EXISTS done"), 0);
    let mut read = 0;
    while deaf.unread() > 0 {
        read += deaf.read();
        deaf.take_turns();
        assert!(deaf.unread() < 4 * MB);
    }
    assert_eq!(read, 10_000 * 10_010 + 4);
    assert_eq!(number(&mut server, "GET done"), 1);
}

#[test]
fn a_hard_limit_ends_a_pipeline_in_the_middle() {
    let mut server = server();
    set(&mut server, "client-output-buffer-limit", "normal 4mb 0 0");
    let mut deaf = Deaf::new(&server);
    deaf.send(&("GET key\r\n".repeat(10_000) + "INCR done\r\n"));
    deaf.take_turns();
    assert_eq!(deaf.status.flow, Flow::Abort);
    assert!((4 * MB..6 * MB).contains(&deaf.unread()), "{}", deaf.unread());
    assert_eq!(number(&mut server, "EXISTS done"), 0);
    let stats = server.text("INFO stats");
    assert!(stats.contains("client_output_buffer_limit_disconnections:1"), "{stats}");
}

#[test]
fn the_soft_limit_is_timed_without_an_event_and_forgotten_when_read() {
    let mut server = server();
    set(&mut server, "client-output-buffer-limit", "normal 0 50000 10");
    let mut deaf = Deaf::new(&server);
    deaf.send(&"GET key\r\n".repeat(6));
    let since_s = deaf.now.mono_us / 1_000_000;
    assert_eq!(deaf.session.deadline_us(), Some((since_s + 11) * 1_000_000));
    deaf.now.mono_us += 9_000_000;
    deaf.read();
    assert_eq!(deaf.session.deadline_us(), None);
    deaf.send(&"GET key\r\n".repeat(6));
    deaf.now.mono_us += 9_000_000;
    deaf.status = deaf.session.resume(deaf.now);
    assert_eq!(deaf.status.flow, Flow::Open);
    deaf.now.mono_us = deaf.session.deadline_us().expect("it is over its limit");
    deaf.status = deaf.session.resume(deaf.now);
    assert_eq!(deaf.status.flow, Flow::Abort);
}

#[test]
fn what_came_while_it_waited_is_executed_in_turns() {
    let mut server = server();
    let mut deaf = Deaf::new(&server);
    deaf.send("BLPOP list 0\r\n");
    for _ in 0..100 {
        deaf.send(&"INCR done\r\n".repeat(1000));
        assert_eq!((deaf.status.input, deaf.status.next), (Input::Kept, Next::Nothing));
    }
    server.run("RPUSH list x");
    deaf.status = deaf.session.resume(deaf.now);
    assert_eq!(deaf.status.next, Next::AnotherTurn);
    let first = number(&mut server, "GET done");
    assert!((10_000..20_000).contains(&first), "{first} in a turn");
    deaf.take_turns();
    assert_eq!(number(&mut server, "GET done"), 100_000);
}

#[test]
fn too_much_input_ends_a_client_that_waits() {
    let mut server = server();
    set(&mut server, "client-query-buffer-limit", "1mb");
    let mut deaf = Deaf::new(&server);
    deaf.send("BLPOP list 0\r\n");
    for _ in 0..20 {
        deaf.send(&"x".repeat(MB / 16));
    }
    assert_eq!(deaf.status.flow, Flow::Abort);
    deaf.session.closed(deaf.now);
    server.run("RPUSH list x");
    assert_eq!(number(&mut server, "LLEN list"), 1);
    let stats = server.text("INFO stats");
    assert!(stats.contains("client_query_buffer_limit_disconnections:1"), "{stats}");
}

#[test]
fn who_has_left_waits_for_nothing() {
    let mut server = server();
    // It leaves while it waits.
    let mut deaf = Deaf::new(&server);
    deaf.send("INCR done\r\nBLPOP list 0\r\nINCR never\r\n");
    deaf.status = deaf.session.drain(deaf.now);
    assert_eq!(deaf.status.flow, Flow::CloseAfterFlush);
    // It has left before it comes to wait, behind more than a turn.
    let mut deaf = Deaf::new(&server);
    deaf.send(&("GET key\r\n".repeat(1000) + "INCR done\r\nBLPOP list 0\r\nINCR never\r\n"));
    deaf.status = deaf.session.drain(deaf.now);
    assert_eq!((deaf.status.flow, deaf.status.next), (Flow::Open, Next::AnotherTurn));
    deaf.take_turns();
    assert_eq!(deaf.status.flow, Flow::CloseAfterFlush);
    assert_eq!(deaf.unread(), 1000 * 10_010 + 4);
    server.run("RPUSH list x");
    assert_eq!(number(&mut server, "LLEN list"), 1);
    assert_eq!(server.text("MGET done never"), "1) \"2\"\n2) (nil)");
}

#[test]
fn who_is_served_when_it_has_to_leave_is_answered() {
    let mut server = server();
    let mut deaf = Deaf::new(&server);
    deaf.send("BLPOP list 0\r\nINCR never\r\n");
    server.run("RPUSH list x");
    deaf.status = deaf.session.drain(deaf.now);
    assert_eq!(deaf.status.flow, Flow::Open);
    deaf.status = deaf.session.resume(deaf.now);
    assert_eq!(deaf.status.flow, Flow::CloseAfterFlush);
    assert_eq!(deaf.unread(), "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n".len());
    assert_eq!(server.text("EXISTS list never"), "(integer) 0");
}

#[test]
fn who_was_killed_or_unblocked_is_served_no_more() {
    for end in ["CLIENT KILL ID", "CLIENT UNBLOCK"] {
        let mut server = server();
        let id = text(&server.run_as("waiter", "CLIENT ID")).replace("(integer) ", "");
        server.send("waiter", "BLPOP list 0");
        // Before the waiter's runtime has come to tell it.
        server.send_bytes("other", format!("{end} {id}\r\nRPUSH list job\r\n").as_bytes());
        let replies: Vec<String> = server.replies("other").iter().map(text).collect();
        assert_eq!(replies, ["(integer) 1", "(integer) 1"], "{end}");
        assert_eq!(number(&mut server, "LLEN list"), 1, "{end}");
    }
}

#[test]
fn the_hungriest_clients_are_closed_for_all() {
    let mut server = server();
    set(&mut server, "maxmemory-clients", "1mb");
    let mut clients: Vec<Deaf> = (0..4).map(|_| Deaf::new(&server)).collect();
    clients[0].send("CLIENT NO-EVICT on\r\n");
    for (client, requests) in clients.iter_mut().zip([60, 10, 30, 20]) {
        client.send(&"GET key\r\n".repeat(requests));
        assert_eq!(client.status.flow, Flow::Open);
    }
    // Over the limit now: the one with 30 goes, and that is enough.
    let mut more = Deaf::new(&server);
    more.send("SUBSCRIBE channel\r\n");
    clients[1].send("MULTI\r\n");
    clients[1].send(&format!("SET key {}\r\n", "x".repeat(20_000)));
    let flows = |clients: &mut [Deaf]| -> Vec<Flow> {
        clients.iter_mut().map(|client| client.session.resume(client.now).flow).collect()
    };
    let (open, gone) = (Flow::Open, Flow::Abort);
    assert_eq!(flows(&mut clients), [open, open, gone, open]);
    assert!(server.text("INFO stats").contains("evicted_clients:1"));
    // A part of `maxmemory`, which is then all that the one that is spared takes.
    set(&mut server, "maxmemory", "10mb");
    set(&mut server, "maxmemory-clients", "5%");
    assert_eq!(flows(&mut clients[..2]), [open, gone]);
    assert_eq!(more.session.resume(more.now).flow, gone);
}
