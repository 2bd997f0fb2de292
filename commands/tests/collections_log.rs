//! Tests of the log records of hash and sorted-set commands, and that replaying the log restores
//! the same contents.

use engine::testing::{Harness, contents};
use std::sync::Arc;
use storage::Backend;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

fn backend() -> Arc<dyn Backend> {
    let limits = EncodingLimits::default();
    Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
}

/// Runs lines, then checks that their log gives the same contents on another backend.
fn replayed(lines: &[&str]) -> Vec<String> {
    let mut server = Harness::recording(commands::all(), backend());
    for line in lines {
        match line.strip_prefix("@advance ") {
            Some(ms) => server.advance(ms.parse().expect("milliseconds")),
            None => drop(server.run(line)),
        }
    }
    let again = backend();
    server.replay(again.clone());
    assert_eq!(contents(again), server.contents());
    server.logged()
}

#[test]
fn relative_expiries_become_absolute() {
    let log = replayed(&[
        "HSET h a 1 b 2 c 3",
        "HEXPIRE h 10 FIELDS 3 a b nothing",
        "HPEXPIRE h 500 NX FIELDS 2 a c",
        "HEXPIRE h 0 FIELDS 1 c",
        "HPERSIST h FIELDS 1 b",
        "HEXPIRE h 10 XX FIELDS 1 b",
    ]);
    assert_eq!(
        log,
        [
            "HSET h a 1 b 2 c 3",
            "HPEXPIREAT h 1700000010000 FIELDS 2 a b",
            "HPEXPIREAT h 1700000000500 FIELDS 1 c",
            "HDEL h c",
            "HPERSIST h FIELDS 1 b",
        ]
    );
}

#[test]
fn fields_that_expired_are_logged_as_deleted() {
    let log = replayed(&[
        "HSET h a 5 b 2",
        "HPEXPIRE h 100 FIELDS 1 a",
        "@advance 100",
        // Replayed without the deletion, this would count from 5.
        "HINCRBY h a 1",
        "HPEXPIRE h 100 FIELDS 1 a",
        "@advance 100",
        // The last live field takes the key along, whatever else was in it.
        "HDEL h b",
        "ZADD h 1 member",
    ]);
    assert_eq!(
        log,
        [
            "HSET h a 5 b 2",
            "HPEXPIREAT h 1700000000100 FIELDS 1 a",
            "HDEL h a",
            "HINCRBY h a 1",
            "HPEXPIREAT h 1700000000200 FIELDS 1 a",
            "HDEL h a",
            "HDEL h b",
            "ZADD h 1 member",
        ]
    );
}

#[test]
fn floats_are_logged_by_result() {
    let log = replayed(&[
        "HINCRBYFLOAT h f 0.1",
        "HPEXPIRE h 100 FIELDS 1 f",
        "HINCRBYFLOAT h f 0.2",
        "ZINCRBY z 1.5 m",
        "ZADD z INCR 1.5 m",
    ]);
    assert_eq!(
        log,
        [
            "HSET h f 0.1",
            "HPEXPIREAT h 1700000000100 FIELDS 1 f",
            "HSET h f 0.3",
            "HPEXPIREAT h 1700000000100 FIELDS 1 f",
            "ZINCRBY z 1.5 m",
            "ZADD z INCR 1.5 m",
        ]
    );
}

#[test]
fn pops_are_logged_by_key_and_number() {
    let log = replayed(&[
        "ZADD z 1 a 2 b 3 c 4 d 5 e",
        "BZPOPMIN nothing z 0",
        "BZMPOP 0 2 nothing z MAX COUNT 2",
        "ZPOPMIN z 10",
        "ZPOPMIN z",
        "ZMPOP 1 z MIN",
    ]);
    assert_eq!(log, ["ZADD z 1 a 2 b 3 c 4 d 5 e", "ZPOPMIN z 1", "ZPOPMAX z 2", "ZPOPMIN z 2"]);
}

#[test]
fn what_changes_nothing_is_not_logged() {
    let log = replayed(&[
        "HSET h a 1",
        "HSETNX h a 2",
        "HDEL h nothing",
        "HEXPIRE h 10 XX FIELDS 1 a",
        "HPERSIST h FIELDS 1 a",
        "ZADD z 1 a",
        "ZADD z 1 a",
        "ZADD z XX 5 nothing",
        "ZADD z GT 0 a",
        "ZREM z nothing",
        "ZREMRANGEBYSCORE z 5 6",
        "ZUNIONSTORE nothing 1 nowhere",
        "ZPOPMIN nowhere",
        "HINCRBY h a x",
    ]);
    assert_eq!(log, ["HSET h a 1", "ZADD z 1 a"]);
}

#[test]
fn a_waiting_client_is_served_in_the_log_after_what_served_it() {
    let mut server = Harness::recording(commands::all(), backend());
    server.send("b", "BZPOPMIN z 0");
    server.run("ZADD z 1 a 2 b");
    assert_eq!(server.logged(), ["ZADD z 1 a 2 b", "ZPOPMIN z 1"]);
    assert_eq!(server.replies("b").len(), 1);
}
