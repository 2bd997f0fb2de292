//! One shard: the tables of its databases behind one lock, and the state that they share.

use super::directory::{Directory, Pool, Slot, Source};
use super::entry::{Entry, numbers_between};
use super::garbage::{Freed, Garbage};
use super::hashing::Hasher;
use super::prefetch;
use super::saving::{NO_DB, Saving};
use super::segment::Probe;
use super::table::{Occupied, Table};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;
use storage::journal::Positions;
use storage::load::Load;
use storage::random::mix;
use storage::tx::Db;
use storage::{EncodingLimits, Key};

/// A shard. Aligned so that two shards never share a cache line (or the pair of lines that x86
/// fetches together), and laid out so that what every transaction writes is in one line, the last,
/// and what prefetching reads is in another, which no transaction of the usual kind writes.
#[repr(C, align(128))]
#[derive(Debug)]
pub struct Shard {
    /// Each database's directory, for prefetching without the lock. Null without a table.
    roots: Box<[AtomicPtr<Slot>]>,
    /// Each database's sizes at the end of the last transaction. They are read without the lock,
    /// because the reader may be inside a transaction that holds it.
    sizes: Box<[Sizes]>,
    /// How much the shard is used; elsewhere, because it is written while others read this line.
    pub load: Box<Load>,
    /// Where the access counters' random numbers began.
    random_began: u64,
    /// Everything that needs the lock.
    pub state: OwnLine<Mutex<State>>,
}

/// The time for which a thread spins the first time that it finds the lock taken, in pauses of the processor
/// (a few nanoseconds to fifty each); each further time twice as long. Meanwhile it does not look at
/// the lock, because that would take its line from who has it, and who has it soon takes it again if
/// the key is a hot one: passing it on after each command is half as fast as doing some in a row.
const PAUSES_FIRST: u32 = 16;
/// The number of times that it spins before it sleeps, which costs microseconds and a system call of who wakes it.
const SPINS: u32 = 4;

/// Something in a cache line of its own, if it is no larger than that.
#[repr(align(64))]
#[derive(Debug)]
pub struct OwnLine<T>(T);

impl<T> std::ops::Deref for OwnLine<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

// The lock and the data that it protects directly must share a cache line.
const _: () = assert!(size_of::<OwnLine<Mutex<State>>>() == 64);

/// The sizes of a database.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Number of keys.
    pub keys: AtomicUsize,
    /// Number of keys with an expiry.
    pub expires: AtomicUsize,
    /// Allocated bytes.
    pub bytes: AtomicUsize,
}

/// The state that a shard's lock protects.
#[derive(Debug)]
pub struct State {
    /// A table per database, made when first needed.
    pub spaces: Box<[Option<Box<Database>>]>,
    /// State of the access counters' random numbers: written by every access, so it lies beside
    /// the lock.
    pub random: u64,
    /// The state that all databases of the shard share.
    pub common: Box<Common>,
}

/// The state that all databases of a shard share.
#[derive(Debug)]
pub struct Common {
    /// Hashes keys, fields and members.
    pub hasher: Hasher,
    /// The sizes up to which collections are compact.
    pub limits: EncodingLimits,
    /// Which of the backend's limits these are.
    pub limits_version: u32,
    /// Removed values that are still to be taken apart.
    pub garbage: VecDeque<Garbage>,
    /// The number of objects in such values in all shards that are still to be freed, and that have
    /// been freed.
    pub freed: Arc<Freed>,
    /// The source of the tables' directories.
    pub pool: Arc<Pool>,
    /// The journal's positions that the shard's data are of.
    pub last: Positions,
    /// The snapshot epoch: the bit of entries made or saved since the last cut.
    pub epoch: bool,
    /// Present while a snapshot is not through with this shard.
    pub saving: Option<Saving>,
}

/// The keys of one database in one shard.
#[derive(Debug)]
pub struct Database {
    /// The entries.
    pub table: Table,
    /// The counts of its entries.
    pub tally: Tally,
}

/// Counts and cursors of a database.
#[derive(Debug)]
pub struct Tally {
    /// Entries with an expiry.
    pub expires: usize,
    /// Hashes with fields that expire.
    expiring_hashes: usize,
    /// Where the search for expired keys goes on.
    pub expire_cursor: u64,
    /// Nothing expires before this time.
    pub next_due_ms: u64,
    /// The earliest expiry that the current pass has found or was told of.
    pub pass_due_ms: u64,
    /// Allocated bytes of the entries, their values included.
    pub bytes: usize,
    /// The database this was at the cut of the snapshot being written.
    pub cut_db: Db,
    /// Whether something here, or the number of entries, differs from what was last published.
    pub stale: bool,
}

