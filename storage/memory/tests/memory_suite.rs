//! The memory backend under the conformance suite.

use std::sync::Arc;
use storage_memory::{Config, MemoryBackend};

fn backend(shards: u32) -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::new(Config { shards, hash_seed: 0x5eed, ..Config::default() }))
}

storage::testing::suite!(sixteen_shards, || backend(16));
storage::testing::suite!(one_shard, || backend(1));

#[test]
fn hashes_whose_fields_expired_go_without_being_asked_for() {
    storage::testing::hashes::hashes_of_expired_fields_are_found(&storage::testing::Store::new(
        backend(4),
    ));
}
