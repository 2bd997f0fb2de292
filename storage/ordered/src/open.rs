//! Opens a store: its settings, its counters, and the changes that another number of shards
//! requires.

use super::backend::{KEPT_BYTES_MAX, OrderedBackend, Shard, ShardCounts, Versions};
use super::codec::{self, CleanCounts, DbMap};
use super::garbage::Cleaner;
use super::hashing::Seed;
use super::kept::Kept;
use super::keys::{self, DATABASES, VERSIONS};
use super::kv::{Batch, OrderedKv};
use super::ranks::Stale;
use super::waits::Waits;
use super::{Config, Engine};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use storage::busy::Busy;
use storage::journal::Positions;
use storage::load::Load;
use storage::{Backend, Error, Position, Result};

// Records of `keys::SYSTEM`, beside those that others name, too.
const FORMAT: &[u8] = b"format";
const SEED: &[u8] = b"seed";
const SHARDS: &[u8] = b"shards";
const CLEAN: &[u8] = b"clean";
/// The number of the last session, which ended with [`CLEAN`] or in a crash.
const SESSION: &[u8] = b"session";
/// The number of shards that the stored journal positions are for.
const APPLIED_SHARDS: &[u8] = b"applied-shards";

/// The layout this code reads and writes.
const FORMAT_NUMBER: &[u8] = b"3";
/// Shards at most.
const SHARDS_MAX: u32 = 4096;
/// Databases at most.
const DATABASES_MAX: u32 = 65_536;
/// Records per batch while the expiry index is rebuilt.
const REBUILD_BATCH: usize = 1024;

impl OrderedBackend {
    /// Opens or creates the store. After an unclean stop every key's metadata is read once, to
    /// count keys exactly.
    ///
    /// # Errors
    /// Fails if the directory is unusable, in use, damaged, or of another layout.
    pub fn open(config: &Config) -> Result<Self> {
        let kv: Box<dyn OrderedKv> = match config.engine {
            #[cfg(feature = "sled")]
            Engine::Sled => Box::new(super::sled::SledKv::open(&config.dir, config.cache_bytes)?),
            #[cfg(feature = "fjall")]
            Engine::Fjall => Box::new(super::fjall::FjallKv::open(
                &config.dir,
                config.cache_bytes,
                &keys::SPACE_NAMES,
            )?),
        };
        Self::over(kv, config.shards, config.databases)
    }

    /// A store over any engine.
    ///
    /// # Errors
    /// Fails like [`OrderedBackend::open`].
    pub fn over(kv: Box<dyn OrderedKv>, shards: u32, databases: u32) -> Result<Self> {
        let shards = shards.clamp(1, SHARDS_MAX).next_power_of_two();
        let databases = databases.clamp(1, DATABASES_MAX);
        let seed = found_or_created(&*kv)?;
        let map = database_map(&*kv, databases)?;
        let (shards, last) = last_positions(&*kv, shards)?;
        let stored = read_u64(&*kv, SHARDS)?.unwrap_or(u64::from(shards));
        let versions = read_u64(&*kv, VERSIONS)?.unwrap_or(1);
        let session = session(&*kv)?;
        let backend = OrderedBackend {
            seed,
            shard_shift: 64 - shards.trailing_zeros(),
            shards: last.into_iter().map(|last| Mutex::new(Shard::new(last))).collect(),
            loads: (0..shards).map(|_| Load::default()).collect(),
            counts: (0..shards).map(|_| ShardCounts::new(map.physical.len())).collect(),
            physical: map.physical.iter().map(|&physical| AtomicU32::new(physical)).collect(),
            next_physical: AtomicU32::new(map.next),
            versions: Versions::from_mark(versions),
            limits: RwLock::default(),
            cleaner: Mutex::new(Cleaner::default()),
            garbage: AtomicBool::new(true),
            cleaned: AtomicU64::new(0),
            copying: RwLock::new(None),
            snapshotting: AtomicBool::new(false),
            busy: Busy::default(),
            waits: Waits::default(),
            session,
            nodes: Kept::new(KEPT_BYTES_MAX),
            small: Kept::new(KEPT_BYTES_MAX),
            kv,
        };
        backend.recover(u64::from(shards) == stored)?;
        Ok(backend)
    }

    /// Restores the counters, and the expiry index if it is for other shards.
    fn recover(&self, index_fits: bool) -> Result<()> {
        let clean = self.kv.get(keys::SYSTEM, CLEAN)?;
        let counts = match clean {
            Some(record) => Some(codec::decode::<CleanCounts>(&record, "counts")?.0),
            None => None,
        };
        match counts {
            Some(counts) if index_fits && self.adopt(&counts) => {}
            _ => self.count_keys(!index_fits)?,
        }
        // The counts are good until the first write: that they no longer are goes first.
        let mut batch = Batch::default();
        batch.delete(keys::SYSTEM, CLEAN.to_vec());
        batch.put(keys::SYSTEM, SHARDS.to_vec(), be(self.shard_count().into()));
        batch.put(keys::SYSTEM, SESSION.to_vec(), be(self.session.into()));
        self.kv.write(batch)
    }

