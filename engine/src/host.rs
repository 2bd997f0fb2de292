//! [`Host`]: what the process around an engine does for it.

use crate::observe::figures::Sheet;
use crate::peers::{Answers, Errand, PeerError, Requests, Target};
use runtime::Now;
use std::time::Duration;

/// When work in the background is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once, or not at all.
    Now,
    /// At once, or when what is under way has ended.
    Soon,
    /// When the transaction that asks has ended, at the earliest.
    Later,
}

/// Whether the work has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It has begun.
    Started,
    /// It will.
    Scheduled,
}

/// The process around the engine, as commands use it: files, memory figures, other servers, shutting down.
///
/// Every method has a default that says it is not available, so tests and embedders implement only
/// what they need.
pub trait Host: Send + Sync {
    /// Ends the server (`SHUTDOWN`); `save` as `SAVE`/`NOSAVE` asked, `None` for the default.
    ///
    /// # Errors
    /// When saving failed and the shutdown was therefore given up.
    fn shutdown(&self, _save: Option<bool>, _now: bool, _force: bool) -> Result<(), String> {
        Err("shutdown is not available here".into())
    }

    /// Takes back a shutdown under way (`SHUTDOWN ABORT`).
    ///
    /// # Errors
    /// When none is.
    fn abort_shutdown(&self) -> Result<(), String> {
        Err("No shutdown in progress.".into())
    }

    /// Writes a snapshot (`SAVE`).
    ///
    /// # Errors
    /// When one is running, or writing failed.
    fn save(&self) -> Result<(), String> {
        Err("saving is not available here".into())
    }

    /// Writes a snapshot in the background (`BGSAVE`).
    ///
    /// # Errors
    /// When one is running, or something else with which it does not go together is and it is not
    /// to be begun later.
    fn save_in_background(&self, _when: When) -> Result<Begun, String> {
        Err("saving is not available here".into())
    }

    /// Compacts the journal in the background (`BGREWRITEAOF`).
    ///
    /// # Errors
    /// When there is no journal, or a compaction is running.
    fn rewrite_journal(&self, _when: When) -> Result<Begun, String> {
        Err("The append only file is disabled".into())
    }

    /// Writes the configuration back to its file (`CONFIG REWRITE`); with `all`, every directive,
    /// those at their defaults too.
    ///
    /// # Errors
    /// When there is none, or it cannot be written.
    fn rewrite_config(&self, _all: bool) -> Result<(), String> {
        Err("The server is running without a config file".into())
    }

    /// The text of the `aclfile` (`ACL LOAD`).
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read_acl_file(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("there are no files here".into())
    }

    /// Replaces an `aclfile` at once and durably (`ACL SAVE`).
    ///
    /// # Errors
    /// Why it cannot be written.
    fn write_acl_file(&self, _path: &str, _text: &[u8]) -> Result<(), String> {
        Err("there are no files here".into())
    }

    /// Fills `bytes` with what nobody can guess (`ACL GENPASS`). `seeded` gives the engine's own
    /// random numbers, which are good enough for tests only.
    ///
    /// # Errors
    /// When the system has none.
    fn fill_random(&self, bytes: &mut [u8], seeded: &mut dyn FnMut() -> u64) -> Result<(), String> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&seeded().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    /// Throws the data away and loads it again from disk (`DEBUG RELOAD`, `DEBUG LOADAOF`).
    ///
    /// # Errors
    /// When that failed.
    fn reload(&self, _from_journal: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Begins to follow a master, or stops following: `generation` is the engine's, and whatever belongs to
    /// an earlier one ends by itself. Must not wait for locks.
    fn follow(&self, _source: Option<(&str, u16)>, _generation: u64) {}

    /// A replica waits for all data: has them sent soon, to all who wait.
    fn begin_sync(&self) {}

    /// Puts the figures of an `INFO` section that only the process knows into the sheet: `server`, `memory`,
    /// `cpu`, `persistence`, `clients`, `stats`. They are shown in this order, among the engine's own; a
    /// name given here replaces the engine's row of that name. Other commands read single figures from
    /// here too: `MEMORY STATS` the section `memory`, `LASTSAVE` `rdb_last_save_time` of `persistence`.
    fn figures(&self, _section: &str, _sheet: &mut Sheet) {}

    /// Replaces the data by what the snapshot file holds, without saving first
    /// (`DEBUG RELOAD NOSAVE`). With `keep`, what is there stays; a key that the file has too is
    /// replaced with `merge`, and an error without: what was loaded before it stays.
    ///
    /// # Errors
    /// When that failed.
    fn load_snapshot(&self, _keep: bool, _merge: bool) -> Result<(), String> {
        Err("reloading is not available here".into())
    }

    /// Ends the process at once with a line in its log that says why (`DEBUG PANIC` and its kin);
    /// what it says if it does not.
    fn crash(&self, _why: &str) -> &'static str {
        "crashing is not available here"
    }

    /// Begins the process anew after a while, with the same arguments: a graceful one writes
    /// configuration and data first, the other just ends as a crash does (`DEBUG RESTART`,
    /// `CRASH-AND-RECOVER`). Returns only if it cannot.
    fn restart(&self, _graceful: bool, _delay: Duration) {}

    /// A number that the allocator knows by this name, after setting it to `new` (`DEBUG MALLCTL`);
    /// `None` for one that can only be set.
    ///
    /// # Errors
    /// The system's words for what is not there, or not allowed.
    fn allocator_number(&self, _name: &[u8], _new: Option<i64>) -> Result<Option<i64>, String> {
        Err("No such file or directory".into())
    }

    /// A text that the allocator knows by this name, before setting it to `new`; empty sets what
    /// takes no value.
    ///
    /// # Errors
    /// As [`Host::allocator_number`].
    fn allocator_text(&self, _name: &[u8], _new: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        Err("No such file or directory".into())
    }

    /// Sends requests to another server and waits for its answers (`MIGRATE`).
    fn exchange(&self, _target: &Target<'_>, _requests: &Requests) -> Answers {
        Answers::none(PeerError::Connecting)
    }

    /// Has another thread do what [`Host::exchange`] does for an errand, and then call
    /// [`Engine::end_errand`]. Returns at once.
    ///
    /// # Errors
    /// The errand, when there is no other thread.
    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        Err(errand)
    }

    /// Ends the process without delay, because data and log may not agree: no snapshot, no orderly
    /// shutdown, only what was logged is made durable. Called while shards are locked. Should it
    /// return, the engine refuses every command from then on.
    fn fail_stop(&self, _cause: &str) {}

    /// The time in microseconds since 1970 (`TIME`); `now` is when the request was received.
    fn time_us(&self, now: Now) -> u64 {
        now.wall_ms * 1000
    }

    /// Holds the calling thread for a while (`DEBUG SLEEP`).
    fn sleep(&self, _time: Duration) {}

    /// Gives unused memory back to the system (`MEMORY PURGE`).
    ///
    /// # Errors
    /// When the allocator refuses.
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

    /// Bytes that the calling thread has allocated since it began, less those that it has freed; 0
    /// where the allocator does not tell. Asked often: it should cost next to nothing.
    fn allocated_here(&self) -> i64 {
        0
    }
}

/// A host that offers nothing, for tests.
pub struct NoHost;

impl Host for NoHost {}
