//! The cases that only a filter has: its beginning, its end, nonsense, and what it holds.

use super::harness::{Running, Subject, VEIL_PATIENCE};
use super::veil::RECORD_MAX;
use crate::filter::PORTION;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// A connection that does not finish its handshake in time is closed, whether it sends nothing or a
/// little now and then.
pub fn beginning_is_bounded(subject: Subject) {
    let server = Running::start(subject);
    let (mut silent, mut slow) = (server.bare_client(), server.bare_client());
    let start = Instant::now();
    slow.send("ve");
    slow.expect_end();
    silent.expect_end();
    assert!(start.elapsed() >= VEIL_PATIENCE / 2, "closed too early: {:?}", start.elapsed());
    assert!(start.elapsed() < VEIL_PATIENCE + Duration::from_secs(5));
    // Who has begun may take its time.
    let mut client = server.client();
    client.ask("sleep 600", "slept 600");
}

/// Input that violates the filter's protocol is answered by the filter, and none of it is executed.
pub fn nonsense_gets_last_words(subject: Subject) {
    let server = Running::start(subject);
    let mut client = server.bare_client();
    client.send("echo x\n");
    client.expect("nonsense");
    client.expect_end();
    let mut later = server.bare_client();
    later.send("veil\x7f\x7fecho y\n");
    assert_eq!(later.bytes(4), b"VEIL");
    later.expect_end();
    assert_eq!(server.toy.lines.load(SeqCst), 0);
    server.client().ask("echo alive", "alive");
}

/// Output that the peer does not read stays in the connection, where it is counted; the filter
/// holds only one portion of it, and the connection knows of that portion.
pub fn output_waits_inside(subject: Subject) {
    const SIZE: usize = 16 << 20;
    let server = Running::start(subject);
    let mut client = server.narrow_client();
    client.send(&format!("more {SIZE}\n"));
    // What the kernel takes of the first portion is its own affair; later ones meet full buffers.
    assert_eq!(client.bytes(SIZE + 1).len(), SIZE + 1);
    client.ask("echo done", "done");
    let most = server.toy.held_max.load(SeqCst);
    assert!(most > RECORD_MAX, "{most} bytes held");
    assert!(most < PORTION + PORTION / 8 + 2 * RECORD_MAX, "{most} bytes held");
}

/// A goodbye inside the filter ends the input, though the socket stays open; the answers still come.
pub fn goodbye_ends_input(subject: Subject) {
    let server = Running::start(subject);
    let mut client = server.client();
    client.send("bytes 300000\nsleep 30\necho last\n");
    client.end_sending();
    assert_eq!(client.bytes(300_001).len(), 300_001);
    client.expect("slept 30");
    client.expect("last");
    client.expect_clean_end();
}