    /// Takes over stored counts, if they are of this shape.
    fn adopt(&self, stored: &CleanCounts) -> bool {
        let databases = self.physical.len();
        let fits = stored.shards == self.shard_count()
            && stored.counts.len() == self.counts.len() * databases;
        for (at, &(keys, expires)) in stored.counts.iter().enumerate().filter(|_| fits) {
            let shard = &self.counts[at / databases];
            shard.keys[at % databases].store(keys, Ordering::Relaxed);
            shard.expires[at % databases].store(expires, Ordering::Relaxed);
        }
        fits
    }

    /// Stores what is counted, to be taken over by the next start.
    pub(super) fn mark_clean(&self) -> Result<()> {
        self.write_counts()?;
        let counts = self.counts.iter().flat_map(|shard| {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            shard.keys.iter().map(load).zip(shard.expires.iter().map(load))
        });
        let record = CleanCounts { shards: self.shard_count(), counts: counts.collect() };
        let mut batch = Batch::default();
        batch.put(keys::SYSTEM, CLEAN.to_vec(), codec::encode(&record, &[]));
        self.kv.write(batch)
    }

    /// Counts keys by reading all metadata, rebuilding the expiry index on the way if asked to.
    fn count_keys(&self, reindex: bool) -> Result<()> {
        if reindex {
            self.drop_expiry_index()?;
        }
        for db in 0..self.physical.len() {
            let physical = self.physical[db].load(Ordering::Relaxed);
            self.count_db(db, physical, reindex)?;
        }
        Ok(())
    }

    fn count_db(&self, db: usize, physical: u32, reindex: bool) -> Result<()> {
        let end = keys::meta_past(physical, u64::MAX);
        let (mut batch, mut stale) = (Batch::default(), Stale::default());
        let mut result = Ok(());
        self.kv.scan(
            keys::META,
            &keys::meta_from(physical, 0),
            &end,
            false,
            &mut |key, record| {
                let index = reindex.then_some(&mut batch);
                result = self.count_key(db, (key, record), index, &mut stale);
                if batch.len() >= REBUILD_BATCH && result.is_ok() {
                    result = self.kv.write(std::mem::take(&mut batch));
                }
                result.is_ok()
            },
        )?;
        result?;
        if !batch.is_empty() {
            self.kv.write(batch)?;
        }
        self.recount(stale)
    }

    fn count_key(
        &self,
        db: usize,
        (key, record): (&[u8], &[u8]),
        index: Option<&mut Batch>,
        stale: &mut Stale,
    ) -> Result<()> {
        let hash = keys::meta_hash(key).ok_or_else(|| Error::corrupt("a short metadata key"))?;
        let shard = self.shard_of(hash);
        let counts = &self.counts[shard as usize];
        counts.keys[db].fetch_add(1, Ordering::Relaxed);
        // A damaged record still is a key: its own readers report it, the others stay available.
        let Ok((head, ..)) = codec::decode_meta(record) else { return Ok(()) };
        stale.note(key, record, &head, self.session);
        if head.expiry_ms != 0 {
            counts.expires[db].fetch_add(1, Ordering::Relaxed);
        }
        if let (Some(batch), due @ 1..) = (index, head.due_ms()) {
            batch.put(keys::EXPIRY, keys::expiry(shard, due, key), Vec::new());
        }
        Ok(())
    }

    /// Removes the expiry index; until the rebuilt one is complete the stored number of shards is
    /// one that fits no run, so that a crash starts the rebuilding again.
    fn drop_expiry_index(&self) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(keys::SYSTEM, SHARDS.to_vec(), be(0));
        loop {
            self.kv.scan(keys::EXPIRY, &[], &[], false, &mut |key, _| {
                batch.delete(keys::EXPIRY, key.to_vec());
                batch.len() < REBUILD_BATCH
            })?;
            let last = batch.space(keys::EXPIRY).is_empty();
            self.kv.write(std::mem::take(&mut batch))?;
            if last {
                return Ok(());
            }
        }
    }
}

