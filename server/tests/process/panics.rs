//! A panic in a transaction leaves all of it, logged, or nothing; or the server ends.

use crate::serving::RUNTIMES;
use crate::support::{connect, folder, free_port, possible};
use engine::command::{Flag, Flag::*, Group, KeySpec, SPEC, Spec, key};
use engine::config::{ConfigStore, lookup};
use engine::notify::keyspace::Class;
use engine::testing::{Contents, Harness, Recorder, contents};
use engine::{Cx, Engine, Environment, Host, NoHost, Outcome, Parts};
use redis::Commands;
use runtime::Now;
use server::Server;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::task::Waker;
use storage::backend::EncodingLimits;
use storage::testing::scripted::Scripted;
use storage::testing::{until, until_some};
use storage::{Appended, Backend, Db, Fate, Journal, NewExpiry, Open, Position, Withholds};
use storage_memory::{Config, MemoryBackend};
use storage_ordered::OrderedBackend;

/// Panics as it comes.
fn before(_: &mut Cx<'_>) -> Outcome {
    panic!("before its change")
}

/// Changes its key, and panics.
fn after(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    cx.tx.set_string(&key, b"changed", NewExpiry::Clear)?;
    cx.modified(&key, Class::String, "boom");
    panic!("after its change")
}

/// Reads its key, and panics.
fn reading(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    cx.tx.hash(&key, Open::Existing)?;
    panic!("while reading")
}

/// Waits for its key, and panics when it is there.
fn waiting(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    if cx.tx.kind(&key)?.is_some() {
        panic!("when served")
    }
    let block = engine::notify::blocking::Block {
        keys: vec![cx.args.arg(1).into()],
        timeout_us: None,
        on_timeout: |reply: &mut resp::Reply<'_>| reply.null(),
        request: None,
        needs_keys: false,
    };
    cx.block(block);
    Ok(())
}

const KEY: &[KeySpec] = &[key("RW ACCESS UPDATE", 1)];

const fn row(
    name: &'static str,
    flags: &'static [Flag],
    handler: engine::command::Handler,
) -> Spec {
    Spec {
        name,
        summary: "Panics.",
        since: "0.1.0",
        complexity: "O(1)",
        arity: 2,
        group: Group::String,
        flags,
        keys: KEY,
        syntax: "key",
        handler,
        ..SPEC
    }
}

const BOOM: &[Spec] = &[
    row("boom.before", &[Write, DenyOom], before),
    row("boom.after", &[Write, DenyOom], after),
    row("boom.reading", &[Readonly], reading),
    row("boom.waiting", &[Write, Blocking], waiting),
];

/// Remembers that the process would have ended.
#[derive(Default)]
struct Stops(AtomicBool);

/// The same, with more memory in use than any limit.
#[derive(Default)]
struct FullStops(Stops);

impl Host for FullStops {
    fn fail_stop(&self, cause: &str) {
        self.0.fail_stop(cause);
    }

    fn memory_used(&self) -> u64 {
        1 << 40
    }
}

impl Host for Stops {
    fn fail_stop(&self, cause: &str) {
        assert!(!cause.is_empty());
        self.0.store(true, SeqCst);
    }
}

/// A journal that panics when it has taken so many effects: before it takes the next, or after.
struct Faulty {
    log: Recorder,
    left: AtomicI64,
    after: bool,
}

impl Faulty {
    fn append(&self, append: impl FnOnce(&Recorder) -> Appended) -> Appended {
        let panics = self.left.fetch_sub(1, SeqCst) == 0;
        assert!(!panics || self.after, "before the log has it");
        let position = append(&self.log);
        assert!(!panics, "after the log has it");
        position
    }
}

impl Journal for Faulty {
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended {
        self.append(|log| log.append(slot, db, effect))
    }
    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        self.append(|log| log.append_encoded(slot, db, resp))
    }
    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        self.append(|log| log.append_atomic(slot, effects))
    }
    fn write_up_to(&self, _: Position) {}
    fn poll(&self, _: Position, _: &Waker) -> Fate {
        Fate::Kept
    }
}

fn memory() -> Arc<dyn Backend> {
    let limits = EncodingLimits::default();
    Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
}

