//! Rewriting the log, or checkpointing a persistent backend; and when that is due.

use super::encode;
use super::files::FileSet;
use super::log::{INCREMENT_LEN_MAX, Increment};
use super::moments::Moment;
use super::{Aof, base, image};
use storage::backend::{Backend, Locks, Snapshot};

use parking_lot::Mutex;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage::{Error, Result};

/// After a rewrite failed, the next automatic one waits for so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Sources of function libraries.
pub type Libraries = Vec<Vec<u8>>;

/// The state of rewrites, and the sizes that decide about the next one.
pub(super) struct Progress {
    state: Mutex<State>,
    /// Bytes of all files but the current increment.
    closed_bytes: AtomicU64,
    /// Bytes of all files after the last rewrite, or at the start.
    size_at_rewrite: AtomicU64,
    pub rewrites: AtomicU64,
}

/// The last rewrite, and the one under way.
#[derive(Default)]
pub(super) struct State {
    pub began: Option<Instant>,
    pub last_took: Option<Duration>,
    pub failed: Option<Instant>,
}

impl Progress {
    pub fn new(size: u64) -> Self {
        Progress {
            state: Mutex::default(),
            closed_bytes: AtomicU64::new(0),
            size_at_rewrite: AtomicU64::new(size),
            rewrites: AtomicU64::new(0),
        }
    }

    pub fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    pub fn set_closed(&self, bytes: u64) {
        self.closed_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn closed_bytes(&self) -> u64 {
        self.closed_bytes.load(Ordering::Relaxed)
    }

    pub fn size_at_rewrite(&self) -> u64 {
        self.size_at_rewrite.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.state.lock().began = Some(Instant::now());
    }

    fn end(&self, ok: bool) {
        let mut state = self.state.lock();
        state.last_took = state.began.take().map(|began| began.elapsed());
        state.failed = (!ok).then(Instant::now);
        self.rewrites.fetch_add(1, Ordering::Relaxed);
    }
}

impl Aof {
    /// Replaces the log by a new base and everything appended since. A persistent backend is its
    /// own base, so the log is replaced by everything appended since (a checkpoint). May block for
    /// long; writes go on meanwhile. `libraries` returns the sources of the function libraries at
    /// the moment of the cut.
    ///
    /// # Errors
    /// Fails if a rewrite is in progress, or cannot be completed. The log is then as good as
    /// before, and rewriting can be tried again.
    pub fn rewrite(
        &self,
        backend: &Arc<dyn Backend>,
        libraries: &mut dyn FnMut() -> Libraries,
    ) -> Result<()> {
        let Some(mut set) = self.set.try_lock() else {
            return Err(Error::backend(
                "Background append only file rewriting already in progress",
            ));
        };
        self.progress.begin();
        let rewrite = || {
            self.ready_to_switch().and_then(|()| match backend.persistent() {
                true => self.checkpoint(&mut set, &**backend, libraries),
                false => self.rewrite_base(&mut set, backend, libraries),
            })
        };
        // After a panic, too, there is an end, and the log is as good as before.
        let outcome = catch_unwind(AssertUnwindSafe(rewrite));
        let outcome = outcome.unwrap_or_else(|_| Err(Error::backend("rewriting panicked")));
        let moments = &self.syncer.log.moments;
        self.progress.set_closed(moments.of(Moment::Stat, || set.closed_bytes()));
        if outcome.is_ok() {
            self.progress.size_at_rewrite.store(self.size(), Ordering::Relaxed);
        }
        self.progress.end(outcome.is_ok());
        outcome
    }

    /// Whether a sync has failed, so that only [`Aof::rewrite`] mends the log.
    pub fn is_broken(&self) -> bool {
        self.syncer.log.health.cannot_sync()
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.progress.closed_bytes() + self.syncer.log.increment_len()
    }

