//! The memory backend under the conformance suite.

use std::sync::Arc;
use storage_memory::{BySlot, Config, MemoryBackend};

fn backend(shards: u32) -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::new(Config { shards, hash_seed: 0x5eed, ..Config::default() }))
}

storage::testing::suite!(sixteen_shards, || backend(16));
storage::testing::suite!(one_shard, || backend(1));
storage::testing::suite!(by_slot, || {
    let config = Config { shards: 16, hash_seed: 0x5eed, ..Config::default() };
    Arc::new(BySlot::new(MemoryBackend::new(config), slot))
});

/// Some slot, the same for keys that are anything alike.
fn slot(key: &[u8]) -> u16 {
    key.iter().fold(0_u16, |slot, byte| slot.wrapping_mul(31).wrapping_add((*byte).into())) >> 2
}

#[test]
fn hashes_whose_fields_expired_go_without_being_asked_for() {
    storage::testing::hashes::hashes_of_expired_fields_are_found(&storage::testing::Store::new(
        backend(4),
    ));
}
