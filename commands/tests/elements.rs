//! Tests of the log records, notifications and resulting data of list, set and sort commands, over
//! the memory backend.

use engine::testing::Harness;
use std::sync::Arc;
use storage::Backend;
use storage_memory::{Config, MemoryBackend};

fn backend() -> Arc<dyn Backend> {
    Arc::new(MemoryBackend::new(Config { shards: 4, ..Config::default() }))
}

/// Runs `line` and returns the records it logs.
fn logged(server: &mut Harness, line: &str) -> Vec<String> {
    server.logged();
    server.run(line);
    server.logged()
}

#[test]
fn effects_are_what_happened() {
    let mut server = Harness::recording(commands::all(), backend());
    let lines: &[(&str, &[&str])] = &[
        ("LPUSHX l a", &[]),
        ("RPUSH l a b c d e f g h", &["RPUSH l a b c d e f g h"]),
        ("LPOP l", &["LPOP l"]),
        ("LPOP l 0", &[]),
        ("LMPOP 2 none l RIGHT COUNT 2", &["RPOP l 2"]),
        ("BLPOP none l 0", &["LPOP l"]),
        ("BLMPOP 0 1 l LEFT", &["LPOP l 1"]),
        ("BLMOVE l m LEFT RIGHT 0", &["LMOVE l m LEFT RIGHT"]),
        ("BRPOPLPUSH l m 0", &["RPOPLPUSH l m"]),
        ("LREM l 0 nothing", &[]),
        ("LTRIM l 0 -1", &[]),
        ("LINSERT l BEFORE nothing x", &[]),
        ("LMOVE none l LEFT LEFT", &[]),
        ("SORT m STORE sorted ALPHA", &["SORT m STORE sorted ALPHA"]),
        ("SORT none STORE none", &[]),
        ("SADD s one", &["SADD s one"]),
        ("SADD s one", &[]),
        ("SPOP s", &["SREM s one"]),
        ("SPOP s 3", &[]),
        ("SADD s 1 2 3", &["SADD s 1 2 3"]),
        ("SPOP s 0", &[]),
        ("SPOP s 3", &["DEL s"]),
        ("SREM s 1", &[]),
        ("SMOVE s t 1", &[]),
        ("SINTERSTORE none s t", &[]),
        ("SUNIONSTORE u s t", &[]),
    ];
    for (line, effects) in lines {
        assert_eq!(logged(&mut server, line), *effects, "{line}");
    }
}

#[test]
fn what_was_popped_at_random_is_popped_again_by_a_replay() {
    let mut server = Harness::recording(commands::all(), backend());
    let members: Vec<String> = (0..3000).map(|n| format!("member:{n}")).collect();
    server.run(&format!("SADD large {}", members.join(" ")));
    server.run("SADD small 1 2 3 4 5 6 7 8 9");
    for line in ["SPOP large", "SPOP large 5", "SPOP large 2000", "SPOP small 4", "SPOP small"] {
        server.run(line);
    }
    assert_eq!(server.text("SCARD large"), "(integer) 994");
    assert_eq!(server.text("SCARD small"), "(integer) 4");
    assert_eq!(server.replay(backend()).contents(), server.contents());
}

#[test]
fn who_waits_is_served_as_a_plain_pop_after_the_push() {
    let mut server = Harness::recording(commands::all(), backend());
    server.send("a", "BLPOP q 0");
    server.send("b", "BLMOVE q r LEFT LEFT 0");
    server.send("c", "BRPOP r 0");
    server.logged();
    server.run("RPUSH q 1 2 3");
    assert_eq!(
        server.logged(),
        ["RPUSH q 1 2 3", "LPOP q", "LMOVE q r LEFT LEFT", "RPOP r"],
        "first come, first served; a served move serves the next"
    );
    for client in ["a", "b", "c"] {
        assert_eq!(server.replies(client).len(), 1, "{client}");
    }
    assert_eq!(server.text("LRANGE q 0 -1"), "1) \"3\"");
}

#[test]
fn keyspace_events_are_redis_s() {
    let mut server = Harness::new(commands::all(), backend());
    server.run("CONFIG SET notify-keyspace-events KEA");
    server.send("listener", "PSUBSCRIBE __keyevent@0__:*");
    server.replies("listener");
    for (line, events) in [
        ("RPUSH l a b", "rpush l"),
        ("LINSERT l BEFORE a x", "linsert l"),
        ("LSET l 0 y", "lset l"),
        ("LTRIM l 0 -1", "ltrim l"),
        ("LMOVE l m LEFT RIGHT", "rpush m, lpop l"),
        ("LREM l 0 a", "lrem l"),
        ("RPOPLPUSH l m", "lpush m, rpop l, del l"),
        ("LPOP m 10", "lpop m, del m"),
        ("SADD s 1 2 3", "sadd s"),
        ("SMOVE s t 1", "srem s, sadd t"),
        ("SMOVE t s 1", "srem t, del t, sadd s"),
        ("SINTERSTORE u s", "sinterstore u"),
        ("SINTERSTORE u s none", "del u"),
        ("SORT s STORE o", "sortstore o"),
        ("SREM s 1", "srem s"),
        ("SPOP s 10", "spop s, del s"),
    ] {
        server.run(line);
        let told: Vec<String> = server.replies("listener").iter().map(event).collect();
        assert_eq!(told.join(", "), events, "{line}");
    }
}

/// `event key` of a message from `__keyevent@0__:event`.
fn event(message: &resp::Value) -> String {
    let text = engine::testing::text(message);
    let mut words = text.split('"').skip(5).step_by(2);
    let channel = words.next().unwrap_or_default();
    let key = words.next().unwrap_or_default();
    format!("{} {key}", channel.rsplit(':').next().unwrap_or_default())
}

#[test]
fn an_emptied_list_leaves_nothing() {
    let mut server = Harness::recording(commands::all(), backend());
    server.run("RPUSH l a");
    server.run("LMOVE l m LEFT LEFT");
    server.run("BLPOP m 0");
    assert!(server.contents().is_empty());
}
