//! A persistent backend behind the log, killed again and again: every effect is there exactly once.
//!
//! `INCR` is logged as it is, so one applied twice, or not at all, shows in the number.

#![cfg(all(feature = "aof", any(feature = "storage-sled", feature = "storage-fjall")))]

use engine::config::ConfigStore;
use engine::replay::Replayer;
use engine::testing::Harness;
use engine::{Engine, Environment, NoHost, Parts};
use resp::Value;
use runtime::Now;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};
use storage::{Backend, Durability, Journal, Position, rdb};
use storage_aof::{Aof, Options, Refused, Replay};
use storage_ordered::{Config, Engine as Kind, OrderedBackend};

/// Names the engine and the directory the child works in: `sled:/tmp/…`.
const CHILD: &str = "VARVE_TEST_AOF_IMAGE";
/// Threads that count, each its own number.
const COUNTERS: usize = 3;

struct Restore<'e> {
    backend: Arc<dyn Backend>,
    replayer: Replayer<'e>,
}

impl Replay for Restore<'_> {
    fn entry(&mut self, entry: rdb::KeyValue) -> Result<(), String> {
        let db = entry.db as u32;
        let loaded = self.backend.load(db, &entry.key, entry.expiry_ms, entry.object);
        loaded.map_err(|error| error.to_string())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Err("no functions here".into())
    }

    fn commands(
        &mut self,
        at: Position,
        start: u64,
        commands: &[storage_aof::Command<'_>],
    ) -> Result<(), Refused> {
        let effects = commands.iter().map(|command| (command.db, command.request));
        self.replayer.record(Some(at), effects).map_err(|cause| Refused { start, cause })
    }
}

fn engine(backend: &Arc<dyn Backend>, journal: Option<Arc<dyn Journal>>) -> Arc<Engine> {
    let started = Now { wall_ms: 1_700_000_000_000, mono_us: 1_000_000 };
    let host = Arc::new(NoHost);
    Engine::new(Parts {
        backend: backend.clone(),
        journal,
        config: Arc::new(ConfigStore::new()),
        commands: commands::all(),
        environment: Environment { stopwatch: || 0, seed: 1, started, host },
    })
    .unwrap()
}

fn open(kind: Kind, dir: &Path) -> (Arc<dyn Backend>, Arc<Aof>) {
    let config = Config {
        dir: dir.join("store"),
        shards: 8,
        databases: 2,
        engine: kind,
        cache_bytes: 16 << 20,
    };
    let backend: Arc<dyn Backend> = Arc::new(OrderedBackend::open(&config).unwrap());
    let loader = engine(&backend, None);
    let mut restore = Restore { backend: backend.clone(), replayer: Replayer::new(&loader) };
    let mut options = Options::new(dir);
    options.durability = Durability::Never; // a killed process loses nothing that was written
    options.image = Some(backend.clone());
    let (aof, _) = Aof::open(options, &mut restore).unwrap();
    (backend, aof)
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Integer(number) => *number as u64,
        other => panic!("no number: {other:?}"),
    }
}

/// A log of Redis with a preamble moves into a store; what an attempt that was cut off left there
/// does not count twice.
#[cfg(feature = "storage-fjall")]
#[test]
fn a_base_whose_loading_was_cut_off_is_loaded_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut base = Vec::new();
    let mut writer = rdb::Writer::new(&mut base, rdb::Options::default());
    writer.select_db(0).unwrap();
    let write = |value: rdb::ValueWriter<'_>| {
        value.string(b"10");
        Ok(())
    };
    writer.entry(b"old", None, write).unwrap();
    writer.finish().unwrap();
    for key in ["old", "new"] {
        base.extend_from_slice(format!("*2\r\n$4\r\nINCR\r\n$3\r\n{key}\r\n").as_bytes());
    }
    std::fs::write(dir.path().join("appendonly.aof"), &base).unwrap();
    let config = Config {
        dir: dir.path().join("store"),
        shards: 8,
        databases: 2,
        engine: Kind::Fjall,
        cache_bytes: 16 << 20,
    };
    let half: Arc<dyn Backend> = Arc::new(OrderedBackend::open(&config).unwrap());
    half.set_checkpoint(b"loading").unwrap();
    let mut harness = Harness::around(engine(&half, None));
    for line in ["SET old 11", "SET new 1", "SET stray 1"] {
        harness.run(line);
    }
    drop((harness, half));
    let (backend, aof) = open(Kind::Fjall, dir.path());
    let mut harness = Harness::around(engine(&backend, Some(aof)));
    assert_eq!(harness.text("MGET old new stray"), "1) \"11\"\n2) \"1\"\n3) (nil)");
}

