//! The admin port: what it tells, whom it refuses, and what holds it up.

use crate::support::{Varve, folder, free_port, run};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use storage::testing::{until, until_some};

/// The answer to a request: the status code and the body.
pub fn ask(port: u16, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
}

pub const LOCAL: &str = "Host: localhost\r\n";

pub fn metric(port: u16, name: &str) -> f64 {
    metric_in(&ask(port, "/metrics", LOCAL).1, name)
}

/// A metric of one scrape: others of the same scrape are of the same time.
fn metric_in(text: &str, name: &str) -> f64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn with_admin(more: &[&str]) -> (tempfile::TempDir, Varve, u16) {
    let ((folder, data), port) = (folder(), free_port());
    let port_text = port.to_string();
    let args = [&["--admin-port", &port_text], more].concat();
    (folder, Varve::start(&data, &args), port)
}

#[test]
fn metrics_move_under_load() {
    let (_folder, varve, port) = with_admin(&[]);
    let mut client = varve.connect();
    let before = metric(port, "varve_commands_processed_total");
    for _ in 0..10 {
        redis::cmd("SET").arg("k").arg("v").exec(&mut client).unwrap();
        redis::cmd("LPUSH").arg("k").arg("v").exec(&mut client).unwrap_err();
    }
    assert!(metric(port, "varve_commands_processed_total") >= before + 20.0);
    assert_eq!(metric(port, "varve_cmdstat_calls_total{command=\"set\"}"), 10.0);
    assert_eq!(metric(port, "varve_errorstat_count_total{code=\"WRONGTYPE\"}"), 10.0);
    assert_eq!(metric(port, "varve_db_keys{db=\"0\"}"), 1.0);
    assert_eq!(metric(port, "varve_command_duration_seconds_count{command=\"set\"}"), 10.0);
    let all = "varve_command_duration_seconds_bucket{le=\"+Inf\",command=\"set\"}";
    assert_eq!(metric(port, all), 10.0);
    assert!(metric(port, "varve_net_input_bytes_total") > 0.0);
    assert_eq!(metric(port, "varve_connected_clients"), 1.0);
}

/// While a script has a key, others wait for its shard.
#[test]
fn the_load_of_shards_and_the_time_waited_for_them_are_metrics() {
    const SLOW: &str =
        "local e = os.clock() + 0.02 while os.clock() < e do redis.call('GET', KEYS[1]) end";
    let (_folder, varve, port) = with_admin(&["--shards", "64", "--threads", "2"]);
    let mut client = varve.connect();
    redis::cmd("SET").arg("hot").arg("v").exec(&mut client).unwrap();
    let shards = || {
        let all = serde_json::from_str::<Vec<serde_json::Value>>(&ask(port, "/shards", LOCAL).1);
        all.expect("a list in JSON")
    };
    let of = |shard: &serde_json::Value, what: &str| shard[what].as_f64().expect("a number");
    let hot = until_some("the key's shard was waited for", || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut own = varve.connect();
                    redis::cmd("EVAL").arg(SLOW).arg(1).arg("hot").exec(&mut own).unwrap();
                });
            }
        });
        shards().iter().position(|it| of(it, "accesses") > 0.0 && of(it, "lock_wait_us") > 0.0)
    });
    // The load is that of a moment ago, so it is asked for while there is one.
    let busiest = "varve_shards_accesses_per_sec{quantile=\"1\"}";
    until("the load is known", || {
        for _ in 0..50 {
            redis::cmd("GET").arg("hot").exec(&mut client).unwrap();
        }
        of(&shards()[hot], "accesses_per_s") > 0.0 && metric(port, busiest) > 0.0
    });
    assert_eq!(shards().len(), 64);
    assert!(metric(port, "varve_shards_lock_waits_total") > 0.0);
    assert!(metric(port, "varve_shards_lock_wait_seconds_total") > 0.0);
    assert_eq!(metric(port, "varve_shards_accesses_per_sec{quantile=\"0.9\"}"), 0.0);
    let name = format!("varve_shard_accesses_total{{shard=\"{hot}\"}}");
    // Accesses are published now and then.
    let (_, text) = ask(port, "/metrics", LOCAL);
    assert_eq!(metric_in(&text, &name), metric_in(&text, "varve_shards_accesses_total"));
    let shown = text.matches("varve_shard_accesses_total{").count();
    assert!((8..=16).contains(&shown), "{shown} of 64 shards");
}

