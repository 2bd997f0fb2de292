//! Sessions as clients see them: requests of any size, `CLIENT PAUSE`, who is counted as waiting.

use engine::Host;
use engine::testing::{Harness, MAIN};
use resp::{Value, encode_command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use storage_memory::{Config, MemoryBackend};

fn harness() -> Harness {
    Harness::recording(commands::all(), Arc::new(MemoryBackend::new(Config::default())))
}

fn blocked(server: &mut Harness) -> String {
    let info = server.text("INFO clients");
    let line = info.split("\\r\\n").find(|line| line.starts_with("blocked_clients:"));
    line.expect("a line of INFO clients").trim_start_matches("blocked_clients:").to_owned()
}

#[test]
fn a_request_may_have_more_than_a_million_arguments() {
    let mut server = harness();
    server.text("SET k v");
    let mut args = vec![b"k".as_slice(); 1_048_577];
    args[0] = b"DEL";
    let mut bytes = Vec::new();
    encode_command(&args, &mut bytes);
    // Every piece is looked at once: again from the start, this would be 10^11 bytes.
    for piece in bytes.chunks(64) {
        server.send_bytes(MAIN, piece);
    }
    assert_eq!(server.replies(MAIN), [Value::Integer(1)]);
}

#[test]
fn what_a_request_claims_costs_nothing() {
    let mut server = harness();
    let began = Instant::now();
    for client in 0..200 {
        let name = format!("c{client}");
        server.send_bytes(&name, b"*2147483647\r\n$3\r\nDEL\r\n$536870912\r\nab");
        assert_eq!(server.replies(&name), []);
    }
    // Two thousand million arguments, two hundred times: nothing could touch that much memory.
    assert!(began.elapsed().as_secs() < 60);
    server.send_bytes(MAIN, b"*2147483648\r\n");
    let refused = server.replies(MAIN);
    assert_eq!(refused, [Value::Error("ERR Protocol error: invalid multibulk length".into())]);
}

#[test]
fn a_transaction_counts_towards_the_query_buffer() {
    let mut server = harness();
    server.text("CONFIG SET client-query-buffer-limit 1mb");
    server.send("b", "MULTI");
    let set = format!("SET k {}", "x".repeat(100_000));
    (0..12).for_each(|_| server.send("b", &set));
    assert_eq!(server.status("b").flow, runtime::Flow::Abort);
    let stats = server.text("INFO stats");
    assert!(stats.contains("client_query_buffer_limit_disconnections:1"), "{stats}");
}

#[test]
fn who_is_held_back_by_a_pause_counts_as_blocked() {
    let mut server = harness();
    server.text("CLIENT PAUSE 1000 WRITE");
    server.send("w", "SET k v");
    server.send("m", "MULTI");
    server.send("m", "SET k v");
    server.send("r", "GET k");
    assert_eq!(blocked(&mut server), "2");
    // It waits for no key.
    server.send("l", "BLPOP list 0");
    assert_eq!(blocked(&mut server), "3");
    server.text("CLIENT UNPAUSE");
    assert_eq!(blocked(&mut server), "1");
    server.text("CLIENT PAUSE 1000 ALL");
    server.send("w", "GET k");
    server.close("w");
    server.advance(1001);
    assert_eq!(blocked(&mut server), "1");
}

#[test]
fn a_later_pause_takes_nothing_from_an_earlier_one() {
    for (first, second, request, ms) in [
        ("200 ALL", "50 WRITE", "GET k", 200),
        ("200 ALL", "0 ALL", "GET k", 200),
        ("200 WRITE", "50 ALL", "SET k v", 200),
        ("200 WRITE", "50 WRITE", "SET k v", 200),
        ("50 WRITE", "200 WRITE", "SET k v", 200),
        ("50 ALL", "200 WRITE", "GET k", 200),
    ] {
        let mut server = harness();
        server.send("m", "MONITOR");
        server.text(&format!("CLIENT PAUSE {first}"));
        server.advance(10);
        // Of all clients only a replica, which who monitors is one of, may say so now.
        server.send("m", &format!("CLIENT PAUSE {second}"));
        server.send("b", request);
        let end = if first.starts_with("50") { ms } else { ms - 10 };
        server.advance(end);
        assert_eq!(server.replies("b"), [], "{first}, then {second}");
        // A pause is over when its last millisecond is.
        server.advance(1);
        assert_eq!(server.replies("b").len(), 1, "{first}, then {second}");
    }
}

#[test]
fn a_pause_of_all_holds_back_everybody_but_monitors() {
    let mut server = harness();
    server.text("CLIENT PAUSE 1000 WRITE");
    assert_eq!(server.text("CLIENT UNPAUSE"), "OK", "which is no write");
    server.send("m", "MONITOR");
    server.replies("m");
    server.text("CLIENT PAUSE 1000 ALL");
    for (client, request) in
        [("a", "CLIENT UNPAUSE"), ("b", "PING"), ("c", "QUIT"), ("d", "AUTH x")]
    {
        server.send(client, request);
        assert_eq!(server.replies(client), [], "{request}");
    }
    // To Redis it is a replica.
    server.send("m", "PING");
    let pong = Value::Simple(b"PONG".to_vec());
    assert!(server.replies("m").contains(&pong));
    server.advance(1001);
    for client in ["a", "b", "c", "d"] {
        assert_eq!(server.replies(client).len(), 1, "{client}");
    }
}

#[test]
fn what_is_freed_later_is_counted() {
    let mut server = harness();
    let mut line = String::from("SADD large");
    (0..1000).for_each(|n| line.push_str(&format!(" element:{n}")));
    let count = |server: &mut Harness| -> u64 {
        let info = server.text("INFO memory");
        let line = info.split("\\r\\n").find_map(|line| line.strip_prefix("lazyfreed_objects:"));
        line.and_then(|n| n.parse().ok()).expect("a line of INFO memory")
    };
    let rest = |server: &mut Harness| (0..1000).for_each(|_| server.keep_house());
    for (lines, freed) in [
        (&["SET small x", "UNLINK small"][..], 0),
        (&[&line, "UNLINK large"], 1),
        (&["MSET a 1 b 2 c 3", "FLUSHALL ASYNC"], 4),
        (&[&line, "COPY large other", "UNLINK large other"], 6),
        (&["CONFIG RESETSTAT"], 0),
        (&[&line, "UNLINK large"], 1),
    ] {
        lines.iter().for_each(|line| drop(server.text(line)));
        rest(&mut server);
        assert_eq!(count(&mut server), freed, "{}", lines[lines.len() - 1]);
    }
}

#[test]
fn nothing_expires_while_clients_are_paused() {
    let mut server = harness();
    for line in ["SET k v PX 10", "SET other v PX 10", "CLIENT PAUSE 1000 WRITE"] {
        server.text(line);
    }
    server.advance(20);
    server.logged();
    for _ in 0..3 {
        server.keep_house();
        for (line, reply) in [
            ("GET k", "(nil)"),
            ("EXISTS k other", "(integer) 0"),
            ("TTL k", "(integer) -2"),
            ("KEYS *", "(empty array)"),
            ("EVAL_RO \"return redis.call('GET','k')\" 0", "(nil)"),
            ("DBSIZE", "(integer) 2"),
        ] {
            assert_eq!(server.text(line), reply, "{line}");
        }
        // There is nothing but what has expired, so one of that it is.
        assert!(["\"k\"", "\"other\""].contains(&&*server.text("RANDOMKEY")));
    }
    assert_eq!(server.logged(), [""; 0]);
    assert!(server.text("INFO stats").contains("expired_keys:0"));
    server.text("CLIENT UNPAUSE");
    assert_eq!(server.text("GET k"), "(nil)");
    server.keep_house();
    assert_eq!(server.text("DBSIZE"), "(integer) 0");
    assert!(server.text("INFO stats").contains("expired_keys:2"));
    let mut logged = server.logged();
    logged.sort();
    assert_eq!(logged, ["DEL k", "DEL other"]);
}

#[test]
fn a_paused_transaction_may_write_over_what_has_expired() {
    let mut server = harness();
    for line in ["SET k v PX 10", "MULTI", "CLIENT PAUSE 1000 WRITE", "SET k w", "GET k"] {
        server.text(line);
    }
    server.advance(20);
    server.text("EXEC");
    assert_eq!(server.text("GET k"), "\"w\"");
    assert_eq!(server.text("DBSIZE"), "(integer) 1");
    server.text("CLIENT UNPAUSE");
    assert_eq!(server.text("DEL k"), "(integer) 1");
    assert_eq!(server.text("DBSIZE"), "(integer) 0");
}

/// The figures of `line`, by name.
fn figures(line: &str, names: &[&str]) -> Vec<String> {
    let of = |name: &&str| {
        let start = format!("{name}=");
        let found = line.split([' ', '\n', '"']).find_map(|word| word.strip_prefix(&start));
        found.unwrap_or("?").trim_end_matches("\\n").to_owned()
    };
    names.iter().map(of).collect()
}

#[test]
fn a_client_is_told_of_the_moment_it_asks_in() {
    const NAMES: &[&str] = &["qbuf", "argv-mem", "multi-mem", "obl", "oll", "omem", "events"];
    let asked = |server: &mut Harness, bytes: &[u8]| {
        server.send_bytes("asks", bytes);
        let replies = server.replies("asks");
        let told = replies.iter().map(engine::testing::text);
        let line = told.into_iter().find(|text| text.contains("qbuf=")).expect("a line");
        figures(&line, NAMES).join(" ")
    };
    let mut info = Vec::new();
    encode_command(&["CLIENT", "INFO"], &mut info);
    let mut list = Vec::new();
    encode_command(&["CLIENT", "LIST"], &mut list);
    let ping = b"*1\r\n$4\r\nPING\r\n";
    let mut server = harness();
    // The numbers are those of Redis 7.0.15.
    for (bytes, told) in [
        (info.clone(), "26 10 0 0 0 0 r"),
        (list, "26 10 0 0 0 0 r"),
        (b"CLIENT INFO\r\n".to_vec(), "13 10 0 0 0 0 r"),
        ([&info[..], ping, ping, ping].concat(), "68 10 0 0 0 0 r"),
        ([ping, ping, ping, &info[..]].concat(), "68 10 0 21 0 0 r"),
    ] {
        assert_eq!(asked(&mut server, &bytes), told, "{}", String::from_utf8_lossy(&bytes));
    }
    server.send_bytes("asks", b"MULTI\r\nSET abc vvvvvvvvvv\r\nCLIENT INFO\r\n");
    server.replies("asks");
    assert_eq!(asked(&mut server, b"*1\r\n$4\r\nEXEC\r\n"), "14 4 66 9 0 0 r");
    assert_eq!(asked(&mut server, &info), "26 10 0 0 0 0 r");
}

#[test]
fn others_are_told_what_a_client_waits_with() {
    const NAMES: &[&str] = &["flags", "multi", "qbuf", "argv-mem", "multi-mem", "obl", "cmd"];
    let mut server = harness();
    let mut told = |bytes: &[u8]| {
        server.send_bytes("b", b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$1\r\nb\r\n");
        server.send_bytes("b", bytes);
        let list = server.text("CLIENT LIST");
        server.close("b");
        let line = list.split("\\n").find(|line| line.contains("name=b ")).expect("a line");
        figures(line, NAMES).join(" ")
    };
    // As Redis 7.0.15 has it, but for the socket's kind.
    for (bytes, line) in [
        (&b""[..], "U -1 0 0 0 0 client|setname"),
        (b"*2\r\n$3\r\nGET\r\n$10\r\nabc", "U -1 3 3 0 0 client|setname"),
        (b"*3\r\n$3\r\nSET\r\n$3\r\nabc\r\n$100000\r\nxxxxx", "U -1 5 6 0 0 client|setname"),
        (b"PIN", "U -1 3 0 0 0 client|setname"),
        (b"*3\r\n$5\r\nBLPOP\r\n$5\r\nnokey\r\n$1\r\n0\r\n", "bU -1 0 11 0 0 blpop"),
        (b"MULTI\r\nSET abc vvvvvvvvvv\r\n", "xU 1 0 0 40 0 set"),
        (b"MULTI\r\nSET abc vvvvvvvvvv\r\nGET abc\r\n", "xU 2 0 0 62 0 get"),
        (b"MULTI\r\nSET abc vvvvvvvvvv\r\nEXEC\r\n", "U -1 0 0 0 0 exec"),
        (b"NOSUCH\r\n", "U -1 0 0 0 0 NULL"),
    ] {
        assert_eq!(told(bytes), line, "{}", String::from_utf8_lossy(bytes));
    }
    let mut many = b"*40\r\n$5\r\nRPUSH\r\n".to_vec();
    many.extend(b"$10\r\n0123456789\r\n".repeat(30));
    many.extend(b"$5\r\n01");
    assert_eq!(told(&many), "U -1 2 305 0 0 client|setname");
}

/// A process that uses as much memory as it is told.
#[derive(Default)]
struct Memory(AtomicU64);

impl Host for Memory {
    fn memory_used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const OOM: &str = "(error) OOM command not allowed when used memory > 'maxmemory'.";
const ABORT: &str = "(error) EXECABORT Transaction discarded because of";

/// A server whose memory may be over its limit of a thousand bytes, and what says whether it is.
fn limited() -> (Harness, impl Fn(&mut Harness, bool)) {
    let memory = Arc::new(Memory::default());
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    let mut server = Harness::with_host(commands::all(), backend, memory.clone());
    server.text("CONFIG SET maxmemory 1000");
    let fill = move |server: &mut Harness, full: bool| {
        memory.0.store(if full { 1001 } else { 999 }, Ordering::Relaxed);
        server.keep_house();
    };
    (server, fill)
}

#[test]
fn without_memory_nothing_is_queued() {
    let (mut server, fill) = limited();
    fill(&mut server, true);
    let previous = format!("{ABORT} previous errors.");
    for (line, reply) in [
        ("GET k", "(nil)"),
        ("SET k v", OOM),
        ("MULTI", "OK"),
        ("GET k", OOM),
        ("PING", OOM),
        ("MULTI", OOM),
        ("WATCH k", OOM),
        ("EXEC", &previous),
        ("MULTI", "OK"),
        ("DISCARD", "OK"),
        ("WATCH k", "OK"),
        ("MULTI", "OK"),
        ("RESET", "RESET"),
    ] {
        assert_eq!(server.text(line), reply, "{line}");
    }
}

#[test]
fn exec_looks_at_memory_and_scripts_at_how_it_was_when_it_began() {
    let (mut server, fill) = limited();
    let growing = format!("{ABORT}: {}", OOM.trim_start_matches("(error) "));
    let refused = OOM.trim_start_matches("(error) ");
    let plain = r#"EVAL "return redis.call('SET','k','v')" 0"#;
    server.text(r##"FUNCTION LOAD "#!lua name=l\nredis.register_function('f',function() end)""##);
    for (queued, is_aborted) in [
        ("SET k v", true),
        ("GET k", false),
        (plain, false),
        (r##"EVAL "#!lua\nreturn 1" 0"##, true),
        (r##"EVAL "#!lua flags=allow-oom\nreturn 1" 0"##, false),
        (r##"EVAL "#!lua flags=no-writes\nreturn 1" 0"##, false),
        ("FCALL f 0", true),
    ] {
        fill(&mut server, false);
        server.text("MULTI");
        assert_eq!(server.text(queued), "QUEUED");
        fill(&mut server, true);
        let reply = server.text("EXEC");
        assert_eq!(reply == growing, is_aborted, "{queued}: {reply}");
        assert_eq!(reply.contains(refused), is_aborted || queued == plain, "{queued}: {reply}");
        assert_eq!(server.text("EXEC"), "(error) ERR EXEC without MULTI");
    }
    assert_eq!(server.text(r##"EVAL "#!lua\nreturn 1" 0"##), OOM);
    assert_eq!(server.text("FCALL f 0"), OOM);
    assert!(server.text(plain).starts_with(OOM), "a script of old is stopped where it writes");
}

#[test]
fn what_scripts_and_transactions_write_counts_at_once() {
    let grow = r#"EVAL "for i = 1, 100 do redis.call('SET', 'k', string.rep('x', 1000)) end" 0"#;
    let memory = Arc::new(Memory::default());
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    let mut server = Harness::with_host(commands::all(), backend, memory.clone());
    server.text("CONFIG SET maxmemory 1000");
    // Nobody has looked since.
    memory.0.store(1001, Ordering::Relaxed);
    assert_eq!(server.text("SET k v"), "OK");
    assert_eq!(server.text(grow), "(nil)", "what began with enough memory ends");
    assert_eq!(server.text("SET k v"), OOM);

    memory.0.store(999, Ordering::Relaxed);
    server.keep_house();
    server.text("MULTI");
    let set = format!("SET k {}", "x".repeat(70_000));
    assert_eq!(server.text(&set), "QUEUED");
    memory.0.store(1001, Ordering::Relaxed);
    assert_eq!(server.text("EXEC"), "1) OK");
    assert_eq!(server.text("SET k v"), OOM, "queued and done, it is counted twice");
}

#[test]
fn what_gives_way_for_a_request_is_told_before_it_is_answered() {
    let memory = Arc::new(Memory::default());
    let backend = Arc::new(MemoryBackend::new(Config::default()));
    let mut server = Harness::with_host(commands::all(), backend, memory.clone());
    for line in ["SET k v", "CONFIG SET maxmemory-policy allkeys-random", "HELLO 3"] {
        server.run(line);
    }
    server.run("CLIENT TRACKING ON");
    server.run("GET k");
    memory.0.store(1001, Ordering::Relaxed);
    server.run("CONFIG SET maxmemory 1000");
    server.send(MAIN, "GET k");
    let replies = server.replies(MAIN);
    assert!(matches!(&replies[..], [Value::Push(_), Value::Null]), "{replies:?}");
    // While clients are paused everything stays.
    memory.0.store(999, Ordering::Relaxed);
    server.keep_house();
    server.send("b", "SET k v");
    server.send(MAIN, "CLIENT PAUSE 1000 WRITE");
    server.replies(MAIN);
    memory.0.store(1001, Ordering::Relaxed);
    server.keep_house();
    assert_eq!(server.text("GET k"), "\"v\"");
}

#[test]
fn behind_a_digest_a_transaction_sees_what_the_time_is() {
    let mut server = harness();
    let (_, row) = engine::config::lookup("enable-debug-command").unwrap();
    server.engine().config.load(row, &["yes"]).unwrap();
    for line in ["SET k v PX 100", "MULTI", "DEBUG DIGEST", "GET k"] {
        server.run(line);
    }
    server.advance(100);
    let reply = server.text("EXEC");
    assert!(reply.trim_end().ends_with("(nil)"), "{reply}");
}
