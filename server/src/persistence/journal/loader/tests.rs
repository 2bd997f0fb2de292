//! Random logs, replayed by one thread and by several: the same data, counts and errors.

use super::*;
use engine::testing::{Contents, contents};
use engine::{Environment, NoHost, Parts};
use proptest::prelude::*;
use runtime::Now;
use std::path::Path;
use std::sync::Arc;
use storage::Backend;
use storage_aof::{Aof, Options};
use storage_memory::{Config, MemoryBackend};

/// Keys, few enough that commands meet.
const KEYS: usize = 12;

fn engine() -> Arc<Engine> {
    let environment =
        Environment { stopwatch: || 0, seed: 1, started: Now::default(), host: Arc::new(NoHost) };
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new(Config::default()));
    let (commands, config) = (commands::all(), Arc::new(engine::config::ConfigStore::new()));
    Engine::new(Parts { backend, journal: None, config, commands, environment }).unwrap()
}

/// A command: most touch one key, some two, some everything. Whether one fails depends on what was before.
fn command() -> impl Strategy<Value = String> {
    let key = || (0..KEYS).prop_map(|n| format!("key:{n}"));
    let one = (key(), 0..1000u32, 0..8usize).prop_map(|(key, n, kind)| match kind {
        0 => format!("SET s:{key} {n}"),
        1 => format!("APPEND s:{key} {n}"),
        2 => format!("RPUSH l:{key} {n}"),
        3 => format!("ZADD z:{key} {n} member:{}", n % 7),
        4 => format!("HSET h:{key} field:{} {n}", n % 5),
        5 => format!("DEL s:{key}"),
        6 => format!("PEXPIREAT s:{key} {}", 4_000_000_000_000 + u64::from(n)),
        _ => format!("MOVE s:{key} 1"),
    });
    let two = (key(), key(), 0..3usize).prop_map(|(a, b, kind)| match kind {
        0 => format!("MSET s:{a} 1 s:{b} 2"),
        1 => format!("COPY s:{a} s:{b} REPLACE"),
        _ => format!("SUNIONSTORE u:{a} u:{b}"),
    });
    let all =
        prop::sample::select(vec!["SWAPDB 0 1", "FLUSHDB", "FLUSHALL", "SELECT 1", "SELECT 0"]);
    prop_oneof![60 => one, 3 => two, 1 => all.prop_map(String::from)]
}

/// Commands, some of them in transactions.
fn log() -> impl Strategy<Value = Vec<String>> {
    let whole = (command(), command(), command())
        .prop_map(|(a, b, c)| vec!["MULTI".to_string(), a, b, c, "EXEC".to_string()]);
    let one = command().prop_map(|command| vec![command]);
    prop::collection::vec(prop_oneof![19 => one, 1 => whole], 0..200).prop_map(|all| all.concat())
}

fn encoded(log: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    log.iter()
        .for_each(|line| resp::encode_command(line.split(' ').collect::<Vec<_>>(), &mut bytes));
    bytes
}

/// Loads the log with threads; what was counted, or the error, and what was in the storage then.
fn loaded(log: &[u8], threads: usize) -> (Result<String, String>, Contents) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), log);
    let engine = engine();
    // Each record is handed over, so that the threads have all the work.
    let sizes = Sizes { threads, records: 1, bytes: 1 << 10 };
    let (opened, _) =
        load_with(&engine, sizes, |loader| Aof::open(Options::new(dir.path()), loader));
    let counted = opened.map(|(_, loaded)| {
        let cut = loaded.truncated.map(|cut| (cut.offset, cut.bytes));
        format!("{} commands, {} bytes, {cut:?} cut", loaded.commands, loaded.bytes)
    });
    let offset = |error: storage_aof::LoadError| format!("{:?}: {}", error.offset, error.cause);
    (counted.map_err(offset), contents(engine.backend.clone()))
}

fn write(dir: &Path, log: &[u8]) {
    let dir = dir.join("appendonlydir");
    std::fs::create_dir(&dir).unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    std::fs::write(dir.join("appendonly.aof.manifest"), manifest).unwrap();
    std::fs::write(dir.join("appendonly.aof.1.incr.aof"), log).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A log that ends anywhere gives the same by one thread and by three.
    #[test]
    fn several_threads_give_what_one_gives(log in log(), end in 0.0..1.2f64) {
        let bytes = encoded(&log);
        let end = ((bytes.len() as f64 * end) as usize).min(bytes.len());
        let (alone, expected) = loaded(&bytes[..end], 0);
        let (counted, found) = loaded(&bytes[..end], 3);
        // A transaction that was torn off may have a command that fails.
        prop_assert_eq!(&counted, &alone);
        if alone.is_ok() {
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn the_first_record_that_fails_is_named_whichever_thread_finds_it() {
    let mut log: Vec<String> = (0..400).map(|n| format!("SET key:{n} value")).collect();
    log[150] = "LPUSH key:7 element".into();
    log[151] = "LPUSH key:8 element".into();
    log[390] = "NONSENSE".into();
    let start = encoded(&log[..150]).len();
    for threads in [0, 3] {
        let error = loaded(&encoded(&log), threads).0.unwrap_err();
        assert!(error.starts_with(&format!("Some({start}): WRONGTYPE")), "{threads}: {error}");
    }
    // Damage behind it is not the first thing wrong.
    let mut bytes = encoded(&log[..200]);
    bytes.extend_from_slice(b"*1\r\n$x\r\n");
    assert!(loaded(&bytes, 3).0.unwrap_err().contains("WRONGTYPE"));
}
