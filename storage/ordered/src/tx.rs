//! The transaction: an overlay of changes over the engine, and the life of a key's metadata in it.
//!
//! Everything a body does goes into one [`Batch`], which reads see first; the end of the
//! transaction writes it, or drops it. Reads come before changes in every operation, so an
//! operation that fails has changed nothing.

use super::backend::{Deltas, Guards, OrderedBackend, Shard, no_such_db};
use super::codec::{self, Body, DbMap, Head, Map, MapKind};
use super::keys;
use super::kv::{Batch, Read, Space, VisitRecord, scan_merged};
use super::ranks;
use super::small::SmallSets;
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use storage::journal::Positions;
use storage::{Db, Error, Expired, Key, Result};

/// A transaction under way.
pub(super) struct OrderedTx<'b> {
    pub(super) backend: &'b OrderedBackend,
    pub(super) guards: Guards<'b>,
    pub(super) now_ms: u64,
    /// Keys and fields with a time before this one have expired; zero when none has.
    pub(super) due_ms: u64,
    pub(super) no_touch: bool,
    /// Whether expired keys and fields are treated as absent without being deleted.
    pub(super) hides_expired: bool,
    pub(super) expired: Vec<Expired>,
    pub(super) batch: Batch,
    /// Changed nodes of sorted sets' trees, which become records of the batch in the end.
    pub(super) nodes: ranks::Changes,
    pub(super) small: SmallSets,
    pub(super) deltas: Deltas,
    /// The database map, once this transaction changed it.
    pub(super) map: Option<DbMap>,
    /// The journal positions of this transaction's changes, once they are known.
    pub(super) last: Positions,
    /// Versions created here: nothing of theirs is in the engine yet.
    fresh: SmallVec<[u64; 4]>,
    /// The bytes that the last read of a string returned a reference to.
    pub(super) lent: Bytes,
    pub(super) lent_record: Vec<u8>,
}

/// A metadata record as it was read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) head: Head,
    pub(super) bytes: Vec<u8>,
    /// The offset of a kept name in `bytes`.
    pub(super) name_at: usize,
    /// The offset of a short string's value in `bytes`.
    pub(super) value_at: usize,
    pub(super) was: Was,
}

impl Record {
    fn decode(bytes: Vec<u8>) -> Result<Self> {
        let (head, name_at, value_at) = codec::decode_meta(&bytes)?;
        let was = Was { due_ms: head.due_ms(), expires: head.expiry_ms != 0 };
        Ok(Record { head, bytes, name_at, value_at, was })
    }

    /// The value of a short string.
    pub(super) fn inline(&self) -> &[u8] {
        &self.bytes[self.value_at..]
    }

    /// The kept name, empty when the record's key has it.
    pub(super) fn name(&self) -> &[u8] {
        &self.bytes[self.name_at..self.value_at]
    }
}

/// The facts about a key that indexes and counters hold before it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Was {
    due_ms: u64,
    expires: bool,
}

/// A key, where it lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) db: Db,
    pub(super) shard: u32,
    pub(super) hash: u64,
    pub(super) meta_key: Vec<u8>,
}

impl Read for OrderedTx<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.batch.get(space, key) {
            Some(change) => Ok(change.map(<[u8]>::to_vec)),
            None if self.only_here(space, key) => Ok(None),
            None => self.backend.kv.get(space, key),
        }
    }

    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let changes = self.batch.space(space);
        if self.only_here(space, lo) {
            return scan_merged(&Nothing, changes, space, (lo, hi), reverse, visit);
        }
        scan_merged(&Base(self.backend), changes, space, (lo, hi), reverse, visit)
    }
}

/// The engine as a plain [`Read`].
struct Base<'b>(&'b OrderedBackend);

impl Read for Base<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.kv.get(space, key)
    }

    fn scan(
        &self,
        s: Space,
        lo: &[u8],
        hi: &[u8],
        rev: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        self.0.kv.scan(s, lo, hi, rev, visit)
    }
}

/// No records.
struct Nothing;

impl Read for Nothing {
    fn get(&self, _: Space, _: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn scan(&self, _: Space, _: &[u8], _: &[u8], _: bool, _: VisitRecord<'_>) -> Result<()> {
        Ok(())
    }
}

impl<'b> OrderedTx<'b> {
    pub(super) fn new(backend: &'b OrderedBackend, guards: Guards<'b>, now_ms: u64) -> Self {
        OrderedTx {
            backend,
            guards,
            now_ms,
            due_ms: now_ms,
            no_touch: false,
            hides_expired: false,
            expired: Vec::new(),
            batch: Batch::default(),
            nodes: ranks::Changes::default(),
            small: SmallSets::default(),
            deltas: Deltas::new(),
            map: None,
            last: Positions::default(),
            fresh: SmallVec::new(),
            lent: Bytes::new(),
            lent_record: Vec::new(),
        }
    }

