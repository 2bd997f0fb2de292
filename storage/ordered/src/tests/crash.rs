//! kill -9 in the middle of writes, again and again: every transaction is there whole or not at
//! all, and counters and indexes agree with the data.

use super::super::keys;
use super::*;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use storage::testing::until;
use storage::types::ZRange;
use storage::{NewExpiry, Open};

const DIR: &str = "VARVE_CRASH_DIR";
const ENGINE: &str = "VARVE_CRASH_ENGINE";
const KEYS: u64 = 40;
/// A sorted set in the other database.
const RANKS: &[u8] = b"ranks";
/// Beside the store once the child has written something.
const READY: &str = "ready";

/// Not a test by itself: the process that gets killed.
#[test]
fn child() {
    let (Ok(dir), Ok(name)) = (std::env::var(DIR), std::env::var(ENGINE)) else { return };
    let engine = engine_named(&name);
    let backend = open(Path::new(&dir), engine, 4);
    let mut random = Random::new(u64::from(std::process::id()));
    loop {
        let name = format!("key:{}", random.below(KEYS));
        let other = format!("twin:{name}");
        let when = (random.below(3) == 0).then(|| 1_000_000 + random.below(9));
        let fields = 1 + random.below(4);
        at(&backend, 1, |tx| {
            let (one, two) =
                (key(&backend, 0, name.as_bytes()), key(&backend, 0, other.as_bytes()));
            if random.below(8) == 0 {
                assert_eq!(tx.remove(&one).unwrap(), tx.remove(&two).unwrap());
                return;
            }
            for _ in 0..fields {
                let field = random.below(300).to_be_bytes();
                for twin in [&one, &two] {
                    let mut hash = tx.hash(twin, Open::Create).unwrap().unwrap();
                    hash.insert(&field, name.as_bytes()).unwrap();
                }
            }
            tx.set_expiry(&one, when).unwrap();
            tx.set_string(&key(&backend, 1, name.as_bytes()), b"seen", NewExpiry::Keep).unwrap();
            change_ranks(tx, &key(&backend, 1, RANKS), &mut random);
        });
        backend.maintain(0);
        std::fs::write(Path::new(&dir).with_file_name(READY), b"").unwrap();
    }
}

/// Changes a sorted set with a tree of counts.
fn change_ranks(tx: &mut dyn Tx, name: &Key<'_>, random: &mut Random) {
    let mut zset = tx.sorted_set(name, Open::Create).unwrap().unwrap();
    for _ in 0..random.below(9) {
        let member = random.below(500).to_be_bytes();
        if random.below(4) == 0 {
            zset.remove(&member).unwrap();
        } else {
            zset.insert(&member, random.below(100) as f64).unwrap();
        }
    }
}

/// Every member has the rank that it has in order.
fn check_ranks(tx: &mut dyn Tx, name: &Key<'_>) {
    let mut zset = tx.sorted_set(name, Open::Existing).unwrap().expect("it was written");
    let (mut members, all) = (Vec::new(), ZRange::Rank { start: 0, end: u64::MAX });
    let mut note = |member: &[u8], score: f64| {
        members.push((member.to_vec(), score));
        true
    };
    zset.range(&all, false, 0, u64::MAX, &mut note).unwrap();
    assert_eq!(zset.len().unwrap(), members.len() as u64);
    for (rank, (member, score)) in (0..).zip(&members) {
        assert_eq!(zset.rank(member, false).unwrap(), Some((rank, *score)));
    }
}

fn engine_named(name: &str) -> Engine {
    match name {
        #[cfg(feature = "sled")]
        "Sled" => Engine::Sled,
        #[cfg(feature = "fjall")]
        "Fjall" => Engine::Fjall,
        other => panic!("unknown engine {other}"),
    }
}

/// A process that runs [`child`].
fn spawn(store: &Path, engine: Engine) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child"])
        .env(DIR, store)
        .env(ENGINE, format!("{engine:?}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill_nine_leaves_whole_transactions(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let (store, ready) = (dir.path().join("store"), dir.path().join(READY));
    for round in 0..5u64 {
        let mut child = spawn(&store, engine);
        // A busy machine takes its time to begin; then everybody is killed at another moment.
        until("it writes", || {
            // The store that was checked last may still be closing, and hold its lock.
            if child.try_wait().unwrap().is_some() {
                child = spawn(&store, engine);
            }
            ready.exists()
        });
        std::thread::sleep(Duration::from_millis(700 + 130 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(&ready).unwrap();
        check(&open(&store, engine, 4), round);
    }
}

fn check(backend: &OrderedBackend, round: u64) {
    let (mut found, mut expiring) = (0, 0);
    for n in 0..KEYS {
        let name = format!("key:{n}");
        let read = |name: &str| {
            at(backend, 1, |tx| {
                let mut fields = std::collections::BTreeSet::new();
                let mut hash =
                    tx.hash(&key(backend, 0, name.as_bytes()), Open::Existing).unwrap()?;
                let len = hash.len().unwrap();
                let mut note = |field: &[u8], _: &[u8]| fields.insert(field.to_vec());
                hash.for_each(&mut note).unwrap();
                assert_eq!(len, fields.len() as u64, "{name} after round {round}");
                Some(fields)
            })
        };
        let (one, two) = (read(&name), read(&format!("twin:{name}")));
        assert_eq!(one, two, "{name} and its twin after round {round}");
        let expiry = at(backend, 1, |tx| tx.expiry(&key(backend, 0, name.as_bytes())).unwrap());
        expiring += usize::from(matches!(expiry, Some(Some(_))));
        found += 2 * u64::from(one.is_some());
    }
    at(backend, 1, |tx| check_ranks(tx, &key(backend, 1, RANKS)));
    assert!(found > 0, "the child wrote something before round {round} ended");
    assert_eq!(backend.len(0), found);
    assert_eq!(backend.expires_len(0), expiring as u64);
    assert_eq!(records(backend, keys::EXPIRY), expiring);
}

on_engines!(kill_nine_leaves_whole_transactions);
