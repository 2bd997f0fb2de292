//! [`MemoryTx`]: the transaction over locked shards.

use super::MemoryBackend;
use super::entry::{Entry, INLINE_MAX, Payload};
use super::expiry::is_over;
use super::guards::{Guard, Marks, PATIENCE, Rare, locked};
use super::handle::{Handle, InValue};
use super::hash::HashValue;
use super::list::ListValue;
use super::object;
use super::set::SetValue;
use super::shard::{Database, Live, State};
use super::sorted_set::SortedSetValue;
use super::stream::StreamValue;
use super::strings;
use super::table::CURSOR_BITS;
use super::value::Value;
use bytes::Bytes;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::time::Duration;
use storage::backend::Locks;
use storage::hiding::HidingHash;
use storage::journal::Position;
use storage::random::mix;
use storage::stream::Stream;
use storage::tx::{
    Db, Expired, Expiry, Key, KeyInfo, Kind, Left, NewExpiry, Open, Presence, Sampled, Str, Tx,
};
use storage::types::{Hash, List, Set, SortedSet};
use storage::{Error, Result, rdb};

/// The bytes of a table per key beside the entry: a pointer and a tag, at the usual load.
const SLOT_BYTES: u64 = 12;
/// Entries looked at per key that [`Tx::expire_due`] may delete.
const EXAMINED_PER_DELETION: usize = 16;

/// Entries and buckets looked at for one sample.
const SAMPLED_FROM_MAX: usize = 4096;

/// The time that a transaction waits if it cannot release its locks. The others have released
/// theirs long before.
const EXTEND_PATIENCE: Duration = Duration::from_millis(500);

/// A transaction. The locks are released when it is dropped.
pub struct MemoryTx<'b> {
    pub(super) backend: &'b MemoryBackend,
    /// The first shard locked: the only one for most commands.
    first: Option<Guard<'b>>,
    /// The others, ascending by number. In a box, like `expired`, and dropped by hand, because most
    /// transactions have none: to begin and to end one must cost next to nothing.
    others: ManuallyDrop<Rare<Guard<'b>>>,
    now_ms: u64,
    /// Keys and fields with a time before this one have expired; zero when none has.
    due_ms: u64,
    /// How it treats keys, and which of its changes a panic would leave.
    pub(super) marks: Marks,
    /// The database whose sizes may have changed, [`NO_DB`] or [`SEVERAL_DBS`].
    used_db: Db,
    expired: ManuallyDrop<Rare<Expired>>,
}

/// No database was used.
const NO_DB: Db = Db::MAX;
/// More than one was.
const SEVERAL_DBS: Db = Db::MAX - 1;

impl<'b> MemoryTx<'b> {
    /// A transaction that has locked nothing yet.
    #[inline]
    pub fn new(backend: &'b MemoryBackend, now_ms: u64) -> Self {
        Self::holding(backend, None, now_ms)
    }

    #[inline(always)]
    fn holding(backend: &'b MemoryBackend, first: Option<Guard<'b>>, now_ms: u64) -> Self {
        let (others, expired) = (ManuallyDrop::new(None), ManuallyDrop::new(None));
        let due_ms = now_ms;
        MemoryTx {
            backend,
            first,
            others,
            now_ms,
            due_ms,
            marks: Marks::empty(),
            used_db: NO_DB,
            expired,
        }
    }

    /// A transaction that has locked one shard; `None` as for [`MemoryTx::lock_all`].
    #[inline(always)]
    pub fn on(backend: &'b MemoryBackend, number: u32, now_ms: u64) -> Option<Self> {
        let guard = backend.lock_shard(number, PATIENCE)?;
        Some(Self::holding(backend, Some((number, guard)), now_ms))
    }

    /// Locks one more shard, of a higher number than those before.
    fn lock(&mut self, number: u32) -> bool {
        let Some(state) = self.backend.lock_shard(number, PATIENCE) else { return false };
        match self.first {
            None => self.first = Some((number, state)),
            Some(_) => self.others.get_or_insert_default().push((number, state)),
        }
        true
    }

