//! Memory over `maxmemory`: what gives way under each policy, and what is refused.

use crate::support::{Varve, folder};
use redis::{Commands, Connection, cmd};
use std::time::Duration;

/// Bytes of data that fit beside what the process takes by itself.
const ROOM: u64 = 4 << 20;
const VALUE: usize = 1000;

fn figure(client: &mut Connection, section: &str, name: &str) -> u64 {
    let text: String = cmd("INFO").arg(section).query(client).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
}

fn set(client: &mut Connection, directive: &str, value: &str) {
    let () = cmd("CONFIG").arg("SET").arg(directive).arg(value).query(client).unwrap();
}

/// Limits memory to what is used now and [`ROOM`].
fn limit(client: &mut Connection, policy: &str) -> u64 {
    let limit = figure(client, "memory", "used_memory") + ROOM;
    set(client, "maxmemory-policy", policy);
    set(client, "maxmemory", &limit.to_string());
    limit
}

/// Writes `keys`; how many were refused.
fn fill(client: &mut Connection, keys: std::ops::Range<usize>, expiry_s: Option<u64>) -> usize {
    let value = "x".repeat(VALUE);
    let write = |n| {
        let mut set = cmd("SET");
        set.arg(format!("key{n}")).arg(&value);
        if let Some(seconds) = expiry_s {
            set.arg("EX").arg(seconds);
        }
        let written: redis::RedisResult<()> = set.query(client);
        if let Err(error) = &written {
            assert_eq!(error.code(), Some("OOM"), "{error}");
        }
        written.is_err()
    };
    keys.map(write).filter(|refused| *refused).count()
}

fn there(client: &mut Connection, keys: std::ops::Range<usize>) -> usize {
    keys.filter(|n| client.exists(format!("key{n}")).unwrap()).count()
}

#[test]
fn all_policies_keep_memory_within_its_limit() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"] {
        let (_folder, data) = folder();
        let varve = Varve::start(&data, &["--appendonly", "yes", "--threads", "2"]);
        let mut client = varve.connect();
        set(&mut client, "notify-keyspace-events", "Ee");
        let mut listener = varve.connect();
        let mut listener = listener.as_pubsub();
        listener.subscribe("__keyevent@0__:evicted").unwrap();
        let limit = limit(&mut client, policy);
        let expiry = policy.starts_with("volatile").then_some(1000);
        assert_eq!(fill(&mut client, 0..12_000, expiry), 0, "{policy}");
        let used = figure(&mut client, "memory", "used_memory");
        assert!(used < limit + ROOM / 4, "{policy}: {used} of {limit}");
        // What is evicted meanwhile would be counted once only: other threads may still be at it.
        set(&mut client, "maxmemory", "0");
        let (evicted, left) = loop {
            let before = figure(&mut client, "stats", "evicted_keys");
            let left = there(&mut client, 0..12_000);
            if figure(&mut client, "stats", "evicted_keys") == before {
                break (before, left);
            }
        };
        assert_eq!(evicted as usize + left, 12_000, "{policy}");
        assert!(left > 1_500, "{policy}: {left} are left");
        let event: String = listener.get_message().unwrap().get_payload().unwrap();
        assert!(event.starts_with("key"), "{policy}: {event}");

        // What was evicted stays so.
        let ended = varve.stop();
        assert_eq!(ended.status.code(), Some(0), "{policy}: {}", ended.stderr);
        let varve = Varve::start(&data, &["--appendonly", "yes"]);
        let size: usize = cmd("DBSIZE").query(&mut varve.connect()).unwrap();
        assert_eq!(size, left, "{policy}");
    }
}

#[test]
fn what_is_used_often_or_has_long_to_live_stays() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--appendonly", "no"]);
    let mut client = varve.connect();

    limit(&mut client, "allkeys-lfu");
    fill(&mut client, 0..500, None);
    for _ in 0..40 {
        let _: Vec<String> =
            client.mget((0..500).map(|n| format!("key{n}")).collect::<Vec<_>>()).unwrap();
    }
    // The counter is raised by chance: of forty uses of one key, 2 % of the keys show none but the first.
    let mut frequency = |n: u32| -> u8 {
        cmd("OBJECT").arg("FREQ").arg(format!("key{n}")).query(&mut client).unwrap()
    };
    let often = (0..50).filter(|&n| frequency(n) > 6).count();
    assert!(often > 25, "{often} of 50 keys are known to be used often");
    fill(&mut client, 500..9_000, None);
    assert!(there(&mut client, 0..500) > 450);

    let () = cmd("FLUSHALL").query(&mut client).unwrap();
    limit(&mut client, "allkeys-lru");
    fill(&mut client, 0..2_500, None);
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(there(&mut client, 0..500), 500);
    let _: Vec<String> =
        client.mget((0..500).map(|n| format!("key{n}")).collect::<Vec<_>>()).unwrap();
    fill(&mut client, 2_500..4_500, None);
    assert!(there(&mut client, 0..500) > 400);

    let () = cmd("FLUSHALL").query(&mut client).unwrap();
    limit(&mut client, "volatile-ttl");
    fill(&mut client, 0..500, Some(100_000));
    fill(&mut client, 500..9_000, Some(100));
    assert!(there(&mut client, 0..500) > 450);
}