/// The names of the metrics that a server tells.
fn told(port: u16) -> BTreeSet<String> {
    let (_, text) = ask(port, "/metrics", LOCAL);
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn metrics_are_those_of_the_document() {
    let (_folder, varve, port) = with_admin(&[]);
    let mut client = varve.connect();
    redis::cmd("SET").arg("k").arg("v").exec(&mut client).unwrap();
    redis::cmd("LPUSH").arg("k").arg("v").exec(&mut client).unwrap_err();
    let told = told(port);
    let document = include_str!("../../../docs/metrics.md");
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `").filter(|row| row.starts_with("varve_")));
    let (always, sometimes): (Vec<_>, Vec<_>) =
        rows.partition(|row| !row.ends_with("(sometimes) |"));
    let name = |row: &str| row.split('`').next().unwrap_or_default().to_owned();
    let (always, sometimes): (BTreeSet<_>, BTreeSet<_>) =
        (always.into_iter().map(name).collect(), sometimes.into_iter().map(name).collect());
    let missing: Vec<_> = always.difference(&told).collect();
    assert!(missing.is_empty(), "documented, and not told: {missing:?}");
    let unknown: Vec<_> =
        told.iter().filter(|name| !always.contains(*name) && !sometimes.contains(*name)).collect();
    assert!(unknown.is_empty(), "told, and not documented: {unknown:?}");
}

#[test]
fn a_server_is_ready_only_when_what_must_hold_does() {
    let (folder, varve, port) = with_admin(&["--min-replicas-to-write", "1"]);
    let (code, body) = ask(port, "/health/ready", LOCAL);
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("\"replicas\":\"fewer replicas"), "{body}");
    assert_eq!(ask(port, "/health/live", LOCAL).0, 200);
    redis::cmd("CONFIG")
        .arg(&["SET", "min-replicas-to-write", "0"])
        .exec(&mut varve.connect())
        .unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while ask(port, "/health", LOCAL).0 != 200 {
        assert!(Instant::now() < until, "{}", ask(port, "/health", LOCAL).1);
    }
    drop((varve, folder));
}

#[test]
fn state_is_told_as_json_and_secrets_are_not() {
    let (_folder, varve, port) =
        with_admin(&["--masterauth", "hunter2", "--slowlog-log-slower-than", "0"]);
    let mut client = varve.connect();
    redis::cmd("CLIENT").arg(&["SETNAME", "me"]).exec(&mut client).unwrap();
    let json =
        |path| serde_json::from_str::<serde_json::Value>(&ask(port, path, LOCAL).1).expect("JSON");
    let is_me = |client: &serde_json::Value| client["name"] == "me";
    assert!(json("/clients").as_array().expect("a list").iter().any(is_me));
    assert_eq!(json("/info")["clients"]["connected_clients"], 1);
    assert_eq!(json("/config")["masterauth"], "(hidden)");
    assert_eq!(json("/config")["maxclients"], "10000");
    let slow = json("/slowlog");
    assert_eq!(slow[0]["arguments"], serde_json::json!(["CLIENT", "SETNAME", "me"]));
    assert_eq!(ask(port, "/nothing", LOCAL).0, 404);
}

#[test]
fn others_need_a_token() {
    let ((_folder, data), port) = (folder(), free_port().to_string());
    let args =
        ["--port", "0", "--unixsocket", "s", "--admin-port", &port, "--admin-bind", "0.0.0.0"];
    let ended = run(&[&["--dir", data.to_str().unwrap()], &args[..]].concat());
    assert!(ended.stderr.contains("set admin-token"), "{}", ended.stderr);
    let (_folder, _varve, port) = with_admin(&["--admin-token", "secret"]);
    assert_eq!(ask(port, "/metrics", LOCAL).0, 401);
    assert_eq!(ask(port, "/metrics", "Host: evil\r\nAuthorization: Bearer secret\r\n").0, 200);
    assert_eq!(ask(port, "/health", LOCAL).0, 200);
    let (_folder, _varve, port) = with_admin(&[]);
    assert_eq!(ask(port, "/metrics", "Host: evil.example\r\n").0, 403);
}