fn sled(dir: &Path) -> Arc<dyn Backend> {
    on_disk(dir, storage_ordered::Engine::Sled)
}

fn fjall(dir: &Path) -> Arc<dyn Backend> {
    on_disk(dir, storage_ordered::Engine::Fjall)
}

fn on_disk(dir: &Path, engine: storage_ordered::Engine) -> Arc<dyn Backend> {
    let dir = dir.join("db");
    let config =
        storage_ordered::Config { dir, shards: 4, databases: 16, engine, cache_bytes: 8 << 20 };
    Arc::new(OrderedBackend::open(&config).expect("a fresh store"))
}

type Make = fn(&Path) -> Arc<dyn Backend>;

fn put_together(
    backend: Arc<dyn Backend>,
    journal: Option<Arc<dyn Journal>>,
    host: Arc<dyn Host>,
) -> Arc<Engine> {
    let config = ConfigStore::new();
    let (_, row) = lookup("notify-keyspace-events").unwrap();
    config.load(row, &["KEA"]).unwrap();
    let now = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };
    let environment = Environment { stopwatch: || 0, seed: 1, started: now, host };
    let (config, commands) = (Arc::new(config), [commands::all(), vec![BOOM]].concat());
    Engine::new(Parts { backend, journal, config, commands, environment }).unwrap()
}

/// A case: steps that succeed, one that panics, and the data if that one had succeeded.
struct Case {
    name: &'static str,
    steps: &'static [&'static str],
    panics: &'static str,
    /// How many effects the log takes before it panics, and whether that one is in it.
    journal: Option<(i64, bool)>,
    /// Whether memory, which has no undo, has to stop.
    memory_stops: bool,
}

const CASES: &[Case] = &[
    case("single, before", &["SET a 1"], "BOOM.BEFORE a", None, false),
    case("single, after", &["SET a 1"], "BOOM.AFTER a", None, true),
    case("single, reading", &["HSET a f v"], "BOOM.READING a", None, false),
    case(
        "before the first",
        &["SET a 1", "MULTI", "BOOM.BEFORE a", "SET b 1"],
        "EXEC",
        None,
        false,
    ),
    case("between", &["MULTI", "SET a 1", "BOOM.BEFORE b", "SET c 1"], "EXEC", None, true),
    case("the last, after", &["MULTI", "SET a 1", "INCR d", "BOOM.AFTER b"], "EXEC", None, true),
    case("a list, then reading", &["MULTI", "RPUSH l x", "BOOM.READING h"], "EXEC", None, true),
    case(
        "only reading",
        &["HSET h f v", "MULTI", "HGETALL h", "BOOM.READING h"],
        "EXEC",
        None,
        false,
    ),
    case("databases", &["MULTI", "SET a 1", "SWAPDB 0 1", "BOOM.BEFORE b"], "EXEC", None, true),
    case("flush", &["SET a 1", "MULTI", "FLUSHALL", "BOOM.BEFORE b"], "EXEC", None, true),
    case(
        "script",
        &["SET z 1"],
        "EVAL \"redis.call('set',KEYS[1],1) redis.call('boom.before',KEYS[2])\" 2 a b",
        None,
        true,
    ),
    case(
        "script that catches errors",
        &["SET z 1"],
        "EVAL \"redis.call('set',KEYS[1],1) pcall(redis.call,'boom.before',KEYS[2]) \
         while true do pcall(redis.call,'incr',KEYS[1]) end\" 2 a b",
        None,
        true,
    ),
    case(
        "script, nothing done",
        &["SET z 1"],
        "EVAL \"redis.call('boom.before',KEYS[1])\" 1 a",
        None,
        false,
    ),
    case("single, not logged", &[], "SET a 1", Some((0, false)), true),
    case("single, logged", &[], "SET a 1", Some((0, true)), true),
    case("counting, logged", &["INCR a"], "INCR a", Some((1, true)), true),
    case("transaction, not logged", &["MULTI", "INCR a", "INCR b"], "EXEC", Some((0, false)), true),
    case("transaction, logged", &["MULTI", "INCR a", "INCR b"], "EXEC", Some((0, true)), true),
    case("pop, not logged", &["RPUSH l a b"], "LPOP l", Some((1, false)), true),
    case("function, not logged", &[], LIBRARY, Some((0, false)), true),
];

