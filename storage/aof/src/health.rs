//! The state of the files: the current failure, if there is one, and whether it can be overcome.
//!
//! A failed write (a full disk) is repeated, and forgotten once it succeeds: nothing was lost,
//! because the bytes are still in memory. A failed sync is permanent: the kernel may have dropped
//! the pages, and would report success the next time. Only a rewrite into new files ends it.

use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// The failures in force.
#[derive(Default)]
pub(super) struct Health {
    write_failing: AtomicBool,
    sync_failed: AtomicBool,
    texts: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    write: Option<String>,
    sync: Option<String>,
}

impl Health {
    pub fn cannot_write(&self) -> bool {
        self.write_failing.load(Ordering::Acquire)
    }

    pub fn cannot_sync(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    pub fn failed(&self) -> bool {
        self.cannot_write() || self.cannot_sync()
    }

    /// Returns the error as a text for operators, if there is one.
    pub fn text(&self) -> Option<String> {
        if !self.failed() {
            return None;
        }
        let texts = self.texts.lock();
        texts.sync.clone().or_else(|| texts.write.clone())
    }

    pub fn write_failed(&self, error: &io::Error) {
        let mut texts = self.texts.lock();
        if texts.write.is_none() {
            tracing::error!(%error, "writing to the append-only file failed; retrying every second");
        }
        texts.write = Some(format!("writing to the append-only file failed: {error}"));
        self.write_failing.store(true, Ordering::Release);
    }

    pub fn write_succeeded(&self) {
        if self.cannot_write() {
            self.texts.lock().write = None;
            self.write_failing.store(false, Ordering::Release);
            tracing::info!("the append-only file can be written again; nothing is missing in it");
        }
    }

    pub fn sync_failed(&self, error: &io::Error) {
        let mut texts = self.texts.lock();
        if texts.sync.is_none() {
            tracing::error!(%error, "syncing the append-only file failed; only a rewrite mends it");
        }
        texts.sync = Some(format!(
            "syncing the append-only file failed: {error}; what was not synced may be lost, \
             until BGREWRITEAOF succeeds"
        ));
        self.sync_failed.store(true, Ordering::Release);
    }

    /// Forgets failures of files that are no longer needed.
    pub fn forgive(&self) {
        if self.cannot_sync() {
            self.texts.lock().sync = None;
            self.sync_failed.store(false, Ordering::Release);
        }
    }
}
