//! The part of an engine's state that a group has: captured as an RDB file, and restored from one.

use crate::output::Fatal;
use consensus::GroupId;
use engine::Engine;
use engine::gate::Gate;
use engine::scripting::loading::LibraryLoader;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;
use storage::backend::{Snapshot, SnapshotSink};
use storage::rdb::{Item, Object, Options, Reader, Writer, decode_payload, seal_payload};
use storage::{Db, Error, Locks, Position, SLOTS, Tx};

/// The number of bytes of a snapshot that are read at once.
const READ_AHEAD: usize = 1 << 20;

/// A cluster has one database.
const DB: Db = 0;

/// The part of an engine's state that a group has.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The group.
    pub group: GroupId,
    /// The shards of the group's slots.
    pub shards: Vec<u32>,
    /// Whether the group has the libraries as well.
    pub has_libraries: bool,
    /// Whether it is all of the state.
    pub is_all: bool,
}

impl Part {
    /// The part of the group that has these slots.
    pub fn of(engine: &Engine, group: GroupId, slots: Range<u16>) -> Result<Part, Fatal> {
        let is_all = slots == (0..SLOTS);
        let has_libraries = slots.start == 0;
        let shards = engine.backend.shards_of_slots(slots);
        let shards = shards.ok_or_else(|| {
            Fatal::Storage("its shards do not fit the slots of the groups".into())
        })?;
        Ok(Part { group, shards: shards.collect(), has_libraries, is_all })
    }

    /// All its shards.
    pub fn locks(&self) -> Locks<'_> {
        if self.is_all { Locks::All } else { Locks::Many(&self.shards) }
    }

    fn range(&self) -> Range<u32> {
        let first = self.shards.first().copied().unwrap_or(0);
        first..first + self.shards.len() as u32
    }

    /// Runs `body` with these locks, however long a script holds them.
    pub fn lock(
        engine: &Engine,
        locks: Locks<'_>,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<(), Fatal> {
        loop {
            match engine.backend.transact(locks, 0, body) {
                Err(Error::Busy) => {}
                done => return done.map_err(Fatal::storage),
            }
        }
    }

    /// Deletes the keys of the group, whose shards have this position afterwards.
    pub fn clear(&self, engine: &Engine, position: Position) -> Result<(), Fatal> {
        let mut cleared = Ok(0);
        Part::lock(engine, self.locks(), &mut |tx| {
            cleared = match self.is_all {
                true => tx.clear(DB),
                false => tx.clear_in(DB, self.range()),
            };
            tx.set_last(position);
        })?;
        cleared.map(drop).map_err(Fatal::storage)
    }
}

/// The data of a group as they were at one moment, ready to be written.
pub struct Capture {
    group: GroupId,
    snapshot: Box<dyn Snapshot>,
    libraries: Vec<Vec<u8>>,
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
        let snapshot = engine.backend.clone().snapshot_of(part.range(), &mut || {
            if part.has_libraries {
                libraries = engine.scripting.library_texts();
            }
            at_cut();
        });
        let snapshot = snapshot.map_err(Fatal::storage)?;
        Ok(Capture { group: part.group, snapshot, libraries })
    }

    /// Writes the state as an RDB file. This takes time in proportion to the data; commands go on
    /// meanwhile.
    pub fn run(self) -> Captured {
        Captured { group: self.group, data: self.write() }
    }

    fn write(self) -> Result<Vec<u8>, Fatal> {
        let mut writer = Writer::new(Vec::new(), Options::default());
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
    /// The position of the shards afterwards.
    position: Position,
}

/// The result of a [`Restoring`].
pub struct Restored {
    pub(crate) group: GroupId,
    pub(crate) done: Result<(), Fatal>,
}

impl Restoring {
    /// Prepares it.
    pub(crate) fn new(
        engine: Arc<Engine>,
        part: Part,
        source: Box<dyn Read + Send>,
        position: Position,
    ) -> Restoring {
        if part.is_all {
            engine.set_gate(Gate::LOADING, true);
        }
        Restoring { engine, part, source, position }
    }

    /// Replaces the state. This takes time in proportion to the data. It fails if the file is damaged or
    /// the storage fails; the state is then incomplete.
    pub fn run(self) -> Restored {
        Restored { group: self.part.group, done: self.replace() }
    }

    pub(crate) fn replace(self) -> Result<(), Fatal> {
        let Restoring { engine, part, source, position } = self;
        let source = BufReader::with_capacity(READ_AHEAD, source);
        part.clear(&engine, position)?;
        if part.has_libraries {
            engine.scripting.remove_libraries();
        }
        load(&engine, source)
    }

    /// The state is there, and whatever had to wait for it is in it: clients may be served again.
    pub(crate) fn finish(engine: &Engine, part: &Part) {
        if part.is_all {
            engine.set_gate(Gate::LOADING, false);
        }
        engine.everything_replaced();
    }
}

fn load(engine: &Engine, mut source: impl BufRead) -> Result<(), Fatal> {
    if source.fill_buf().map_err(Fatal::damaged)?.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(source).map_err(Fatal::damaged)?;
    while let Some(item) = reader.next().map_err(Fatal::damaged)? {
        match item {
            Item::KeyValue(entry) => {
                let loaded = engine.backend.load(DB, &entry.key, entry.expiry_ms, entry.object);
                loaded.map_err(Fatal::storage)?;
            }
            Item::Function(text) => {
                LibraryLoader::new(engine, false).restore(&text).map_err(Fatal::Damaged)?
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
    contents_of_slots(engine, 0..SLOTS)
}

/// The keys of some slots, which are those of whole shards, in an engine's storage.
///
/// # Errors
/// Fails if the storage does.
pub fn contents_of_slots(engine: &Engine, slots: Range<u16>) -> storage::Result<Contents> {
    let shards = engine.backend.shards_of_slots(slots).unwrap_or_default();
    let mut collector = Collector(BTreeMap::new());
    engine.backend.clone().snapshot_of(shards, &mut || {})?.write(&mut collector)?;
    Ok(collector.0)
}

/// The contents of a file that [`Capture::run`] wrote.
///
/// # Errors
/// Fails if the bytes are not such a file.
pub fn contents_in(bytes: &[u8]) -> Result<Contents, Fatal> {
    let mut reader = Reader::new(bytes).map_err(Fatal::damaged)?;
    let mut contents = Contents::new();
    while let Some(item) = reader.next().map_err(Fatal::damaged)? {
        if let Item::KeyValue(entry) = item {
            contents.insert(entry.key, (entry.expiry_ms, entry.object));
        }
    }
    Ok(contents)
}
