//! Rate limits: what is refused, what waits, and for whom.

use engine::testing::{Harness, text};
use storage_memory::{Config, MemoryBackend};

fn limited(lines: &[&str]) -> Harness {
    let backend = MemoryBackend::new(Config { shards: 4, ..Config::default() });
    let mut server = Harness::new(commands::all(), std::sync::Arc::new(backend));
    lines.iter().for_each(|line| assert_eq!(server.text(line), "OK", "{line}"));
    server
}

/// How many of 300 requests a second of each client pass while `seconds` go by.
fn passed(server: &mut Harness, clients: &[&str], seconds: u64) -> usize {
    let mut passed = 0;
    for _ in 0..seconds * 100 {
        server.advance(10);
        for client in clients {
            for _ in 0..3 {
                server.send(client, "PING");
            }
            let pongs = server.replies(client);
            passed += pongs.iter().filter(|reply| text(reply) == "PONG").count();
        }
    }
    passed
}

/// Within two hundredths of what is expected.
#[track_caller]
fn about(passed: usize, expected: usize) {
    assert!(passed.abs_diff(expected) * 50 <= expected, "{passed} passed instead of {expected}");
}

#[test]
fn the_rate_is_kept_per_client_and_user() {
    let mut server = limited(&["CONFIG SET rate-limit-client 100"]);
    about(passed(&mut server, &["a", "b"], 10), 2000);
    let mut server = limited(&["CONFIG SET rate-limit-user 100"]);
    about(passed(&mut server, &["a", "b"], 10), 1000);
    let mut server = limited(&["CONFIG SET rate-limit-client-bytes 400"]);
    about(passed(&mut server, &["a"], 10), 1000);
}

#[test]
fn who_is_over_is_told_when_to_come_again_and_pays_nothing_for_it() {
    let mut server = limited(&["CONFIG SET rate-limit-client 10 rate-limit-burst 0"]);
    let ask = |server: &mut Harness, line: &str| {
        server.send("c", line);
        text(&server.replies("c")[0])
    };
    assert_eq!(ask(&mut server, "SET k 1"), "OK");
    assert_eq!(ask(&mut server, "SET k 2"), "(error) RATELIMITED retry after 100 ms");
    server.advance(99);
    assert!(ask(&mut server, "SET k 3").ends_with("RATELIMITED retry after 1 ms"));
    server.advance(1);
    assert_eq!(ask(&mut server, "GET k"), "\"1\"");
    assert_eq!(
        server.engine().clients.rate_limits.limited.load(std::sync::atomic::Ordering::Relaxed),
        2
    );
    // Guesses at passwords are requests.
    assert!(ask(&mut server, "AUTH x").contains("RATELIMITED"));
    // Inside a transaction a refusal dooms it.
    server.advance(100);
    assert_eq!(ask(&mut server, "MULTI"), "OK");
    assert!(ask(&mut server, "SET k 4").contains("RATELIMITED"));
    server.advance(100);
    assert!(ask(&mut server, "EXEC").contains("EXECABORT"));
}

#[test]
fn who_is_to_wait_waits_and_loses_nothing() {
    let mut server =
        limited(&["CONFIG SET rate-limit-client 10 rate-limit-burst 0 rate-limit-action delay"]);
    for _ in 0..4 {
        server.send("c", "INCR k");
    }
    assert_eq!(server.replies("c").len(), 1);
    // A wait ends with the millisecond after it.
    for expected in 2..=4 {
        server.advance(101);
        let replies = server.replies("c");
        assert_eq!(replies.len(), 1, "reply {expected}");
        assert_eq!(text(&replies[0]), format!("(integer) {expected}"));
    }
    // Without a limit nobody waits.
    server.advance(200);
    assert_eq!(server.text("CONFIG SET rate-limit-client 0"), "OK");
    for _ in 0..100 {
        server.send("c", "INCR k");
    }
    assert_eq!(server.replies("c").len(), 100);
}
