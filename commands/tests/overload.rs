//! Load shedding: what is refused while connections wait too long, what never is, and how it ends.

use engine::testing::{Harness, text};
use std::sync::atomic::Ordering;
use storage_memory::{Config, MemoryBackend};

/// Far more than the 20 ms that the tests permit.
const LONG_MS: u64 = 30;

/// Intervals after which the greatest share is refused.
const MANY: usize = 20;

fn server() -> Harness {
    let backend = MemoryBackend::new(Config { shards: 4, ..Config::default() });
    let mut server = Harness::new(commands::all(), std::sync::Arc::new(backend));
    ["a", "b", "c"].iter().for_each(|client| assert_eq!(ask(&mut server, client, "PING"), "PONG"));
    server
}

fn limited() -> Harness {
    let mut server = server();
    assert_eq!(server.text("CONFIG SET overload-delay-target 20"), "OK");
    server
}

fn ask(server: &mut Harness, client: &str, line: &str) -> String {
    server.send(client, line);
    text(&server.replies(client)[0])
}

/// Passes intervals in which each turn takes this long.
fn pass(server: &mut Harness, intervals: usize, turn_ms: u64) {
    for _ in 0..intervals {
        for _ in 0..4 {
            server.engine().watch_load(server.now());
            server.advance(turn_ms);
            server.advance(turn_ms);
            server.advance(30);
        }
    }
}

/// How many of 1024 requests are refused.
fn refused(server: &mut Harness) -> usize {
    let asked = (0..1024).filter(|_| ask(server, "a", "GET k").contains("OVERLOADED")).count();
    assert_eq!(ask(server, "a", "PING"), "PONG");
    asked
}

