//! MIGRATE with another server that answers when the test says so: who waits meanwhile, who does
//! not, and what becomes of the keys.

use engine::Host;
use engine::peers::{Answers, Errand, PeerError, Requests, Target};
use engine::testing::{Harness, MAIN, text};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

/// Keeps errands until they are to end. What is asked for at once is answered at once.
#[derive(Default)]
struct Slow(Mutex<VecDeque<Box<Errand>>>);

impl Host for Slow {
    fn exchange(&self, _: &Target<'_>, requests: &Requests) -> Answers {
        Answers { done: vec![true; requests.works], ..Answers::default() }
    }

    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        self.0.lock().push_back(errand);
        Ok(())
    }
}

struct Test {
    server: Harness,
    slow: Arc<Slow>,
}

impl Test {
    fn new() -> Self {
        let slow = Arc::new(Slow::default());
        let backend = Arc::new(MemoryBackend::new(Config { shards: 1, ..Config::default() }));
        let mut server = Harness::with_host(commands::all(), backend, slow.clone());
        for line in
            ["SET k v", "SET other 1", "RPUSH l a b", "CONFIG SET notify-keyspace-events KA"]
        {
            server.run(line);
        }
        Test { server, slow }
    }

    fn migrate(&mut self, client: &str, rest: &str) {
        self.server.send(client, &format!("MIGRATE host 7000 {rest}"));
        assert!(self.server.replies(client).is_empty(), "it waits");
    }

    /// Ends the oldest errand: whether each key was taken, and what went wrong.
    fn end(&mut self, done: &[bool], broken: Option<PeerError>) {
        let errand = self.slow.0.lock().pop_front().expect("an errand");
        let answers = Answers { done: done.to_vec(), refusal: None, broken };
        self.server.engine().end_errand(*errand, &answers, self.server.now());
        self.server.advance(0);
    }

    fn said(&mut self, client: &str) -> Vec<String> {
        self.server.replies(client).iter().map(text).collect()
    }

    /// Sends a line that has to wait.
    fn waits(&mut self, client: &str, line: &str) {
        self.server.send(client, line);
        assert_eq!(self.said(client), [""; 0], "{line} waits");
    }
}

#[test]
fn who_waits_counts_as_blocked_and_is_captured_once() {
    let mut test = Test::new();
    test.server.send("c", "CAPTURE");
    test.server.replies("c");
    test.migrate("m", "k 0 1000");
    test.waits("w", "SET k new");
    test.waits("w2", "GET k");
    let clients = text(&test.server.run("INFO clients"));
    assert!(clients.contains("blocked_clients:3"), "{clients}");
    test.end(&[true], None);
    assert_eq!(test.said("w"), ["OK"]);
    let clients = text(&test.server.run("INFO clients"));
    assert!(clients.contains("blocked_clients:0"), "{clients}");
    test.server.run_as("w", "GET k");
    let captured: Vec<String> = test.said("c");
    for (request, times) in [("MIGRATE", 1), ("SET", 1), ("GET", 2)] {
        let count =
            captured.iter().filter(|record| record.contains(&format!("\"{request}\""))).count();
        assert_eq!(count, times, "{request}: {captured:?}");
    }
}

#[test]
fn only_who_uses_the_keys_waits() {
    let mut test = Test::new();
    test.migrate("m", "\"\" 0 1000 KEYS k l");
    for line in ["GET other", "SET another 2", "KEYS *", "DBSIZE", "EVAL \"return 1\" 1 other"] {
        assert!(test.server.run_as(MAIN, line).as_error().is_none(), "{line}");
    }
    test.waits("a", "GET k");
    test.waits("b", "RPUSH l c");
    test.waits("c", "COPY other k");
    test.waits("d", "FLUSHALL");
    test.waits("e", "EVAL \"return redis.call('GET', 'k')\" 0");
    test.waits("f", "SORT l ALPHA");
    test.server.run_as("g", "MULTI");
    test.server.run_as("g", "INCR other");
    test.server.run_as("g", "APPEND k x");
    test.waits("g", "EXEC");
    assert_eq!(test.server.text("GET other"), "\"1\"", "nothing of it happened");
    test.server.close("d");
    test.end(&[true, false], Some(PeerError::Reading));
    assert_eq!(
        test.said("m"),
        ["(error) IOERR error or timeout reading to target instance"],
        "one of them went"
    );
    assert_eq!(test.said("b"), ["(integer) 3"]);
    assert_eq!(test.said("f").len(), 1);
    assert_eq!(test.said("g")[0].lines().count(), 2);
    assert_eq!((test.said("a").len(), test.said("c").len(), test.said("e").len()), (1, 1, 1));
    assert_eq!(test.server.text("EXISTS l"), "(integer) 1");
}

