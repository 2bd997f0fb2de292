//! [`BySlot`]: the memory backend as a node of a cluster uses it, with the keys of a slot in one shard.
//!
//! The low bits of a hash choose the shard, and the top bits the place in it. Here the low bits are
//! those of the key's slot, so a range of slots that begins and ends with a shard's is a range of
//! shards: a group of the cluster clears, locks and saves its own shards. Servers outside a cluster
//! do not pay for that.

use super::MemoryBackend;
use std::ops::Range;
use std::sync::Arc;
use storage::backend::{HeldUp, LazilyFreed, SLOTS};
use storage::load::ShardLoad;
use storage::tx::{Db, Tx};
use storage::{Backend, BackendStats, EncodingLimits, Locks, Result, Snapshot, rdb};

/// A [`MemoryBackend`] whose keys are placed by their slots.
#[derive(Debug)]
pub struct BySlot {
    inner: Arc<MemoryBackend>,
    slot: fn(&[u8]) -> u16,
}

impl BySlot {
    /// Places keys in the shards of `inner`, which is empty, by the slots that `slot` gives them.
    pub fn new(inner: MemoryBackend, slot: fn(&[u8]) -> u16) -> Self {
        BySlot { inner: Arc::new(inner), slot }
    }

    /// The number of slots of a shard.
    fn slots(&self) -> u32 {
        u32::from(SLOTS) / self.inner.shard_count()
    }
}

impl Backend for BySlot {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn shard_count(&self) -> u32 {
        self.inner.shard_count()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let shard = u32::from((self.slot)(key)) / self.slots();
        self.inner.hash_in(shard, key)
    }

    fn shard_of(&self, hash: u64) -> u32 {
        self.inner.shard_of(hash)
    }

    fn shard_of_cursor(&self, cursor: u64) -> u32 {
        self.inner.shard_of_cursor(cursor)
    }

    fn shards_of_slots(&self, slots: Range<u16>) -> Option<Range<u32>> {
        let shard = |slot: u16| {
            let slot = u32::from(slot);
            slot.is_multiple_of(self.slots()).then_some(slot / self.slots())
        };
        Some(shard(slots.start)?..shard(slots.end)?)
    }

    fn slot_of_shard(&self, shard: u32) -> u16 {
        (shard * self.slots()) as u16
    }

    fn prefetch(&self, db: Db, hashes: &[u64]) {
        self.inner.prefetch(db, hashes);
    }

    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()> {
        self.inner.transact(locks, now_ms, body)
    }

    fn is_contended(&self, locks: Locks<'_>) -> bool {
        self.inner.is_contended(locks)
    }

    fn shard_load(&self, shard: u32) -> ShardLoad {
        self.inner.shard_load(shard)
    }

    fn len(&self, db: Db) -> u64 {
        self.inner.len(db)
    }

    fn len_in(&self, db: Db, shards: Range<u32>) -> u64 {
        self.inner.len_in(db, shards)
    }

    fn bytes_in(&self, shards: Range<u32>) -> u64 {
        self.inner.bytes_in(shards)
    }

    fn expires_len(&self, db: Db) -> u64 {
        self.inner.expires_len(db)
    }

    fn used_dbs(&self) -> Vec<Db> {
        self.inner.used_dbs()
    }

    fn maintain(&self, shard: u32) -> bool {
        self.inner.maintain(shard)
    }

    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>> {
        self.inner.clone().snapshot(at_cut)
    }

    fn snapshot_of(
        self: Arc<Self>,
        shards: &[u32],
        at_cut: &mut dyn FnMut(),
    ) -> Result<Box<dyn Snapshot>> {
        self.inner.clone().snapshot_of(shards, at_cut)
    }

    fn set_busy(&self, busy: bool) {
        self.inner.set_busy(busy);
    }

    fn when_waiting(&self, ask: HeldUp) {
        self.inner.when_waiting(ask);
    }

    fn can_extend(&self) -> bool {
        self.inner.can_extend()
    }

    fn can_sample(&self) -> bool {
        self.inner.can_sample()
    }

