//! [`Tx`] for [`OrderedTx`]: operations on whole keys, shards and databases.

use super::codec::{Body, MapKind};
use super::elements::{Element, OpenedMap};
use super::hash::OrderedHash;
use super::kv::Read;
use super::list::OrderedList;
use super::set::OrderedSet;
use super::sorted_set::OrderedSortedSet;
use super::stream::OrderedStream;
use super::tx::{OrderedTx, Place, Record};
use super::{encoding, hashing, keys, strings, value};
use std::sync::atomic::Ordering;
use storage::hiding::HidingHash;
use storage::{
    Backend, Db, Expired, Expiry, Hash, Key, KeyInfo, Kind, Left, List, NewExpiry, Open, Position,
    Presence, Result, Set, SortedSet, Str, Stream, Tx, rdb,
};

/// Databases up to this size answer random draws uniformly.
const UNIFORM_MAX: u64 = 128;
/// Expired keys that a random draw steps over before it gives up on a stretch.
const DRAW_STEPS_MAX: usize = 1024;
/// The initial value of an access counter in Redis (`LFU_INIT_VAL`); ours never moves.
const FREQ_INITIAL: u8 = 5;
/// Estimated bytes an engine spends per record beside key and value.
const RECORD_OVERHEAD_BYTES: u64 = 16;