impl Sizes {
    #[inline]
    fn store(&self, keys: usize, expires: usize, bytes: usize) {
        // Stores only: the shard's lock makes this the only writer.
        self.keys.store(keys, Ordering::Relaxed);
        self.expires.store(expires, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Tally {
    fn new() -> Self {
        let never = u64::MAX;
        Tally {
            expires: 0,
            expiring_hashes: 0,
            expire_cursor: 0,
            next_due_ms: never,
            pass_due_ms: never,
            bytes: 0,
            cut_db: NO_DB,
            stale: true,
        }
    }

    /// The pass has seen every entry or was told of its expiry, so its result is exact.
    fn end_pass(&mut self) {
        self.next_due_ms = self.pass_due_ms;
        self.pass_due_ms = u64::MAX;
    }

    /// Notes that an entry will expire then.
    pub fn note_expiry(&mut self, at_ms: u64) {
        self.next_due_ms = self.next_due_ms.min(at_ms);
        self.pass_due_ms = self.pass_due_ms.min(at_ms);
    }

    /// Follows the change of one entry.
    #[inline]
    pub fn changed(&mut self, before: Measure, after: Measure) {
        self.stale = true;
        self.bytes = self.bytes - before.bytes + after.bytes;
        if before.expiry != after.expiry {
            self.expires += usize::from(after.expiry.is_some());
            self.expires -= usize::from(before.expiry.is_some());
            after.expiry.into_iter().for_each(|at_ms| self.note_expiry(at_ms));
        }
        if before.fields_due != after.fields_due {
            self.expiring_hashes += usize::from(after.fields_due.is_some());
            self.expiring_hashes -= usize::from(before.fields_due.is_some());
            after.fields_due.into_iter().for_each(|at_ms| self.note_expiry(at_ms));
        }
    }
}

/// An entry's share in the counts of its database.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    bytes: usize,
    expiry: Option<u64>,
    fields_due: Option<u64>,
}

impl Measure {
    /// The measure of an entry as it is now.
    #[inline]
    pub fn of(entry: &Entry) -> Self {
        Measure { bytes: entry.bytes(), expiry: entry.expiry(), fields_due: entry.fields_due() }
    }
}

/// An existing, live entry, with everything that a change to it must keep right.
#[derive(Debug)]
pub struct Live<'s> {
    /// The entry.
    pub found: Occupied<'s>,
    /// The state of the access counters' random numbers.
    pub random: &'s mut u64,
    /// The shard's shared parts.
    pub common: &'s mut Common,
    /// The database's counts.
    pub tally: &'s mut Tally,
}

impl Live<'_> {
    /// Takes the entry out of its database.
    pub fn take(mut self) -> Entry {
        self.before_change();
        let entry = self.found.remove(&self.common.hasher);
        self.tally.changed(Measure::of(&entry), Measure::default());
        entry
    }

    /// Takes the entry out and forgets it.
    pub fn remove(self) {
        let Live { found, random, common, tally } = self;
        let entry = Live { found, random, common: &mut *common, tally }.take();
        common.discard(entry);
    }

    /// Changes the entry, keeping counts and sizes right.
    #[inline]
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Entry, &mut Common) -> T) -> T {
        self.before_change();
        let entry = self.found.get_mut();
        let before = Measure::of(entry);
        let result = change(entry, self.common);
        self.tally.changed(before, Measure::of(entry));
        result
    }
}

impl Database {
    /// Passes expired entries to `due`, at most `limit` (by whole buckets), and visits at most
    /// `budget` entries. Returns true if it is worthwhile to continue at once: as in Redis, if more
    /// than a tenth of the visited entries had expired.
    pub fn collect_due(
        &mut self,
        hasher: &Hasher,
        now_ms: u64,
        limit: usize,
        budget: &mut usize,
        due: &mut dyn FnMut(&Entry),
    ) -> bool {
        let tally = &mut self.tally;
        if tally.expires + tally.expiring_hashes == 0 || now_ms < tally.next_due_ms {
            return false;
        }
        let (mut found, mut with_expiry) = (0, 0);
        while *budget > 0 && found < limit {
            let mut seen = 1;
            let next = self.table.visit_bucket(hasher, tally.expire_cursor, &mut |entry, _| {
                seen += 1;
                let earliest = [entry.expiry(), entry.fields_due()].into_iter().flatten().min();
                let Some(at_ms) = earliest else { return };
                with_expiry += 1;
                if at_ms <= now_ms {
                    found += 1;
                    due(entry);
                } else {
                    tally.pass_due_ms = tally.pass_due_ms.min(at_ms);
                }
            });
            *budget = budget.saturating_sub(seen);
            tally.expire_cursor = next.unwrap_or(0);
            if next.is_none() {
                tally.end_pass();
                break;
            }
        }
        now_ms >= tally.next_due_ms && found * 10 > with_expiry
    }
}