    /// Writes everything, then makes counters and the database map agree, all before unlocking.
    pub(super) fn commit(mut self) -> Result<()> {
        if let Some(map) = &self.map {
            let record = codec::encode(map, &[]);
            self.batch.put(keys::SYSTEM, keys::DATABASES.to_vec(), record);
        }
        for position in self.last.iter() {
            for &(shard, _) in &self.guards {
                let key = keys::last(shard, position.stream);
                self.batch.put(keys::SYSTEM, key, position.seq.to_be_bytes().to_vec());
            }
        }
        self.nodes.encode(self.backend, &mut self.batch);
        self.backend.write(std::mem::take(&mut self.batch))?;
        std::mem::take(&mut self.nodes).keep(self.backend);
        std::mem::take(&mut self.small).keep(self.backend);
        for position in self.last.iter() {
            self.guards.iter_mut().for_each(|(_, shard)| shard.last.set(position));
        }
        self.backend.apply_counts(&self.deltas);
        if let Some(map) = &self.map {
            for (slot, &physical) in self.backend.physical.iter().zip(&map.physical) {
                slot.store(physical, Ordering::Relaxed);
            }
            self.backend.next_physical.store(map.next, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether a key can only be in the overlay.
    fn only_here(&self, space: Space, key: &[u8]) -> bool {
        space == keys::ELEMENTS
            && !self.fresh.is_empty()
            && key.get(..8).and_then(keys::be64).is_some_and(|v| self.fresh.contains(&v))
    }

    pub(super) fn new_version(&mut self) -> Result<u64> {
        let version = self.backend.new_version()?;
        self.fresh.push(version);
        Ok(version)
    }

    /// Forgets every change.
    pub(super) fn forget(&mut self) {
        self.batch = Batch::default();
        self.nodes = ranks::Changes::default();
        self.small = SmallSets::default();
        self.last = Positions::default();
        self.map = None;
        self.deltas.clear();
        self.fresh.clear();
        self.expired.clear();
    }

    // -- places ----------------------------------------------------------------------------------

    pub(super) fn physical(&self, db: Db) -> Result<u32> {
        let physical = match &self.map {
            Some(map) => map.physical.get(db as usize).copied(),
            None => self.backend.physical.get(db as usize).map(|at| at.load(Ordering::Relaxed)),
        };
        physical.ok_or_else(|| no_such_db(db))
    }

    pub(super) fn map(&mut self) -> &mut DbMap {
        let backend = self.backend;
        self.map.get_or_insert_with(|| DbMap {
            physical: backend.physical.iter().map(|at| at.load(Ordering::Relaxed)).collect(),
            next: backend.next_physical.load(Ordering::Relaxed),
        })
    }

    pub(super) fn place(&self, key: &Key<'_>) -> Result<Place> {
        use storage::Backend as _;
        let shard = self.backend.shard_of(key.hash);
        // Guards are in ascending order. Going on without the lock would lose others' changes.
        let locked = self.guards.binary_search_by_key(&shard, |(held, _)| *held).is_ok();
        assert!(locked, "shard {shard} is not locked by this transaction");
        let physical = self.physical(key.db)?;
        let meta_key = keys::meta(self.backend.seed, physical, key.hash, key.bytes);
        Ok(Place { db: key.db, shard, hash: key.hash, meta_key })
    }

    // -- metadata --------------------------------------------------------------------------------

    /// The record at a place, expired or not.
    pub(super) fn peek(&self, place: &Place) -> Result<Option<Record>> {
        self.get(keys::META, &place.meta_key)?.map(Record::decode).transpose()
    }

    /// The live record of a key. An expired key, or expired fields of its hash, are deleted here.
    pub(super) fn load(&mut self, key: &Key<'_>) -> Result<(Place, Option<Record>)> {
        let place = self.place(key)?;
        let Some(record) = self.peek(&place)? else { return Ok((place, None)) };
        if record.name() != keys::kept_name(key.bytes) {
            return Err(Error::corrupt("two names with one digest"));
        }
        let record = self.live(&place, record, key.bytes)?;
        Ok((place, record))
    }

    /// Returns a record as it is at this time.
    pub(super) fn live(
        &mut self,
        place: &Place,
        mut record: Record,
        name: &[u8],
    ) -> Result<Option<Record>> {
        let due = |at_ms: u64| at_ms != 0 && at_ms <= self.due_ms;
        if !due(record.was.due_ms) {
            return Ok(Some(record));
        }
        let mut gone = due(record.head.expiry_ms);
        if self.hides_expired {
            if let (false, Body::Map(map)) = (gone, &record.head.body) {
                gone = self.due_fields(map)?.len() as u64 == map.len;
            }
            return Ok((!gone).then_some(record));
        }
        if let (false, Body::Map(map)) = (gone, &mut record.head.body) {
            let fields = self.purge_fields(map)?;
            gone = map.len == 0;
            if !gone && !fields.is_empty() {
                self.expired.push(Expired { db: place.db, key: name.into(), fields });
            }
        }
        if gone {
            self.delete(place, &record);
            self.expired.push(Expired::key(place.db, name));
            return Ok(None);
        }
        let was = record.was;
        let kept = record.name().to_vec();
        self.store(place, Some(was), &record.head, &kept, &[]);
        record.was = Was { due_ms: record.head.due_ms(), ..was };
        Ok(Some(record))
    }

    /// Deletes the fields of a hash whose time has passed; which.
    fn purge_fields(&mut self, map: &mut Map) -> Result<Vec<Box<[u8]>>> {
        let due = self.due_fields(map)?;
        let mut chunked = Vec::new();
        for key in due.iter().filter(|_| map.overflow) {
            let field = keys::field_expiry_parts(key).map(|(_, field)| field).unwrap_or_default();
            if let Some(record) = self.get(keys::ELEMENTS, field)? {
                chunked.extend(codec::decode_element(&record)?.0.chunks);
            }
        }
        let mut fields = Vec::with_capacity(due.len());
        for key in due {
            let field = keys::field_expiry_parts(&key).map(|(_, field)| field.to_vec());
            fields.extend(self.field_name(field.as_deref().unwrap_or_default())?);
            self.batch.delete(keys::ELEMENTS, field.unwrap_or_default());
            self.batch.delete(keys::ELEMENTS, key);
            map.len = map.len.saturating_sub(1);
        }
        chunked.into_iter().for_each(|(version, _)| self.discard(version, false));
        map.next_expiry_ms = self.first_field_expiry(map.version, self.now_ms)?;
        Ok(fields)
    }

    /// The entries in a hash's expiry index of the fields whose time has passed.
    fn due_fields(&self, map: &Map) -> Result<Vec<Vec<u8>>> {
        let mut due = Vec::new();
        if map.next_expiry_ms == 0 {
            return Ok(due);
        }
        let (lo, hi) = keys::field_expiries(map.version, map.next_expiry_ms, self.due_ms);
        self.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            due.push(key.to_vec());
            true
        })?;
        Ok(due)
    }

    /// The fields of a hash that have expired and are still there.
    pub(super) fn expired_fields(&self, map: &Map) -> Result<Vec<Box<[u8]>>> {
        let mut expired = Vec::new();
        for key in self.due_fields(map)? {
            let field = keys::field_expiry_parts(&key).map(|(_, field)| field);
            expired.extend(self.field_name(field.unwrap_or_default())?);
        }
        Ok(expired)
    }

    /// The field that a member key is of; a long one is kept in the record.
    fn field_name(&self, member_key: &[u8]) -> Result<Option<Box<[u8]>>> {
        let tagged = member_key.get(keys::MEMBER_NAME_AT..).unwrap_or_default();
        if let Some(name) = keys::whole_name(tagged) {
            return Ok(Some(name.into()));
        }
        let Some(record) = self.get(keys::ELEMENTS, member_key)? else { return Ok(None) };
        let (_, name_at, value_at) = codec::decode_element(&record)?;
        Ok(Some(record[name_at..value_at].into()))
    }

    /// The time at which the first field of a hash expires, 0 for never; none does before
    /// `from_ms`.
    pub(super) fn first_field_expiry(&self, version: u64, from_ms: u64) -> Result<u64> {
        let (lo, hi) = keys::field_expiries(version, from_ms, u64::MAX - 1);
        let mut first = 0;
        self.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            first = keys::field_expiry_parts(key).map_or(0, |(at_ms, _)| at_ms);
            false
        })?;
        Ok(first)
    }

