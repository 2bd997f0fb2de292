//! A store small enough to compare whole, that loads and snapshots like a real one. Its only
//! commands are `SET`, `DEL` and `INCR`; the last is what replaying twice would show.

use crate::file::{Disk, Files, LogFile};
use crate::{Aof, Command, LoadError, Loaded, Options, Refused, Replay};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use storage::rdb::{self, Object, ValueWriter};
use storage::{
    Backend, BackendStats, Db, Journal, Locks, Position, Result, Snapshot, SnapshotSink, Tx,
};

pub type State = BTreeMap<(Db, Vec<u8>), Vec<u8>>;

/// The contents that a persistent backend would have on disk.
#[derive(Clone, Default)]
pub struct Image {
    pub state: State,
    pub applied: u64,
    pub mark: Option<Vec<u8>>,
}

/// One shard, one lock.
#[derive(Default)]
pub struct Toy {
    pub state: Mutex<State>,
    pub functions: Mutex<Vec<Vec<u8>>>,
    /// Highest position applied, and the mark, when it is persistent.
    pub applied: Mutex<u64>,
    pub mark: Mutex<Option<Vec<u8>>>,
    pub persistent: bool,
    /// Keys of a base that are stored once all of them have come, as a server's threads may do.
    held: Mutex<State>,
}

impl Toy {
    /// A persistent store that starts from `image`.
    pub fn persistent(image: Image) -> Arc<Self> {
        Arc::new(Toy {
            state: Mutex::new(image.state),
            applied: Mutex::new(image.applied),
            mark: Mutex::new(image.mark),
            persistent: true,
            ..Toy::default()
        })
    }

    /// A consistent copy of the contents on disk now.
    pub fn image(&self) -> Image {
        let state = self.state.lock();
        let (applied, mark) = (*self.applied.lock(), self.mark.lock().clone());
        Image { state: state.clone(), applied, mark }
    }

    /// Runs a command as a server would: changes and logs under the lock.
    pub fn run(&self, aof: &Aof, db: Db, args: &[&[u8]]) -> Position {
        let mut state = self.state.lock();
        apply(&mut state, db, args).unwrap();
        let position = aof.append(0, db, args).unwrap();
        *self.applied.lock() = position.seq;
        position
    }

    pub fn get(&self, db: Db, key: &str) -> Option<String> {
        let state = self.state.lock();
        let value = state.get(&(db, key.as_bytes().to_vec()))?;
        Some(String::from_utf8(value.clone()).unwrap())
    }

    /// Opens the log of `dir` into a new store.
    pub fn open(dir: &Path) -> Result<(Arc<Toy>, Arc<Aof>, Loaded), LoadError> {
        Toy::open_with(options(dir))
    }

    pub fn open_with(options: Options) -> Result<(Arc<Toy>, Arc<Aof>, Loaded), LoadError> {
        let toy = Arc::new(Toy::default());
        let (aof, loaded) = Aof::open(options, &mut Replayer(toy.clone()))?;
        Ok((toy, aof, loaded))
    }

    /// Opens the log in front of a persistent store.
    pub fn open_image(self: &Arc<Self>, dir: &Path) -> Result<(Arc<Aof>, Loaded), LoadError> {
        let mut options = options(dir);
        options.image = Some(self.clone());
        Aof::open(options, &mut Replayer(self.clone()))
    }

    pub fn rewrite(self: &Arc<Self>, aof: &Aof) -> Result<()> {
        let backend: Arc<dyn Backend> = self.clone();
        let functions = self.functions.lock().clone();
        aof.rewrite(&backend, &mut || functions.clone())
    }
}

/// Options for tests that do not lose power: nothing is really synced, which would take most of
/// their time.
pub fn options(dir: &Path) -> Options {
    Options { files: Arc::new(Unsynced), ..Options::new(dir) }
}

struct Unsynced;

struct UnsyncedFile(Arc<dyn LogFile>);