impl State {
    /// The entry of a key, expired or not.
    #[inline(always)]
    pub fn find(&mut self, key: &Key<'_>) -> Option<Live<'_>> {
        let space = self.spaces.get_mut(key.db as usize)?.as_deref_mut()?;
        let found = space.table.find(key.hash, key.bytes)?;
        let State { random, common, .. } = self;
        Some(Live { found, random, common, tally: &mut space.tally })
    }

    /// Adds an entry whose key is not there.
    pub fn insert(&mut self, db: Db, hash: u64, mut entry: Entry) -> Directory {
        entry.set_epoch(self.common.epoch);
        let space = self.spaces[db as usize].get_or_insert_with(|| {
            let table = Table::new(Source::Pool(Arc::clone(&self.common.pool)));
            Box::new(Database { table, tally: Tally::new() })
        });
        space.tally.changed(Measure::default(), Measure::of(&entry));
        space.table.insert(&self.common.hasher, hash, entry);
        space.table.directory()
    }

    /// Forgets a whole database; `maintain` takes it apart.
    pub fn discard_space(&mut self, space: Database) {
        match &mut self.common.saving {
            Some(saving) => saving.detach(space.tally.cut_db, space.table),
            None => self.common.discard_keys(space.table),
        }
    }

    /// Frees a slice of what was removed. Returns true if more is waiting.
    pub fn sweep(&mut self) -> bool {
        if let Some(mut garbage) = self.common.garbage.pop_front() {
            // Values found in a removed table are discarded in turn, not dropped at once.
            if garbage.sweep(&mut self.common) {
                self.common.garbage.push_front(garbage);
            }
        }
        !self.common.garbage.is_empty()
    }
}

impl Shard {
    /// An empty shard.
    pub fn new(
        databases: usize,
        hasher: Hasher,
        limits: EncodingLimits,
        pool: Arc<Pool>,
        freed: Arc<Freed>,
        number: u32,
    ) -> Self {
        let common = Common {
            hasher,
            limits,
            limits_version: 0,
            garbage: VecDeque::new(),
            freed,
            pool,
            last: Positions::default(),
            epoch: false,
            saving: None,
        };
        let random_began = mix(u64::from(number));
        Shard {
            roots: (0..databases).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            sizes: (0..databases).map(|_| Sizes::default()).collect(),
            load: Box::default(),
            random_began,
            state: OwnLine(Mutex::new(State {
                spaces: (0..databases).map(|_| None).collect(),
                random: random_began,
                common: Box::new(common),
            })),
        }
    }

    /// Takes the lock; `None` when it could not be had for so long. A thread that finds it taken spins for
    /// about as long as others need for a few commands before it sleeps.
    #[inline(always)]
    pub fn lock_for(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Some(state) => Some(state),
            None => self.wait(patience),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let state = self.load.waiting(|| {
            for spin in 0..SPINS {
                (0..PAUSES_FIRST << spin).for_each(|_| spin_loop());
                if let Some(state) = self.state.try_lock() {
                    return Some(state);
                }
            }
            self.state.try_lock_for(patience)
        })?;
        // `maintain` may seldom find the shard free.
        self.publish_accesses(&state);
        Some(state)
    }

    /// Publishes the number of accesses so far. Nobody counts them: each takes one random number.
    pub fn publish_accesses(&self, state: &State) {
        self.load.set_accesses(numbers_between(self.random_began, state.random));
    }

    /// Publishes the current directory of a database, for prefetching. The caller holds the lock.
    #[inline]
    pub fn publish(&self, db: Db, directory: Option<Directory>) {
        let root = directory.map_or(ptr::null_mut(), Directory::as_ptr);
        self.roots[db as usize].store(root, Ordering::Release);
    }

    /// The sizes of a database, as of the last transaction.
    pub fn sizes(&self, db: Db) -> Option<&Sizes> {
        self.sizes.get(db as usize)
    }

    /// The sizes of all databases together, as of the last transaction.
    pub fn bytes(&self) -> usize {
        self.sizes.iter().map(|sizes| sizes.bytes.load(Ordering::Relaxed)).sum()
    }

    /// Publishes the sizes a transaction leaves behind in a database.
    #[inline(always)]
    pub fn publish_sizes(&self, state: &mut State, db: Db) {
        match state.spaces.get_mut(db as usize).and_then(Option::as_deref_mut) {
            Some(space) if !space.tally.stale => {}
            space => self.publish_anew(space, db),
        }
    }

    #[inline(never)]
    fn publish_anew(&self, space: Option<&mut Database>, db: Db) {
        let Some(sizes) = self.sizes.get(db as usize) else { return };
        match space {
            None => sizes.store(0, 0, 0),
            Some(Database { table, tally }) => {
                sizes.store(table.len(), tally.expires, table.own_bytes() + tally.bytes);
                tally.stale = false;
            }
        }
    }

    /// The probable place of the entry of a hash: a guess, which may be used only for prefetching.
    /// Its memory is readable as long as the caller has pinned the epoch since before the call.
    #[inline(always)]
    pub fn probe(&self, db: Db, hash: u64) -> Probe {
        // Another core may have the lock's line.
        prefetch::line_to_write((&raw const self.state).cast());
        let Some(root) = self.roots.get(db as usize) else { return Probe::NONE };
        let root = root.load(Ordering::Acquire);
        let Some(directory) = Directory::from_ptr(root) else { return Probe::NONE };
        // SAFETY: directories of the keyspace come from the pool and go back to it; the pool
        // outlives this borrow of the shard, so the slots are readable. The index of a hash is
        // within any directory.
        let segment = unsafe { directory.get(directory.index(hash)) };
        if segment.base.is_null() { Probe::NONE } else { segment.probe(hash) }
    }
}