#[test]
fn writes_are_refused_when_nothing_may_go() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--appendonly", "no"]);
    let mut client = varve.connect();
    for policy in ["noeviction", "volatile-lru"] {
        limit(&mut client, policy);
        let refused = fill(&mut client, 0..9_000, None);
        assert!((2_000..8_500).contains(&refused), "{policy}: {refused}");
        let value: String = client.get("key1").unwrap();
        assert_eq!(value.len(), VALUE, "{policy}: reading goes on");
        assert_eq!(figure(&mut client, "stats", "evicted_keys"), 0, "{policy}");
        let () = cmd("FLUSHALL").query(&mut client).unwrap();
        assert_eq!(fill(&mut client, 0..10, None), 0, "{policy}: there is room at once");
        let () = cmd("FLUSHALL").query(&mut client).unwrap();
    }
}

/// Small requests that make much of what is there: a long string, sets and a list of many numbers.
const AMPLIFYING: &[&str] = &[
    "SETRANGE new 40000000 x",
    "SETBIT new 320000000 1",
    "BITFIELD new SET u8 320000000 1",
    "BITOP NOT new huge",
    "COPY huge new",
    "EVAL \"redis.call('setrange','new',40000000,'x')\" 0",
    "MULTI\r\nSETRANGE new 40000000 x\r\nEXEC",
    "DEBUG POPULATE 20 new 2000000",
    "GETSET new x\r\nDEBUG POPULATE 400000",
    "SUNIONSTORE new set other",
    "SORT list STORE new",
];

/// One command may take more than there is, as in Redis; the next that wants more is refused, although
/// it stands behind it in the same pipeline.
#[test]
fn what_makes_much_of_little_is_noticed_at_once() {
    use std::io::{Read, Write};
    for amplifying in AMPLIFYING {
        let (_folder, data) = folder();
        let varve = Varve::start(&data, &["--enable-debug-command", "yes", "--appendonly", "no"]);
        let mut client = varve.connect();
        let () = cmd("SETRANGE").arg("huge").arg(30_000_000).arg("x").query(&mut client).unwrap();
        for (command, key, numbers) in [
            ("SADD", "set", 0..40_000),
            ("SADD", "other", 40_000..80_000),
            ("RPUSH", "list", 0..400_000),
        ] {
            let numbers: Vec<String> = numbers.map(|n: u32| n.to_string()).collect();
            let () = cmd(command).arg(key).arg(numbers).query(&mut client).unwrap();
        }
        let limit = figure(&mut client, "memory", "used_memory") + (1 << 20);
        set(&mut client, "maxmemory", &limit.to_string());
        let mut raw = std::net::TcpStream::connect(varve.address()).unwrap();
        raw.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        raw.write_all(format!("SET first x\r\n{amplifying}\r\nSET next x\r\nQUIT\r\n").as_bytes())
            .unwrap();
        let mut replies = String::new();
        raw.read_to_string(&mut replies).unwrap();
        assert!(replies.starts_with("+OK\r\n"), "{amplifying}: {replies}");
        assert_eq!(replies.matches("-OOM ").count(), 1, "{amplifying}: {replies}");
        assert!(client.exists::<_, bool>("new").unwrap() || amplifying.contains("POPULATE"));
        assert!(!client.exists::<_, bool>("next").unwrap(), "{amplifying}");
    }
}

#[test]
fn storages_on_disk_say_that_they_evict_nothing() {
    let (_folder, data) = folder();
    let varve = Varve::start(&data, &["--storage", "fjall"]);
    let mut client = varve.connect();
    let refused: redis::RedisResult<()> =
        cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru").query(&mut client);
    assert!(refused.unwrap_err().to_string().contains("evicts nothing"));
    let policy: Vec<String> =
        cmd("CONFIG").arg("GET").arg("maxmemory-policy").query(&mut client).unwrap();
    assert_eq!(policy[1], "noeviction");
}
