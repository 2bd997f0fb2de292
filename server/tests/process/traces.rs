//! Sampled requests as spans, as a collector of OpenTelemetry receives them.

use crate::serving::RUNTIMES;
use crate::support::{Varve, folder, free_port, possible};
use otel::testing::{Collector, Span, Value};
use redis::Commands;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use storage::testing::{until, until_some};

const TRACE: [u8; 16] = [0xab; 16];
const CALLER: [u8; 8] = [0xcd; 8];

/// The caller's span, as it names it.
fn traceparent(flags: &str) -> String {
    format!("00-{}-{}-{flags}", "ab".repeat(16), "cd".repeat(8))
}

fn set_parent(client: &mut redis::Connection, parent: &str) {
    redis::cmd("CLIENT").arg(&["SETINFO", "TRACEPARENT", parent]).exec(client).unwrap();
}

fn took_ns(span: &Span) -> u64 {
    span.end_time_unix_nano - span.start_time_unix_nano
}

/// The turn of a command, and its stages, as soon as they have come.
fn turn(collector: &Collector, command: &str) -> (Span, Vec<Span>) {
    let all = until_some("the span comes", || {
        let all = collector.spans();
        all.iter().any(|span| span.name == command).then_some(all)
    });
    let turn = all.iter().find(|span| span.name == command).expect("it has come").clone();
    let stages = all.into_iter().filter(|span| span.parent_span_id == turn.span_id);
    (turn.clone(), stages.collect())
}

fn text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == key)?.value.clone()?.value?;
    match found {
        Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

fn figure(client: &mut redis::Connection, name: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("trace").query(client).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {info}"))
}

/// The stages lie in their turn one after the other.
fn assert_in_order(turn: &Span, stages: &[Span]) {
    let mut end = turn.start_time_unix_nano;
    for stage in stages {
        assert_eq!(stage.trace_id, turn.trace_id);
        assert!(stage.start_time_unix_nano >= end, "{stage:?} overlaps");
        end = stage.end_time_unix_nano;
    }
    assert!(end <= turn.end_time_unix_nano, "{stages:?} exceed {turn:?}");
    let sum: u64 = stages.iter().map(took_ns).sum();
    assert!(sum <= took_ns(turn), "{sum} > {}", took_ns(turn));
}

#[test]
fn a_request_is_a_part_of_its_callers_trace_and_has_its_stages() {
    for runtime in possible(RUNTIMES) {
        let (collector, (_folder, data)) = (Collector::start(), folder());
        let endpoint = collector.endpoint();
        let options = ["--trace-endpoint", &endpoint, "--trace-samples-per-second", "0"];
        let log =
            ["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"];
        let server = Varve::start(&data, &[*runtime, &options, &log].concat());
        let mut client = server.connect();
        redis::cmd("DEBUG").arg("AOF-FLUSH-SLEEP").arg(20_000).exec(&mut client).unwrap();
        set_parent(&mut client, &traceparent("01"));
        let () = client.set("key", "value").unwrap();
        let (set, stages) = turn(&collector, "SET");
        assert_eq!((&set.trace_id[..], &set.parent_span_id[..]), (&TRACE[..], &CALLER[..]));
        assert_eq!(text(&set, "db.system.name").as_deref(), Some("redis"));
        assert!(text(&set, "network.peer.address").is_some_and(|it| it.starts_with("127.0.0.1:")));
        assert_in_order(&set, &stages);
        // From before the log's sleep until after it.
        assert!(took_ns(&set) >= 20_000_000, "{runtime:?}: {set:?}");
        let mut missing = vec!["parse", "plan", "execute", "journal", "fsync_wait", "write"];
        // With io_uring nothing is read: input is there when the kernel is asked for anything.
        missing.extend((!runtime.contains(&"uring")).then_some("read"));
        until("every stage has been seen, and that the log is waited for", || {
            let () = client.set("key", "value").unwrap();
            let all = collector.spans();
            missing.retain(|name| all.iter().all(|span| span.name != *name));
            // Whoever writes the log sleeps: the turn's own thread, or the one that it waits for.
            let mut log = all.iter().filter(|it| ["journal", "fsync_wait"].contains(&&*it.name));
            missing.is_empty() && log.any(|span| took_ns(span) >= 19_000_000)
        });
        assert!(server.stop().status.success());
    }
}

#[test]
fn whoever_does_not_record_is_not_sampled_and_nothing_that_was_stored_is_told() {
    for runtime in possible(RUNTIMES) {
        let (collector, (_folder, data)) = (Collector::start(), folder());
        let options =
            ["--trace-endpoint", &collector.endpoint(), "--trace-samples-per-second", "0"];
        let server = Varve::start(&data, &[*runtime, &options].concat());
        let mut client = server.connect();
        let () = client.get("nobody has asked").unwrap();
        set_parent(&mut client, &traceparent("01"));
        let () = client.set("a-secret-key", "a-secret-value").unwrap();
        set_parent(&mut client, &traceparent("00"));
        let () = client.get("not recorded").unwrap();
        set_parent(&mut client, "");
        let () = client.get("without a caller").unwrap();
        set_parent(&mut client, &traceparent("01"));
        let () = client.incr("n", 1).unwrap();
        // Samples come in the order in which they were taken.
        let _ = turn(&collector, "INCRBY");
        let all = collector.spans();
        assert!(all.iter().any(|span| span.name == "SET"), "{runtime:?}");
        assert!(all.iter().all(|span| span.name != "GET"), "{runtime:?}: {all:?}");
        assert!(!format!("{all:?}").contains("secret"), "{runtime:?}: {all:?}");
    }
}

#[test]
fn a_wait_for_a_lock_is_a_stage() {
    const SLOW: &str = "local e = os.clock() + 0.03 while os.clock() < e do end return 1";
    let (collector, (_folder, data)) = (Collector::start(), folder());
    let options = ["--trace-endpoint", &collector.endpoint(), "--threads", "2", "--shards", "1"];
    let server =
        Varve::start(&data, &[&options[..], &["--trace-samples-per-second", "0"]].concat());
    until("a wait is seen", || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = server.connect();
                    set_parent(&mut client, &traceparent("01"));
                    redis::cmd("EVAL").arg(SLOW).arg(1).arg("k").exec(&mut client).unwrap();
                });
            }
        });
        let all = collector.spans();
        let wait = all.iter().find(|span| span.name == "lock_wait" && took_ns(span) > 1_000_000);
        wait.is_some_and(|wait| {
            let (turn, _) = turn(&collector, "EVAL");
            wait.trace_id == turn.trace_id
        })
    });
}

