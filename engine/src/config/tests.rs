//! Tests over the whole registry, and of the store against what Redis 7.0.15 answers.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const REDIS: &str = include_str!("testdata/redis-7.0.15.tsv");

/// The directives whose default differs from that of Redis, and the reason.
const OTHER_DEFAULT: &[(&str, &str)] = &[
    ("appendonly", "Varve's durability is the AOF: on unless switched off"),
    ("bind", "loopback only, until the owner decides otherwise"),
    ("dir", "data files do not litter the working folder"),
    ("save", "the AOF makes periodic snapshots unnecessary"),
];

/// The directives for which `CONFIG SET` replies differently, and the reason.
const OTHER_ANSWER: &[(&str, &str)] = &[
    ("tls-cluster", "its nodes agree on it at the start"),
    ("loglevel", "Redis 7.2 added the level `nothing`"),
    ("port", "immutable: a runtime serves the listeners it was started with"),
    ("tls-port", "immutable, as port"),
];

/// Directives Redis 7.0.15 does not have.
const NOT_IN_7_0: &[&str] = &[
    // Redis 7.2
    "aof-rewrite-cpulist",
    "bgsave-cpulist",
    "bio-cpulist",
    "cluster-announce-human-nodename",
    "enable-debug-assert",
    "locale-collate",
    "server-cpulist",
    "set-max-listpack-entries",
    "set-max-listpack-value",
    // Varve
    "admin-bind",
    "admin-port",
    "admin-token",
    "client-output-ceiling",
    "cluster-groups",
    "cluster-secret",
    "epoll-execution",
    "log-format",
    "overload-delay-target",
    "overload-interval",
    "overload-memory-target",
    "rate-limit-action",
    "rate-limit-address",
    "rate-limit-address-bytes",
    "rate-limit-burst",
    "rate-limit-client",
    "rate-limit-client-bytes",
    "rate-limit-user",
    "rate-limit-user-bytes",
    "runtime",
    "shards",
    "shutdown-drain-timeout",
    "storage",
    "threads",
    "tls-handshakes-max",
    "tls-handshakes-share",
    "trace",
    "trace-endpoint",
    "trace-samples-per-second",
    "unauthenticated-max",
    "unauthenticated-timeout",
    "websocket-origins",
    "websocket-port",
    "websocket-tls-port",
];

struct Recorded {
    name: &'static str,
    default: &'static str,
    /// Values and what CONFIG SET answered to them.
    answers: [(&'static str, &'static str); 2],
}

fn recorded() -> Vec<Recorded> {
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().expect("four columns");
        let (name, default) = (next(), next());
        let answers = [("bogus value", next()), ("-99999999999999", next())];
        Recorded { name, default, answers }
    };
    REDIS.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

fn reason(result: Result<(), SetError>) -> String {
    match result {
        Ok(()) => "OK".into(),
        Err(SetError::Failed { reason, .. }) => reason,
        Err(other) => other.to_string(),
    }
}

fn set(store: &ConfigStore, name: &str, value: &str) -> Result<(), SetError> {
    store.set_many(&[(name, value)], SetContext::default())
}

fn get(store: &ConfigStore, name: &str) -> String {
    store.get_matching(&[name]).pop().expect("known name").1
}

#[test]
fn every_id_has_one_row_named_like_it() {
    let rows: BTreeMap<Id, &str> = all().map(|row| (row.id, row.name)).collect();
    assert_eq!(rows.len(), Id::ALL.len());
    assert_eq!(all().count(), Id::ALL.len());
    for row in all() {
        let words = row.name.replace(['-', '_'], "");
        assert_eq!(format!("{:?}", row.id).to_lowercase(), words);
        assert_eq!(by_id(row.id).name, row.name);
    }
}