    fn set_frequency(&self, log_factor: u32, decay_min: u32) {
        self.inner.set_frequency(log_factor, decay_min);
    }

    fn set_encoding_limits(&self, limits: &EncodingLimits) {
        self.inner.set_encoding_limits(limits);
    }

    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()> {
        self.inner.load_at(self.hash(key), (db, key), expiry_ms, object)
    }

    fn lazily_freed(&self) -> LazilyFreed {
        self.inner.lazily_freed()
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use storage::{Key, NewExpiry, SnapshotSink};

    /// A key's last two bytes are its slot.
    fn slot(key: &[u8]) -> u16 {
        key.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes) % SLOTS)
    }

    fn filled() -> Arc<BySlot> {
        let inner = MemoryBackend::new(Config { shards: 4, ..Config::default() });
        let backend = Arc::new(BySlot::new(inner, slot));
        for slot in 0..SLOTS {
            let name = [b"key".as_slice(), &slot.to_be_bytes()].concat();
            backend.load(0, &name, None, rdb::Object::String(name.clone())).unwrap();
        }
        backend
    }

    #[derive(Default)]
    struct Slots(Vec<u16>);

    impl SnapshotSink for Slots {
        fn entry(&mut self, _: Db, key: &[u8], _: Option<u64>, _: &[u8]) -> Result<()> {
            self.0.push(slot(key));
            Ok(())
        }
    }

    #[test]
    fn a_range_of_slots_is_a_range_of_shards_and_is_saved_and_cleared_alone() {
        let backend = filled();
        assert_eq!(backend.shards_of_slots(4_096..12_288), Some(1..3));
        assert_eq!(backend.shards_of_slots(0..SLOTS), Some(0..4));
        assert_eq!(backend.shards_of_slots(1..4_096), None);
        assert_eq!((backend.slot_of_shard(2), backend.len_in(0, 1..3)), (8_192, 8_192));
        let (some, all) = (backend.bytes_in(1..3), backend.stats().memory_bytes);
        assert!(some > 8_192 && some + backend.bytes_in(0..1) + backend.bytes_in(3..4) == all);
        let one = backend.clone().snapshot_of(&[1, 3], &mut || ());
        assert!(backend.clone().snapshot_of(&[2, 3], &mut || ()).is_err(), "one of each at a time");
        let apart = backend.clone().snapshot_of(&[2], &mut || ()).unwrap();
        let mut slots = Slots::default();
        one.unwrap().write(&mut slots).unwrap();
        slots.0.sort_unstable();
        assert_eq!(slots.0, (4_096..8_192).chain(12_288..SLOTS).collect::<Vec<_>>());
        drop(apart);
        let clear = &mut |tx: &mut dyn Tx| assert_eq!(tx.clear_in(0, 1..3).unwrap(), 8_192);
        backend.transact(Locks::Many(&[1, 2]), 0, clear).unwrap();
        assert_eq!((backend.len(0), backend.len_in(0, 1..3)), (8_192, 0));
    }

    #[test]
    fn keys_are_found_where_they_are_however_they_are_found() {
        let backend = filled();
        let name = b"mortal\x3f\xff";
        let key = Key { db: 0, hash: backend.hash(name), bytes: name };
        let shard = backend.shard_of(key.hash);
        assert_eq!(shard, 3);
        let set = &mut |tx: &mut dyn Tx| tx.set_string(&key, b"v", NewExpiry::At(5)).unwrap();
        backend.transact(Locks::One(shard), 1, set).unwrap();
        let expire = &mut |tx: &mut dyn Tx| {
            // A call looks at some of the keys.
            for _ in 0..100 {
                tx.expire_due(shard, 10).unwrap();
            }
            assert_eq!(tx.expired().len(), 1);
        };
        backend.transact(Locks::One(shard), 10, expire).unwrap();
        let random = &mut |tx: &mut dyn Tx| {
            for seed in 0..100 {
                assert!(tx.random_key(0, seed).unwrap().is_some());
            }
        };
        backend.transact(Locks::All, 10, random).unwrap();
        assert_eq!(backend.len(0), u64::from(SLOTS));
    }
}