const LIBRARY: &str =
    "FUNCTION LOAD \"#!lua name=l\\nredis.register_function('f', function() return 1 end)\"";

const fn case(
    name: &'static str,
    steps: &'static [&'static str],
    panics: &'static str,
    journal: Option<(i64, bool)>,
    memory_stops: bool,
) -> Case {
    Case { name, steps, panics, journal, memory_stops }
}

fn faulty(case: &Case) -> Arc<Faulty> {
    let (left, after) = case.journal.unwrap_or((-1, false));
    Arc::new(Faulty { log: Recorder::default(), left: left.into(), after })
}

/// Runs what must not panic, then what must.
fn carry_out(harness: &mut Harness, case: &Case) {
    for step in case.steps {
        harness.send("main", step);
    }
    let ran = catch_unwind(AssertUnwindSafe(|| harness.send("main", case.panics)));
    assert!(ran.is_err(), "{}: no panic", case.name);
}

/// The data after everything before the transaction.
fn contents_before(case: &Case) -> Contents {
    let mut harness = Harness::around(put_together(memory(), None, Arc::new(NoHost)));
    let until = case.steps.iter().position(|step| *step == "MULTI").unwrap_or(case.steps.len());
    case.steps[..until].iter().for_each(|step| harness.send("main", step));
    harness.contents()
}

/// With everything that can be done; nothing if a command of it panics: then it never is.
fn contents_whole(case: &Case) -> Option<Contents> {
    case.journal?;
    let mut harness = Harness::around(put_together(memory(), None, Arc::new(NoHost)));
    case.steps.iter().chain([&case.panics]).for_each(|step| harness.send("main", step));
    Some(harness.contents())
}

fn replayed(log: &Recorder) -> Arc<Engine> {
    let engine = put_together(memory(), None, Arc::new(NoHost));
    log.replay(&engine).expect("what is logged can be replayed");
    engine
}

fn check(case: &Case, make: impl Fn(&Path) -> Arc<dyn Backend>, logs: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (backend, journal, host) = (make(dir.path()), faulty(case), Arc::new(Stops::default()));
    let persistent = backend.persistent();
    let log = logs.then(|| journal.clone() as Arc<dyn Journal>);
    let engine = put_together(backend.clone(), log, host.clone());
    let mut harness = Harness::around(engine.clone());
    carry_out(&mut harness, case);
    let name = format!("{} on {}, log: {logs}", case.name, backend.name());
    let stopped = host.0.load(SeqCst);
    let (none, whole) = (contents_before(case), contents_whole(case));
    let settled = |found: &Contents| *found == none || Some(found) == whole.as_ref();
    if logs {
        let after = replayed(&journal.log);
        assert!(settled(&contents(after.backend.clone())), "{name}: the log has half of it");
        if !stopped {
            assert_eq!(contents(backend.clone()), contents(after.backend.clone()), "{name}");
            assert_eq!(engine.scripting.library_texts(), after.scripting.library_texts(), "{name}");
        }
    }
    if !persistent {
        assert_eq!(stopped, case.memory_stops, "{name}: stopped");
    } else if case.journal.is_none() {
        assert!(!stopped, "{name}: the batch could be dropped");
    }
    if stopped {
        let refused = harness.run_as("other", "PING");
        assert!(matches!(refused, resp::Value::Error(_)), "{name}: {refused:?}");
    } else {
        assert!(settled(&contents(backend)), "{name}: half of it is there");
        // Nothing is held, nobody is hindered.
        harness.close("main");
        assert_eq!(
            harness.run_as("other", "SET other 1"),
            resp::Value::Simple(b"OK".to_vec()),
            "{name}"
        );
    }
}

#[test]
fn a_transaction_is_whole_or_undone_or_the_server_ends() {
    for case in CASES {
        for logs in [true, false] {
            if case.journal.is_some() && !logs {
                continue;
            }
            check(case, |_| memory(), logs);
            check(case, sled, logs);
            check(case, fjall, logs);
        }
    }
}

