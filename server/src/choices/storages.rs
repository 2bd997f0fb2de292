//! The storage backends this binary can choose from. Adding one is a line in [`ALL`] and its
//! function.

use super::{Plugin, choose};
use crate::StartError;
use crate::system;
use engine::config::{ConfigStore, Id};
use std::path::Path;
use std::sync::Arc;
use storage::Backend;

type Make = fn(&ConfigStore, &Path) -> storage::Result<Arc<dyn Backend>>;

/// Every backend, the preferred one first.
const ALL: &[Plugin<Make>] = &[
    Plugin { name: "memory", feature: "", make: Some(memory) },
    plugin!("sled", "storage-sled", sled),
    plugin!("fjall", "storage-fjall", fjall),
];

/// How to open the backend that `storage` names, without opening it yet.
pub(crate) fn choice(
    config: &ConfigStore,
    given: bool,
) -> Result<(&'static str, Make), StartError> {
    choose(ALL, "storage", config.choice(Id::Storage), given)
}

/// `shards`, with 0 standing for `per_core` shards for every core.
fn shards(config: &ConfigStore, per_core: usize) -> u32 {
    match config.integer(Id::Shards) {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (cores * per_core).next_power_of_two() as u32
        }
        shards => shards as u32,
    }
}

/// As many shards has a node of a cluster at least, so that each group of slots has whole ones.
const NODE_SHARDS: u32 = 64;

fn memory(config: &ConfigStore, _dir: &Path) -> storage::Result<Arc<dyn Backend>> {
    use storage_memory::{BySlot, Config, MemoryBackend, SHARDS_PER_CORE};
    let in_cluster = config.boolean(Id::ClusterEnabled);
    let backend = MemoryBackend::new(Config {
        shards: shards(config, SHARDS_PER_CORE).max(if in_cluster { NODE_SHARDS } else { 1 }),
        databases: config.integer(Id::Databases) as u32,
        hash_seed: system::random(),
        ..Config::default()
    });
    Ok(match in_cluster {
        true => Arc::new(BySlot::new(backend, engine::commit::slot)),
        false => Arc::new(backend),
    })
}

/// A storage without data, for an engine that executes nothing.
pub(crate) fn empty(config: &ConfigStore) -> Arc<dyn Backend> {
    use storage_memory::{Config, MemoryBackend};
    let databases = config.integer(Id::Databases) as u32;
    Arc::new(MemoryBackend::new(Config { shards: 1, databases, ..Config::default() }))
}

#[cfg(feature = "storage-sled")]
fn sled(config: &ConfigStore, dir: &Path) -> storage::Result<Arc<dyn Backend>> {
    ordered(config, dir.join("sled"), storage_ordered::Engine::Sled)
}

#[cfg(feature = "storage-fjall")]
fn fjall(config: &ConfigStore, dir: &Path) -> storage::Result<Arc<dyn Backend>> {
    ordered(config, dir.join("fjall"), storage_ordered::Engine::Fjall)
}

#[cfg(any(feature = "storage-sled", feature = "storage-fjall"))]
fn ordered(
    config: &ConfigStore,
    dir: std::path::PathBuf,
    engine: storage_ordered::Engine,
) -> storage::Result<Arc<dyn Backend>> {
    use storage_ordered::{Config, OrderedBackend};
    let opened = Config {
        shards: shards(config, 16),
        databases: config.integer(Id::Databases) as u32,
        ..Config::new(dir, engine)
    };
    // After the shards were counted, which depends on the cores of this thread.
    let backend = system::cores::on_background(config, || OrderedBackend::open(&opened))?;
    Ok(Arc::new(backend))
}