#[test]
fn connections_that_send_nothing_hold_nobody_up_for_long() {
    let (_folder, varve, port) = with_admin(&[]);
    let idle: Vec<_> = (0..64).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    // All places are taken: the next waits until the idle ones are closed for sending no headers.
    let begun = Instant::now();
    assert_eq!(ask(port, "/health/live", LOCAL).0, 200);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    drop((idle, varve));
}

#[test]
fn the_end_does_not_wait_for_connections() {
    let (_folder, varve, port) = with_admin(&[]);
    let idle: Vec<_> = (0..70).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let begun = Instant::now();
    assert!(varve.stop().status.success());
    // Idle ones would be closed after five seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop(idle);
}

#[test]
fn the_end_waits_for_commands_that_run_and_tells_those_that_wait() {
    const SLOW: &str =
        r#"["EVAL", "local e = os.clock() + 1 while os.clock() < e do end return 7", 0]"#;
    let (_folder, varve, port) = with_admin(&["--busy-reply-threshold", "60000"]);
    let mut client = varve.connect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| command(port, JSON, r#"["BLPOP", "jobs", 0]"#));
        let ran = r#"[["INCR", "n"], ["BRPOP", "jobs", 0]]"#;
        let ran = scope.spawn(move || command(port, JSON, ran));
        let runs = scope.spawn(|| command(port, JSON, SLOW));
        until("all have begun", || {
            let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
            ["cmd=blpop", "cmd=brpop", "cmd=eval"].iter().all(|command| list.contains(command))
        });
        assert!(varve.stop().status.success());
        assert_eq!(runs.join().unwrap(), (200, r#"{"result":7}"#.into()));
        let (status, text) = waits.join().unwrap();
        assert_eq!(status, 503, "{text}");
        let (status, text) = ran.join().unwrap();
        assert_eq!(status, 504, "who repeats it increments twice: {text}");
        assert!(text.starts_with(r#"{"error":"UNKNOWN "#), "{text}");
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// The reply to a command that has run is sent, although it waits for the disk when the server ends.
#[test]
fn the_end_waits_for_replies_that_are_withheld() {
    let options =
        ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
    let (_folder, varve, port) = with_admin(&options);
    let mut client = varve.connect();
    redis::cmd("DEBUG").arg("AOF-FLUSH-SLEEP").arg(2_000_000).exec(&mut client).unwrap();
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| command(port, JSON, r#"["INCR", "n"]"#));
        until("it has run", || {
            let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut client).unwrap();
            list.contains("cmd=incr")
        });
        assert!(varve.stop().status.success());
        assert_eq!(runs.join().unwrap(), (200, r#"{"result":1}"#.into()));
    });
}

/// Every shard is held meanwhile, by a script that does not end.
#[test]
fn a_scrape_waits_for_no_shard() {
    let (_folder, varve, port) = with_admin(&["--shards", "1", "--busy-reply-threshold", "100"]);
    let (mut holds, mut client) = (varve.connect(), varve.connect());
    redis::cmd("SET").arg("k").arg("v").exec(&mut client).unwrap();
    let script = "redis.call('get', KEYS[1]) while true do end";
    let holding = std::thread::spawn(move || {
        redis::cmd("EVAL").arg(script).arg(1).arg("k").exec(&mut holds).is_err()
    });
    until("others are told", || redis::cmd("PING").exec(&mut client).is_err());
    for path in ["/metrics", "/shards", "/health/live"] {
        assert_eq!(ask(port, path, LOCAL).0, 200, "{path}");
    }
    assert_eq!(metric(port, "varve_db_keys{db=\"0\"}"), 1.0);
    redis::cmd("SCRIPT").arg("KILL").exec(&mut client).expect("it still runs");
    assert!(holding.join().unwrap());
}

#[test]
fn who_begins_and_asks_nothing_is_let_go() {
    let (_folder, _varve, port) = with_admin(&[]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // HTTP/2's preface and empty settings: after these a client may be silent for long.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begun = Instant::now();
    stream.read_to_end(&mut Vec::new()).expect("the server closes");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// The answer to a body sent to `/v1/command`, in JSON.
fn command(port: u16, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.write_all(posted(headers, body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
}

fn posted(headers: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST /v1/command HTTP/1.1\r\n{LOCAL}Connection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
    )
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn commands_are_taken_and_answered_as_json() {
    let (_folder, varve, port) = with_admin(&[]);
    let ask = |body: &str| command(port, JSON, body);
    assert_eq!(ask(r#"["SET", "k", "ü"]"#), (200, r#"{"result":"OK"}"#.into()));
    let get: String = redis::cmd("GET").arg("k").query(&mut varve.connect()).unwrap();
    assert_eq!(get, "ü");
    assert_eq!(ask(r#"["GET", "k"]"#), (200, r#"{"result":"ü"}"#.into()));
    let (status, text) = ask(r#"["LPUSH", "k", 1]"#);
    assert_eq!(status, 400);
    assert!(text.starts_with(r#"{"error":"WRONGTYPE "#), "{text}");
    let batch = r#"[["MULTI"], ["HSET", "h", "f", 1.5], ["HGETALL", "h"], ["EXEC"], ["NOPE"]]"#;
    let (status, text) = ask(batch);
    assert_eq!(status, 200);
    let said = r#"[{"result":"OK"},{"result":"QUEUED"},{"result":"QUEUED"},{"result":[1,{"f":"1.5"}]},{"error":"#;
    assert!(text.starts_with(said), "{text}");
    assert_eq!(ask(r#"["SUBSCRIBE", "c"]"#).0, 400);
    assert_eq!(ask("no JSON").0, 400);
    let long = format!(r#"["SET", "k", "{}"]"#, "x".repeat(1 << 20));
    assert_eq!(ask(&long).0, 413);
    // A page of another site can send this without being asked whether it may.
    assert_eq!(command(port, "Content-Type: text/plain\r\n", r#"["FLUSHALL"]"#).0, 415);
    assert_eq!(ask(r#"["DBSIZE"]"#), (200, r#"{"result":2}"#.into()));
    let (_, clients) = ask(r#"["CLIENT", "LIST"]"#);
    assert_eq!(
        clients.matches(" addr=127.0.0.1").count(),
        1,
        "who has its answer is gone: {clients}"
    );
}

#[test]
fn another_name_does_not_make_a_stream_an_answer() {
    let (_folder, _varve, port) = with_admin(&["--rename-command", "SUBSCRIBE", "listen"]);
    let (status, text) = command(port, JSON, r#"["LISTEN", "c"]"#);
    assert_eq!(status, 400);
    assert!(text.contains("LISTEN cannot be sent over HTTP"), "{text}");
    let (status, text) = command(port, JSON, r#"["SUBSCRIBE", "c"]"#);
    assert_eq!(status, 400);
    assert!(text.contains("unknown command"), "{text}");
}

#[test]
fn hot_keys_and_shards_are_told_as_json() {
    let (_folder, varve, port) = with_admin(&["--shards", "4"]);
    assert_eq!(ask(port, "/hotkeys", LOCAL), (200, "null".into()));
    let mut client = varve.connect();
    let start = ["START", "METRICS", "2", "CPU", "NET", "SAMPLE", "1"];
    redis::cmd("HOTKEYS").arg(&start).exec(&mut client).unwrap();
    let slow = "for i = 1, 2000 do redis.call('APPEND', KEYS[1], 'x') end";
    redis::cmd("EVAL").arg(slow).arg(1).arg("slow").exec(&mut client).unwrap();
    redis::cmd("SET").arg("large").arg(vec![b'x'; 100_000]).exec(&mut client).unwrap();
    let (_, text) = ask(port, "/hotkeys", LOCAL);
    assert!(text.contains(r#""is_active":true"#), "{text}");
    assert!(text.contains(r#""by_bytes":[{"key":"large","spent":100013}"#), "{text}");
    assert!(text.contains(r#""by_us":[{"key":"slow""#), "{text}");
    let uses = text.split(r#""uses":"#).skip(1).map(|it| it.split(['}', ',']).next());
    let uses: usize = uses.map(|it| it.unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(uses, 2001, "{text}");
    redis::cmd("HOTKEYS").arg("STOP").exec(&mut client).unwrap();
    assert!(ask(port, "/hotkeys", LOCAL).1.contains(r#""is_active":false"#));
}

#[test]
fn commands_run_as_the_user_whom_the_request_names() {
    let (_folder, varve, port) = with_admin(&["--admin-token", "token", "--requirepass", "secret"]);
    let mut client = varve.connect();
    redis::cmd("AUTH").arg("secret").exec(&mut client).unwrap();
    let rules = ["SETUSER", "ann", "on", ">pw", "+get", "~a*"];
    redis::cmd("ACL").arg(&rules).exec(&mut client).unwrap();
    let ask = |who: &str, body: &str| command(port, &format!("{JSON}{who}"), body);
    let (ann, get) = ("Authorization: Basic YW5uOnB3\r\n", r#"["GET", "a"]"#);
    assert_eq!(ask(ann, get), (200, r#"{"result":null}"#.into()));
    assert_eq!(ask(ann, r#"["GET", "b"]"#).0, 403);
    assert_eq!(ask(ann, r#"["SET", "a", 1]"#).0, 403);
    assert_eq!(ask("Authorization: Basic YW5uOnB4\r\n", get).0, 401);
    assert_eq!(ask("", get).0, 401);
    assert_eq!(ask("Authorization: Bearer wrong\r\n", get).0, 401);
    assert_eq!(ask("Authorization: Bearer secret\r\n", get).0, 200);
    // The port's token opens the port; the user `default` has a password of its own.
    assert_eq!(ask("Authorization: Bearer token\r\n", get).0, 401);
}

#[test]
fn a_command_waits_as_long_as_its_sender_does() {
    let (_folder, varve, port) = with_admin(&[]);
    let mut client = varve.connect();
    let blocked = |client: &mut redis::Connection, expected: &str| {
        until("as many clients block", || {
            let info: String = redis::cmd("INFO").arg("clients").query(client).unwrap();
            info.contains(&format!("blocked_clients:{expected}\r"))
        });
    };
    std::thread::scope(|scope| {
        let popped = scope.spawn(|| command(port, JSON, r#"["BLPOP", "jobs", 0]"#));
        blocked(&mut client, "1");
        redis::cmd("RPUSH").arg("jobs").arg("first").exec(&mut client).unwrap();
        assert_eq!(popped.join().unwrap(), (200, r#"{"result":["jobs","first"]}"#.into()));
    });
    let mut leaving = TcpStream::connect(("127.0.0.1", port)).unwrap();
    leaving.write_all(posted(JSON, r#"["BLPOP", "jobs", 0]"#).as_bytes()).unwrap();
    blocked(&mut client, "1");
    drop(leaving);
    blocked(&mut client, "0");
    redis::cmd("RPUSH").arg("jobs").arg("second").exec(&mut client).unwrap();
    let left: usize = redis::cmd("LLEN").arg("jobs").query(&mut client).unwrap();
    assert_eq!(left, 1, "no job goes to somebody who has left");
}

#[test]
fn nothing_runs_before_the_login_has_succeeded() {
    // The user `default` has no password, and is no way around the port's token.
    let (_folder, varve, port) = with_admin(&["--admin-token", "token"]);
    let rules = ["SETUSER", "ann", "on", ">pw", "+@all", "~*"];
    redis::cmd("ACL").arg(&rules).exec(&mut varve.connect()).unwrap();
    let ask = |who: &str| command(port, &format!("{JSON}{who}"), r#"["INCR", "n"]"#);
    // default:x, ann:px, nosuch:x
    for refused in ["Basic ZGVmYXVsdDp4", "Basic YW5uOnB4", "Basic bm9zdWNoOng=", "Bearer x"] {
        let (status, text) = ask(&format!("Authorization: {refused}\r\n"));
        assert_eq!(status, 401, "{refused}: {text}");
    }
    assert_eq!(ask("Authorization: Bearer token\r\n"), (200, r#"{"result":1}"#.into()));
    assert_eq!(ask("Authorization: Basic YW5uOnB3\r\n"), (200, r#"{"result":2}"#.into()));
}
