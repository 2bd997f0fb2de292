//! Loading at start: reads the base and the increments in order, and handles a torn tail.

use super::base;
use super::error::LoadError;
use super::files::FileSet;
use super::image::{self, Start};
use super::replay::{Outcome, replay_file};
use super::seal::Seal;
use super::{Command, Refused, Replay, Truncation};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use storage::backend::Backend;
use storage::journal::Position;
use storage::rdb;

/// Counts of what was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Whether there was no log, and an empty one was begun.
    pub fresh: bool,
    /// Keys of the base.
    pub entries: u64,
    /// Commands of the increments (and of a base that is no RDB file).
    pub commands: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The part that was cut off the end.
    pub truncated: Option<Truncation>,
    /// Whether the image may contain effects that the log has lost.
    pub image_ahead: bool,
}

/// Loads the files of a log.
pub(super) struct Loader<'a> {
    pub set: &'a FileSet,
    pub image: Option<&'a dyn Backend>,
    pub load_truncated: bool,
    pub replay: &'a mut dyn Replay,
    /// The marks of the last increment, and its number.
    seal: Option<(u64, Seal)>,
}

/// Ignores the contents of a log.
struct Unheeded;

impl Replay for Unheeded {
    fn entry(&mut self, _: rdb::KeyValue) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn commands(&mut self, _: Position, _: u64, _: &[Command<'_>]) -> Result<(), Refused> {
        Ok(())
    }
}

impl<'a> Loader<'a> {
    /// Nothing is loaded yet.
    pub fn new(
        set: &'a FileSet,
        image: Option<&'a dyn Backend>,
        load_truncated: bool,
        replay: &'a mut dyn Replay,
    ) -> Self {
        Loader { set, image, load_truncated, replay, seal: None }
    }

    /// Loads everything from `start` on; the marks of the last increment are given with its number.
    ///
    /// # Errors
    /// Fails if files are missing or damaged.
    pub fn load(mut self, start: Start) -> Result<(Loaded, Option<(u64, Seal)>), LoadError> {
        let mut loaded = Loaded { fresh: self.set.fresh, ..Loaded::default() };
        if start == Start::Base {
            self.load_base(&mut loaded)?;
        }
        let from = if let Start::Increment(seq) = start { seq } else { 0 };
        self.look_for_damage(from)?;
        let last = self.last_with_data();
        for part in self.set.manifest.increments.iter().filter(|part| part.seq >= from) {
            let path = self.set.path(part);
            let outcome = replay_file(&path, part.seq, self.replay)?;
            self.seal = outcome.seal.map(|seal| (part.seq, seal));
            self.finish(&path, outcome, last.as_ref() == Some(&path), &mut loaded)?;
        }
        Ok((loaded, self.seal))
    }

    /// Data given to a persistent store cannot be taken back: before it gets anything, all of
    /// the increments from `from` on are looked at.
    fn look_for_damage(&self, from: u64) -> Result<(), LoadError> {
        let parts = self.set.manifest.increments.iter().filter(|part| part.seq >= from);
        for part in parts.filter(|_| self.image.is_some()) {
            replay_file(&self.set.path(part), part.seq, &mut Unheeded)?;
        }
        Ok(())
    }

    fn load_base(&mut self, loaded: &mut Loaded) -> Result<(), LoadError> {
        let at_dir = |error| LoadError::of(&self.set.dir, error);
        if let Some(backend) = self.image {
            image::set_loading(backend).and_then(|()| image::clear(backend)).map_err(at_dir)?;
        }
        if let Some(part) = &self.set.manifest.base {
            let path = self.set.path(part);
            let (entries, outcome) = base::load(&path, self.replay)?;
            loaded.entries = entries;
            self.finish(&path, outcome, self.last_with_data().is_none(), loaded)?;
        }
        if let Some(backend) = self.image {
            let first = self.set.manifest.increments.first().map_or(1, |part| part.seq);
            backend.flush().map_err(at_dir)?;
            image::set_from(backend, first).map_err(at_dir)?;
        }
        Ok(())
    }

    /// The last increment that is not empty: only its end can be torn. (A crash may leave an empty
    /// one behind it, made ready for a rewrite.)
    fn last_with_data(&self) -> Option<PathBuf> {
        let paths = self.set.manifest.increments.iter().map(|part| self.set.path(part));
        paths.rev().find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
    }

    fn finish(
        &self,
        path: &Path,
        outcome: Outcome,
        is_last: bool,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError> {
        loaded.commands += outcome.commands;
        loaded.bytes += outcome.valid_len + outcome.torn_len;
        if outcome.torn_len > 0 {
            loaded.truncated = Some(self.cut(path, outcome, is_last)?);
        }
        Ok(())
    }

    fn cut(&self, path: &Path, outcome: Outcome, is_last: bool) -> Result<Truncation, LoadError> {
        let Outcome { valid_len: offset, torn_len: bytes, .. } = outcome;
        let refuse = |cause: &str| Err(LoadError::at(path, offset, cause));
        if !is_last {
            return refuse("the file ends in the middle of a record, but it is not the last file");
        }
        if !self.load_truncated {
            return refuse(
                "Unexpected end of file reading the append only file: the last record is not \
                 whole. Set aof-load-truncated yes, or make a backup of the file and use \
                 redis-check-aof --fix",
            );
        }
        tracing::warn!(file = %path.display(), offset, bytes, "cut a torn tail off the append-only file");
        let file = OpenOptions::new().write(true).open(path);
        file.and_then(|file| file.set_len(offset).and_then(|()| file.sync_all()))
            .map_err(|error| LoadError::at(path, offset, error))?;
        Ok(Truncation { file: path.to_owned(), offset, bytes })
    }
}