#[test]
fn names_are_unique_lower_case_and_documented() {
    let mut seen = BTreeSet::new();
    for row in all() {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            assert!(seen.insert(*name), "{name} twice");
            assert_eq!(name.to_ascii_lowercase(), *name);
        }
        assert!((5..100).contains(&row.summary.len()), "{}: summary", row.name);
        assert!(!row.summary.ends_with('.'), "{}: summary", row.name);
    }
    assert_eq!(seen.len(), names().count());
}

#[test]
fn every_default_is_a_value_the_row_accepts() {
    let store = ConfigStore::new();
    for row in all() {
        let shown = store.text(row.id);
        let parsed = row.parse(&row.split(&shown), &row.default_value());
        // `replicaof` has no words for "none" but `no one`.
        if row.id != Id::Replicaof {
            assert_eq!(parsed, Ok(row.default_value()), "{} {shown:?}", row.name);
        }
        assert!(store.is_default(row.id));
    }
}

#[test]
fn names_and_defaults_are_those_of_redis() {
    let store = ConfigStore::new();
    let redis: BTreeMap<_, _> = recorded().iter().map(|row| (row.name, row.default)).collect();
    for (name, default) in &redis {
        let excepted = OTHER_DEFAULT.iter().any(|(other, _)| other == name);
        assert_eq!(get(&store, name) != *default, excepted, "{name}");
    }
    let more: Vec<_> = names().map(|(name, _)| name).filter(|n| !redis.contains_key(n)).collect();
    let mut expected = NOT_IN_7_0.to_vec();
    expected.sort_unstable();
    assert_eq!(more, expected);
}

#[test]
fn config_set_answers_as_redis_does() {
    for row in recorded() {
        let excepted = OTHER_ANSWER.iter().any(|(name, _)| *name == row.name);
        for (value, answer) in row.answers.iter().filter(|(_, answer)| *answer != "-") {
            let ours = reason(set(&ConfigStore::new(), row.name, value));
            assert_eq!(ours != *answer, excepted, "{} {value}: {ours}", row.name);
        }
    }
}

#[test]
fn aliases_show_what_they_stand_for() {
    let store = ConfigStore::new();
    set(&store, "hash-max-ziplist-entries", "7").expect("valid");
    assert_eq!(store.integer(Id::HashMaxListpackEntries), 7);
    let names: Vec<_> = store.get_matching(&["hash-max-*-entries"]);
    let expected = [("hash-max-listpack-entries", "7"), ("hash-max-ziplist-entries", "7")];
    assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // Redis lets both names stand in one command, the later wins.
    let both = [("hash-max-ziplist-entries", "100"), ("hash-max-listpack-entries", "200")];
    assert_eq!(store.set_many(&both, SetContext::default()), Ok(()));
    assert_eq!(get(&store, "hash-max-ziplist-entries"), "200");
}

#[test]
fn config_get_echoes_the_asked_spelling_and_hides_the_hidden() {
    let store = ConfigStore::new();
    assert_eq!(store.get_matching(&["HZ", "hz"]), [("HZ".to_owned(), "10".to_owned())]);
    assert_eq!(store.get_matching(&["hz", "h?"]), [("hz".to_owned(), "10".to_owned())]);
    assert_eq!(get(&store, "watchdog-period"), "0");
    assert!(store.get_matching(&["watchdog*"]).is_empty());
    assert!(store.get_matching(&["nope"]).is_empty());
    let all = store.get_matching(&["*"]);
    assert!(all.is_sorted());
    assert_eq!(all.len(), names().filter(|(_, row)| !row.hidden).count());
}