#[test]
fn who_serves_a_waiting_command_that_panics_goes_on() {
    let host = Arc::new(Stops::default());
    let log = Arc::new(Recorder::default());
    let engine = put_together(memory(), Some(log.clone()), host.clone());
    let mut harness = Harness::around(engine);
    harness.send("waiter", "BOOM.WAITING k");
    harness.send("next", "BLPOP k 0");
    assert_eq!(harness.text("RPUSH k x"), "(integer) 1");
    assert_eq!(harness.status("waiter").flow, runtime::Flow::Abort, "whose command it was");
    assert_eq!(harness.replies("next").len(), 1, "others are served");
    assert!(!host.0.load(SeqCst));
    assert_eq!(harness.contents(), contents(replayed(&log).backend.clone()));
    assert!(harness.text("INFO clients").contains("blocked_clients:0"));
}

#[test]
fn a_panic_while_what_expired_is_logged_leaves_it_expired() {
    let makers: [Make; 3] = [|_| memory(), sled, fjall];
    for make in makers {
        for after in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let journal = Arc::new(Faulty { log: Recorder::default(), left: 1.into(), after });
            let host = Arc::new(Stops::default());
            let backend = make(dir.path());
            let engine = put_together(backend.clone(), Some(journal.clone()), host.clone());
            let mut harness = Harness::around(engine);
            assert_eq!(harness.text("SET k v PX 10"), "OK");
            harness.advance(20);
            let kept = catch_unwind(AssertUnwindSafe(|| harness.keep_house()));
            assert!(kept.is_err());
            if !host.0.load(SeqCst) {
                assert_eq!(harness.text("EXISTS k"), "(integer) 0");
            }
        }
    }
}

/// When the eviction of a key is logged, the key is already gone from memory. A panic then ends the
/// server, whichever thread evicts, and the log has all of the eviction or nothing.
#[test]
fn a_panic_while_a_key_gives_way_ends_the_server() {
    for after in [false, true] {
        for by_command in [false, true] {
            let journal = Arc::new(Faulty { log: Recorder::default(), left: 1.into(), after });
            let host = Arc::new(FullStops::default());
            let log: Arc<dyn Journal> = journal.clone();
            let engine = put_together(memory(), Some(log), host.clone());
            let mut harness = Harness::around(engine);
            for step in
                ["SET k v", "CONFIG SET maxmemory-policy allkeys-lru", "CONFIG SET maxmemory 1gb"]
            {
                assert_eq!(harness.text(step), "OK");
            }
            let evicted = catch_unwind(AssertUnwindSafe(|| match by_command {
                true => harness.send("main", "SET other 1"),
                false => harness.keep_house(),
            }));
            assert!(evicted.is_err(), "nothing was evicted");
            assert!(host.0.0.load(SeqCst), "after: {after}, by a command: {by_command}");
            let refused = harness.run_as("other", "PING");
            assert!(matches!(refused, resp::Value::Error(_)), "{refused:?}");
            let found = replayed(&journal.log);
            let size = Harness::around(found).text("DBSIZE");
            assert_eq!(size, if after { "(integer) 0" } else { "(integer) 1" });
        }
    }
}

/// Names the folder the child works in.
const CHILD_DIR: &str = "PANICS_CHILD_DIR";
const CHILD_ARGS: &str = "PANICS_CHILD_ARGS";

/// Not a test by itself: a server with commands that panic, in a process of its own.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut builder = Server::builder().commands(BOOM).set("dir", [Path::new(&dir).display()]);
    let args = std::env::var(CHILD_ARGS).unwrap();
    for setting in args.split(';') {
        let (name, value) = setting.split_once('=').unwrap();
        builder = builder.set(name, [value]);
    }
    builder.build().unwrap().run().unwrap();
}

struct Running(Child, SocketAddr);