    /// Whether it is time for [`Aof::rewrite`]: the log has grown by `percentage`
    /// (`auto-aof-rewrite-percentage`, 0 for never) since the last one and is larger than `min_size`
    /// bytes (`auto-aof-rewrite-min-size`); or the increment is huge.
    pub fn should_rewrite(&self, percentage: u64, min_size: u64) -> bool {
        let state = self.progress.state();
        let waiting = state.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER);
        if state.began.is_some() || waiting {
            return false;
        }
        drop(state);
        let log = &self.syncer.log;
        if log.increment_len() > INCREMENT_LEN_MAX {
            return true;
        }
        let (size, base) = (self.size(), self.progress.size_at_rewrite().max(1));
        let grown = u128::from(size) * 100 / u128::from(base);
        percentage > 0 && size > min_size && grown >= 100 + u128::from(percentage)
    }

    /// Makes sure that an earlier switch of increments is behind us.
    fn ready_to_switch(&self) -> Result<()> {
        self.syncer.sync();
        if !self.syncer.log.is_switching() {
            return Ok(());
        }
        let text = self.syncer.log.health.text().unwrap_or_default();
        Err(Error::backend(format_args!(
            "the log before the last rewrite is not written yet: {text}"
        )))
    }

    fn rewrite_base(
        &self,
        set: &mut FileSet,
        backend: &Arc<dyn Backend>,
        libraries: &mut dyn FnMut() -> Libraries,
    ) -> Result<()> {
        let next = set.add_increment().map_err(Error::backend)?;
        let seq = next.seq;
        let (snapshot, sources) = self.cut(set, next, backend, libraries)?;
        // Lets the writer follow the switch now, instead of some session's thread.
        self.syncer.sync();
        let (part, temporary) = set.next_base();
        let written = base::write(&*set.files, &temporary, Some(snapshot), &sources);
        written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        let rename = || fs::rename(&temporary, set.path(&part));
        self.syncer.log.moments.of(Moment::Rename, rename).map_err(Error::backend)?;
        set.files.sync_dir(&set.dir).map_err(Error::backend)?;
        set.replace_before(seq, Some(part), None).map_err(Error::backend)?;
        self.syncer.log.replaced_before(seq);
        Ok(())
    }

    /// Begins the snapshot; at its cut, appends turn to `next`.
    fn cut(
        &self,
        set: &mut FileSet,
        next: Increment,
        backend: &Arc<dyn Backend>,
        libraries: &mut dyn FnMut() -> Libraries,
    ) -> Result<(Box<dyn Snapshot>, Libraries)> {
        let seq = next.seq;
        let (mut next, mut sources) = (Some(next), Vec::new());
        let snapshot = backend.clone().snapshot(&mut || {
            if let Some(next) = next.take() {
                self.syncer.log.switch(next);
                sources = libraries();
            }
        });
        let never_cut = || Error::backend("the backend's snapshot made no cut");
        let snapshot =
            snapshot.and_then(|it| if next.is_none() { Ok(it) } else { Err(never_cut()) });
        if next.is_some() {
            set.remove_increment(seq);
        }
        Ok((snapshot?, sources))
    }

    /// Makes the backend's image the base: see the module documentation.
    fn checkpoint(
        &self,
        set: &mut FileSet,
        backend: &dyn Backend,
        libraries: &mut dyn FnMut() -> Libraries,
    ) -> Result<()> {
        let next = set.add_increment().map_err(Error::backend)?;
        let seq = next.seq;
        self.syncer.log.switch(next);
        self.syncer.sync();
        // Transactions that appended before the switch hold their locks until they have committed.
        // The image has no function libraries, so the new increment begins with them.
        backend.transact(Locks::All, 0, &mut |_| {
            for code in libraries() {
                let effect: [&[u8]; 4] = [b"FUNCTION", b"LOAD", b"REPLACE", &code];
                self.syncer.log.append(0, |out| encode::command(out, &effect));
            }
        })?;
        backend.flush()?;
        image::set_from(backend, seq)?;
        let name = backend.name().to_owned();
        set.replace_before(seq, None, Some(name)).map_err(Error::backend)?;
        self.syncer.log.replaced_before(seq);
        Ok(())
    }
}
