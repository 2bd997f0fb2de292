//! The part of an engine's state that a group has: captured as an RDB file, and restored from one.

use crate::claims::Claims;
use crate::output::Fatal;
use crate::units::Units;
use consensus::GroupId;
use engine::Engine;
use engine::commit::slot;
use engine::gate::Gate;
use engine::scripting::loading::LibraryLoader;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use storage::backend::{Snapshot, SnapshotSink};
use storage::rdb::{Item, KeyValue, Object, Options, Reader, Writer, decode_payload, seal_payload};
use storage::{Db, Error, Key, Locks, Position, Tx};

/// The number of bytes of a snapshot that are read at once.
const READ_AHEAD: usize = 1 << 20;

/// The number of keys that are written before the next ones are looked for.
const KEYS_AT_ONCE: usize = 1_024;

/// A cluster has one database.
const DB: Db = 0;

/// The part of an engine's state that a group has: some units of slots.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The group.
    pub group: GroupId,
    /// The units, and who has them.
    pub units: Arc<Units>,
    /// Whether it is all of the state, because there is no other group.
    pub is_all: bool,
}

impl Part {
    /// The part of a group. Units are to have whole shards, unless there is one group.
    pub fn of(
        engine: &Engine,
        group: GroupId,
        units: Arc<Units>,
        is_all: bool,
    ) -> Result<Part, Fatal> {
        let fits =
            |unit: u16| is_all || engine.backend.shards_of_slots(units.slots(unit)).is_some();
        match (0..units.count()).all(fits) {
            true => Ok(Part { group, units, is_all }),
            false => Err(Fatal::Storage("its shards do not fit the slots of the groups".into())),
        }
    }

    /// The shards of some units, ascending.
    pub fn shards_of(&self, engine: &Engine, units: &[u16]) -> Vec<u32> {
        let shards = |unit: &u16| engine.backend.shards_of_slots(self.units.slots(*unit));
        units.iter().filter_map(shards).flatten().collect()
    }

    /// The shards of those units whose data on this node are the group's.
    pub fn shards(&self, engine: &Engine) -> Vec<u32> {
        match self.is_all {
            true => (0..engine.backend.shard_count()).collect(),
            false => self.shards_of(engine, &self.units.of(self.group)),
        }
    }

    /// Whether the libraries are in the part: they belong to the first unit.
    fn has_libraries(&self) -> bool {
        self.is_all || self.units.while_it_has(self.group, 0, || ()).is_some()
    }

    /// Runs `body` with these locks, however long a script holds them.
    pub fn lock(
        engine: &Engine,
        shards: &[u32],
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<(), Fatal> {
        loop {
            match engine.backend.transact(locks(shards), 0, body) {
                Err(Error::Busy) => {}
                done => return done.map_err(Fatal::storage),
            }
        }
    }

    /// Deletes the keys of these shards, which have this position afterwards.
    pub fn clear(engine: &Engine, shards: &[u32], position: Position) -> Result<(), Fatal> {
        let mut cleared: storage::Result<u64> = Ok(0);
        if shards.is_empty() {
            return Ok(());
        }
        Part::lock(engine, shards, &mut |tx| {
            let mut each = shards.iter().map(|shard| tx.clear_in(DB, *shard..*shard + 1));
            cleared = each.try_fold(0, |all, one| Ok(all + one?));
            drop(each);
            tx.set_last(position);
        })?;
        cleared.map(drop).map_err(Fatal::storage)
    }

    /// The data of a unit that nobody changes, as [`Capture::run`] writes them. Unlike a snapshot, this
    /// waits for no other one.
    pub fn data_at_rest(&self, engine: &Engine, unit: u16) -> Result<Vec<u8>, Fatal> {
        let mut writer = Writer::new(Vec::new(), Options::default());
        if unit == 0 {
            let texts = engine.scripting.library_texts();
            texts.iter().try_for_each(|text| writer.function(text)).map_err(Fatal::storage)?;
        }
        let (shards, mut sink, mut done) = (self.shards_of(engine, &[unit]), Sink(writer), Ok(()));
        Part::lock(engine, &shards, &mut |tx| {
            done = shards.iter().try_for_each(|shard| write_shard(engine, *shard, tx, &mut sink));
        })?;
        done.map_err(Fatal::storage)?;
        sink.0.finish().map_err(Fatal::storage)
    }

    /// Lets sessions see who has a unit now.
    pub fn settle(&self, engine: &Engine, unit: u16) -> Result<(), Fatal> {
        let Some(owner) = self.units.news(unit) else { return Ok(()) };
        let shards = self.shards_of(engine, &[unit]);
        Part::lock(engine, &shards, &mut |_| self.units.set_owner(unit, owner))
    }
}

/// Writes the keys of a shard, which is locked.
fn write_shard(
    engine: &Engine,
    shard: u32,
    tx: &mut dyn Tx,
    sink: &mut dyn SnapshotSink,
) -> storage::Result<()> {
    let (mut cursor, mut value) = (u64::from(shard), Vec::new());
    loop {
        let mut names: Vec<Vec<u8>> = Vec::new();
        cursor = tx.scan(DB, cursor, KEYS_AT_ONCE, &mut |name, _| names.push(name.to_vec()))?;
        for name in &names {
            let key = Key { db: DB, hash: engine.backend.hash(name), bytes: name };
            value.clear();
            if let Some(expiry_ms) = tx.expiry(&key)?
                && tx.dump(&key, &mut value)?
            {
                sink.entry(DB, name, expiry_ms, &value)?;
            }
        }
        if cursor == 0 || engine.backend.shard_of_cursor(cursor) != shard {
            return Ok(());
        }
    }
}

/// The locks of some shards.
pub(crate) fn locks(shards: &[u32]) -> Locks<'_> {
    match shards {
        [] => Locks::None,
        [one] => Locks::One(*one),
        many => Locks::Many(many),
    }
}

