//! How long commands take, as the slow log, the latency monitor and the statistics tell it: each
//! command its own time, and none that it waited.

use engine::command::{Flag, SPEC, Spec};
use engine::config::ConfigStore;
use engine::gate::Gate;
use engine::testing::{Harness, Recorder, text};
use engine::{Cx, Engine, Environment, Host, NoHost, Outcome, Parts};
use resp::encode_command;
use runtime::Now;
use std::cell::Cell;
use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };

thread_local! {
    /// The stopwatch, nanoseconds: a test has its own, and it goes on only when told.
    static CLOCK: Cell<u64> = const { Cell::new(0) };
    /// The time by which each reading advances the clock, nanoseconds.
    static LOOK: Cell<u64> = const { Cell::new(0) };
}

fn stopwatch() -> u64 {
    CLOCK.set(CLOCK.get() + LOOK.get());
    CLOCK.get()
}

fn pass(micros: u64) {
    CLOCK.set(CLOCK.get() + micros * 1000);
}

/// `TAKE micros`: takes so long.
fn take(cx: &mut Cx<'_>) -> Outcome {
    pass(engine::text::args::integer(cx.args.arg(1))? as u64);
    cx.reply.ok();
    Ok(())
}

const COMMANDS: &[Spec] =
    &[Spec { name: "take", arity: 2, flags: &[Flag::Fast], handler: take, ..SPEC }];

fn server() -> Harness {
    server_in(Arc::new(NoHost))
}

fn server_in(host: Arc<dyn Host>) -> Harness {
    let environment = Environment { stopwatch, seed: 1, started: NOW, host };
    let parts = Parts {
        backend: Arc::new(MemoryBackend::new(Config::default())),
        journal: Some(Arc::new(Recorder::default())),
        config: Arc::new(ConfigStore::new()),
        commands: [commands::all(), vec![COMMANDS]].concat(),
        environment,
    };
    Harness::around(Engine::new(parts).expect("distinct names"))
}

/// All at once.
fn pipeline(server: &mut Harness, lines: &[&str]) {
    let mut bytes = Vec::new();
    for line in lines {
        encode_command(line.split(' ').collect::<Vec<_>>(), &mut bytes);
    }
    server.send_bytes("main", &bytes);
    server.replies("main");
}

/// The slow log, oldest first: arguments and microseconds.
fn slow(server: &Harness) -> Vec<(String, u64)> {
    let mut entries = server.engine().observe.slowlog.newest(usize::MAX);
    entries.reverse();
    let args = |args: &[Vec<u8>]| String::from_utf8_lossy(&args.join(&b' ')).into_owned();
    entries.iter().map(|entry| (args(&entry.args), entry.duration_us)).collect()
}

fn entry(args: &str, micros: u64) -> (String, u64) {
    (args.to_owned(), micros)
}

#[test]
fn in_a_pipeline_each_command_has_its_own_time() {
    let mut server = server();
    // Also those that follow the change in the same pipeline.
    pipeline(
        &mut server,
        &["TAKE 3", "CONFIG SET slowlog-log-slower-than 0", "TAKE 1", "TAKE 500", "TAKE 2", "PING"],
    );
    let expected = [
        entry("CONFIG SET slowlog-log-slower-than 0", 0),
        entry("TAKE 1", 1),
        entry("TAKE 500", 500),
        entry("TAKE 2", 2),
        entry("PING", 0),
    ];
    assert_eq!(slow(&server), expected);
    server.run("SLOWLOG RESET");
    server.run("CONFIG SET slowlog-log-slower-than 100");
    server.run("SLOWLOG RESET");
    pipeline(&mut server, &["TAKE 1", "TAKE 500", "TAKE 99", "TAKE 100"]);
    assert_eq!(slow(&server), [entry("TAKE 500", 500), entry("TAKE 100", 100)]);
}

#[test]
fn one_slow_command_is_in_the_log_by_default() {
    let mut server = server();
    pipeline(&mut server, &["PING", "TAKE 20000", "PING"]);
    assert_eq!(slow(&server), [entry("TAKE 20000", 20_000)]);
}

#[test]
fn a_pipeline_that_was_slow_is_told_as_one_and_looked_at_closely_then() {
    let mut server = server();
    pipeline(&mut server, &["TAKE 1", "TAKE 30000", "TAKE 2"]);
    let run = "TAKE ... (3 in one pipeline, which took so long together)";
    assert_eq!(slow(&server), [entry(run, 30_003)], "nobody knows which it was");
    // The next time it is known.
    pipeline(&mut server, &["TAKE 1", "TAKE 20000", "TAKE 9999", "TAKE 2"]);
    assert_eq!(slow(&server)[1..], [entry("TAKE 20000", 20_000)]);
    server.advance(1001);
    server.keep_house();
    pipeline(&mut server, &["TAKE 5000", "TAKE 4999"]);
    assert_eq!(slow(&server).len(), 2, "all of it was quick enough");
    pipeline(&mut server, &["TAKE 5000", "TAKE 5000"]);
    let run = "TAKE ... (2 in one pipeline, which took so long together)";
    assert_eq!(slow(&server)[2..], [entry(run, 10_000)]);
}

