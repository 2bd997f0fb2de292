//! Tests of the log records of stream commands, and that replaying the log restores the same
//! contents.

use engine::testing::{Harness, contents};
use std::sync::Arc;
use storage::Backend;
use storage_memory::{Config, MemoryBackend};

fn backend() -> Arc<dyn Backend> {
    Arc::new(MemoryBackend::new(Config { shards: 4, ..Config::default() }))
}

/// Runs lines, checks that their log gives the same contents on another backend, and that each
/// line logged what it should.
fn replayed(lines: &[(&str, &[&str])]) {
    let mut server = Harness::recording(commands::all(), backend());
    for (line, effects) in lines {
        server.logged();
        match line.strip_prefix("@advance ") {
            Some(ms) => server.advance(ms.parse().expect("milliseconds")),
            None => drop(server.run(line)),
        }
        assert_eq!(server.logged(), **effects, "{line}");
    }
    let again = backend();
    server.replay(again.clone());
    assert_eq!(contents(again), server.contents());
}

#[test]
fn additions_are_logged_with_the_ids_they_got() {
    replayed(&[
        ("XADD s * f v", &["XADD s 1700000000000-0 f v"]),
        ("XADD s * f v g w", &["XADD s 1700000000000-1 f v g w"]),
        ("XADD s 1800000000000-* f v", &["XADD s 1800000000000-0 f v"]),
        ("XADD s 1800000000000-5 f v", &["XADD s 1800000000000-5 f v"]),
        ("XADD s NOMKSTREAM * f v", &["XADD s NOMKSTREAM 1800000000000-6 f v"]),
        ("XADD none NOMKSTREAM * f v", &[]),
        ("XADD s 1-1 f v", &[]),
        ("XDEL s 1800000000000-0 9-9", &["XDEL s 1800000000000-0 9-9"]),
        ("XDEL s 9-9", &[]),
        ("XSETID s 1900000000000 ENTRIESADDED 77", &["XSETID s 1900000000000 ENTRIESADDED 77"]),
    ]);
}

#[test]
fn trimming_is_logged_as_what_it_came_to() {
    replayed(&[
        ("CONFIG SET stream-node-max-entries 2", &[]),
        ("XADD s MAXLEN 10 1 f v", &["XADD s MAXLEN 10 1 f v"]),
        ("XADD s MAXLEN = 10 * f v", &["XADD s MAXLEN = 10 1700000000000-0 f v"]),
        ("XADD s 1700000000001 f v", &["XADD s 1700000000001 f v"]),
        ("XADD s MAXLEN ~ 1 1700000000002 f v", &["XADD s MAXLEN = 2 1700000000002-0 f v"]),
        (
            "XADD s MINID ~ 1700000000002 LIMIT 1 1700000000003 f v",
            &["XADD s MINID = 1700000000001-0 1700000000003-0 f v"],
        ),
        ("XTRIM s MAXLEN ~ 2", &[]),
        ("XTRIM s MAXLEN ~ 1", &["XTRIM s MAXLEN = 1"]),
        (
            "XTRIM s MINID ~ 1800000000000 LIMIT 10",
            &["XTRIM s MINID = 18446744073709551615-18446744073709551615"],
        ),
        ("XADD s 1700000000009 f v", &["XADD s 1700000000009 f v"]),
        ("XTRIM s MINID 1700000000009-1", &["XTRIM s MINID 1700000000009-1"]),
    ]);
}

#[test]
fn reading_for_a_group_is_logged_as_claims() {
    let created = "XGROUP CREATECONSUMER s g";
    replayed(&[
        ("XADD s 1-1 n 1", &["XADD s 1-1 n 1"]),
        ("XADD s 1-2 n 2", &["XADD s 1-2 n 2"]),
        ("XADD s 1-3 n 3", &["XADD s 1-3 n 3"]),
        ("XADD s 1-4 n 4", &["XADD s 1-4 n 4"]),
        ("XGROUP CREATE s g 0", &["XGROUP CREATE s g 0"]),
        ("XGROUP CREATE s g 0", &[]),
        (
            "XREADGROUP GROUP g a COUNT 2 STREAMS s >",
            &[
                &format!("{created} a"),
                "XCLAIM s g a 0 1-1 1-2 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID",
                "XGROUP SETID s g 1-2 ENTRIESREAD 2",
            ],
        ),
        (
            "XREADGROUP GROUP g b NOACK COUNT 1 STREAMS s >",
            &[&format!("{created} b"), "XGROUP SETID s g 1-3 ENTRIESREAD 3"],
        ),
        ("@advance 500", &[]),
        (
            "XREADGROUP GROUP g a COUNT 1 STREAMS s 0",
            &["XCLAIM s g a 0 1-1 TIME 1700000000500 RETRYCOUNT 2 FORCE JUSTID"],
        ),
        ("XREADGROUP GROUP g c STREAMS s 0", &[&format!("{created} c")]),
        (
            "XCLAIM s g c 100 1-1 1-2 IDLE 50",
            &["XCLAIM s g c 0 1-2 TIME 1700000000450 RETRYCOUNT 2 FORCE JUSTID"],
        ),
        ("XCLAIM s g c 0 9-9 LASTID 1-4", &["XGROUP SETID s g 1-4 ENTRIESREAD 3"]),
        ("XDEL s 1-1", &["XDEL s 1-1"]),
        (
            "XAUTOCLAIM s g d 0 0 JUSTID",
            &[
                &format!("{created} d"),
                "XCLAIM s g d 0 1-2 TIME 1700000000500 RETRYCOUNT 2 FORCE JUSTID",
                "XACK s g 1-1",
            ],
        ),
        ("XAUTOCLAIM s g d 9999 0", &[]),
        ("XACK s g 9-9", &[]),
        ("XGROUP DELCONSUMER s g b", &["XGROUP DELCONSUMER s g b"]),
        ("XGROUP DELCONSUMER s g b", &[]),
        ("XACK s g 1-2", &["XACK s g 1-2"]),
        ("XGROUP CREATE m g $ MKSTREAM", &["XGROUP CREATE m g $ MKSTREAM"]),
        ("XGROUP DESTROY m g", &["XGROUP DESTROY m g"]),
    ]);
}