#[test]
fn samples_are_taken_at_a_rate_that_can_be_changed() {
    for runtime in possible(RUNTIMES) {
        let (collector, (_folder, data)) = (Collector::start(), folder());
        let endpoint = collector.endpoint();
        let options = ["--trace-endpoint", &endpoint, "--trace-samples-per-second", "200"];
        let server = Varve::start(&data, &[*runtime, &options[..]].concat());
        let mut client = server.connect();
        until("some are exported", || {
            let mut many = redis::pipe();
            (0..32).for_each(|_| _ = many.get("key").ignore());
            many.exec(&mut client).unwrap();
            figure(&mut client, "total_trace_samples") >= 10
        });
        let (get, stages) = turn(&collector, "GET");
        assert!(get.parent_span_id.is_empty(), "nobody has called for it");
        assert_eq!(text(&get, "db.operation.batch.size").as_deref(), Some("IntValue(32)"));
        assert!(stages.iter().any(|stage| stage.name == "execute"), "{runtime:?}: {stages:?}");
        assert_in_order(&get, &stages);
        let set = ["SET", "trace-samples-per-second", "0"];
        redis::cmd("CONFIG").arg(&set).exec(&mut client).unwrap();
        // The one that had been asked for may still come; in this time there would be twenty.
        let mut last = u64::MAX;
        until("no more come", || {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(100) {
                let () = client.get("key").unwrap();
            }
            let now = figure(&mut client, "total_trace_samples");
            std::mem::replace(&mut last, now) == now
        });
        assert_eq!(figure(&mut client, "total_trace_samples_dropped"), 0);
        // Times of stages are for those who have switched them on.
        let info: String = redis::cmd("INFO").arg("trace").query(&mut client).unwrap();
        assert!(info.contains("trace_execute:turns=0,"), "{info}");
    }
}

#[test]
fn a_request_over_http_is_a_part_of_its_callers_trace() {
    let (collector, (_folder, data), port) = (Collector::start(), folder(), free_port());
    let (endpoint, port_text) = (collector.endpoint(), port.to_string());
    let options = ["--trace-endpoint", &endpoint, "--admin-port", &port_text];
    let _server = Varve::start(&data, &options);
    let body = r#"["INCR", "n"]"#;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    let head = "POST /v1/command HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
    let (parent, len) = (traceparent("01"), body.len());
    let request = format!("{head}\r\ntraceparent: {parent}\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"{"result":1}"#), "{answer}");
    let (incr, stages) = turn(&collector, "INCR");
    assert_eq!((&incr.trace_id[..], &incr.parent_span_id[..]), (&TRACE[..], &CALLER[..]));
    assert!(stages.iter().any(|stage| stage.name == "execute"), "{stages:?}");
    assert_in_order(&incr, &stages);
}

/// A collector whose connections are taken by the kernel, and which never says anything.
#[test]
fn nobody_waits_for_a_collector_that_hangs() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hangs.local_addr().unwrap());
    let (_folder, data) = folder();
    let server = Varve::start(&data, &["--trace-endpoint", &endpoint]);
    let mut client = server.connect();
    set_parent(&mut client, &traceparent("01"));
    let slowest = (0..5000).map(|_| {
        let begun = Instant::now();
        let () = client.get("key").unwrap();
        begun.elapsed()
    });
    let slowest = slowest.max().expect("some");
    // The collector is given up after five seconds, again and again.
    assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    assert!(figure(&mut client, "total_trace_samples_dropped") >= 3000, "the queue is bounded");
    let begun = Instant::now();
    assert!(server.stop().status.success());
    // One second is for the collector, not five for each batch of what waits.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn an_endpoint_must_be_one() {
    let (_folder, data) = folder();
    let dir = data.to_str().unwrap();
    for endpoint in ["https://127.0.0.1:4317", "127.0.0.1:4317", "http://"] {
        let args = ["--dir", dir, "--port", "0", "--unixsocket", "s", "--trace-endpoint", endpoint];
        let ended = crate::support::run(&args);
        assert!(ended.stderr.contains("trace-endpoint: "), "{endpoint}: {}", ended.stderr);
    }
}
