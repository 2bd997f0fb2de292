//! Tests of client-side caching that golden scripts cannot express: limits, which clients are
//! swept, and notices that wait too long.

use engine::clients::ClientFlags;
use engine::testing::{Harness, MAIN, text};
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

fn server() -> Harness {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    Harness::new(commands::all(), Arc::new(MemoryBackend::new(config)))
}

/// Connects a client that speaks RESP3 and tracks.
fn tracker(server: &mut Harness, name: &str, options: &str) {
    server.run_as(name, "HELLO 3");
    let reply = server.run_as(name, &format!("CLIENT TRACKING on {options}"));
    assert_eq!(text(&reply), "OK");
}

/// The replies a client received since the last call, each as one line.
fn received(server: &mut Harness, name: &str) -> Vec<String> {
    server.replies(name).iter().map(|value| text(value).replace('\n', " ")).collect()
}

#[test]
fn nothing_is_left_when_the_last_one_leaves() {
    let mut server = server();
    tracker(&mut server, "a", "");
    tracker(&mut server, "b", "BCAST PREFIX x PREFIX y");
    server.run_as("a", "MGET k l");
    let engine = server.engine().clone();
    let figures = || {
        let tracking = &engine.notify.tracking;
        (tracking.keys(), tracking.items(), tracking.prefixes())
    };
    assert_eq!(figures(), (2, 2, 2));
    assert!(engine.notify.keyspace.has_interest());
    server.close("b");
    assert_eq!(figures(), (2, 2, 0));
    server.run_as("a", "RESET");
    assert_eq!(figures(), (0, 0, 0));
    assert!(!engine.notify.keyspace.has_interest());
}

#[test]
fn a_table_that_is_too_large_drops_keys_and_says_so() {
    let mut server = server();
    tracker(&mut server, "a", "");
    server.run("CONFIG SET tracking-table-max-keys 5");
    for key in 0..50 {
        server.send("a", &format!("GET key:{key}"));
        assert!(server.engine().notify.tracking.keys() <= 5);
    }
    let told = received(&mut server, "a");
    let told = told.iter().filter(|line| line.contains("invalidate")).count();
    assert_eq!(told, 45);
    server.run("CONFIG SET tracking-table-max-keys 1");
    server.keep_house();
    assert_eq!(server.engine().notify.tracking.keys(), 1);
    assert_eq!(received(&mut server, "a").len(), 4);
    server.run("CONFIG SET tracking-table-max-keys 0");
    (0..50).for_each(|key| server.send("a", &format!("GET key:{key}")));
    assert!(server.engine().notify.tracking.keys() >= 50);
}

#[test]
fn clients_that_are_gone_do_not_pile_up_at_a_key() {
    let mut server = server();
    tracker(&mut server, "stays", "");
    for round in 0..200 {
        let name = format!("r{round}");
        tracker(&mut server, &name, "");
        server.run_as(&name, "GET hot");
        server.close(&name);
    }
    assert!(
        server.engine().notify.tracking.items() <= 32,
        "{}",
        server.engine().notify.tracking.items()
    );
    server.run_as("stays", "GET hot");
    server.run("SET hot 1");
    assert_eq!(received(&mut server, "stays").len(), 1);
    assert_eq!(server.engine().notify.tracking.items(), 0);
}

#[test]
fn notices_stand_behind_the_reply_of_their_own_command() {
    let mut server = server();
    tracker(&mut server, "a", "");
    server.run_as("a", "GET k");
    let mut pipeline = Vec::new();
    for line in ["INCR k", "GET k", "INCR k", "PING"] {
        let words: Vec<_> = line.split(' ').collect();
        resp::encode_command(&words, &mut pipeline);
    }
    server.send_bytes("a", &pipeline);
    let invalid = "1> \"invalidate\" 2> 1) \"k\"";
    let received = received(&mut server, "a");
    let received: Vec<_> = received.iter().map(|line| line.replace("   ", "")).collect();
    assert_eq!(
        received,
        ["(integer) 1", invalid, "\"1\"", "(integer) 2", invalid, "PONG"].map(str::to_owned)
    );
}

#[test]
fn what_expires_by_itself_is_told() {
    let mut server = server();
    tracker(&mut server, "a", "NOLOOP");
    server.run("SET k v PX 100");
    server.run_as("a", "GET k");
    server.advance(200);
    assert!(received(&mut server, "a").is_empty());
    server.keep_house();
    assert_eq!(received(&mut server, "a").len(), 1);
    // Met expired by the reader itself: what it is told comes before what it reads is remembered.
    server.run("SET k v PX 100");
    server.run_as("a", "GET k");
    server.advance(200);
    server.send("a", "GET k");
    assert_eq!(received(&mut server, "a").len(), 2);
    server.run("SET k v");
    assert_eq!(received(&mut server, "a").len(), 1);
}

#[test]
fn without_replies_notices_come_all_the_same() {
    let mut server = server();
    tracker(&mut server, "a", "");
    server.run_as("a", "GET k");
    server.send("a", "CLIENT REPLY OFF");
    server.send("a", "SET k v");
    assert_eq!(received(&mut server, "a").len(), 1);
}

#[test]
fn who_does_not_read_is_told_that_everything_has_changed() {
    let mut server = server();
    tracker(&mut server, "a", "BCAST");
    let engine = server.engine().clone();
    let client = engine.clients.list().into_iter().find(|c| c.has_flag(ClientFlags::TRACKING));
    let client = client.expect("a client that tracks");
    // As if so much had been written to it that it has not read.
    client.output_bytes.store(1 << 30, std::sync::atomic::Ordering::Relaxed);
    server.run("MSET k v l v");
    let told = received(&mut server, "a");
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("(nil)"), "{told:?}");
    assert!(!client.has_flag(ClientFlags::OUT_OF_TOUCH));
    server.run("SET k v");
    assert!(received(&mut server, "a")[0].contains("\"k\""));
}

#[test]
fn a_blocked_reader_is_remembered_when_it_is_served() {
    let mut server = server();
    tracker(&mut server, "a", "OPTIN");
    server.run_as("a", "CLIENT CACHING yes");
    server.send("a", "XREAD BLOCK 0 STREAMS s $");
    server.run("XADD s 1-1 f v");
    let told = received(&mut server, "a");
    assert_eq!(told.len(), 2, "an entry, and that the stream it waited for changed: {told:?}");
    server.run_as(MAIN, "XADD s 1-2 f v");
    assert_eq!(received(&mut server, "a").len(), 1);
}

/// A key that a transaction finds expired is deleted, and its deletion is announced, although the
/// transaction is not run.
#[test]
fn a_transaction_that_is_not_run_tells_what_it_found_expired() {
    let mut server = server();
    tracker(&mut server, "caches", "");
    server.run("HSET h f v g v");
    server.run("HPEXPIRE h 100 FIELDS 1 f");
    server.run_as("caches", "HGET h g");
    server.run("WATCH h");
    server.run("MULTI");
    server.run("PING");
    server.advance(100);
    assert_eq!(text(&server.run("EXEC")).trim_end(), "(nil)");
    let told = received(&mut server, "caches");
    assert!(told.len() == 1 && told[0].contains("invalidate"), "{told:?}");
    assert_eq!(text(&server.run("HLEN h")).trim_end(), "(integer) 1");
}
