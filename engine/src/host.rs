//! [`Host`]: the services of the process around an engine.

use crate::observe::figures::Sheet;
use crate::peers::{Answers, Errand, PeerError, Requests, Target};
use runtime::Now;
use std::time::Duration;

/// The time at which work in the background is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once, or not at all.
    Now,
    /// At once, or after the current work has ended.
    Soon,
    /// Not before the transaction that asks for it has ended.
    Later,
}

/// Whether the work has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    Started,
    /// It will begin later.
    Scheduled,
}

/// How a server is to end (`SHUTDOWN`).
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// Whether the data are saved, if that was said; otherwise they are if there are save points.
    pub save: Option<bool>,
    /// Whether replicas are not waited for.
    pub now: bool,
    /// Whether it ends even if saving fails.
    pub force: bool,
}

/// The process around the engine, as commands use it: files, memory figures, other servers,
/// shutting down.
///
/// Every method has a default which reports that it is not available, so tests and embedders
/// implement only the methods they need.
pub trait Host: Send + Sync {
    /// Ends the server (`SHUTDOWN`). Returns whether it ends now; if not, replicas are waited for, and
    /// those who wait for replicas are tried again when the shutdown is given up.
    ///
    /// # Errors
    /// Fails if saving has failed; then the shutdown is given up.
    fn shutdown(&self, _end: End) -> Result<bool, String> {
        Err("shutdown is not available here".into())
    }

    /// Checks that the shutdown which the server began is still under way.
    ///
    /// # Errors
    /// The reply to a client that waits for it, once it was given up.
    fn shutdown_is_under_way(&self) -> Result<(), String> {
        Ok(())
    }

    /// Cancels a shutdown that waits for replicas (`SHUTDOWN ABORT`).
    ///
    /// # Errors
    /// Fails if there is none.
    fn abort_shutdown(&self) -> Result<(), String> {
        Err("No shutdown in progress.".into())
    }

    /// Writes a snapshot (`SAVE`).
    ///
    /// # Errors
    /// Fails if a snapshot is being written, or writing fails.
    fn save(&self) -> Result<(), String> {
        Err("saving is not available here".into())
    }

    /// Writes a snapshot in the background (`BGSAVE`).
    ///
    /// # Errors
    /// Fails if a snapshot or other work that excludes it is in progress, and it is not to begin
    /// later.
    fn save_in_background(&self, _when: When) -> Result<Begun, String> {
        Err("saving is not available here".into())
    }

    /// Compacts the journal in the background (`BGREWRITEAOF`).
    ///
    /// # Errors
    /// Fails if there is no journal, or a compaction is running.
    fn rewrite_journal(&self, _when: When) -> Result<Begun, String> {
        Err("The append only file is disabled".into())
    }

    /// Writes the configuration back to its file (`CONFIG REWRITE`). If `all`, writes every
    /// directive, including those at their defaults.
    ///
    /// # Errors
    /// Fails if there is no file, or it cannot be written.
    fn rewrite_config(&self, _all: bool) -> Result<(), String> {
        Err("The server is running without a config file".into())
    }

    /// The text of the `aclfile` (`ACL LOAD`).
    ///
    /// # Errors
    /// Fails, with the reason, if it cannot be read.
    fn read_acl_file(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("there are no files here".into())
    }

    /// Replaces an `aclfile` at once and durably (`ACL SAVE`).
    ///
    /// # Errors
    /// Fails, with the reason, if it cannot be written.
    fn write_acl_file(&self, _path: &str, _text: &[u8]) -> Result<(), String> {
        Err("there are no files here".into())
    }

