//! [`Journal`]: the log of effects in front of, or instead of, a persistent backend.

use crate::Result;
use crate::tx::Db;
use smallvec::SmallVec;
use std::task::Waker;
use std::time::Duration;

/// The stream that the append-only file is.
pub const LOG: u16 = 0;

/// A place in a stream of effects: the one behind an effect. Within a stream, larger is later, across
/// restarts, too; the journal decides what else the number means (see the `aof` module).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The stream: [`LOG`], or one of those that a cluster's groups agree on.
    pub stream: u16,
    /// The place in it; 0 is before every effect.
    pub seq: u64,
}

impl Position {
    /// A position in the append-only file.
    pub const fn log(seq: u64) -> Self {
        Position { stream: LOG, seq }
    }
}

/// The last position in each of some streams, by stream. Usually there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(SmallVec<[Position; 1]>);

impl Positions {
    /// The last position in a stream, with number 0 when there is none.
    #[inline]
    pub fn last(&self, stream: u16) -> Position {
        let found = self.0.iter().find(|position| position.stream == stream);
        found.copied().unwrap_or(Position { stream, seq: 0 })
    }

    /// Notes a position as the last in its stream.
    #[inline]
    pub fn set(&mut self, position: Position) {
        match self.0.iter_mut().find(|last| last.stream == position.stream) {
            Some(last) => *last = position,
            None => {
                let at = self.0.partition_point(|last| last.stream < position.stream);
                self.0.insert(at, position);
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Position> {
        self.0.iter().copied()
    }
}

/// Why a journal does not take an effect, or does not keep one: what the client is told, an error's
/// text with its code and without the dash (`MOVED 7 127.0.0.1:6380`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Box<str>);

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Refusal(text.into())
    }
}

/// The result of appending: the position behind the effect, unless the journal refuses.
pub type Appended = std::result::Result<Position, Refusal>;

/// The fate of an effect, and of everything in its stream before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is kept, as safely as the journal's policy promises.
    Kept,
    /// That is not decided yet.
    Pending,
    /// It never happened, and will not: the request may be tried again where the text says.
    Cut(Refusal),
    /// It never happened, and will not, wherever it is tried.
    Refused(Refusal),
    /// Whether it is kept will not be known here. Who tries again may do it twice.
    Unknown,
}

/// Which replies wait until what they depend on is [kept](Fate::Kept).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withholds {
    /// None.
    #[default]
    Nothing,
    /// Those to what appended something.
    Writes,
    /// All: what a command has seen, even where it then did nothing, may yet be cut.
    Everything,
}

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
/// Appending is done while the shards the effects belong to are still locked, so the order of a
/// stream agrees with the order of the data for every key. `slot` is the cluster's slot of the keys,
/// which decides about the stream; without a cluster it is 0.
pub trait Journal: Send + Sync {
    /// Appends one effect: a command that, replayed in `db`, repeats the change. Only copies into a
    /// buffer. Returns the position after it.
    ///
    /// # Errors
    /// When it cannot be taken; nothing is appended then. What was changed has to be taken back, and
    /// not every storage can ([`Tx::roll_back`](crate::Tx::roll_back)), so a journal that may refuse
    /// says so beforehand, in [`Journal::admit`].
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended;

    /// As [`Journal::append`], for an effect whose RESP text the caller already has.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended;

    /// Appends effects that must be replayed all or not at all (`MULTI` … `EXEC`), each with its
    /// database. Without any it tells the position behind what was appended last.
    ///
    /// # Errors
    /// As [`Journal::append`].
    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended;

    /// Whether effects of `slot` would be taken now. Asked under the locks, before anything that may
    /// write is done there: what is admitted is taken when it is appended under the same locks.
    ///
    /// # Errors
    /// When they would not. The command is answered with it, and not executed.
    fn admit(&self, _slot: u16) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    /// Whether [`Journal::admit`] has to be asked. Does not change.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Appends a remark, text without line ends, which is given back in its place when the log is read
    /// (`Replay::note` in `storage-aof`). A journal that cannot keep remarks passes it over.
    fn note(&self, _text: &str) {}

    /// Hands everything appended up to `position` on: the append-only file's to the operating system,
    /// so that it survives the end of this process (not of the machine). Called before replies are
    /// written; cheap when another thread's call already covered `position`. A failure shows in
    /// [`Journal::failure`].
    fn write_up_to(&self, position: Position);

    /// Returns the fate of everything up to `position`. While that is not decided the waker is kept,
    /// and fires when it may be.
    fn poll(&self, position: Position, waker: &Waker) -> Fate;

    /// What the reply of a command depends on that appended nothing, and saw what was appended up to
    /// `last`. Asked under its locks, after it was executed, where [`Withholds::Everything`] holds. `fence`
    /// is what it ran behind, if a cluster said so. Number 0 is nothing. A journal that does not know by
    /// itself who else may have written answers with a position of a stream of its own, which is decided
    /// when it does.
    fn seen(&self, last: Position, _fence: Option<u64>) -> Position {
        last
    }

    /// Which replies wait for [`Journal::poll`]. May change with the policy, in
    /// [`Journal::set_durability`].
    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    /// Writes and syncs everything appended before the call, whatever the policy (`WAITAOF`). A
    /// journal that keeps no file has nothing to do.
    ///
    /// # Errors
    /// When that failed.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// The policy in force.
    fn durability(&self) -> Durability {
        Durability::Never
    }

    /// Changes the policy; positions appended earlier follow the stricter of both.
    fn set_durability(&self, _durability: Durability) {}

    /// Has every write to the file be preceded by a pause: for tests of slow disks.
    fn set_write_delay(&self, _delay: Duration) {}

    /// Why writes must be refused now (a failed write or sync, a full disk), if they must.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Bytes appended and not yet written to the file.
    fn backlog_bytes(&self) -> u64 {
        0
    }

    /// Figures for `INFO persistence`: name and value, in Redis's names.
    fn stats(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