#[test]
fn errors_are_worded_as_in_redis() {
    let store = ConfigStore::new();
    let line = |pairs: &[(&str, &str)]| {
        store.set_many(pairs, SetContext::default()).expect_err("refused").to_string()
    };
    let failed = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    assert_eq!(
        line(&[("hz", "10"), ("nope", "11")]),
        "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"
    );
    assert_eq!(line(&[("hz", "10"), ("Hz", "11")]), failed("Hz", "duplicate parameter"));
    assert_eq!(line(&[("HZ", "x")]), failed("hz", "argument couldn't be parsed into an integer"));
    assert_eq!(line(&[("Port", "1")]), failed("Port", "can't set immutable config"));
    assert_eq!(line(&[("dbfilename", "x")]), failed("dbfilename", "can't set protected config"));
    for value in [" 10", "010", "+10", ""] {
        assert_eq!(
            line(&[("hz", value)]),
            failed("hz", "argument couldn't be parsed into an integer")
        );
    }
    assert_eq!(
        line(&[("maxmemory-clients", "101%")]),
        failed("maxmemory-clients", "percentage argument must be less or equal to 100")
    );
    assert_eq!(
        line(&[("shutdown-on-sigint", "save nosave")]),
        failed(
            "shutdown-on-sigint",
            "shutdown options SAVE and NOSAVE can't be used simultaneously"
        )
    );
    assert_eq!(
        line(&[("hll-sparse-max-bytes", "18446744073709551615")]),
        failed(
            "hll-sparse-max-bytes",
            "argument must be between 0 and 9223372036854775807 inclusive"
        )
    );
}

#[test]
fn zero_may_be_permitted_beside_a_range() {
    const TEXT: &str = "argument must be 0 or between 5 and 60000 inclusive";
    let store = ConfigStore::new();
    let set = |value: &str| reason(set(&store, "overload-delay-target", value));
    assert_eq!(["5", "60000", "0"].map(set), ["OK"; 3]);
    assert_eq!(["4", "-1", "60001"].map(set), [TEXT; 3]);
}