impl Files for Unsynced {
    fn append_to(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(UnsyncedFile(Disk.append_to(path)?)))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl LogFile for UnsyncedFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
}

fn apply(state: &mut State, db: Db, args: &[&[u8]]) -> Result<(), String> {
    match args {
        [b"SET", key, value] => {
            state.insert((db, key.to_vec()), value.to_vec());
        }
        [b"DEL", key] => {
            state.remove(&(db, key.to_vec()));
        }
        [b"INCR", key] => {
            let value = state.entry((db, key.to_vec())).or_insert_with(|| b"0".to_vec());
            let number = resp::parse_i64(value).ok_or("not a number")? + 1;
            *value = number.to_string().into_bytes();
        }
        _ => return Err(format!("unknown command '{}'", String::from_utf8_lossy(args[0]))),
    }
    Ok(())
}

/// Replays into a store.
pub struct Replayer(pub Arc<Toy>);

impl Replay for Replayer {
    fn entry(&mut self, entry: rdb::KeyValue) -> Result<(), String> {
        let Object::String(value) = entry.object else { return Err("not a string".into()) };
        self.0.held.lock().insert((entry.db as Db, entry.key), value);
        Ok(())
    }

    fn base_loaded(&mut self) -> Result<(), String> {
        self.0.state.lock().append(&mut self.0.held.lock());
        Ok(())
    }

    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        self.0.functions.lock().push(code.to_vec());
        Ok(())
    }

    fn commands(
        &mut self,
        at: Position,
        start: u64,
        commands: &[Command<'_>],
    ) -> Result<(), Refused> {
        let mut state = self.0.state.lock();
        let mut applied = self.0.applied.lock();
        if self.0.persistent && *applied >= at.seq {
            return Ok(());
        }
        for command in commands {
            let args: Vec<_> = command.request.iter().collect();
            let applied = apply(&mut state, command.db, &args);
            applied.map_err(|cause| Refused { start, cause })?;
        }
        *applied = at.seq;
        Ok(())
    }
}

struct ToySnapshot(State);

impl Snapshot for ToySnapshot {
    fn write(self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()> {
        for ((db, key), value) in &self.0 {
            let mut encoded = Vec::new();
            ValueWriter::new(&mut encoded, rdb::Options::default()).string(value);
            sink.entry(*db, key, None, &encoded)?;
        }
        Ok(())
    }
}

impl Backend for Toy {
    fn name(&self) -> &'static str {
        if self.persistent { "toy" } else { "memory" }
    }

    fn shard_count(&self) -> u32 {
        1
    }

    fn hash(&self, _key: &[u8]) -> u64 {
        0
    }

    fn shard_of(&self, _hash: u64) -> u32 {
        0
    }

    fn shard_of_cursor(&self, _cursor: u64) -> u32 {
        0
    }

    fn transact(&self, _: Locks<'_>, _: u64, _: &mut dyn FnMut(&mut dyn Tx)) -> Result<()> {
        drop(self.state.lock());
        Ok(())
    }

    fn len(&self, db: Db) -> u64 {
        self.state.lock().keys().filter(|(of, _)| *of == db).count() as u64
    }

    fn expires_len(&self, _db: Db) -> u64 {
        0
    }

    fn used_dbs(&self) -> Vec<Db> {
        let mut dbs: Vec<_> = self.state.lock().keys().map(|(db, _)| *db).collect();
        dbs.dedup();
        dbs
    }

    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>> {
        let state = self.state.lock();
        at_cut();
        Ok(Box::new(ToySnapshot(state.clone())))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }

    fn last(&self, stream: u16) -> Position {
        Position { stream, seq: *self.applied.lock() }
    }

    fn set_checkpoint(&self, mark: &[u8]) -> Result<()> {
        *self.mark.lock() = Some(mark.to_vec());
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.mark.lock().clone())
    }

    fn load(&self, _: Db, _: &[u8], _: Option<u64>, _: Object) -> Result<()> {
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