impl Running {
    fn start(dir: &Path, args: &str) -> Running {
        let port = free_port();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "panics::child", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir)
            .env(CHILD_ARGS, format!("port={port};{args}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let running = Running(child, address);
        until("it answers", || {
            redis::Client::open(format!("redis://{address}/"))
                .and_then(|client| client.get_connection())
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection))
                .is_ok()
        });
        running
    }

    /// The exit code, which must come soon.
    fn exit_code(&mut self) -> Option<i32> {
        until_some("it ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tests what a client sees when a transaction panics after it has changed something.
fn half_a_transaction(address: SocketAddr) {
    let mut client = connect(address);
    let () = client.set("acknowledged", 1).unwrap();
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("SET").arg("half").arg(1).cmd("BOOM.BEFORE").arg("other");
    pipe.query::<redis::Value>(&mut client).unwrap_err();
}

#[test]
fn a_process_ends_rather_than_to_serve_half_a_transaction() {
    for runtime in possible(RUNTIMES).filter(|runtime| runtime.len() == 2).map(|runtime| runtime[1])
    {
        for policy in ["always", "everysec"] {
            let (_folder, data) = folder();
            let args =
                format!("runtime={runtime};appendonly=yes;appendfsync={policy};storage=memory");
            let mut server = Running::start(&data, &args);
            half_a_transaction(server.1);
            assert_eq!(server.exit_code(), Some(70), "{args}");
            let server = Running::start(&data, &args);
            let mut client = connect(server.1);
            let found: (i64, bool) =
                (client.get("acknowledged").unwrap(), client.exists("half").unwrap());
            assert_eq!(found, (1, false), "{args}");
        }
    }
}

#[test]
fn a_process_goes_on_where_nothing_is_left_behind() {
    for storage in ["memory", "sled", "fjall"] {
        let (_folder, data) = folder();
        let args = format!("appendonly=yes;storage={storage}");
        let mut server = Running::start(&data, &args);
        let mut client = connect(server.1);
        redis::cmd("BOOM.BEFORE").arg("k").query::<redis::Value>(&mut client).unwrap_err();
        if storage != "memory" {
            half_a_transaction(server.1);
        }
        let mut client = connect(server.1);
        let () = client.set("later", 1).unwrap();
        let half: bool = client.exists("half").unwrap();
        assert!(!half && server.0.try_wait().unwrap().is_none(), "{args}");
        drop(server);
        let server = Running::start(&data, &args);
        let mut client = connect(server.1);
        let found: (i64, bool) = (client.get("later").unwrap(), client.exists("half").unwrap());
        assert_eq!(found, (1, false), "{args}");
    }
}

/// A journal that refuses what it has admitted: the storage takes the change back, or, where it
/// cannot, the server ends.
#[test]
fn what_the_journal_refuses_late_is_taken_back_or_is_the_end() {
    for make in [|_: &Path| memory(), sled as Make, fjall] {
        let dir = tempfile::tempdir().unwrap();
        let (backend, host) = (make(dir.path()), Arc::new(Stops::default()));
        let journal = Arc::new(Scripted::new(Withholds::Nothing));
        let log = Some(journal.clone() as Arc<dyn Journal>);
        let mut harness = Harness::around(put_together(backend.clone(), log, host.clone()));
        harness.run_as("main", "RPUSH l a b");
        let before = contents(backend.clone());
        journal.refuse_late(Some("TRYAGAIN later"));
        let refused = resp::Value::Error("TRYAGAIN later".into());
        assert_eq!(harness.run_as("main", "LPOP l"), refused);
        assert_eq!(host.0.load(SeqCst), !backend.persistent());
        if !backend.persistent() {
            continue;
        }
        for line in ["SET a 1", "FLUSHALL", "SORT l ALPHA STORE m"] {
            assert_eq!(harness.run_as("main", line), refused, "{line}");
        }
        ["MULTI", "DEL l", "SET a 1"].iter().for_each(|step| harness.send("main", step));
        harness.replies("main");
        assert_eq!(harness.run_as("main", "EXEC"), refused);
        assert_eq!(contents(backend.clone()), before);
        journal.refuse_late(None);
        assert_eq!(harness.run_as("main", "RPUSH l c"), resp::Value::Integer(3));
        assert_eq!(journal.take(), ["RPUSH l a b", "RPUSH l c"]);
    }
}