#[test]
fn values_are_shown_as_redis_shows_them() {
    let store = ConfigStore::new();
    for (name, given, shown) in [
        ("maxmemory", "1GB", "1073741824"),
        ("maxmemory", "99999999999999999999999", "18446744073709551615"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-clients", "1mb", "1048576"),
        ("notify-keyspace-events", "KEA", "AKE"),
        ("loglevel", "WARNING", "warning"),
        ("oom-score-adj", "relative", "yes"),
        ("shutdown-on-sigint", "save now force", "save now force"),
        ("shutdown-on-sigint", "default", "default"),
        ("save", "60 1", "60 1"),
        ("save", "", ""),
        ("latency-tracking-info-percentiles", "50 99.999 100", "50 99.999 100"),
        ("latency-tracking-info-percentiles", "50.123456789", "50.123457"),
        ("latency-tracking-info-percentiles", "", ""),
        ("appendonly", "NO", "no"),
        ("tls-cert-file", "/x", "/x"),
    ] {
        assert_eq!(reason(set(&store, name, given)), "OK", "{name} {given}");
        assert_eq!(get(&store, name), shown);
    }
    assert_eq!(store.memory(Id::Maxmemory), u64::MAX);
    assert_eq!(store.choice(Id::Loglevel), "warning");
}

#[test]
fn special_directives_refuse_what_redis_refuses() {
    let store = ConfigStore::new();
    for (name, value, why) in [
        ("save", "60  1", "Invalid save parameters"),
        ("save", "60", "Invalid save parameters"),
        ("save", "0 1", "Invalid save parameters"),
        ("save", "1 -1", "Invalid save parameters"),
        (
            "client-output-buffer-limit",
            "pubsub 1 2",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "master 1 1 1",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit",
            "normal x 1 1",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "latency-tracking-info-percentiles",
            "101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("oom-score-adj-values", "1 2", "wrong number of arguments"),
        (
            "cluster-announce-hostname",
            "a_b",
            "Hostnames may only contain alphanumeric characters, hyphens or dots",
        ),
    ] {
        assert_eq!(reason(set(&store, name, value)), why, "{name} {value}");
    }
}

#[test]
fn output_buffer_limits_change_class_by_class() {
    let store = ConfigStore::new();
    for (given, shown) in [
        (
            "normal 1mb 2 3",
            "normal 1048576 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("replica 4 5 6", "normal 1048576 2 3 slave 4 5 6 pubsub 33554432 8388608 60"),
        ("NORMAL 0 0 0 pubsub 1 1 1", "normal 0 0 0 slave 4 5 6 pubsub 1 1 1"),
        ("", "normal 0 0 0 slave 4 5 6 pubsub 1 1 1"),
    ] {
        set(&store, "client-output-buffer-limit", given).expect("valid");
        assert_eq!(get(&store, "client-output-buffer-limit"), shown);
    }
    let replica = OutputBufferLimit { hard_bytes: 4, soft_bytes: 5, soft_seconds: 6 };
    assert_eq!(store.output_buffer_limits()[1], replica);
}

#[test]
fn a_failing_set_changes_nothing() {
    let store = ConfigStore::new();
    let version = store.version();
    let pairs = [("maxmemory", "1gb"), ("hz", "x")];
    assert!(store.set_many(&pairs, SetContext::default()).is_err());
    assert!(store.is_default(Id::Maxmemory));
    assert_eq!(store.version(), version);
}

#[test]
fn observers_hear_changes_and_may_refuse_them() {
    let store = ConfigStore::new();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let log = reported.clone();
    store.on_change(Box::new(move |id, value| {
        log.lock().expect("not poisoned").push((id, value.clone()));
        match value {
            Value::Number(20_000) => Err("too many".into()),
            _ => Ok(()),
        }
    }));
    set(&store, "maxmemory", "5").expect("accepted");
    set(&store, "maxmemory", "5").expect("no change, not told");
    let pairs = [("maxmemory", "6"), ("maxclients", "20000")];
    let refused = store.set_many(&pairs, SetContext::default());
    assert_eq!(reason(refused), "too many");
    assert_eq!(store.memory(Id::Maxmemory), 5);
    assert_eq!(store.integer(Id::Maxclients), 10_000);
    let told: Vec<_> = reported.lock().expect("not poisoned").clone();
    let number = |id, n| (id, Value::Number(n));
    let expected = [
        number(Id::Maxmemory, 5),
        number(Id::Maxmemory, 6),
        number(Id::Maxclients, 20_000),
        number(Id::Maxclients, 10_000),
        number(Id::Maxmemory, 5),
    ];
    assert_eq!(told, expected);
}

#[test]
fn context_decides_on_protected_and_loading() {
    let store = ConfigStore::new();
    let loading = SetContext { loading: true, ..SetContext::default() };
    let answer = store.set_many(&[("appendonly", "no")], loading);
    assert_eq!(answer, Err(SetError::Loading));
    let (_, gate) = lookup("enable-protected-configs").expect("known");
    store.load(gate, &["local"]).expect("a file may set it");
    let local = SetContext { local: true, ..SetContext::default() };
    assert_eq!(store.set_many(&[("dbfilename", "x.rdb")], local), Ok(()));
    assert!(set(&store, "dbfilename", "y.rdb").is_err());
    let path = store.set_many(&[("dbfilename", "a/b")], local);
    assert_eq!(reason(path), "dbfilename can't be a path, just a filename");
}

#[test]
fn files_may_set_what_is_immutable_later() {
    let store = ConfigStore::new();
    let load = |name: &str, words: &[&str]| {
        store.load(lookup(name).expect("known").1, words).expect("accepted");
    };
    load("port", &["7000"]);
    load("bind", &["*", "-::*"]);
    load("unixsocketperm", &["700"]);
    load("save", &["3600", "1", "300", "100"]);
    assert_eq!(store.integer(Id::Port), 7000);
    assert_eq!(store.bind_addresses(), ["*", "-::*"]);
    assert_eq!(store.integer(Id::Unixsocketperm), 0o700);
    assert_eq!(get(&store, "unixsocketperm"), "700");
    assert_eq!(store.save_points()[1], SavePoint { seconds: 300, changes: 100 });
    assert_eq!(store.latency_percentiles(), [50.0, 99.0, 99.9]);
    load("save", &[""]);
    assert!(store.save_points().is_empty());
}
