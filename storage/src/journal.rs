//! [`Journal`]: the log of effects in front of, or instead of, a persistent backend.

use crate::Result;
use crate::tx::Db;
use std::task::Waker;
use std::time::Duration;

/// A log sequence number: the position behind an effect. Larger is later, across restarts, too;
/// the journal decides what else it means (see the `aof` module).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// When a reply may be sent, as the operator chose it (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Replies wait until their effects are synced; one sync serves every session waiting.
    Always,
    /// Synced once a second in the background.
    #[default]
    EverySecond,
    /// Written, never synced by us.
    Never,
}

/// Takes the effects of writes, in the order in which they happened.
///
/// `append` is called while the shards the effects belong to are still locked, so the order of the
/// log agrees with the order of the data for every key.
pub trait Journal: Send + Sync {
    /// Appends one effect: a command that, replayed in `db`, repeats the change. Only copies into a
    /// buffer. Returns the position after it.
    fn append(&self, db: Db, effect: &[&[u8]]) -> Lsn;

    /// As [`Journal::append`], for an effect whose RESP text the caller already has.
    fn append_encoded(&self, db: Db, resp: &[u8]) -> Lsn;

    /// Appends effects that must be replayed all or not at all (`MULTI` … `EXEC`), each with its
    /// database.
    fn append_atomic(&self, effects: &[(Db, Vec<Vec<u8>>)]) -> Lsn;

    /// Appends a remark, text without line ends, which is given back in its place when the log is read
    /// ([`Replay::note`](crate::aof::Replay::note)). A journal that cannot keep remarks passes it over.
    fn note(&self, _text: &str) {}

    /// Hands everything appended up to `lsn` to the operating system, so that it survives the end
    /// of this process (not of the machine). Called before replies are written; cheap when another
    /// thread's write already covered `lsn`. A failure shows in [`Journal::failure`].
    fn write_up_to(&self, lsn: Lsn);

    /// True when everything up to `lsn` is as durable as the policy says; otherwise registers the
    /// waker, which fires when that becomes true, or when the journal fails.
    ///
    /// # Errors
    /// When writing or syncing failed: what was not yet durable never will be.
    fn poll_durable(&self, lsn: Lsn, waker: &Waker) -> Result<bool>;

    /// Writes and syncs everything appended before the call, whatever the policy (`WAITAOF`). A
    /// journal that keeps no file has nothing to do.
    ///
    /// # Errors
    /// When that failed.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// The policy in force.
    fn durability(&self) -> Durability;

    /// Changes the policy; positions appended earlier follow the stricter of both.
    fn set_durability(&self, durability: Durability);

    /// Has every write to the file be preceded by a pause: for tests of slow disks.
    fn set_write_delay(&self, _delay: Duration) {}

    /// Why writes must be refused now (a failed write or sync, a full disk), if they must.
    fn failure(&self) -> Option<String>;

    /// Bytes appended and not yet written to the file.
    fn backlog_bytes(&self) -> u64;

    /// Figures for `INFO persistence`: name and value, in Redis's names.
    fn stats(&self) -> Vec<(&'static str, String)>;
}