    /// Fills `bytes` with random bytes that cannot be guessed (`ACL GENPASS`). `seeded` gives the
    /// engine's own random numbers, which are good enough only for tests.
    ///
    /// # Errors
    /// Fails if the system provides none.
    fn fill_random(&self, bytes: &mut [u8], seeded: &mut dyn FnMut() -> u64) -> Result<(), String> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&seeded().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    /// Throws the data away and loads it again from disk (`DEBUG RELOAD`, `DEBUG LOADAOF`).
    ///
    /// # Errors
    /// Fails if the data cannot be loaded.
    fn reload(&self, _from_journal: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Begins to follow a master, or stops following. `generation` is the engine's; everything of
    /// an earlier generation ends by itself. Must not wait for locks.
    fn follow(&self, _source: Option<(&str, u16)>, _generation: u64) {}

    /// Asks for a full synchronization for the replicas that wait for one, to begin soon.
    fn begin_sync(&self) {}

    /// Adds the figures of an `INFO` section that only the process knows: `server`, `memory`,
    /// `cpu`, `persistence`, `clients`, `stats`. They are shown in this order, among the engine's
    /// own; a figure given here replaces the engine's row of the same name. Other commands read
    /// single figures as well: `MEMORY STATS` from the section `memory`, `LASTSAVE`
    /// `rdb_last_save_time` from `persistence`.
    fn figures(&self, _section: &str, _sheet: &mut Sheet) {}

    /// Replaces the data by the contents of the snapshot file, without saving first
    /// (`DEBUG RELOAD NOSAVE`). If `keep`, existing keys stay. A key that is in the file as well is
    /// then replaced if `merge`; otherwise it is an error, and the keys loaded before it stay.
    ///
    /// # Errors
    /// Fails if the data cannot be loaded.
    fn load_snapshot(&self, _keep: bool, _merge: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Ends the process at once, with the reason in its log (`DEBUG PANIC` and similar commands).
    /// Returns the text of an error if it cannot.
    fn crash(&self, _why: &str) -> &'static str {
        "crashing is not available here"
    }

    /// Restarts the process after a while, with the same arguments (`DEBUG RESTART`,
    /// `CRASH-AND-RECOVER`). If `graceful`, it first writes configuration and data; otherwise it
    /// ends as in a crash. Returns only if it cannot.
    fn restart(&self, _graceful: bool, _delay: Duration) {}

    /// The allocator's number of this name, after setting it to `new` (`DEBUG MALLCTL`); `None` for
    /// a number that can only be set.
    ///
    /// # Errors
    /// Fails with the system's error if there is no such number, or it may not be set.
    fn allocator_number(&self, _name: &[u8], _new: Option<i64>) -> Result<Option<i64>, String> {
        Err("No such file or directory".into())
    }

    /// The allocator's text of this name, before setting it to `new`. An empty `new` sets a name
    /// that takes no value.
    ///
    /// # Errors
    /// Fails like [`Host::allocator_number`].
    fn allocator_text(&self, _name: &[u8], _new: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        Err("No such file or directory".into())
    }

    /// Sends requests to another server and waits for its replies (`MIGRATE`).
    fn exchange(&self, _target: &Target<'_>, _requests: &Requests) -> Answers {
        Answers::none(PeerError::Connecting)
    }

    /// Lets another thread do what [`Host::exchange`] does for an errand, and then call
    /// [`Engine::end_errand`](crate::Engine::end_errand). Returns at once.
    ///
    /// # Errors
    /// Returns the errand if there is no other thread.
    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        Err(errand)
    }

    /// Ends the process without delay, because data and log may not agree: without snapshot or
    /// orderly shutdown, but everything logged is made durable. Called while shards are locked. If
    /// it returns, the engine refuses every command from then on.
    fn fail_stop(&self, _cause: &str) {}

    /// The Unix time in microseconds (`TIME`); `now` is the time when the request was received.
    fn time_us(&self, now: Now) -> u64 {
        now.wall_ms * 1000
    }

    /// Holds the calling thread for a while (`DEBUG SLEEP`).
    fn sleep(&self, _time: Duration) {}

    /// Returns unused memory to the system (`MEMORY PURGE`).
    ///
    /// # Errors
    /// Fails if the allocator does.
    fn purge_memory(&self) -> Result<(), String> {
        Ok(())
    }

    /// The allocator's report (`MEMORY MALLOC-STATS`); `None` for an allocator without one.
    fn allocator_report(&self) -> Option<String> {
        None
    }

    /// Bytes of memory the process has allocated.
    fn memory_used(&self) -> u64 {
        0
    }

    /// The number of bytes that the calling thread has allocated since it began, minus those that
    /// it has freed; 0 if the allocator does not tell. This is called often, so it must be very
    /// cheap.
    fn allocated_here(&self) -> i64 {
        0
    }
}

/// A host that offers nothing, for tests.
pub struct NoHost;

impl Host for NoHost {}
