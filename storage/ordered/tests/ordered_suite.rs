//! The conformance suite on every ordered engine.
#![cfg(any(feature = "sled", feature = "fjall"))]

use std::path::Path;
use std::sync::Arc;
use storage::Backend;
use storage_ordered::testing::counting_kv::CountingKv;
use storage_ordered::{Config, Engine, OrderedBackend};

/// An empty store in the target folder, under the test's name: the next run replaces it.
fn fresh(engine: Engine) -> Arc<dyn Backend> {
    let test = std::thread::current().name().unwrap_or("main").replace("::", "-");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ordered-{test}"));
    let _ = std::fs::remove_dir_all(&dir);
    let config = Config { cache_bytes: 8 << 20, ..Config::new(dir, engine) };
    Arc::new(OrderedBackend::open(&config).expect("an empty store opens"))
}

storage::testing::suite!(counting, || {
    let kv = Box::new(CountingKv::default());
    Arc::new(OrderedBackend::over(kv, 16, 16).expect("an empty store opens"))
});
#[cfg(feature = "sled")]
storage::testing::suite!(sled, || fresh(Engine::Sled));
#[cfg(feature = "fjall")]
storage::testing::suite!(fjall, || fresh(Engine::Fjall));
