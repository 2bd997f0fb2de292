//! Tests of expired keys on a replica: it hides them until its master sends their deletion.

use engine::replication::Applier;
use engine::replication::wire::{Stream, command};
use engine::testing::Harness;
use runtime::Peer;
use std::sync::Arc;
use std::task::Waker;
use storage_memory::{Config, MemoryBackend};

/// A server with a hash of three fields, of which two expire, that then became a replica.
fn replica() -> (Harness, u64) {
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    let mut server = Harness::recording(commands::all(), backend);
    server.run("HSET h stays 1 goes 2 later 3");
    server.run("HPEXPIRE h 100 FIELDS 1 goes");
    server.run("HPEXPIRE h 200 FIELDS 1 later");
    server.run("SET k v PX 100");
    server.logged();
    let generation = server.engine().follow("192.0.2.1", 6379, server.now().wall_ms);
    (server, generation)
}

/// Sends a command from the master.
fn apply_from_master(server: &Harness, generation: u64, words: &[&[u8]]) {
    let mut bytes = Vec::new();
    command(words, &mut bytes);
    let client = server.engine().clients.add(Peer::Unix("master".into()), Waker::noop().clone(), 0);
    let mut applier = Applier::new(server.engine(), generation, client);
    let taken = Stream::new(0).take(&bytes, |unit| {
        assert_eq!(applier.apply(&unit, server.now()), Ok(true));
    });
    assert_eq!(taken, Ok(()));
}

#[test]
fn a_replica_hides_fields_and_removes_none() {
    let (mut server, generation) = replica();
    server.advance(100);
    server.keep_house();
    for (line, reply) in [
        ("HLEN h", "(integer) 2"),
        ("HGET h goes", "(nil)"),
        ("HEXISTS h goes", "(integer) 0"),
        ("HPTTL h FIELDS 1 goes", "1) (integer) -2"),
        ("GET k", "(nil)"),
        ("HSTRLEN h goes", "(integer) 0"),
    ] {
        assert_eq!(server.text(line).trim_end(), reply, "{line}");
    }
    for line in ["HKEYS h", "HGETALL h", "HRANDFIELD h 10", "HSCAN h 0"] {
        let reply = server.text(line);
        assert!(reply.contains("stays") && !reply.contains("goes"), "{line}: {reply}");
    }
    assert_eq!(server.logged(), [""; 0], "nobody has removed anything");
    // The master writes to what it still has, and to what it has removed.
    apply_from_master(&server, generation, &[b"HINCRBY", b"h", b"goes", b"5"]);
    apply_from_master(&server, generation, &[b"HDEL", b"h", b"later"]);
    apply_from_master(&server, generation, &[b"HPERSIST", b"h", b"FIELDS", b"1", b"goes"]);
    assert_eq!(server.text("HGET h goes"), "\"7\"");
    assert_eq!(server.text("HLEN h").trim_end(), "(integer) 2");
}

#[test]
fn a_transaction_that_writes_to_what_has_expired_finds_nothing_there() {
    let (mut server, _) = replica();
    server.run("CONFIG SET replica-read-only no");
    server.advance(200);
    server.run("WATCH k");
    for line in ["MULTI", "HSET k field value", "GET h", "EXEC"] {
        server.run(line);
    }
    assert_eq!(server.text("HGETALL k").trim_end(), "1) \"field\"\n2) \"value\"");
    assert_eq!(server.text("DBSIZE").trim_end(), "(integer) 2", "one entry for each key");
}

#[test]
fn a_hash_of_hidden_fields_is_hidden_and_comes_back_with_the_role() {
    let (mut server, generation) = replica();
    apply_from_master(&server, generation, &[b"HDEL", b"h", b"stays"]);
    server.logged();
    server.advance(200);
    for line in ["EXISTS h", "HLEN h", "EXISTS k"] {
        assert_eq!(server.text(line).trim_end(), "(integer) 0", "{line}");
    }
    assert_eq!(server.text("TYPE h").trim_end(), "none");
    assert_eq!(server.text("DBSIZE").trim_end(), "(integer) 2", "it is still there");
    assert_eq!(server.logged(), [""; 0]);
    assert!(server.engine().lead());
    assert_eq!(server.text("EXISTS h k").trim_end(), "(integer) 0");
    assert_eq!(server.text("DBSIZE").trim_end(), "(integer) 0");
    assert_eq!(server.logged(), ["DEL h", "DEL k"]);
}
