//! Replies that wait until what they depend on is kept, and what becomes of them.

use engine::session::SessionState;
use engine::testing::{Harness, text};
use engine::{Cluster, Route};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use storage::Withholds;
use storage::testing::scripted::Scripted;
use storage_memory::{Config, MemoryBackend};

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

/// The replies sent to a client since the last call for it.
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

/// Two keys of different shards.
fn apart(server: &Harness) -> (String, String) {
    let backend = &server.engine().backend;
    let shard = |key: &str| backend.shard_of(backend.hash(key.as_bytes()));
    let other = (0..).map(|n| format!("other{n}")).find(|key| shard(key) != shard("k")).unwrap();
    ("k".into(), other)
}

#[test]
fn reads_wait_for_the_write_they_saw() {
    let (mut server, journal) = server(Withholds::Everything);
    let (key, other) = apart(&server);
    pipeline(&mut server, "writes", &[&format!("SET {key} 1")]);
    for (client, line) in [("reads", format!("GET {key}")), ("elsewhere", format!("GET {other}"))] {
        pipeline(&mut server, client, &[&line]);
    }
    pipeline(&mut server, "sees nothing", &["PING"]);
    assert_eq!(sent(&mut server, "elsewhere"), ["(nil)"]);
    assert_eq!(sent(&mut server, "sees nothing"), ["PONG"]);
    assert_eq!(sent(&mut server, "reads"), [""; 0]);
    journal.keep(1);
    assert_eq!(sent(&mut server, "reads"), ["\"1\""]);
    assert_eq!(sent(&mut server, "writes"), ["OK"]);
    pipeline(&mut server, "reads", &[&format!("GET {key}")]);
    assert_eq!(sent(&mut server, "reads"), ["\"1\""], "what is kept is not waited for");
}

#[test]
fn what_did_nothing_waits_for_what_it_saw() {
    for lines in [
        &["SET k 2 NX"][..],
        &["LPUSH k x"],
        &["EVAL return(redis.call('GET',KEYS[1])) 1 k"],
        &["MULTI", "GET k", "EXEC"],
        &["MULTI", "SET k 2 NX", "EXEC"],
    ] {
        let (mut server, journal) = server(Withholds::Everything);
        pipeline(&mut server, "writes", &["SET k 1"]);
        pipeline(&mut server, "a", lines);
        assert_eq!(sent(&mut server, "a"), [""; 0], "{lines:?}");
        journal.cut(1, "MOVED 7 there:1");
        let answers = sent(&mut server, "a");
        assert_eq!(answers.len(), lines.len(), "{lines:?}");
        assert_eq!(answers.last().unwrap(), "(error) MOVED 7 there:1");
        assert_eq!(journal.end(), 1, "{lines:?}");
    }
}

#[test]
fn what_wrote_is_answered_by_what_it_appended_whatever_it_saw() {
    let (mut server, journal) = server(Withholds::Everything);
    journal.cut_what_is_seen("MOVED 7 there:1");
    let script = "EVAL return(redis.call('INCR',KEYS[1])) 1 k";
    for (lines, answer) in [
        (&["INCR k"][..], "(integer) 1"),
        (&["MULTI", "GET k", "INCR k", "EXEC"], "1) \"1\"\n2) (integer) 2"),
        (&[script], "(integer) 3"),
    ] {
        pipeline(&mut server, "a", lines);
        assert_eq!(sent(&mut server, "a"), [""; 0], "{lines:?}");
        journal.keep(journal.end());
        assert_eq!(sent(&mut server, "a").last().unwrap(), answer, "{lines:?}");
    }
    pipeline(&mut server, "a", &["GET k"]);
    assert_eq!(sent(&mut server, "a"), ["(error) MOVED 7 there:1"]);
    pipeline(&mut server, "a", &["MULTI", "GET k", "EXEC"]);
    assert_eq!(sent(&mut server, "a").last().unwrap(), "(error) MOVED 7 there:1");
}

