//! The directory of the log: finding it, upgrading an old single file, and changing the set of
//! files so that after a crash at any moment the directory still loads.

use super::error::LoadError;
use super::file::{Files, replace};
use super::log::Increment;
use super::manifest::{Manifest, Part};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A base of an empty server is shorter than this, bytes.
const EMPTY_BASE_LEN_MAX: u64 = 256;

/// The files of a log, as the manifest on disk says.
pub(super) struct FileSet {
    pub files: Arc<dyn Files>,
    /// `appendonlydir`.
    pub dir: PathBuf,
    /// `appendonly.aof`.
    filename: String,
    pub manifest: Manifest,
    /// Whether there was no log.
    pub fresh: bool,
    /// No increment gets a lower number.
    pub seq_min: u64,
}

impl FileSet {
    /// Finds the log in `dir/dirname`, or the single file `dir/filename` of older versions, which
    /// becomes the base; or neither.
    ///
    /// # Errors
    /// A damaged manifest, files without manifest, or the disk's.
    pub fn find(
        files: Arc<dyn Files>,
        dir: &Path,
        dirname: &str,
        filename: &str,
    ) -> Result<Self, LoadError> {
        let mut set = FileSet {
            files,
            dir: dir.join(dirname),
            filename: filename.to_owned(),
            manifest: Manifest::default(),
            fresh: false,
            seq_min: 1,
        };
        let single = dir.join(filename);
        let path = set.manifest_path();
        match fs::read(&path) {
            Ok(text) => {
                set.manifest = Manifest::parse(&text)
                    .map_err(|(line, what)| LoadError::of(&path, format!("line {line}: {what}")))?;
                set.adopt(&single)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&set.dir).map_err(|error| LoadError::of(&set.dir, error))?;
                set.refuse_orphans()?;
                if single.is_file() {
                    set.upgrade(&single)?;
                } else {
                    set.fresh = true;
                }
            }
            Err(error) => return Err(LoadError::of(&path, error)),
        }
        set.remove_temporary();
        Ok(set)
    }

    fn manifest_name(&self) -> String {
        format!("{}.manifest", self.filename)
    }

    fn manifest_path(&self) -> PathBuf {
        self.dir.join(self.manifest_name())
    }

    pub fn path(&self, part: &Part) -> PathBuf {
        self.dir.join(&part.file)
    }

    /// Makes the manifest on disk that in memory.
    ///
    /// # Errors
    /// Fails if the disk does; then either the old or the new manifest is in force.
    pub fn persist(&self) -> io::Result<()> {
        let text = self.manifest.to_text();
        replace(&*self.files, &self.dir, &self.manifest_name(), text.as_bytes())
    }

    /// As Redis does: first the manifest that names the single file as base, then the move.
    fn upgrade(&mut self, single: &Path) -> Result<(), LoadError> {
        self.manifest.base = Some(Part { file: self.filename.clone(), seq: 1 });
        self.persist().map_err(|error| LoadError::of(&self.dir, error))?;
        self.adopt(single)
    }

    /// Completes an upgrade: moves the single file in, if the manifest wants it and it is not
    /// there yet.
    fn adopt(&self, single: &Path) -> Result<(), LoadError> {
        let Some(base) = self.manifest.base.as_ref().filter(|base| base.file == self.filename)
        else {
            return Ok(());
        };
        let path = self.path(base);
        if path.exists() || !single.is_file() {
            return Ok(());
        }
        tracing::info!(from = %single.display(), to = %path.display(), "upgrading the single-file log");
        let moved = fs::rename(single, &path);
        let outer = single.parent().unwrap_or(Path::new("."));
        moved
            .and_then(|()| self.files.sync_dir(&self.dir))
            .and_then(|()| self.files.sync_dir(outer))
            .map_err(|error| LoadError::of(single, error))
    }

    /// Without a manifest, files of a log mean that it was lost: starting empty would hide that.
    fn refuse_orphans(&self) -> Result<(), LoadError> {
        let entries = fs::read_dir(&self.dir).map_err(|error| LoadError::of(&self.dir, error))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let len = entry.metadata().map_or(0, |metadata| metadata.len());
            let ours = name.starts_with(&format!("{}.", self.filename));
            let holds_data = (name.contains(".incr.") && len > 0)
                || (name.contains(".base.") && len > EMPTY_BASE_LEN_MAX);
            if ours && holds_data {
                let missing = self.manifest_name();
                return Err(LoadError::of(
                    &entry.path(),
                    format!(
                        "there is data here, but {missing}, which says how to read it, is missing"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Removes the temporary files of unfinished work, which a crash has left.
    fn remove_temporary(&self) {
        let prefix = format!("temp-{}", self.filename);
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Opens the last increment for appending.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn open_last(&self) -> io::Result<Option<Increment>> {
        let Some(part) = self.manifest.increments.last() else { return Ok(None) };
        let file = self.files.append_to(&self.path(part))?;
        // Writes of a killed process may not have reached the disk yet.
        file.sync()?;
        let len = fs::metadata(self.path(part))?.len();
        Ok(Some(Increment { seq: part.seq, file, len, seal: None }))
    }

    /// Creates an empty increment behind the others, durably, and names it in the manifest.
    ///
    /// # Errors
    /// Fails if the disk does; the set is then unchanged.
    pub fn add_increment(&mut self) -> io::Result<Increment> {
        let seq = (self.manifest.increment_seq() + 1).max(self.seq_min);
        let part = Part { file: format!("{}.{seq}.incr.aof", self.filename), seq };
        let file = self.files.append_to(&self.path(&part))?;
        file.truncate(0)?;
        file.sync()?;
        self.manifest.increments.push(part);
        self.files.sync_dir(&self.dir).and_then(|()| self.persist()).inspect_err(|_| {
            self.manifest.increments.pop();
        })?;
        Ok(Increment { seq, file, len: 0, seal: None })
    }

    /// Takes back [`FileSet::add_increment`] when nothing was appended to it.
    pub fn remove_increment(&mut self, seq: u64) {
        if let Some(part) = self.manifest.increments.pop_if(|part| part.seq == seq)
            && self.persist().is_ok()
        {
            let _ = fs::remove_file(self.path(&part));
        }
    }

    /// The next base, and the name under which it is written.
    pub fn next_base(&self) -> (Part, PathBuf) {
        let seq = self.manifest.base_seq() + 1;
        let part = Part { file: format!("{}.{seq}.base.rdb", self.filename), seq };
        let temporary = self.dir.join(format!("temp-{}.base.rdb", self.filename));
        (part, temporary)
    }

    /// Makes the log consist of `base` (or `image`, a persistent backend) and the increments from
    /// `seq` on. The files before are deleted.
    ///
    /// # Errors
    /// Fails if the disk does before the new manifest is in force; the set is then unchanged.
    pub fn replace_before(
        &mut self,
        seq: u64,
        base: Option<Part>,
        image: Option<String>,
    ) -> io::Result<()> {
        let mut manifest = self.manifest.clone();
        manifest.history.extend(manifest.base.take());
        let (old, kept) = manifest.increments.into_iter().partition(|part| part.seq < seq);
        manifest.history.extend::<Vec<_>>(old);
        (manifest.increments, manifest.base, manifest.image) = (kept, base, image);
        let before = std::mem::replace(&mut self.manifest, manifest);
        if let Err(error) = self.persist() {
            self.manifest = before;
            return Err(error);
        }
        self.delete_history();
        Ok(())
    }

    /// Deletes replaced files. What fails is tried again at the next start.
    pub fn delete_history(&mut self) {
        if self.manifest.history.is_empty() {
            return;
        }
        // Sequence numbers go on from the highest ever used.
        self.seq_min = self.seq_min.max(self.manifest.increment_seq() + 1);
        let dir = self.dir.clone();
        self.manifest.history.retain(|part| match fs::remove_file(dir.join(&part.file)) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        if let Err(error) = self.persist() {
            tracing::warn!(%error, "the manifest of the append-only file still names deleted files");
        }
    }

    /// Bytes of all files but the last increment.
    pub fn closed_bytes(&self) -> u64 {
        let increments = &self.manifest.increments;
        let closed = &increments[..increments.len().saturating_sub(1)];
        let parts = self.manifest.base.iter().chain(closed);
        parts.map(|part| fs::metadata(self.path(part)).map_or(0, |metadata| metadata.len())).sum()
    }
}