#[test]
fn a_key_that_went_is_deleted_logged_and_told() {
    let mut test = Test::new();
    test.server.run_as("w", "WATCH k");
    test.server.send("s", "SUBSCRIBE __keyspace@0__:k");
    test.said("s");
    test.migrate("m", "k 0 1000");
    test.waits("a", "SET k new NX");
    test.end(&[true], None);
    assert_eq!((test.said("m"), test.said("a")), (vec!["OK".into()], vec!["OK".into()]));
    assert!(test.said("s")[0].contains("del"), "the event comes");
    test.server.run_as("w", "MULTI");
    assert_eq!(text(&test.server.run_as("w", "EXEC")), "(nil)", "whoever watches it is told");
    assert_eq!(test.server.text("GET k"), "\"new\"");
}

#[test]
fn a_copy_holds_nothing() {
    let mut test = Test::new();
    test.migrate("m", "k 0 1000 COPY");
    assert_eq!(test.server.text("APPEND k x"), "(integer) 2");
    test.end(&[true], None);
    assert_eq!(test.said("m"), ["OK"]);
    assert_eq!(test.server.text("GET k"), "\"vx\"");
}

#[test]
fn two_migrations_of_one_key_follow_each_other() {
    let mut test = Test::new();
    test.migrate("m", "k 0 1000");
    test.migrate("n", "k 0 1000");
    test.end(&[true], None);
    assert_eq!((test.said("m"), test.said("n")), (vec!["OK".into()], vec!["NOKEY".into()]));
}

#[test]
fn who_goes_or_is_unblocked_changes_nothing() {
    let mut test = Test::new();
    let id = text(&test.server.run_as("m", "CLIENT ID"));
    let id = id.trim_start_matches("(integer) ").to_owned();
    test.migrate("m", "k 0 1000");
    assert_eq!(test.server.text(&format!("CLIENT UNBLOCK {id}")), "(integer) 0");
    test.server.send("m", "PING");
    test.waits("a", "GET k");
    test.server.close("m");
    test.end(&[true], None);
    assert_eq!(test.said("a"), ["(nil)"], "it was deleted all the same");
    assert_eq!(test.server.engine().notify.blocking.clients(), 0);
}

#[test]
fn those_who_are_served_wait_too() {
    let mut test = Test::new();
    test.server.send("b", "BLMOVE src l LEFT LEFT 0");
    test.migrate("m", "l 0 1000");
    assert_eq!(test.server.text("RPUSH src x"), "(integer) 1");
    assert_eq!(test.said("b"), [""; 0]);
    test.end(&[true], None);
    assert_eq!(test.said("b"), ["\"x\""]);
    assert_eq!(test.server.text("LRANGE l 0 -1"), "1) \"x\"");
}

#[test]
fn transactions_and_scripts_do_not_wait() {
    let mut test = Test::new();
    test.server.run("MULTI");
    test.server.run("MIGRATE host 7000 k 0 1000");
    test.server.run("EXISTS k");
    assert_eq!(test.server.text("EXEC"), "1) OK\n2) (integer) 0");
    let script =
        "EVAL \"return redis.call('MIGRATE', 'host', '7000', KEYS[1], '0', '10')\" 1 other";
    assert_eq!(test.server.text(script), "OK");
    assert_eq!(test.server.text("EXISTS other"), "(integer) 0");
    test.migrate("m", "l 0 1000");
    let script = "EVAL \"redis.call('SET', KEYS[1], 1) return redis.call('LLEN', 'l')\" 1 s";
    assert!(test.server.text(script).contains("BUSY"), "what it wrote cannot be taken back");
    test.end(&[false], None);
}