impl Tx for OrderedTx<'_> {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn met_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    fn expired(&mut self) -> &mut Vec<Expired> {
        &mut self.expired
    }

    fn set_expiry_mode(&mut self, mode: Expiry) {
        self.hides_expired = mode == Expiry::Hide;
        self.due_ms = if mode == Expiry::Ignore { 0 } else { self.now_ms };
    }

    fn set_no_touch(&mut self, no_touch: bool) {
        self.no_touch = no_touch;
    }

    fn left_by_panic(&self) -> Left {
        // Changes are in the batch, and go with it.
        Left::Nothing
    }

    fn set_last(&mut self, position: Position) {
        self.last.set(position);
    }

    fn last(&self, stream: u16) -> Position {
        let before = self.guards.iter().map(|(_, shard)| shard.last.last(stream)).max();
        before.unwrap_or_default().max(self.last.last(stream))
    }

    fn roll_back(&mut self) -> bool {
        self.forget();
        true
    }

    fn kind(&mut self, key: &Key<'_>) -> Result<Option<Kind>> {
        Ok(self.load(key)?.1.map(|record| record.head.body.kind()))
    }

    fn presence(&mut self, key: &Key<'_>) -> Result<Presence> {
        let due = |at_ms: u64| at_ms != 0 && at_ms <= self.now_ms;
        let found = self.peek(&self.place(key)?)?;
        Ok(Presence::of(found.map(|record| due(record.head.expiry_ms))))
    }

    fn remove(&mut self, key: &Key<'_>) -> Result<bool> {
        let (place, record) = self.load(key)?;
        let Some(record) = record else { return Ok(false) };
        self.delete(&place, &record);
        Ok(true)
    }

    fn expiry(&mut self, key: &Key<'_>) -> Result<Option<Option<u64>>> {
        let expiry_ms = self.load(key)?.1.map(|record| record.head.expiry_ms);
        Ok(expiry_ms.map(|at_ms| (at_ms != 0).then_some(at_ms)))
    }

    fn set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) -> Result<bool> {
        let (place, record) = self.load(key)?;
        let Some(record) = record else { return Ok(false) };
        let mut head = record.head.clone();
        head.expiry_ms = at_ms.unwrap_or(0);
        let kept_name = keys::kept_name(key.bytes);
        self.store(&place, Some(record.was), &head, kept_name, record.inline());
        Ok(true)
    }

    fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) -> Result<bool> {
        let (from_place, record) = self.load(from)?;
        let Some(record) = record else { return Ok(false) };
        let (to_place, replaced) = self.load(to)?;
        if from_place.meta_key == to_place.meta_key {
            return Ok(true);
        }
        if let Some(replaced) = &replaced {
            self.delete(&to_place, replaced);
        }
        self.delete_record(&from_place, record.was);
        let kept_name = keys::kept_name(to.bytes);
        let mut head = record.head.clone();
        head.name_bytes = kept_name.len() as u32;
        self.store(&to_place, None, &head, kept_name, record.inline());
        Ok(true)
    }

    fn info(&mut self, key: &Key<'_>, samples: usize) -> Result<Option<KeyInfo>> {
        let (place, record) = self.load(key)?;
        let Some(record) = record else { return Ok(None) };
        let encoding = match record.head.body {
            Body::Inline { raw } => encoding::string_name(raw, record.inline()),
            Body::Chunked { .. } => "raw",
            ref body => encoding::collection_name(body),
        };
        Ok(Some(KeyInfo {
            kind: record.head.body.kind(),
            encoding,
            idle_ms: self.idle_ms(&place),
            freq: FREQ_INITIAL,
            bytes: self.estimate_bytes(&place, &record, samples)?,
        }))
    }

    fn set_access(&mut self, key: &Key<'_>, idle_ms: Option<u64>, _freq: Option<u8>) {
        let at_ms = idle_ms.map(|idle| self.now_ms.saturating_sub(idle));
        let number = self.backend.shard_of(key.hash);
        let shard = self.guards.iter_mut().find(|(locked, _)| *locked == number);
        if let (Some((_, shard)), Some(at_ms)) = (shard, at_ms) {
            shard.touch(key.hash, at_ms);
        }
    }

    fn touch(&mut self, key: &Key<'_>) -> Result<bool> {
        let (place, record) = self.load(key)?;
        if record.is_some() {
            self.note_access(&place);
        }
        Ok(record.is_some())
    }

    fn dump(&mut self, key: &Key<'_>, out: &mut Vec<u8>) -> Result<bool> {
        let Some(record) = self.load(key)?.1 else { return Ok(false) };
        let chunk_bytes = self.backend.kv.chunk_bytes();
        value::encode(self, &record.head, record.inline(), chunk_bytes, out)?;
        Ok(true)
    }

    fn restore(
        &mut self,
        key: &Key<'_>,
        object: rdb::Object,
        expiry_ms: Option<u64>,
    ) -> Result<()> {
        self.put_object(key, object, expiry_ms)
    }

    fn string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>> {
        self.read_string(key)
    }

    fn string_len(&mut self, key: &Key<'_>) -> Result<u64> {
        self.read_string_len(key)
    }

    fn set_string(&mut self, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Result<()> {
        self.write_string(key, value, expiry)
    }

    fn append(&mut self, key: &Key<'_>, suffix: &[u8]) -> Result<u64> {
        self.append_string(key, suffix)
    }

    fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64> {
        self.overwrite_string(key, offset, bytes)
    }

    fn get_range(&mut self, key: &Key<'_>, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()> {
        self.read_range(key, start, end, out)
    }

    fn list<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn List + 't>>> {
        let opened = OrderedList::open(self, key, open)?;
        Ok(opened.map(|list| Box::new(list) as Box<dyn List>))
    }

    fn set<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Set + 't>>> {
        let opened = OpenedMap::open(self, key, open, MapKind::Set)?;
        Ok(opened.map(|map| Box::new(OrderedSet(map)) as Box<dyn Set>))
    }

    fn hash<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Hash + 't>>> {
        let Some(map) = OpenedMap::open(self, key, open, MapKind::Hash)? else { return Ok(None) };
        if !map.0.tx.hides_expired {
            return Ok(Some(Box::new(OrderedHash(map))));
        }
        let now_ms = map.0.tx.due_ms;
        HidingHash::over(OrderedHash(map), now_ms).map(Some)
    }

    fn sorted_set<'t>(
        &'t mut self,
        key: &Key<'t>,
        open: Open,
    ) -> Result<Option<Box<dyn SortedSet + 't>>> {
        let opened = OpenedMap::open(self, key, open, MapKind::SortedSet)?;
        Ok(opened.map(|map| Box::new(OrderedSortedSet(map)) as Box<dyn SortedSet>))
    }

    fn stream<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Stream + 't>>> {
        let opened = OrderedStream::open(self, key, open)?;
        Ok(opened.map(|stream| Box::new(stream) as Box<dyn Stream>))
    }

    fn scan(
        &mut self,
        db: Db,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Option<Kind>),
    ) -> Result<u64> {
        let shard = self.backend.shard_of(cursor);
        let last = last_hash(self.backend, shard);
        let physical = self.physical(db)?;
        let (lo, hi) = (keys::meta_from(physical, cursor), keys::meta_past(physical, last));
        let now_ms = self.due_ms;
        let (mut seen, mut seen_hash, mut next) = (0, 0, None);
        let mut result = Ok(());
        Read::scan(self, keys::META, &lo, &hi, false, &mut |key, record| {
            let hash = keys::meta_hash(key).unwrap_or_default();
            if seen >= count.max(1) && hash != seen_hash {
                next = Some(hash);
                return false;
            }
            seen += 1;
            seen_hash = hash;
            result = KeyRecord::read(key, record).map(|entry| {
                visit(&entry.name, (!entry.is_due(now_ms)).then_some(entry.kind));
            });
            result.is_ok()
        })?;
        result?;
        Ok(next.unwrap_or_else(|| last.wrapping_add(1)))
    }

    fn random_key(&mut self, db: Db, seed: u64) -> Result<Option<Vec<u8>>> {
        let total = self.db_len(db);
        if total == 0 {
            return Ok(None);
        }
        if total <= UNIFORM_MAX {
            let live = self.live_from(db, 0, total as usize)?;
            let at = seed.checked_rem(live.len() as u64).unwrap_or_default();
            return Ok(live.into_iter().nth(at as usize));
        }
        let (from, steps) = hashing::draw(seed);
        let mut live = self.live_from(db, from, steps as usize + 1)?;
        if live.len() <= steps as usize {
            // From the end it goes on at the beginning.
            live.extend(self.live_from(db, 0, steps as usize + 1 - live.len())?);
        }
        Ok(live.pop())
    }

    fn counts(&mut self, db: Db) -> Result<(u64, u64)> {
        self.physical(db)?;
        let of_shards = (0..self.backend.shard_count()).map(|shard| self.counts_now(shard, db));
        let (keys, expires) = of_shards.fold((0, 0), |(a, b), (k, e)| (a + k, b + e));
        Ok((keys.max(0) as u64, expires.max(0) as u64))
    }

    fn clear(&mut self, db: Db) -> Result<u64> {
        let old = self.physical(db)?;
        // All shards are locked. Which of the counts are of this database is not known.
        self.backend.write_counts()?;
        let total = self.db_len(db);
        for shard in 0..self.backend.shard_count() {
            let (keys, expires) = self.counts_now(shard, db);
            self.count(shard, db, -keys, -expires);
        }
        let map = self.map();
        let new = map.next;
        map.next += 1;
        if let Some(physical) = map.physical.get_mut(db as usize) {
            *physical = new;
        }
        if total > 0 {
            self.batch.put(keys::GARBAGE, keys::garbage_db(old), vec![0]);
        }
        Ok(total)
    }

    fn swap_dbs(&mut self, a: Db, b: Db) -> Result<()> {
        self.physical(a)?;
        self.physical(b)?;
        for shard in 0..self.backend.shard_count() {
            let (of_a, of_b) = (self.counts_now(shard, a), self.counts_now(shard, b));
            self.count(shard, a, of_b.0 - of_a.0, of_b.1 - of_a.1);
            self.count(shard, b, of_a.0 - of_b.0, of_a.1 - of_b.1);
        }
        self.map().physical.swap(a as usize, b as usize);
        Ok(())
    }

    fn expire_due(&mut self, shard: u32, limit: usize) -> Result<bool> {
        let past_ms = self.now_ms.saturating_add(1);
        let from_ms = self.held(shard).map_or(0, |shard| shard.due_from_ms);
        let lo = keys::expiry(shard, from_ms, &[]);
        let hi = keys::expiry(shard, past_ms, &[]);
        let mut due = Vec::new();
        Read::scan(self, keys::EXPIRY, &lo, &hi, false, &mut |key, _| {
            due.push(key.to_vec());
            due.len() <= limit
        })?;
        // True whether or not this transaction succeeds.
        let first_ms = due.first().and_then(|entry| keys::expiry_ms(entry)).unwrap_or(past_ms);
        if let Some(held) = self.held(shard) {
            held.due_from_ms = held.due_from_ms.max(first_ms);
        }
        let more = due.len() > limit;
        due.truncate(limit);
        due.into_iter().try_for_each(|entry| self.expire_entry(shard, entry))?;
        Ok(more)
    }
}

