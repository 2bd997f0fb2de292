//! The whole state of an engine: captured as an RDB file, and restored from one.

use crate::output::Fatal;
use engine::Engine;
use engine::engine::Gate;
use engine::replay::Replayer;
use resp::{Batch, Limits, Parser};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use storage::backend::{Snapshot, SnapshotSink};
use storage::rdb::{Item, Object, Options, Reader, Writer, decode_payload, seal_payload};
use storage::{Db, Error, Position};

/// The number of bytes of a snapshot that are read at once.
const READ_AHEAD: usize = 1 << 20;

/// All data as they were at one moment, ready to be written.
pub struct Capture {
    snapshot: Box<dyn Snapshot>,
    libraries: Vec<Vec<u8>>,
}

impl Capture {
    /// Captures the current state. `at_cut` is called while every shard is locked.
    pub(crate) fn take(engine: &Engine, at_cut: &mut dyn FnMut()) -> Result<Capture, Fatal> {
        let mut libraries = Vec::new();
        let snapshot = engine.backend.clone().snapshot(&mut || {
            libraries = engine.library_texts();
            at_cut();
        });
        Ok(Capture { snapshot: snapshot.map_err(Fatal::storage)?, libraries })
    }

    /// Writes the state as an RDB file. This takes time in proportion to the data; commands go on
    /// meanwhile.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn run(self) -> Result<Vec<u8>, Fatal> {
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

/// The replacement of an engine's state by that of a file that [`Capture::run`] wrote; no bytes mean
/// an empty state. Until [`Restoring::finish`], clients get the error that data are being loaded.
pub struct Restoring {
    engine: Arc<Engine>,
    source: Box<dyn Read + Send>,
    /// The position of the shards afterwards.
    position: Position,
}

impl Restoring {
    /// Prepares it: no client is served any more.
    pub(crate) fn new(
        engine: Arc<Engine>,
        source: Box<dyn Read + Send>,
        position: Position,
    ) -> Restoring {
        engine.set_gate(Gate::LOADING, true);
        Restoring { engine, source, position }
    }

    /// Replaces the state. This takes time in proportion to the data.
    ///
    /// # Errors
    /// Fails if the file is damaged or the storage fails. The state is then incomplete.
    pub fn run(self) -> Result<(), Fatal> {
        let Restoring { engine, source, position } = self;
        let source = BufReader::with_capacity(READ_AHEAD, source);
        clear(&engine, position).and_then(|()| load(&engine, source))
    }

    /// Serves clients again: the state is there, and whatever had to wait for it is in it.
    pub(crate) fn finish(engine: &Engine) {
        engine.set_gate(Gate::LOADING, false);
        engine.everything_replaced();
    }
}

/// Deletes everything. Every shard is locked once, and has this position afterwards.
fn clear(engine: &Engine, position: Position) -> Result<(), Fatal> {
    let (mut batch, mut bytes) = (Batch::new(), Vec::new());
    resp::encode_command([b"FLUSHALL", b"SYNC".as_slice()], &mut bytes);
    let _ = Parser::new().parse(&bytes, 1, &Limits::default(), &mut batch);
    let request = batch.view(batch.request(0), &bytes);
    let cleared = Replayer::new(engine).record(Some(position), [(0, request)]);
    engine.remove_libraries();
    cleared.map_err(Fatal::Damaged)
}

fn load(engine: &Engine, mut source: impl BufRead) -> Result<(), Fatal> {
    if source.fill_buf().map_err(Fatal::damaged)?.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(source).map_err(Fatal::damaged)?;
    while let Some(item) = reader.next().map_err(Fatal::damaged)? {
        match item {
            Item::KeyValue(entry) => {
                let loaded = engine.backend.load(0, &entry.key, entry.expiry_ms, entry.object);
                loaded.map_err(Fatal::storage)?;
            }
            Item::Function(text) => engine.restore_library(&text).map_err(Fatal::Damaged)?,
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
    let mut collector = Collector(BTreeMap::new());
    engine.backend.clone().snapshot(&mut || {})?.write(&mut collector)?;
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