/// Counts one key up for ever, and says how far it is.
fn count(mut harness: Harness, key: usize) {
    loop {
        eprintln!("ack {key} {}", number(&harness.run(&format!("INCR n{key}"))));
    }
}

/// Counts two keys up in transactions for ever, and says how far it is.
fn count_in_pairs(mut harness: Harness) {
    loop {
        for line in ["MULTI", "INCR left", "INCR right"] {
            harness.run(line);
        }
        let Value::Array(replies) = harness.run("EXEC") else { panic!("no replies") };
        eprintln!("ack {COUNTERS} {}", number(&replies[0]));
    }
}

/// Opens, says what it found, and counts until it is killed. Not a test by itself.
#[test]
fn child() {
    let Ok(child) = env::var(CHILD) else { return };
    let (kind, dir) = child.split_once(':').unwrap();
    let kind = match kind {
        #[cfg(feature = "storage-sled")]
        "sled" => Kind::Sled,
        #[cfg(feature = "storage-fjall")]
        "fjall" => Kind::Fjall,
        other => panic!("{other} is not compiled in"),
    };
    let (backend, aof) = open(kind, Path::new(dir));
    let engine = engine(&backend, Some(aof.clone()));
    let mut harness = Harness::around(engine.clone());
    let get = |harness: &mut Harness, key: &str| match harness.text(&format!("GET {key}")) {
        text if text == "(nil)" => 0,
        text => text.trim_matches('"').parse::<u64>().unwrap(),
    };
    let found: Vec<_> = (0..COUNTERS).map(|i| get(&mut harness, &format!("n{i}"))).collect();
    let pair = (get(&mut harness, "left"), get(&mut harness, "right"));
    assert_eq!(pair.0, pair.1, "half a transaction");
    eprintln!("start {} {} {} {}", found[0], found[1], found[2], pair.0);
    thread::scope(|scope| {
        for i in 0..COUNTERS {
            let harness = Harness::around(engine.clone());
            scope.spawn(move || count(harness, i));
        }
        scope.spawn(|| count_in_pairs(Harness::around(engine.clone())));
        scope.spawn(|| {
            loop {
                thread::sleep(Duration::from_millis(40));
                aof.rewrite(&backend, &mut Vec::new).unwrap();
            }
        });
    });
}

/// Runs a child for a while, kills it, and returns the numbers it started with and ended with.
fn round(kind: &str, dir: &Path, run: Duration) -> (Option<Vec<u64>>, Vec<u64>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{kind}:{}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reader = thread::spawn(move || {
        let (mut start, mut last) = (None, Vec::new());
        let mut lines = lines.map_while(Result::ok);
        while let Some(line) = lines.next() {
            let words: Vec<_> = line.split(' ').collect();
            let numbers = words[1..].iter().map_while(|word| word.parse().ok()).collect::<Vec<_>>();
            match (words[0], &numbers[..]) {
                ("start", [_, _, _, _]) => (start, last) = (Some(numbers.clone()), numbers),
                ("ack", [who, number]) => last[*who as usize] = *number,
                _ if line.contains("panicked") => {
                    panic!("{line}\n{}", lines.take(3).collect::<Vec<_>>().join("\n"))
                }
                _ => {}
            }
        }
        (start, last)
    });
    thread::sleep(run);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn exactly_once(kind: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut last = vec![0; COUNTERS + 1];
    let mut starts = 0;
    for i in 0..10u64 {
        // Some are killed while they replay.
        let run = if i % 3 == 2 { 60 } else { 500 + 130 * (i % 4) };
        let (start, ended) = round(kind, dir.path(), Duration::from_millis(run));
        let Some(start) = start else { continue };
        starts += 1;
        for (found, acknowledged) in start.iter().zip(&last) {
            let exact = found == acknowledged || *found == acknowledged + 1;
            assert!(exact, "round {i}: acknowledged {last:?}, found {start:?}");
        }
        last = ended;
    }
    assert!(starts > 3 && last.iter().all(|n| *n > 20), "{starts} starts, {last:?}");
}

#[cfg(feature = "storage-sled")]
#[test]
fn sled_has_every_effect_exactly_once() {
    exactly_once("sled");
}

#[cfg(feature = "storage-fjall")]
#[test]
fn fjall_has_every_effect_exactly_once() {
    exactly_once("fjall");
}
