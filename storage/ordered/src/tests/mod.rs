//! Tests of the ordered backend that need its insides or its files; the behaviour that every
//! backend shares is checked by the suite in `storage::testing`.

mod crash;
mod damage;
mod model;
mod persistence;
mod work;

use super::{Config, Engine, OrderedBackend};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::testing::Random;
use storage::{Backend, Key, Locks, Tx};

/// One test per engine for each function named.
macro_rules! on_engines {
    ($($test:ident),* $(,)?) => {
        #[cfg(feature = "sled")]
        mod on_sled {
            $(#[test] fn $test() { super::$test(crate::Engine::Sled) })*
        }
        #[cfg(feature = "fjall")]
        mod on_fjall {
            $(#[test] fn $test() { super::$test(crate::Engine::Fjall) })*
        }
    };
}
pub(crate) use on_engines;

fn open(dir: &Path, engine: Engine, shards: u32) -> Arc<OrderedBackend> {
    let config = Config { shards, cache_bytes: 8 << 20, ..Config::new(dir, engine) };
    Arc::new(until_free(|| OrderedBackend::open(&config)))
}

/// Opens a store once nobody has it open any more: sled's own threads may let go of it a moment after it was dropped.
fn until_free<T>(open: impl Fn() -> storage::Result<T>) -> T {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match open() {
            Err(error) if error.to_string().contains("acquire lock") && Instant::now() < until => {
                std::thread::yield_now();
            }
            opened => return opened.expect("the store opens"),
        }
    }
}

/// The suite of all engines.
mod engines {
    #[cfg(feature = "fjall")]
    crate::testing::engines::engines!(fjall, |dir: &std::path::Path| {
        crate::fjall::FjallKv::open(dir, 8 << 20, &["a", "b"]).expect("it opens")
    });
    #[cfg(feature = "sled")]
    mod on_sled {
        crate::testing::engines::engines!(sled, |dir: &std::path::Path| {
            crate::tests::until_free(|| crate::sled::SledKv::open(dir, 8 << 20))
        });
    }
    crate::testing::engines::engines!(volatile counting, |_: &std::path::Path| {
        crate::testing::counting_kv::CountingKv::default()
    });
}

/// Runs `body` over all shards.
fn at<R>(backend: &OrderedBackend, now_ms: u64, body: impl FnOnce(&mut dyn Tx) -> R) -> R {
    let (mut body, mut result) = (Some(body), None);
    backend
        .transact(Locks::All, now_ms, &mut |tx| {
            if let Some(body) = body.take() {
                result = Some(body(tx));
            }
        })
        .expect("the transaction commits");
    result.expect("the body ran")
}

fn key<'a>(backend: &OrderedBackend, db: u32, bytes: &'a [u8]) -> Key<'a> {
    Key { db, hash: backend.hash(bytes), bytes }
}

/// Cleans until nothing is left to clean.
fn clean(backend: &OrderedBackend) {
    while backend.maintain(0) {}
}

/// Records in a space.
fn records(backend: &OrderedBackend, space: super::kv::Space) -> usize {
    let mut count = 0;
    let mut one = |_: &[u8], _: &[u8]| {
        count += 1;
        true
    };
    backend.kv.scan(space, &[], &[], false, &mut one).expect("the engine scans");
    count
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy_dir(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}