#[test]
fn waiting_is_not_a_commands_time() {
    let mut server = server();
    server.run("CONFIG SET slowlog-log-slower-than 0");
    server.run("SLOWLOG RESET");
    server.send("b", "BLPOP list 0");
    assert_eq!(slow(&server), [entry("SLOWLOG RESET", 0)], "it is not over");
    pass(5_000_000);
    server.run("RPUSH list x");
    assert_eq!(server.replies("b").len(), 1);
    server.send("b", "BLPOP list 0.01");
    pass(5_000_000);
    server.advance(20);
    server.send("b", "BLPOP list 0");
    pass(5_000_000);
    let id = text(&server.run_as("b2", "CLIENT ID"));
    let id: u64 = id.trim_start_matches("(integer) ").parse().expect("a number");
    let expected = [
        entry("SLOWLOG RESET", 0),
        entry("RPUSH list x", 0),
        entry("BLPOP list 0", 0),
        entry("BLPOP list 0.01", 0),
        entry("CLIENT ID", 0),
    ];
    assert_eq!(slow(&server), expected);
    let stats = |server: &mut Harness| {
        let info = server.run("INFO commandstats");
        let info = String::from_utf8_lossy(info.as_bytes().expect("a text")).into_owned();
        let line = info.lines().find(|line| line.starts_with("cmdstat_blpop")).map(str::to_owned);
        line.expect("blpop was called")
    };
    assert!(stats(&mut server).contains("calls=2,usec=0,"), "one still waits");
    server.run(&format!("CLIENT UNBLOCK {} ERROR", id - 1));
    assert!(stats(&mut server).contains("calls=3,usec=0,"), "{}", stats(&mut server));
    assert!(stats(&mut server).ends_with("failed_calls=1"), "{}", stats(&mut server));
}

#[test]
fn transactions_and_scripts_tell_of_what_they_run() {
    let mut server = server();
    server.run("CONFIG SET slowlog-log-slower-than 100");
    for line in ["MULTI", "TAKE 200", "TAKE 1"] {
        server.run(line);
    }
    server.run("EXEC");
    server.run_args(&["EVAL", "return redis.call('TAKE', '300')", "0"]);
    let expected = [
        entry("TAKE 200", 200),
        entry("TAKE 300", 300),
        entry("EVAL return redis.call('TAKE', '300') 0", 300),
    ];
    assert_eq!(slow(&server), expected);
    let peers: Vec<_> =
        server.engine().observe.slowlog.newest(3).into_iter().map(|entry| entry.peer).collect();
    assert_eq!(peers, ["test:0", "?:0", "test:0"], "a script is nobody");
}

#[test]
fn the_latency_monitor_tells_of_single_commands() {
    let mut server = server();
    server.run("CONFIG SET latency-monitor-threshold 5");
    pipeline(&mut server, &["TAKE 4000", "TAKE 4000", "TAKE 7000", "TAKE 4000"]);
    let series = server.engine().observe.latency.series(b"fast-command").expect("one was long");
    assert_eq!((series.samples.len(), series.max_ms), (1, 7));
}

#[test]
fn an_empty_slow_log_counts_nothing() {
    let mut server = server();
    server.run("CONFIG SET slowlog-max-len 0");
    server.run("CONFIG SET slowlog-log-slower-than 0");
    server.run("PING");
    server.run("CONFIG SET slowlog-max-len 1");
    assert_eq!(server.engine().observe.slowlog.newest(1)[0].id, 0);
}

/// A host that has allocated more than any limit.
struct Full;

impl Host for Full {
    fn memory_used(&self) -> u64 {
        1 << 40
    }
}

#[test]
fn what_is_done_between_commands_is_told_when_it_is_long() {
    let mut server = server_in(Arc::new(Full));
    for line in ["SET a 1 PX 5", "SET b 2", "CONFIG SET latency-monitor-threshold 5"] {
        server.run(line);
    }
    let events = |server: &Harness| -> Vec<_> {
        server.engine().observe.latency.all().into_iter().map(|(name, _)| name).collect()
    };
    server.keep_house();
    assert!(events(&server).is_empty());
    server.advance(10);
    LOOK.set(6_000_000);
    server.keep_house();
    assert_eq!(events(&server), ["expire-cycle", "expire-del"]);
    server.engine().observe.latency.reset(|_| true);
    server.engine().set_gate(Gate::LOADING, true);
    server.keep_house();
    server.engine().set_gate(Gate::LOADING, false);
    assert!(events(&server).contains(&"while-blocked-cron"));
    server.run("CONFIG SET maxmemory-policy allkeys-lru maxmemory 100mb");
    server.engine().observe.latency.reset(|_| true);
    server.keep_house();
    LOOK.set(0);
    let evicting = ["eviction-cycle", "eviction-del", "eviction-lazyfree"];
    assert!(evicting.iter().all(|name| events(&server).contains(name)), "{:?}", events(&server));
    assert_eq!(server.text("DBSIZE"), "(integer) 0");
}