/// The name of the remark in a snapshot that says which units the group has.
const CLAIMS: &[u8] = b"varve-units";

/// The claims in the beginning of a snapshot; `None` if there are none, because it is empty or of a
/// time when no unit could move.
pub(crate) fn claims_in(mut source: impl BufRead) -> Result<Option<Claims>, Fatal> {
    if source.fill_buf().map_err(Fatal::damaged)?.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(source).map_err(Fatal::damaged)?;
    match reader.next().map_err(Fatal::damaged)? {
        Some(Item::Aux { key, value }) if key == CLAIMS => {
            let claims = Claims::decode(&value);
            claims.map(Some).ok_or_else(|| Fatal::Damaged("the units of a snapshot".into()))
        }
        _ => Ok(None),
    }
}

/// The data of a group as they were at one moment, ready to be written.
pub struct Capture {
    group: GroupId,
    snapshot: Box<dyn Snapshot>,
    libraries: Vec<Vec<u8>>,
    /// The units of the group; empty where they do not move.
    claims: Vec<u8>,
}

/// The result of a [`Capture`].
pub struct Captured {
    pub(crate) group: GroupId,
    pub(crate) data: Result<Vec<u8>, Fatal>,
}

impl Capture {
    /// Captures the current state of a part. `at_cut` is called while its shards are locked.
    pub(crate) fn take(
        engine: &Engine,
        part: &Part,
        at_cut: &mut dyn FnMut(),
    ) -> Result<Capture, Fatal> {
        let mut libraries = Vec::new();
        let shards = part.shards(engine);
        let snapshot = engine.backend.clone().snapshot_of(&shards, &mut || {
            if part.has_libraries() {
                libraries = engine.scripting.library_texts();
            }
            at_cut();
        });
        let snapshot = snapshot.map_err(Fatal::storage)?;
        let claims = if part.is_all { Vec::new() } else { part.units.claims(part.group) };
        Ok(Capture { group: part.group, snapshot, libraries, claims })
    }

    /// Writes the state as an RDB file. This takes time in proportion to the data; commands go on
    /// meanwhile.
    pub fn run(self) -> Captured {
        Captured { group: self.group, data: self.write() }
    }

    fn write(self) -> Result<Vec<u8>, Fatal> {
        let mut writer = Writer::new(Vec::new(), Options::default());
        if !self.claims.is_empty() {
            writer.aux(CLAIMS, &self.claims).map_err(Fatal::storage)?;
        }
        self.libraries.iter().try_for_each(|text| writer.function(text)).map_err(Fatal::storage)?;
        let mut sink = Sink(writer);
        self.snapshot.write(&mut sink).map_err(Fatal::storage)?;
        sink.0.finish().map_err(Fatal::storage)
    }
}

struct Sink(Writer<Vec<u8>>);

impl SnapshotSink for Sink {
    fn entry(
        &mut self,
        _: Db,
        key: &[u8],
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> storage::Result<()> {
        self.0.encoded_entry(key, expiry_ms, value).map_err(Error::backend)
    }
}

/// The replacement of a group's data by those of a file that [`Capture::run`] wrote; no bytes mean
/// an empty state. The group serves nobody until [`Restoring::finish`]; if it has all data, clients get
/// the error that data are being loaded.
pub struct Restoring {
    engine: Arc<Engine>,
    part: Part,
    source: Box<dyn Read + Send>,
}

/// The result of a [`Restoring`].
pub struct Restored {
    pub(crate) group: GroupId,
    pub(crate) done: Result<(), Fatal>,
}

impl Restoring {
    /// Prepares it: deletes what the group has. The units of which this node has later data of another
    /// group stay as they are.
    pub(crate) fn new(
        engine: Arc<Engine>,
        part: Part,
        source: Box<dyn Read + Send>,
        position: Position,
        claims: Option<Claims>,
    ) -> Result<Restoring, Fatal> {
        if part.is_all {
            engine.set_gate(Gate::LOADING, true);
        }
        part.units.restore(part.group, claims);
        (0..part.units.count()).try_for_each(|unit| part.settle(&engine, unit))?;
        Part::clear(&engine, &part.shards(&engine), position)?;
        if part.has_libraries() {
            engine.scripting.remove_libraries();
        }
        Ok(Restoring { engine, part, source })
    }

