//! Replies that wait until what they depend on is kept, and what becomes of them.

use engine::testing::{Harness, text};
use std::sync::Arc;
use storage::Withholds;
use storage::memory::{Config, MemoryBackend};
use storage::testing::scripted::Scripted;

fn server(withholds: Withholds) -> (Harness, Arc<Scripted>) {
    let journal = Arc::new(Scripted::new(withholds));
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    (Harness::with_journal(commands::all(), backend, journal.clone()), journal)
}

/// Sends requests in one piece.
fn pipeline(server: &mut Harness, client: &str, lines: &[&str]) {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        resp::encode_command(&words, &mut bytes);
    }
    server.send_bytes(client, &bytes);
}

/// What a client has been sent since it was last asked.
fn sent(server: &mut Harness, client: &str) -> Vec<String> {
    server.advance(0);
    server.replies(client).iter().map(|reply| text(reply).trim_end().to_owned()).collect()
}

#[test]
fn a_reply_waits_for_its_write_and_only_for_that() {
    let (mut server, journal) = server(Withholds::Writes);
    pipeline(&mut server, "a", &["SET k 1", "GET k", "INCR k"]);
    assert_eq!(sent(&mut server, "a"), [""; 0]);
    pipeline(&mut server, "b", &["GET k"]);
    assert_eq!(sent(&mut server, "b"), ["\"2\""], "reads do not wait here");
    journal.keep(1);
    assert_eq!(sent(&mut server, "a"), [""; 0], "a pipeline is answered as one");
    journal.keep(2);
    assert_eq!(sent(&mut server, "a"), ["OK", "\"1\"", "(integer) 2"]);
}

#[test]
fn each_reply_of_a_pipeline_has_its_own_fate() {
    let (mut server, journal) = server(Withholds::Writes);
    pipeline(&mut server, "a", &["SET k 1", "GET k", "INCR k", "PING", "APPEND k 0", "ECHO end"]);
    journal.keep(1);
    journal.cut(3, "MOVED 7 127.0.0.1:6380");
    journal.lose(2);
    let unknown = "(error) UNKNOWN ";
    let sent = sent(&mut server, "a");
    assert!(sent[2].starts_with(unknown), "{sent:?}");
    let expected = ["OK", "\"1\"", &sent[2], "PONG", "(error) MOVED 7 127.0.0.1:6380", "\"end\""];
    assert_eq!(sent, expected);
    // The connection goes on, and so does what it says next.
    pipeline(&mut server, "a", &["PING"]);
    assert_eq!(self::sent(&mut server, "a"), ["PONG"]);
}

#[test]
fn what_is_lost_is_one_reply_however_long_it_is() {
    let (mut server, journal) = server(Withholds::Writes);
    let large = "x".repeat(40_000);
    pipeline(&mut server, "a", &["PING", &format!("GETSET k {large}"), "GET k"]);
    journal.keep(journal.end());
    assert_eq!(sent(&mut server, "a").len(), 3);
    pipeline(&mut server, "a", &["GET k", "GETDEL k", "GET k", "MULTI", "INCR k", "GET k", "EXEC"]);
    journal.lose(2);
    let sent = sent(&mut server, "a");
    assert_eq!(sent.len(), 7, "one for each request");
    assert_eq!(sent[0].len(), large.len() + 2);
    assert!(sent[1].starts_with("(error) UNKNOWN") && sent[6].starts_with("(error) UNKNOWN"));
    assert_eq!(sent[2], "(nil)");
}

#[test]
fn who_is_served_by_anothers_write_waits_for_it() {
    let (mut server, journal) = server(Withholds::Writes);
    pipeline(&mut server, "waits", &["BLPOP l 0", "PING"]);
    pipeline(&mut server, "pushes", &["RPUSH l x"]);
    assert_eq!(sent(&mut server, "waits"), [""; 0]);
    journal.keep(1);
    assert_eq!(sent(&mut server, "pushes"), ["(integer) 1"]);
    assert_eq!(sent(&mut server, "waits"), [""; 0]);
    journal.cut(2, "MOVED 1 here:1");
    assert_eq!(sent(&mut server, "waits"), ["(error) MOVED 1 here:1", "PONG"]);
}

#[test]
fn who_wants_no_replies_waits_for_nothing() {
    let (mut server, journal) = server(Withholds::Writes);
    pipeline(&mut server, "a", &["CLIENT REPLY OFF", "SET k 1", "CLIENT REPLY ON"]);
    assert_eq!(sent(&mut server, "a"), ["OK"]);
    pipeline(&mut server, "a", &["CLIENT REPLY SKIP", "SET k 2", "SET k 3"]);
    journal.keep(3);
    assert_eq!(sent(&mut server, "a"), ["OK"]);
}