    /// Writes a key's record and what depends on it: the expiry index and the counters.
    pub(super) fn store(
        &mut self,
        place: &Place,
        was: Option<Was>,
        head: &Head,
        kept_name: &[u8],
        inline: &[u8],
    ) {
        let expires = head.expiry_ms != 0;
        let before = was.unwrap_or_default();
        self.reindex(place, before.due_ms, head.due_ms());
        let expires_delta = i64::from(expires) - i64::from(before.expires);
        self.count(place.shard, place.db, i64::from(was.is_none()), expires_delta);
        let record = codec::encode(head, &[kept_name, inline]);
        self.batch.put(keys::META, place.meta_key.clone(), record);
    }

    /// Removes a key's record, what depends on it, and its value.
    pub(super) fn delete(&mut self, place: &Place, record: &Record) {
        self.discard_body(&record.head.body);
        self.delete_record(place, record.was);
    }

    /// Removes a key's record and what depends on it, not its value.
    pub(super) fn delete_record(&mut self, place: &Place, was: Was) {
        self.reindex(place, was.due_ms, 0);
        self.count(place.shard, place.db, -1, -i64::from(was.expires));
        self.batch.delete(keys::META, place.meta_key.clone());
    }

    fn reindex(&mut self, place: &Place, from_ms: u64, to_ms: u64) {
        if from_ms == to_ms {
            return;
        }
        if from_ms != 0 {
            let key = keys::expiry(place.shard, from_ms, &place.meta_key);
            self.batch.delete(keys::EXPIRY, key);
        }
        if to_ms != 0 {
            if let Some(shard) = self.held(place.shard) {
                shard.due_from_ms = shard.due_from_ms.min(to_ms);
            }
            let key = keys::expiry(place.shard, to_ms, &place.meta_key);
            self.batch.put(keys::EXPIRY, key, Vec::new());
        }
    }