/// The fields of a metadata record that whole-database operations need.
struct KeyRecord {
    name: Vec<u8>,
    kind: Kind,
    due_ms: u64,
    /// Whether the key itself has expired.
    key_due: bool,
}

impl KeyRecord {
    fn read(key: &[u8], record: &[u8]) -> Result<Self> {
        let (head, name_at, value_at) = super::codec::decode_meta(record)?;
        let tagged = key.get(keys::NAME_AT..).unwrap_or_default();
        let name = keys::whole_name(tagged).unwrap_or(&record[name_at..value_at]).to_vec();
        let due_ms = head.due_ms();
        let key_due = head.expiry_ms == due_ms;
        Ok(KeyRecord { name, kind: head.body.kind(), due_ms, key_due })
    }

    /// Whether the key has expired; one that may only have lost fields counts as alive.
    fn is_due(&self, now_ms: u64) -> bool {
        self.key_due && self.due_ms != 0 && self.due_ms <= now_ms
    }
}

/// The largest hash of a shard.
fn last_hash(backend: &super::OrderedBackend, shard: u32) -> u64 {
    let rest = u64::MAX.checked_shr(64 - backend.shard_shift).unwrap_or(0);
    u64::from(shard).checked_shl(backend.shard_shift).unwrap_or(0) | rest
}

