//! [`Spy`]: a backend that remembers which keys were touched.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::load::ShardLoad;
use storage::stream::Stream;
use storage::types::{Hash, List, Set, SortedSet};
use storage::{
    Backend, BackendStats, Db, EncodingLimits, Expired, Expiry, Key, KeyInfo, Kind, Locks,
    NewExpiry, Open, Position, Presence, Result, Snapshot, Str, Tx, rdb,
};

/// Keys by name, whatever the database.
pub type Names = BTreeSet<Vec<u8>>;

/// Another backend, with a record of the keys that transactions used by name. Walks over whole
/// shards and databases are not in it.
pub struct Spy {
    backend: Arc<dyn Backend>,
    touched: Mutex<Names>,
}

impl Spy {
    /// Watches `backend`.
    pub fn new(backend: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Spy { backend, touched: Mutex::default() })
    }

    /// The keys touched since the last call.
    pub fn take(&self) -> Names {
        std::mem::take(&mut *self.touched.lock())
    }
}

impl Backend for Spy {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    fn shard_count(&self) -> u32 {
        self.backend.shard_count()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.backend.hash(key)
    }

    fn shard_of(&self, hash: u64) -> u32 {
        self.backend.shard_of(hash)
    }

    fn shard_of_cursor(&self, cursor: u64) -> u32 {
        self.backend.shard_of_cursor(cursor)
    }

    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()> {
        self.backend.transact(locks, now_ms, &mut |tx| body(&mut SpyTx { tx, spy: self }))
    }

    fn shard_load(&self, shard: u32) -> ShardLoad {
        self.backend.shard_load(shard)
    }

    fn len(&self, db: Db) -> u64 {
        self.backend.len(db)
    }

    fn expires_len(&self, db: Db) -> u64 {
        self.backend.expires_len(db)
    }

    fn used_dbs(&self) -> Vec<Db> {
        self.backend.used_dbs()
    }

    fn maintain(&self, shard: u32) -> bool {
        self.backend.maintain(shard)
    }

    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>> {
        self.backend.clone().snapshot(at_cut)
    }

    fn can_extend(&self) -> bool {
        self.backend.can_extend()
    }

    fn set_encoding_limits(&self, limits: &EncodingLimits) {
        self.backend.set_encoding_limits(limits);
    }

    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()> {
        self.backend.load(db, key, expiry_ms, object)
    }

    fn stats(&self) -> BackendStats {
        self.backend.stats()
    }
}

struct SpyTx<'a> {
    tx: &'a mut dyn Tx,
    spy: &'a Spy,
}

impl SpyTx<'_> {
    /// The transaction itself, to be used with `key`.
    fn with(&mut self, key: &Key<'_>) -> &mut dyn Tx {
        self.spy.touched.lock().insert(key.bytes.to_vec());
        self.tx
    }
}

/// Methods about one key: the key is recorded, and the call passed on.
macro_rules! noted {
    ($(fn $name:ident(key $(, $arg:ident: $of:ty)*) $(-> $back:ty)?;)+) => {$(
        fn $name(&mut self, key: &Key<'_> $(, $arg: $of)*) $(-> $back)? {
            self.with(key).$name(key $(, $arg)*)
        }
    )+};
}

impl Tx for SpyTx<'_> {
    fn now_ms(&self) -> u64 {
        self.tx.now_ms()
    }

    fn expired(&mut self) -> &mut Vec<Expired> {
        self.tx.expired()
    }

    fn met_expired(&self) -> bool {
        self.tx.met_expired()
    }

    fn set_expiry_mode(&mut self, mode: Expiry) {
        self.tx.set_expiry_mode(mode);
    }

    fn set_no_touch(&mut self, no_touch: bool) {
        self.tx.set_no_touch(no_touch);
    }

    fn set_last(&mut self, position: Position) {
        self.tx.set_last(position);
    }

    fn last(&self, stream: u16) -> Position {
        self.tx.last(stream)
    }

    fn roll_back(&mut self) -> bool {
        self.tx.roll_back()
    }

    fn extend(&mut self, locks: Locks<'_>) -> bool {
        self.tx.extend(locks)
    }

    noted! {
        fn kind(key) -> Result<Option<Kind>>;
        fn remove(key) -> Result<bool>;
        fn expiry(key) -> Result<Option<Option<u64>>>;
        fn set_expiry(key, at_ms: Option<u64>) -> Result<bool>;
        fn info(key, samples: usize) -> Result<Option<KeyInfo>>;
        fn touch(key) -> Result<bool>;
        fn set_access(key, idle_ms: Option<u64>, freq: Option<u8>);
        fn dump(key, out: &mut Vec<u8>) -> Result<bool>;
        fn restore(key, object: rdb::Object, at_ms: Option<u64>) -> Result<()>;
        fn string(key) -> Result<Option<Str<'_>>>;
        fn string_len(key) -> Result<u64>;
        fn set_string(key, value: &[u8], expiry: NewExpiry) -> Result<()>;
        fn append(key, suffix: &[u8]) -> Result<u64>;
        fn set_range(key, offset: u64, bytes: &[u8]) -> Result<u64>;
        fn get_range(key, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()>;
    }

    /// This is not recorded: commands on whole databases ask for all watched keys.
    fn presence(&mut self, key: &Key<'_>) -> Result<Presence> {
        self.tx.presence(key)
    }

    fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) -> Result<bool> {
        self.with(from);
        self.with(to).rename(from, to)
    }

    fn list<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn List + 't>>> {
        self.with(key).list(key, open)
    }

    fn set<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Set + 't>>> {
        self.with(key).set(key, open)
    }

    fn hash<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Hash + 't>>> {
        self.with(key).hash(key, open)
    }

    fn sorted_set<'t>(
        &'t mut self,
        key: &Key<'t>,
        open: Open,
    ) -> Result<Option<Box<dyn SortedSet + 't>>> {
        self.with(key).sorted_set(key, open)
    }

    fn stream<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Stream + 't>>> {
        self.with(key).stream(key, open)
    }

    fn scan(
        &mut self,
        db: Db,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Option<Kind>),
    ) -> Result<u64> {
        self.tx.scan(db, cursor, count, visit)
    }

    fn random_key(&mut self, db: Db, seed: u64) -> Result<Option<Vec<u8>>> {
        self.tx.random_key(db, seed)
    }

    fn counts(&mut self, db: Db) -> Result<(u64, u64)> {
        self.tx.counts(db)
    }

    fn clear(&mut self, db: Db) -> Result<u64> {
        self.tx.clear(db)
    }

    fn swap_dbs(&mut self, a: Db, b: Db) -> Result<()> {
        self.tx.swap_dbs(a, b)
    }

    fn expire_due(&mut self, shard: u32, limit: usize) -> Result<bool> {
        self.tx.expire_due(shard, limit)
    }
}