    /// Replaces the state. This takes time in proportion to the data. It fails if the file is damaged or
    /// the storage fails; the state is then incomplete.
    pub fn run(self) -> Restored {
        Restored { group: self.part.group, done: self.replace() }
    }

    pub(crate) fn replace(self) -> Result<(), Fatal> {
        let source = BufReader::with_capacity(READ_AHEAD, self.source);
        load(&self.engine, source, &self.part)
    }

    /// The state is there, and whatever had to wait for it is in it: clients may be served again.
    pub(crate) fn finish(engine: &Engine, part: &Part) {
        if part.is_all {
            engine.set_gate(Gate::LOADING, false);
        }
        part.units.loaded(part.group);
        engine.everything_replaced();
    }
}

/// Loads a key, if its unit is still the part's, however long a script holds its shard. That is asked with
/// the shard locked: nobody keeps what is known of units while he waits for a shard.
fn load_key(engine: &Engine, part: &Part, entry: KeyValue) -> Result<(), Fatal> {
    let unit = if part.is_all { None } else { part.units.unit(slot(&entry.key)) };
    let key = Key { db: DB, hash: engine.backend.hash(&entry.key), bytes: &entry.key };
    let (mut object, mut loaded) = (Some(entry.object), Ok(()));
    Part::lock(engine, &[engine.backend.shard_of(key.hash)], &mut |tx| {
        let has = unit.is_none_or(|unit| part.units.has(part.group, unit));
        if let Some(object) = object.take().filter(|_| has) {
            loaded = tx.restore(&key, object, entry.expiry_ms);
        }
    })?;
    loaded.map_err(Fatal::storage)
}

/// Loads a file that [`Capture::run`] wrote into the shards of a part. Keys of units that the part has
/// not, or has no longer, are passed over.
pub(crate) fn load(engine: &Engine, mut source: impl BufRead, part: &Part) -> Result<(), Fatal> {
    if source.fill_buf().map_err(Fatal::damaged)?.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(source).map_err(Fatal::damaged)?;
    while let Some(item) = reader.next().map_err(Fatal::damaged)? {
        match item {
            Item::KeyValue(entry) => load_key(engine, part, entry)?,
            Item::Function(text) => {
                let load = || LibraryLoader::new(engine, false).restore(&text);
                let loaded = match part.is_all {
                    true => Some(load()),
                    false => part.units.while_it_has(part.group, 0, load),
                };
                loaded.unwrap_or(Ok(())).map_err(Fatal::Damaged)?;
            }
            Item::Aux { .. } | Item::ModuleAux { .. } | Item::SelectDb(_) | Item::Resize { .. } => {
            }
        }
    }
    Ok(())
}

/// The expiry time in milliseconds and the value of every key, for comparisons.
pub type Contents = BTreeMap<Vec<u8>, (Option<u64>, Object)>;

struct Collector(Contents);

impl SnapshotSink for Collector {
    fn entry(
        &mut self,
        _: Db,
        key: &[u8],
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> storage::Result<()> {
        let mut payload = value.to_vec();
        seal_payload(&mut payload);
        let object = decode_payload(&payload).map_err(Error::corrupt)?;
        self.0.insert(key.to_vec(), (expiry_ms, object));
        Ok(())
    }
}

/// The contents of an engine's storage.
///
/// # Errors
/// Fails if the storage does.
pub fn contents_of(engine: &Engine) -> storage::Result<Contents> {
    let shards: Vec<u32> = (0..engine.backend.shard_count()).collect();
    contents_of_shards(engine, &shards)
}

fn contents_of_shards(engine: &Engine, shards: &[u32]) -> storage::Result<Contents> {
    let mut collector = Collector(BTreeMap::new());
    engine.backend.clone().snapshot_of(shards, &mut || {})?.write(&mut collector)?;
    Ok(collector.0)
}

/// The contents of a part, with the units of its group, as [`contents_in`] would find them in a
/// snapshot.
pub(crate) fn contents_of_part(engine: &Engine, part: &Part) -> storage::Result<Contents> {
    let mut contents = contents_of_shards(engine, &part.shards(engine))?;
    if !part.is_all {
        contents.insert(CLAIMS.to_vec(), (None, Object::String(part.units.claims(part.group))));
    }
    Ok(contents)
}

/// The contents of a file that [`Capture::run`] wrote; the units of the group are beside the keys.
///
/// # Errors
/// Fails if the bytes are not such a file.
pub fn contents_in(bytes: &[u8]) -> Result<Contents, Fatal> {
    let mut reader = Reader::new(bytes).map_err(Fatal::damaged)?;
    let mut contents = Contents::new();
    while let Some(item) = reader.next().map_err(Fatal::damaged)? {
        match item {
            Item::KeyValue(entry) => {
                contents.insert(entry.key, (entry.expiry_ms, entry.object));
            }
            Item::Aux { key, value } if key == CLAIMS => {
                contents.insert(key, (None, Object::String(value)));
            }
            _ => {}
        }
    }
    Ok(contents)
}