    pub(super) fn count(&mut self, shard: u32, db: Db, keys: i64, expires: i64) {
        if (keys, expires) == (0, 0) {
            return;
        }
        let delta = self.delta(shard, db);
        *delta = (delta.0 + keys, delta.1 + expires);
    }

    pub(super) fn delta(&mut self, shard: u32, db: Db) -> &mut (i64, i64) {
        let at = self.deltas.iter().position(|(of, _)| *of == (shard, db)).unwrap_or_else(|| {
            self.deltas.push(((shard, db), (0, 0)));
            self.deltas.len() - 1
        });
        &mut self.deltas[at].1
    }

    /// Leaves the records of a body outside its metadata record to the cleaner.
    pub(super) fn discard_body(&mut self, body: &Body) {
        if let Some((version, nested)) = body.version() {
            self.discard(version, nested);
        }
        if let Body::Map(map) = body
            && map.ranks.levels > 0
        {
            self.nodes.drop_tree(map.version);
        }
    }

    /// Leaves a version to the cleaner; `nested` when its elements may have chunks of their own.
    pub(super) fn discard(&mut self, version: u64, nested: bool) {
        self.batch.put(keys::GARBAGE, keys::garbage_version(version), vec![u8::from(nested)]);
    }

    // -- accesses --------------------------------------------------------------------------------

    pub(super) fn note_access(&mut self, place: &Place) {
        if self.no_touch {
            return;
        }
        let now_ms = self.now_ms;
        if let Some(shard) = self.held(place.shard) {
            shard.touch(place.hash, now_ms);
            self.backend.loads[place.shard as usize].accessed();
        }
    }

    /// Returns the state that the lock of a shard guards, if this transaction has it.
    pub(super) fn held(&mut self, shard: u32) -> Option<&mut Shard> {
        let (_, guard) = self.guards.iter_mut().find(|(held, _)| *held == shard)?;
        Some(guard)
    }

    pub(super) fn idle_ms(&mut self, place: &Place) -> u64 {
        let now_ms = self.now_ms;
        let touched = self.held(place.shard).and_then(|shard| shard.touched(place.hash));
        touched.map_or(0, |at_ms| now_ms.saturating_sub(at_ms))
    }
}

/// A collection with no elements.
pub(super) fn empty_map(kind: MapKind, version: u64) -> Body {
    let form = if kind == MapKind::Set { codec::Form::Ints } else { codec::Form::Packed };
    Body::Map(Map {
        kind,
        version,
        len: 0,
        form,
        next_order: 0,
        next_expiry_ms: 0,
        overflow: false,
        ranks: codec::Ranks::default(),
    })
}