#[test]
fn a_failed_watch_waits_for_what_made_it_fail() {
    let (mut server, journal) = server(Withholds::Everything);
    pipeline(&mut server, "a", &["WATCH k"]);
    assert_eq!(sent(&mut server, "a"), ["OK"]);
    pipeline(&mut server, "b", &["SET k 1"]);
    pipeline(&mut server, "a", &["MULTI", "PING", "EXEC"]);
    assert_eq!(sent(&mut server, "a"), [""; 0]);
    journal.keep(1);
    assert_eq!(sent(&mut server, "a"), ["OK", "QUEUED", "(nil)"]);
}

#[test]
fn what_the_journal_does_not_admit_leaves_no_trace() {
    let (mut server, journal) = server(Withholds::Writes);
    pipeline(&mut server, "a", &["SET k v PX 100", "HSET h f v"]);
    journal.keep(journal.end());
    assert_eq!(sent(&mut server, "a").len(), 2);
    journal.take();
    let (before, full) = (server.contents(), "TRYAGAIN the window is full");
    journal.refuse(Some(full));
    server.advance(100);
    server.keep_house();
    let script = "redis.call('SET',KEYS[1],1) return 1";
    server.send_bytes("a", &{
        let mut bytes = Vec::new();
        resp::encode_command(&["EVAL", script, "1", "k"], &mut bytes);
        bytes
    });
    let error = format!("(error) {full}");
    assert_eq!(sent(&mut server, "a"), [&error[..]]);
    for line in ["SET k 2", "DEL h", "HSET h f w", "FLUSHALL", "RPUSH l x"] {
        pipeline(&mut server, "a", &[line]);
        assert_eq!(sent(&mut server, "a"), [&error[..]], "{line}");
    }
    pipeline(&mut server, "a", &["MULTI", "SET a 1", "GET h", "EXEC"]);
    assert_eq!(sent(&mut server, "a"), ["OK", "QUEUED", "QUEUED", &error]);
    // A published message is no effect.
    pipeline(&mut server, "a", &["PUBLISH c m"]);
    assert_eq!(sent(&mut server, "a"), ["(integer) 0"]);
    // Reads go on; what has expired is hidden, for nobody can be told that it went.
    pipeline(&mut server, "a", &["GET k", "HGET h f", "DBSIZE", "MULTI", "GET k", "EXEC"]);
    let seen = sent(&mut server, "a");
    assert_eq!(seen, ["(nil)", "\"v\"", "(integer) 2", "OK", "QUEUED", "1) (nil)"]);
    assert_eq!((server.contents(), journal.take()), (before, vec![]));
    journal.refuse(None);
    pipeline(&mut server, "a", &["GET k", "SET a 1"]);
    journal.keep(journal.end());
    assert_eq!(sent(&mut server, "a"), ["(nil)", "OK"]);
    assert_eq!(journal.take(), ["DEL k", "SET a 1"]);
}

/// A cluster of which this server has the first half of the slots, until it has not.
#[derive(Default)]
struct Half {
    lost: AtomicBool,
    /// The fence that was lowered after it was last told.
    lowered: AtomicBool,
    /// Whether another server has all slots.
    elsewhere: AtomicBool,
}

impl Cluster for Half {
    fn route(&self, slot: u16, _: &SessionState) -> Route {
        match slot {
            _ if self.elsewhere.load(SeqCst) => Route::Moved("there:7".into()),
            _ if self.lost.load(SeqCst) && self.lowered.load(SeqCst) => Route::TryAgain,
            0..8192 => Route::Serve { stream: slot, fence: 3 },
            8192..16000 => Route::Moved("there:7".into()),
            _ => Route::Down,
        }
    }

    fn is_current(&self, _: u16, _: u16, fence: u64) -> bool {
        self.lowered.store(true, SeqCst);
        fence == 3 && !self.lost.load(SeqCst)
    }
}