fn be(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn read_u64(kv: &dyn OrderedKv, name: &[u8]) -> Result<Option<u64>> {
    let Some(record) = kv.get(keys::SYSTEM, name)? else { return Ok(None) };
    keys::be64(&record).map(Some).ok_or_else(|| Error::corrupt("a system record"))
}

/// The number of the session that begins: that of the last one if it has left nothing behind in memory.
fn session(kv: &dyn OrderedKv) -> Result<u32> {
    let last = read_u64(kv, SESSION)?.unwrap_or(0);
    let crashed = u64::from(kv.get(keys::SYSTEM, CLEAN)?.is_none());
    u32::try_from(last + crashed).map_err(|_| Error::corrupt("the number of a session"))
}

/// Checks the layout of an existing store, or makes a new one; its seed.
fn found_or_created(kv: &dyn OrderedKv) -> Result<Seed> {
    match kv.get(keys::SYSTEM, FORMAT)? {
        Some(format) if format == FORMAT_NUMBER => {
            let seed = kv.get(keys::SYSTEM, SEED)?.and_then(|seed| seed.try_into().ok());
            seed.map(Seed::from_bytes).ok_or_else(|| Error::corrupt("the store has no seed"))
        }
        Some(format) => Err(Error::backend(format_args!(
            "the store has layout {}, this program reads layout {}",
            String::from_utf8_lossy(&format),
            String::from_utf8_lossy(FORMAT_NUMBER)
        ))),
        None => {
            let seed = Seed::random();
            let mut batch = Batch::default();
            batch.put(keys::SYSTEM, FORMAT.to_vec(), FORMAT_NUMBER.to_vec());
            batch.put(keys::SYSTEM, SEED.to_vec(), seed.to_bytes().to_vec());
            kv.write(batch)?;
            kv.flush()?;
            Ok(seed)
        }
    }
}

/// The stored database map, extended to the number of databases configured now; a longer one is
/// kept whole, so that no key gets lost by configuring fewer databases.
fn database_map(kv: &dyn OrderedKv, databases: u32) -> Result<DbMap> {
    let mut map = match kv.get(keys::SYSTEM, DATABASES)? {
        Some(record) => codec::decode::<DbMap>(&record, "database map")?.0,
        None => DbMap { physical: Vec::new(), next: 0 },
    };
    if map.physical.len() < databases as usize {
        while map.physical.len() < databases as usize {
            map.physical.push(map.next);
            map.next += 1;
        }
        let mut batch = Batch::default();
        batch.put(keys::SYSTEM, DATABASES.to_vec(), codec::encode(&map, &[]));
        kv.write(batch)?;
    }
    Ok(map)
}

/// The journal positions of the shards, and the number of shards to use: the requested number,
/// unless that would merge shards whose positions differ after a crash. One position cannot
/// represent two, and a replay must know exactly what the store contains. The next start after an
/// orderly stop (when everything appended is in the store) can merge them.
fn last_positions(kv: &dyn OrderedKv, asked: u32) -> Result<(u32, Vec<Positions>)> {
    let stored = read_u64(kv, APPLIED_SHARDS)?.unwrap_or(u64::from(asked));
    let valid = u32::try_from(stored).ok().filter(|n| n.is_power_of_two() && *n <= SHARDS_MAX);
    let stored = valid.ok_or_else(|| Error::corrupt("the stored number of shards"))?;
    let old = (0..stored).map(|shard| positions_of(kv, shard)).collect::<Result<Vec<_>>>()?;
    let clean = kv.get(keys::SYSTEM, CLEAN)?.is_some();
    let merged = old.chunks((stored / asked).max(1) as usize);
    let exact = clean || merged.clone().all(|group| group.iter().all(|at| *at == group[0]));
    if !exact {
        tracing::warn!(asked, kept = stored, "keeping the number of shards until a clean stop");
        return Ok((stored, old));
    }
    let copies = (asked / stored).max(1) as usize;
    let new: Vec<Positions> =
        merged.map(latest).flat_map(|last| std::iter::repeat_n(last, copies)).collect();
    let mut batch = Batch::default();
    for (shard, last) in (0..stored).zip(&old) {
        last.iter().for_each(|at| batch.delete(keys::SYSTEM, keys::last(shard, at.stream)));
    }
    for (shard, last) in (0..asked).zip(&new) {
        let written = last.iter().filter(|at| at.seq != 0);
        written.for_each(|at| batch.put(keys::SYSTEM, keys::last(shard, at.stream), be(at.seq)));
    }
    batch.put(keys::SYSTEM, APPLIED_SHARDS.to_vec(), be(u64::from(asked)));
    kv.write(batch)?;
    Ok((asked, new))
}

/// The stored positions of a shard.
fn positions_of(kv: &dyn OrderedKv, shard: u32) -> Result<Positions> {
    let ((lo, hi), mut last) = (keys::positions(shard), Positions::default());
    kv.scan(keys::SYSTEM, &lo, &hi, false, &mut |key, seq| {
        let (stream, seq) = (keys::position_stream(key), keys::be64(seq).unwrap_or(0));
        last.set(Position { stream, seq });
        true
    })?;
    Ok(last)
}

/// The latest positions of some shards.
fn latest(shards: &[Positions]) -> Positions {
    let mut latest = Positions::default();
    for position in shards.iter().flat_map(Positions::iter) {
        latest.set(position.max(latest.last(position.stream)));
    }
    latest
}