#[test]
fn a_growing_share_is_refused_while_connections_wait_too_long() {
    let mut server = limited();
    pass(&mut server, 3, 1);
    assert_eq!(refused(&mut server), 0, "turns are short");
    let mut shares = vec![0];
    for _ in 0..MANY {
        pass(&mut server, 1, LONG_MS);
        shares.push(refused(&mut server));
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert!(shares[3] > 0 && shares[3] < 512, "{shares:?}");
    assert_eq!(*shares.last().unwrap(), 1008, "something always passes: {shares:?}");
    let counted = server.engine().clients.overload.refused.load(Ordering::Relaxed);
    assert_eq!(counted as usize, shares.iter().sum::<usize>());
    let info = server.text("INFO stats");
    assert!(info.contains(&format!("overload_refused_requests:{counted}")), "{info}");
    assert!(info.contains("overload_refused_share:1008"), "{info}");
    assert!(info.contains("overload_delay_usec:30000"), "{info}");
    // It falls as soon as they no longer do, and ends.
    pass(&mut server, 2, 1);
    let fallen = refused(&mut server);
    assert!(fallen < 1008, "{fallen}");
    pass(&mut server, MANY, 1);
    assert_eq!(refused(&mut server), 0);
    assert!(server.text("INFO stats").contains("overload_refused_share:0"));
}

/// How many of 1024 requests are refused.
fn refused_of(server: &mut Harness, line: &str) -> usize {
    (0..1024).filter(|_| ask(server, "a", line).contains("OVERLOADED")).count()
}

/// Tenths of a second in which this much memory is in use.
fn use_memory(server: &mut Harness, tenths: usize, percent: u32) {
    for _ in 0..tenths {
        // As the housekeeper does.
        if server.engine().looks_at_memory() {
            server.engine().note_memory_load(Some(percent), server.now());
        }
        server.advance(100);
    }
}

#[test]
fn what_needs_memory_is_refused_before_it_runs_out() {
    let mut server = server();
    use_memory(&mut server, MANY, 99);
    assert_eq!(refused_of(&mut server, "SET k v"), 0, "load shedding is off");
    assert!(!server.engine().looks_at_memory());
    assert_eq!(server.text("CONFIG SET overload-delay-target 20"), "OK");
    assert!(server.engine().looks_at_memory());
    use_memory(&mut server, MANY, 90);
    assert_eq!(refused_of(&mut server, "SET k v"), 0, "90 percent is the limit");
    use_memory(&mut server, 4, 91);
    assert_eq!(refused_of(&mut server, "SET k v"), 256);
    use_memory(&mut server, MANY, 91);
    assert_eq!(refused_of(&mut server, "SET k v"), 1008);
    for line in ["GET k", "DEL k", "EXPIRE k 1", "PING", "CONFIG GET port"] {
        assert_eq!(refused_of(&mut server, line), 0, "{line} needs no memory");
    }
    let info = server.text("INFO stats");
    assert!(
        info.contains("overload_memory_percent:91") && info.contains("overload_memory_share:1008")
    );
    assert!(info.contains("overload_refused_share:0"), "nobody waits");
    // Short waits do not end it, memory does.
    pass(&mut server, MANY, 1);
    assert!(refused_of(&mut server, "SET k v") > 0);
    use_memory(&mut server, MANY, 50);
    assert_eq!(refused_of(&mut server, "SET k v"), 0);
    use_memory(&mut server, MANY, 99);
    assert_eq!(server.text("CONFIG SET overload-memory-target 0"), "OK");
    use_memory(&mut server, 1, 99);
    assert_eq!(refused_of(&mut server, "SET k v"), 0);
}

#[test]
fn what_is_needed_to_get_in_and_to_look_after_the_server_is_never_refused() {
    let mut server = limited();
    pass(&mut server, MANY, LONG_MS);
    let mut ask = |line: &str| ask(&mut server, "a", line);
    for _ in 0..64 {
        for line in ["PING", "AUTH x", "INFO", "CONFIG GET port", "CLIENT ID", "UNWATCH"] {
            let answer = ask(line);
            assert!(!answer.contains("OVERLOADED"), "{line}: {answer}");
        }
        // Who is in a transaction ends it.
        assert_eq!(ask("MULTI"), "OK");
        assert_eq!(ask("SET k v"), "QUEUED");
        assert!(ask("EXEC").ends_with("OK"));
    }
    for line in ["GET k", "SET k v", "EVAL 'return 1' 0", "PUBLISH c m", "KEYS *", "LPUSH l 1"] {
        let refused = (0..64).filter(|_| ask(line).contains("OVERLOADED")).count();
        assert_eq!(refused, 63, "{line}");
    }
    // Who has not authenticated is told so, and nothing about the load.
    assert_eq!(ask("CONFIG SET requirepass secret"), "OK");
    server.send("stranger", "GET k");
    assert!(text(&server.replies("stranger")[0]).contains("NOAUTH"));
}

#[test]
fn it_is_off_unless_configured_and_ends_when_it_is_switched_off() {
    let mut server = server();
    assert!(server.engine().watch_load(server.now()).is_none());
    pass(&mut server, MANY, LONG_MS);
    assert_eq!(refused(&mut server), 0);
    assert_eq!(server.text("CONFIG SET overload-delay-target 20"), "OK");
    pass(&mut server, MANY, LONG_MS);
    assert!(refused(&mut server) > 0);
    assert_eq!(server.text("CONFIG SET overload-delay-target 0"), "OK");
    assert_eq!(refused(&mut server), 0);
    // A longer wait may be permitted.
    assert_eq!(server.text("CONFIG SET overload-delay-target 40"), "OK");
    pass(&mut server, MANY, LONG_MS);
    assert_eq!(refused(&mut server), 0);
}

#[test]
fn a_single_stall_is_no_overload() {
    let mut server = limited();
    pass(&mut server, 3, 1);
    // All wait for nearly the whole interval, once.
    server.engine().watch_load(server.now());
    server.advance(60);
    server.advance(1);
    server.engine().watch_load(server.now());
    server.advance(1);
    server.advance(1);
    pass(&mut server, 3, 1);
    assert_eq!(refused(&mut server), 0);
}