    /// Locks the shards that a transaction declares. Returns false if a shard could not be locked
    /// for a while, as when a script holds it that may want one of this transaction's.
    pub fn lock_all(&mut self, locks: Locks<'_>) -> bool {
        match locks {
            Locks::None => true,
            Locks::One(number) => self.lock(number),
            Locks::Many(numbers) => numbers.iter().all(|&number| self.lock(number)),
            Locks::All => (0..self.backend.shards() as u32).all(|number| self.lock(number)),
        }
    }

    /// Gives up all locks, before anything was done under them.
    pub fn unlock(&mut self) {
        self.first = None;
        if let Some(others) = &mut *self.others {
            others.clear();
        }
    }

    /// Locks one more shard of any number, waiting for a bounded time.
    fn lock_late(&mut self, number: u32) -> bool {
        if self.guards().any(|(locked, _)| *locked == number) {
            return true;
        }
        let Some(state) = self.backend.lock_shard(number, EXTEND_PATIENCE) else { return false };
        let mut guard = (number, state);
        match &mut self.first {
            None => self.first = Some(guard),
            Some(first) => {
                if number < first.0 {
                    std::mem::swap(first, &mut guard);
                }
                let others = self.others.get_or_insert_default();
                let at = others.partition_point(|(other, _)| *other < guard.0);
                others.insert(at, guard);
            }
        }
        true
    }

    /// The shards locked, in order.
    fn guards(&self) -> impl Iterator<Item = &Guard<'b>> {
        self.first.iter().chain(self.others.iter().flat_map(|others| others.iter()))
    }

    fn guards_mut(&mut self) -> impl Iterator<Item = &mut Guard<'b>> {
        let others = self.others.iter_mut().flat_map(|others| others.iter_mut());
        self.first.iter_mut().chain(others)
    }

    #[inline(always)]
    fn use_db(&mut self, db: Db) {
        if self.used_db != db {
            self.used_db = if self.used_db == NO_DB { db } else { SEVERAL_DBS };
        }
    }

    #[inline]
    fn shard(&mut self, number: u32) -> &mut State {
        locked(&mut self.first, &mut self.others, number)
    }

    /// The key's entry; an expired one is deleted, and noted.
    #[inline(always)]
    pub(super) fn live(&mut self, key: &Key<'_>) -> Option<Live<'_>> {
        self.use_db(key.db);
        let number = self.backend.shard_of_hash(key.hash);
        let state = locked(&mut self.first, &mut self.others, number);
        let mut live = state.find(key)?;
        if live.found.get().is_mortal()
            && is_over(&mut live, self.due_ms, key, &mut self.expired, &mut self.marks)
        {
            if self.marks.contains(Marks::HIDES_EXPIRED) {
                return None;
            }
            self.expired.get_or_insert_default().push(Expired::key(key.db, key.bytes));
            // An expired key counts as absent before and after it is deleted.
            let marks = std::mem::replace(&mut self.marks, Marks::CHANGED);
            live.remove();
            self.marks = marks;
            return None;
        }
        Some(live)
    }

    /// As `live`, marking the key as accessed.
    #[inline(always)]
    fn accessed(&mut self, key: &Key<'_>) -> Option<Live<'_>> {
        let (now_ms, no_touch) = (self.now_ms, self.marks.contains(Marks::NO_TOUCH));
        let frequency = &self.backend.frequency;
        let mut live = self.live(key)?;
        if !no_touch {
            live.found.get_mut().touch(now_ms, live.random, frequency);
        }
        Some(live)
    }

    /// As `accessed`, only if it is a string.
    #[inline(always)]
    fn accessed_string(&mut self, key: &Key<'_>) -> Result<Option<Live<'_>>> {
        match self.accessed(key) {
            Some(live) if live.found.get().kind() != Kind::String => Err(Error::WrongType),
            found => Ok(found),
        }
    }

    fn insert(&mut self, key: &Key<'_>, mut entry: Entry) {
        self.marks |= Marks::CHANGED;
        let shard = self.backend.shard_of_hash(key.hash);
        entry.start_clock(self.now_ms);
        let directory = self.shard(shard).insert(key.db, key.hash, entry);
        self.backend.shard(shard).publish(key.db, Some(directory));
    }

    fn insert_string(&mut self, key: &Key<'_>, value: &[u8], expiry_ms: Option<u64>) {
        let payload = if value.len() <= INLINE_MAX {
            Payload::Inline(value)
        } else {
            Payload::Boxed(strings::boxed(Bytes::copy_from_slice(value)))
        };
        self.insert(key, Entry::new(Kind::String, key.bytes, payload, expiry_ms));
    }

    fn open<'t, T: InValue>(
        &'t mut self,
        key: &Key<'_>,
        open: Open,
        kind: Kind,
        empty: fn() -> Value,
    ) -> Result<Option<Handle<'t, T>>> {
        self.marks |= Marks::OPENED;
        match self.accessed(key) {
            Some(live) if live.found.get().kind() != kind => return Err(Error::WrongType),
            Some(_) => {}
            None if open == Open::Existing => return Ok(None),
            None => self.insert(key, Entry::new(kind, key.bytes, Payload::Boxed(empty()), None)),
        }
        let shard = self.backend.shard_of_hash(key.hash);
        Ok(self.shard(shard).find(key).map(Handle::new))
    }

    /// Every shard's number and keyspace of a database.
    pub(super) fn spaces(&self, db: Db) -> impl Iterator<Item = (u32, &Database)> {
        self.guards().filter_map(move |(number, state)| {
            Some((*number, state.spaces.get(db as usize)?.as_deref()?))
        })
    }

    /// Panics unless every shard is locked.
    fn assert_all(&self) {
        assert_eq!(self.guards().count(), self.backend.shards(), "this needs every shard locked");
    }
}

