//! [`OrderedBackend`] as a [`Backend`]: transactions, snapshots, upkeep, and the end.

use super::backend::OrderedBackend;
use super::keys;
use super::kv::Batch;
use super::snapshot::SnapshotRun;
use super::tx::OrderedTx;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use storage::backend::HeldUp;
use storage::load::ShardLoad;
use storage::{
    Backend, BackendStats, Db, EncodingLimits, Error, Key, Locks, Position, Result, Snapshot, Tx,
    rdb,
};

impl Backend for OrderedBackend {
    fn name(&self) -> &'static str {
        self.kv.name()
    }

    fn shard_count(&self) -> u32 {
        self.shards.len() as u32
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    fn shard_of(&self, hash: u64) -> u32 {
        hash.checked_shr(self.shard_shift).unwrap_or(0) as u32
    }

    fn shard_of_cursor(&self, cursor: u64) -> u32 {
        self.shard_of(cursor)
    }

    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()> {
        let guards = loop {
            match self.try_lock(locks) {
                Some(guards) => break guards,
                None if self.busy.is_so() => return Err(Error::Busy),
                None => {}
            }
        };
        let began = Instant::now();
        let mut tx = OrderedTx::new(self, guards, now_ms);
        body(&mut tx);
        let done = tx.commit();
        self.waits.note(began.elapsed());
        done
    }

    fn set_busy(&self, busy: bool) {
        self.busy.tell(busy);
    }

    fn when_waiting(&self, ask: HeldUp) {
        self.busy.ask(ask);
    }

    fn is_contended(&self, locks: Locks<'_>) -> bool {
        locks.any(self.shard_count(), |shard| self.shards[shard as usize].is_locked())
    }

    fn shard_load(&self, shard: u32) -> ShardLoad {
        self.loads[shard as usize].read()
    }

    fn len(&self, db: Db) -> u64 {
        self.sum(db, |shard| &shard.keys)
    }

    fn expires_len(&self, db: Db) -> u64 {
        self.sum(db, |shard| &shard.expires)
    }

    fn used_dbs(&self) -> Vec<Db> {
        (0..self.physical.len() as Db).filter(|&db| self.len(db) > 0).collect()
    }

    fn maintain(&self, _shard: u32) -> bool {
        match self.clean_slice() {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "cleaning up deleted values failed; it will be tried again");
                false
            }
        }
    }

    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(SnapshotRun::begin(self, at_cut)?))
    }

    fn flush(&self) -> Result<()> {
        self.kv.flush()
    }

    fn persistent(&self) -> bool {
        true
    }

    fn set_checkpoint(&self, mark: &[u8]) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(keys::SYSTEM, keys::CHECKPOINT.to_vec(), mark.to_vec());
        self.kv.write(batch)
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>> {
        self.kv.get(keys::SYSTEM, keys::CHECKPOINT)
    }

    fn last(&self, stream: u16) -> Position {
        let last = self.shards.iter().map(|shard| shard.lock().last.last(stream));
        last.max().unwrap_or(Position { stream, seq: 0 })
    }

    fn may_block(&self) -> bool {
        self.waits.are_likely()
    }

    fn set_encoding_limits(&self, limits: &EncodingLimits) {
        *self.limits.write() = limits.clone();
    }

    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()> {
        let hash = self.hash(key);
        let key = Key { db, hash, bytes: key };
        let mut object = Some(object);
        let mut result = Ok(());
        // At time zero nothing has expired, so a value is loaded as it was saved.
        self.transact(Locks::One(self.shard_of(hash)), 0, &mut |tx| {
            if let Some(object) = object.take() {
                result = tx.restore(&key, object, expiry_ms);
            }
        })?;
        result
    }

    fn stats(&self) -> BackendStats {
        let mut details = self.kv.details();
        details.push(("engine", self.kv.name().to_owned()));
        // While a slice is cleaned the flag is down: then the cleaner is taken.
        let waiting = self.cleaner.try_lock().is_none() || self.garbage.load(Ordering::Relaxed);
        details.push(("lazy_cleaning_pending", u8::from(waiting).to_string()));
        let cleaned = self.cleaned.load(Ordering::Relaxed);
        details.push(("lazy_cleaned_records", cleaned.to_string()));
        BackendStats { memory_bytes: 0, disk_bytes: self.kv.disk_bytes(), details }
    }
}

impl Drop for OrderedBackend {
    fn drop(&mut self) {
        if let Err(error) = self.mark_clean().and_then(|()| self.kv.flush()) {
            tracing::warn!(%error, "closing the {} store: the next start will count keys", self.name());
        }
    }
}