#[test]
fn a_cluster_says_who_executes_and_which_stream_it_is_in() {
    let (mut server, journal) = server(Withholds::Everything);
    let cluster = Arc::new(Half::default());
    server.engine().join(cluster.clone());
    // `foo` is in slot 12182, `bar` in 5061.
    for (line, reply) in [
        ("GET foo", "(error) MOVED 12182 there:7"),
        ("MGET foo bar", "(error) CROSSSLOT Keys in request don't hash to the same slot"),
        ("GET {foo}bar", "(error) MOVED 12182 there:7"),
        ("PING", "PONG"),
        ("GET bar", "(nil)"),
    ] {
        pipeline(&mut server, "a", &[line]);
        assert_eq!(sent(&mut server, "a"), [reply], "{line}");
    }
    pipeline(&mut server, "a", &["SET bar 1", "MULTI", "APPEND {bar}x 1", "GET foo", "EXEC"]);
    assert_eq!(sent(&mut server, "a"), [""; 0]);
    journal.keep(1);
    let sent_now = sent(&mut server, "a");
    assert_eq!(sent_now[..3], ["OK", "OK", "QUEUED"]);
    assert!(sent_now[3].starts_with("(error) MOVED") && sent_now[4].contains("EXECABORT"));
    assert_eq!(journal.take(), ["SET bar 1"]);
    let backend = &server.engine().backend;
    let shard = backend.shard_of(backend.hash(b"bar"));
    let mut last = (0, 0);
    let look = &mut |tx: &mut dyn storage::Tx| last = (tx.last(5061).seq, tx.last(0).seq);
    backend.transact(storage::Locks::One(shard), 0, look).unwrap();
    assert_eq!(last, (1, 0));
}

#[test]
fn who_waits_for_a_key_is_sent_where_its_slot_is_served() {
    let (mut server, _) = server(Withholds::Everything);
    let cluster = Arc::new(Half::default());
    server.engine().join(cluster.clone());
    pipeline(&mut server, "a", &["BLPOP {bar}l bar 0", "GET foo"]);
    pipeline(&mut server, "b", &["XREAD BLOCK 0 STREAMS {bar}s $"]);
    let reroute = |server: &mut Harness, client: &str, served: bool| {
        server.engine().notify.reroute(|key| served || engine::commit::slot(key) != 5061);
        sent(server, client)
    };
    assert_eq!(reroute(&mut server, "a", true), [""; 0], "it is served here");
    assert_eq!(reroute(&mut server, "a", false), [""; 0], "it is served here all the same");
    cluster.lost.store(true, SeqCst);
    cluster.lowered.store(true, SeqCst);
    assert_eq!(reroute(&mut server, "a", false), [""; 0], "it may be in a moment");
    cluster.elsewhere.store(true, SeqCst);
    assert_eq!(reroute(&mut server, "a", true), [""; 0]);
    let told = "(error) MOVED 5061 there:7";
    assert_eq!(reroute(&mut server, "a", false), [told, "(error) MOVED 12182 there:7"]);
    assert_eq!(sent(&mut server, "b"), [told]);
    assert!(server.text("INFO clients").contains("blocked_clients:0"));
    let failed = server.text("INFO commandstats");
    assert!(failed.contains("cmdstat_blpop") && failed.contains("failed_calls=1"), "{failed}");
}

#[test]
fn behind_a_lowered_fence_nothing_is_executed() {
    let (mut server, journal) = server(Withholds::Everything);
    let cluster = Arc::new(Half::default());
    server.engine().join(cluster.clone());
    // It is routed here, and lost before its locks are taken.
    cluster.lost.store(true, SeqCst);
    pipeline(&mut server, "a", &["SET bar 1"]);
    assert!(sent(&mut server, "a")[0].starts_with("(error) TRYAGAIN"));
    cluster.lowered.store(false, SeqCst);
    pipeline(&mut server, "b", &["MULTI", "SET bar 1"]);
    cluster.lowered.store(false, SeqCst);
    pipeline(&mut server, "b", &["EXEC"]);
    assert!(sent(&mut server, "b").last().unwrap().starts_with("(error) TRYAGAIN"));
    assert_eq!((server.contents().len(), journal.end()), (0, 0));
}

#[test]
fn a_client_draws_its_own_numbers() {
    let drawn = |disturbed: bool| {
        let (mut server, _) = server(Withholds::Nothing);
        server.run_as("a", "SADD s 1 2 3 4 5 6 7 8 9");
        server.run_as("other", "PING");
        (0..20)
            .map(|n| {
                if disturbed && n % 3 == 0 {
                    server.run_as("other", "SRANDMEMBER s 5");
                }
                text(&server.run_as("a", "SRANDMEMBER s"))
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(true), drawn(false));
    assert!(drawn(false).iter().any(|member| *member != drawn(false)[0]));
}