impl MemoryTx<'_> {
    /// Publishes the current sizes of all databases that were used, for readers without the lock.
    #[cold]
    fn publish_all_sizes(&mut self) {
        let (backend, used_db) = (self.backend, self.used_db);
        for (number, state) in self.guards_mut() {
            let shard = backend.shard(*number);
            match used_db {
                SEVERAL_DBS => (0..backend.databases).for_each(|db| shard.publish_sizes(state, db)),
                db => shard.publish_sizes(state, db),
            }
        }
    }
}

impl Drop for MemoryTx<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        match &mut self.first {
            _ if self.used_db == NO_DB => {}
            Some((number, state)) if self.others.is_none() && self.used_db != SEVERAL_DBS => {
                self.backend.shard(*number).publish_sizes(state, self.used_db);
            }
            _ => self.publish_all_sizes(),
        }
        if self.others.is_some() {
            drop(self.others.take());
        }
        if self.expired.is_some() {
            drop(self.expired.take());
        }
    }
}

impl Tx for MemoryTx<'_> {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn extend(&mut self, locks: Locks<'_>) -> bool {
        match locks {
            Locks::None => true,
            Locks::One(number) => self.lock_late(number),
            Locks::Many(numbers) => numbers.iter().all(|&number| self.lock_late(number)),
            Locks::All => (0..self.backend.shards() as u32).all(|number| self.lock_late(number)),
        }
    }

    #[inline]
    fn met_expired(&self) -> bool {
        self.expired.is_some()
    }

    fn expired(&mut self) -> &mut Vec<Expired> {
        self.expired.get_or_insert_default()
    }

    fn set_expiry_mode(&mut self, mode: Expiry) {
        self.marks.set(Marks::HIDES_EXPIRED, mode == Expiry::Hide);
        self.due_ms = if mode == Expiry::Ignore { 0 } else { self.now_ms };
    }

    fn set_no_touch(&mut self, no_touch: bool) {
        self.marks.set(Marks::NO_TOUCH, no_touch);
    }

    fn set_last(&mut self, position: Position) {
        self.guards_mut().for_each(|(_, state)| state.common.last.set(position));
    }

    fn last(&self, stream: u16) -> Position {
        let last = self.guards().map(|(_, state)| state.common.last.last(stream)).max();
        last.unwrap_or(Position { stream, seq: 0 })
    }

    fn left_by_panic(&self) -> Left {
        match self.marks {
            marks if marks.contains(Marks::CHANGED) => Left::Something,
            marks if marks.contains(Marks::OPENED) => Left::Perhaps,
            _ => Left::Nothing,
        }
    }

    fn kind(&mut self, key: &Key<'_>) -> Result<Option<Kind>> {
        Ok(self.live(key).map(|live| live.found.get().kind()))
    }

    fn presence(&mut self, key: &Key<'_>) -> Result<Presence> {
        let (now_ms, number) = (self.now_ms, self.backend.shard_of_hash(key.hash));
        let found = self.shard(number).find(key);
        Ok(Presence::of(found.map(|there| there.found.get().is_expired(now_ms))))
    }

    fn remove(&mut self, key: &Key<'_>) -> Result<bool> {
        self.marks |= Marks::CHANGED;
        Ok(self.live(key).map(Live::remove).is_some())
    }

    fn expiry(&mut self, key: &Key<'_>) -> Result<Option<Option<u64>>> {
        Ok(self.live(key).map(|live| live.found.get().expiry()))
    }

    fn set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) -> Result<bool> {
        self.marks |= Marks::CHANGED;
        let Some(mut live) = self.live(key) else { return Ok(false) };
        live.change(|entry, _| entry.set_expiry(at_ms));
        Ok(true)
    }

    fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) -> Result<bool> {
        self.marks |= Marks::CHANGED;
        let Some(live) = self.live(from) else { return Ok(false) };
        if from.db == to.db && from.bytes == to.bytes {
            return Ok(true);
        }
        let entry = live.take().renamed(to.bytes);
        self.remove(to)?;
        let shard = self.backend.shard_of_hash(to.hash);
        let directory = self.shard(shard).insert(to.db, to.hash, entry);
        self.backend.shard(shard).publish(to.db, Some(directory));
        Ok(true)
    }

    fn info(&mut self, key: &Key<'_>, _samples: usize) -> Result<Option<KeyInfo>> {
        let (now_ms, frequency) = (self.now_ms, &self.backend.frequency);
        Ok(self.live(key).map(|live| {
            let entry = live.found.get();
            let kind = entry.kind();
            KeyInfo {
                kind,
                encoding: match entry.boxed() {
                    Some(value) if kind != Kind::String => value.encoding(),
                    _ => strings::encoding(entry),
                },
                idle_ms: entry.idle_ms(now_ms),
                freq: entry.freq(now_ms, frequency),
                bytes: entry.bytes() as u64 + SLOT_BYTES,
            }
        }))
    }

    fn touch(&mut self, key: &Key<'_>) -> Result<bool> {
        Ok(self.accessed(key).is_some())
    }

    fn set_access(&mut self, key: &Key<'_>, idle_ms: Option<u64>, freq: Option<u8>) {
        let now_ms = self.now_ms;
        let Some(mut live) = self.live(key) else { return };
        let entry = live.found.get_mut();
        idle_ms.into_iter().for_each(|idle| entry.start_clock(now_ms.saturating_sub(idle)));
        freq.into_iter().for_each(|freq| entry.set_freq(freq));
    }

    fn dump(&mut self, key: &Key<'_>, out: &mut Vec<u8>) -> Result<bool> {
        let Some(live) = self.live(key) else { return Ok(false) };
        object::dump(live.found.get(), rdb::Options::default(), out).map(|()| true)
    }

    fn restore(
        &mut self,
        key: &Key<'_>,
        object: rdb::Object,
        expiry_ms: Option<u64>,
    ) -> Result<()> {
        if let rdb::Object::String(value) = &object {
            self.remove(key)?;
            self.insert_string(key, value, expiry_ms);
            return Ok(());
        }
        let shard = self.backend.shard_of_hash(key.hash);
        let common = &self.shard(shard).common;
        let (kind, value) = object::build(object, &common.hasher, &common.limits);
        self.remove(key)?;
        if !value.is_void() {
            self.insert(key, Entry::new(kind, key.bytes, Payload::Boxed(value), expiry_ms));
        }
        Ok(())
    }

    #[inline]
    fn string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>> {
        match self.accessed(key) {
            None => Ok(None),
            Some(live) => strings::read(live.found.into_mut()).map(Some),
        }
    }

    fn string_len(&mut self, key: &Key<'_>) -> Result<u64> {
        let live = self.accessed_string(key)?;
        Ok(live.map_or(0, |live| strings::get(live.found.get()).as_bytes().len() as u64))
    }

    fn set_string(&mut self, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Result<()> {
        self.marks |= Marks::CHANGED;
        let Some(mut live) = self.accessed(key) else {
            let at_ms = if let NewExpiry::At(at_ms) = expiry { Some(at_ms) } else { None };
            self.insert_string(key, value, at_ms);
            return Ok(());
        };
        live.before_change();
        let entry = live.found.get_mut();
        let keeps = match expiry {
            NewExpiry::Keep => true,
            NewExpiry::Clear => entry.expiry().is_none(),
            NewExpiry::At(_) => false,
        };
        if keeps && entry.overwrite(value) {
            // In place: no size, no expiry, nothing that is counted has changed.
            return Ok(());
        }
        live.change(|entry, common| {
            strings::set(entry, common, value);
            match expiry {
                NewExpiry::Clear => entry.set_expiry(None),
                NewExpiry::Keep => {}
                NewExpiry::At(at_ms) => entry.set_expiry(Some(at_ms)),
            }
        });
        Ok(())
    }

    fn append(&mut self, key: &Key<'_>, suffix: &[u8]) -> Result<u64> {
        self.marks |= Marks::CHANGED;
        let Some(mut live) = self.accessed_string(key)? else {
            self.insert_string(key, suffix, None);
            return Ok(suffix.len() as u64);
        };
        let len = strings::get(live.found.get()).as_bytes().len();
        Ok(live.change(|entry, _| strings::write_at(entry, len, suffix)) as u64)
    }

    fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64> {
        if bytes.is_empty() {
            return self.string_len(key);
        }
        self.marks |= Marks::CHANGED;
        if self.accessed_string(key)?.is_none() {
            self.insert_string(key, &[], None);
        }
        let Some(mut live) = self.live(key) else { return Ok(0) };
        Ok(live.change(|entry, _| strings::write_at(entry, offset as usize, bytes)) as u64)
    }

    fn get_range(&mut self, key: &Key<'_>, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()> {
        if let Some(value) = self.string(key)? {
            let value = value.as_bytes();
            let end = (end.min(value.len() as u64)) as usize;
            out.extend_from_slice(value.get(start as usize..end).unwrap_or_default());
        }
        Ok(())
    }

    fn list<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn List + 't>>> {
        let empty = || Value::List(Box::new(ListValue::new()));
        let handle: Option<Handle<'t, ListValue>> = self.open(key, open, Kind::List, empty)?;
        Ok(handle.map(|handle| Box::new(handle) as _))
    }

    fn set<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Set + 't>>> {
        let empty = || Value::Set(SetValue::new());
        let handle: Option<Handle<'t, SetValue>> = self.open(key, open, Kind::Set, empty)?;
        Ok(handle.map(|handle| Box::new(handle) as _))
    }

    fn hash<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Hash + 't>>> {
        let empty = || Value::Hash(HashValue::new());
        let (hides, due_ms) = (self.marks.contains(Marks::HIDES_EXPIRED), self.due_ms);
        let handle: Option<Handle<'t, HashValue>> = self.open(key, open, Kind::Hash, empty)?;
        if !hides {
            return Ok(handle.map(|handle| Box::new(handle) as _));
        }
        handle.map(|handle| HidingHash::over(handle, due_ms)).transpose()
    }

    fn sorted_set<'t>(
        &'t mut self,
        key: &Key<'t>,
        open: Open,
    ) -> Result<Option<Box<dyn SortedSet + 't>>> {
        let empty = || Value::SortedSet(SortedSetValue::new());
        let handle: Option<Handle<'t, SortedSetValue>> =
            self.open(key, open, Kind::SortedSet, empty)?;
        Ok(handle.map(|handle| Box::new(handle) as _))
    }

    fn stream<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Stream + 't>>> {
        let empty = || Value::Stream(Box::default());
        let handle: Option<Handle<'t, StreamValue>> = self.open(key, open, Kind::Stream, empty)?;
        Ok(handle.map(|handle| Box::new(handle) as _))
    }

    fn scan(
        &mut self,
        db: Db,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Option<Kind>),
    ) -> Result<u64> {
        let now_ms = self.due_ms;
        let (shards, bits) = (self.backend.shards() as u64, self.backend.shard_bits());
        let number = cursor & (shards - 1);
        let position = (cursor >> bits) & ((1 << CURSOR_BITS) - 1);
        let state = self.shard(number as u32);
        let next = match state.spaces.get(db as usize).and_then(Option::as_deref) {
            None => 0,
            Some(space) => space.table.scan(&state.common.hasher, position, count, &mut |entry| {
                visit(entry.key(), (!entry.is_expired(now_ms)).then(|| entry.kind()));
            }),
        };
        Ok(match next {
            0 if number + 1 == shards => 0,
            0 => number + 1,
            _ => next << bits | number,
        })
    }

    fn random_key(&mut self, db: Db, seed: u64) -> Result<Option<Vec<u8>>> {
        self.assert_all();
        Ok(self.random_live(db, seed))
    }

    fn sample(
        &mut self,
        shard: u32,
        db: Db,
        seed: u64,
        count: usize,
        volatile: bool,
        visit: &mut dyn FnMut(&[u8], Sampled),
    ) {
        let (now_ms, frequency) = (self.now_ms, &self.backend.frequency);
        let state = self.shard(shard);
        let Some(space) = state.spaces.get(db as usize).and_then(Option::as_deref) else { return };
        if space.table.len() == 0 || (volatile && space.tally.expires == 0) {
            return;
        }
        let (mut at, mut looked_at, mut found) = (mix(seed), 0, 0);
        while looked_at < SAMPLED_FROM_MAX && found < count {
            let next = space.table.visit_bucket(&state.common.hasher, at, &mut |entry, _| {
                looked_at += 1;
                if found < count && (!volatile || entry.expiry().is_some()) {
                    found += 1;
                    let (idle_ms, expiry_ms) = (entry.idle_ms(now_ms), entry.expiry());
                    let freq = entry.freq(now_ms, frequency);
                    visit(entry.key(), Sampled { idle_ms, freq, expiry_ms });
                }
            });
            // An empty bucket is a look, too.
            looked_at += 1;
            at = next.unwrap_or(0);
        }
    }

    fn counts(&mut self, db: Db) -> Result<(u64, u64)> {
        self.assert_all();
        let spaces = self.guards().filter_map(|(_, state)| state.spaces.get(db as usize));
        let counts = spaces.flatten().map(|space| (space.table.len(), space.tally.expires));
        Ok(counts.fold((0, 0), |(keys, expires), (k, e)| (keys + k as u64, expires + e as u64)))
    }

    fn clear(&mut self, db: Db) -> Result<u64> {
        self.assert_all();
        self.clear_in(db, 0..self.backend.shards() as u32)
    }

    fn clear_in(&mut self, db: Db, shards: Range<u32>) -> Result<u64> {
        self.use_db(db);
        self.marks |= Marks::CHANGED;
        let (mut removed, mut cleared) = (0, 0);
        let backend = self.backend;
        for (number, state) in self.guards_mut().filter(|(number, _)| shards.contains(number)) {
            cleared += 1;
            let Some(space) = state.spaces.get_mut(db as usize).and_then(Option::take) else {
                continue;
            };
            removed += space.table.len() as u64;
            state.discard_space(*space);
            backend.shard(*number).publish(db, None);
        }
        assert_eq!(cleared, shards.len(), "this needs every one of these shards locked");
        Ok(removed)
    }

    fn swap_dbs(&mut self, a: Db, b: Db) -> Result<()> {
        self.assert_all();
        self.used_db = SEVERAL_DBS;
        self.marks |= Marks::CHANGED;
        let backend = self.backend;
        for (number, state) in self.guards_mut() {
            state.spaces.swap(a as usize, b as usize);
            for db in [a, b] {
                let space = state.spaces[db as usize].as_deref_mut();
                let space = space.map(|space| {
                    space.tally.stale = true;
                    &*space
                });
                backend.shard(*number).publish(db, space.map(|s| s.table.directory()));
            }
        }
        Ok(())
    }

    fn expire_due(&mut self, shard: u32, limit: usize) -> Result<bool> {
        let now_ms = self.now_ms;
        let mut budget = limit.saturating_mul(EXAMINED_PER_DELETION).max(64);
        let mut due = Vec::new();
        let mut more = false;
        let state = self.shard(shard);
        for (db, space) in state.spaces.iter_mut().enumerate() {
            let Some(space) = space else { continue };
            more |= space.collect_due(&state.common.hasher, now_ms, limit, &mut budget, &mut |e| {
                due.push((db as Db, Box::<[u8]>::from(e.key())));
            });
        }
        for (db, bytes) in due {
            let hash = self.backend.hash_in(shard, &bytes);
            // Looking at an expired key deletes and notes it.
            self.live(&Key { db, hash, bytes: &bytes });
        }
        Ok(more)
    }
}