impl OrderedTx<'_> {
    /// Keys and keys with expiry of a shard, as this transaction sees them.
    fn counts_now(&mut self, shard: u32, db: Db) -> (i64, i64) {
        let counts = &self.backend.counts[shard as usize];
        let load = |of: &[std::sync::atomic::AtomicU64]| {
            of.get(db as usize).map_or(0, |count| count.load(Ordering::Relaxed) as i64)
        };
        let base = (load(&counts.keys), load(&counts.expires));
        let delta = *self.delta(shard, db);
        (base.0 + delta.0, base.1 + delta.1)
    }

    fn db_len(&mut self, db: Db) -> u64 {
        let shards = 0..self.backend.shard_count();
        shards.map(|shard| self.counts_now(shard, db).0.max(0) as u64).sum()
    }

    /// Up to `limit` live keys from a hash on. Expired keys on the way are deleted.
    fn live_from(&mut self, db: Db, hash: u64, limit: usize) -> Result<Vec<Vec<u8>>> {
        let physical = self.physical(db)?;
        let (lo, hi) = (keys::meta_from(physical, hash), keys::meta_past(physical, u64::MAX));
        let (mut live, mut stale, mut steps, mut result) = (Vec::new(), Vec::new(), 0, Ok(()));
        Read::scan(self, keys::META, &lo, &hi, false, &mut |key, record| {
            steps += 1;
            result = KeyRecord::read(key, record).map(|entry| match entry.is_due(self.due_ms) {
                true => stale.push((keys::meta_hash(key).unwrap_or_default(), entry.name)),
                false => live.push(entry.name),
            });
            result.is_ok() && live.len() < limit && steps < DRAW_STEPS_MAX
        })?;
        result?;
        for (hash, bytes) in stale {
            // Looking at an expired key deletes and notes it.
            self.load(&Key { db, hash, bytes: &bytes })?;
        }
        Ok(live)
    }

    /// Handles one entry of the expiry index: the key, or fields of its hash, expire.
    fn expire_entry(&mut self, shard: u32, entry: Vec<u8>) -> Result<()> {
        let meta_key = entry.get(keys::EXPIRY_META_AT..).unwrap_or_default().to_vec();
        let (physical, hash) = (keys::meta_physical(&meta_key), keys::meta_hash(&meta_key));
        // The entry goes in any case; a key that stays due later has another one.
        self.batch.delete(keys::EXPIRY, entry);
        let db = physical.and_then(|physical| self.logical(physical));
        let (Some(db), Some(hash)) = (db, hash) else { return Ok(()) };
        let place = Place { db, shard, hash, meta_key };
        let Some(record) = self.peek(&place)? else { return Ok(()) };
        let tagged = place.meta_key.get(keys::NAME_AT..).unwrap_or_default();
        let name = keys::whole_name(tagged).unwrap_or(record.name()).to_vec();
        self.live(&place, record, &name)?;
        Ok(())
    }

    /// The logical database that is mapped to a physical one, if any still is.
    fn logical(&self, physical: u32) -> Option<Db> {
        (0..self.backend.physical.len() as Db).find(|&db| self.physical(db).ok() == Some(physical))
    }

    /// Bytes of a key's records, from up to `samples` of its elements (0: all).
    fn estimate_bytes(&self, place: &Place, record: &Record, samples: usize) -> Result<u64> {
        let own = (place.meta_key.len() + record.bytes.len()) as u64 + RECORD_OVERHEAD_BYTES;
        let (version, len, per_element) = match &record.head.body {
            Body::Inline { .. } => return Ok(own),
            Body::Chunked { .. } => return Ok(own + strings::string_len(record)),
            Body::List { version, len, .. } => (*version, *len, 1),
            // A sorted set has every member twice.
            Body::Map(map) if map.kind == MapKind::SortedSet => (map.version, map.len, 2),
            Body::Map(map) => (map.version, map.len, 1),
            Body::Stream(head) => (head.version, head.len, 1),
        };
        let limit = if samples == 0 { u64::MAX } else { samples as u64 };
        let (mut seen, mut bytes, mut result) = (0, 0, Ok(()));
        let (lo, hi) = (keys::version(version), keys::version(version + 1));
        self.scan_elements(&lo, &hi, &mut |key, value| {
            seen += 1;
            bytes += (key.len() + value.len()) as u64 + RECORD_OVERHEAD_BYTES;
            if per_element == 1 && !value.is_empty() {
                let chunks = Element::decode(value).map(|element| element.head.chunks);
                result = chunks.map(|chunks| bytes += chunks.map_or(0, |(_, len)| len));
            }
            result.is_ok() && seen < limit
        })?;
        result?;
        Ok(own + bytes * (len * per_element) / seen.max(1))
    }

    fn scan_elements(
        &self,
        lo: &[u8],
        hi: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        Read::scan(self, keys::ELEMENTS, lo, hi, false, visit)
    }
}
