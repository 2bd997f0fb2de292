//! [`Journal`]: the log of effects in front of, or instead of, a persistent backend.

use crate::Result;
use crate::tx::Db;
use smallvec::SmallVec;
use std::task::Waker;
use std::time::Duration;

/// The stream of the append-only file.
pub const LOG: u16 = 0;

/// In the place of a slot: all slots that this server decides about, which several streams may have.
pub const EVERY_SLOT: u16 = u16::MAX;

/// The stream of positions that stand for one position in each of several streams.
pub const SEVERAL: u16 = u16::MAX;

/// A place in a stream of effects: the one behind an effect. Within a stream a larger position is a
/// later one, also across restarts. Apart from that the journal decides what the number means (see
/// the crate `storage-aof`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The stream: [`LOG`], or that of a group of a cluster.
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

    /// Records a position as the last one in its stream.
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

    /// All positions, in ascending order of their streams.
    pub fn iter(&self) -> impl Iterator<Item = Position> {
        self.0.iter().copied()
    }
}

/// The reason why a journal does not accept an effect, or does not keep it: the text of the error
/// reply, with its code and without the dash (`MOVED 7 127.0.0.1:6380`).
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
    /// It is not decided yet.
    Pending,
    /// It was not kept and never will be. The request may be tried again where the text says.
    Cut(Refusal),
    /// It was not kept, and never can be, wherever it is tried.
    Refused(Refusal),
    /// This server cannot find out whether it is kept. A client that tries again may execute it
    /// twice.
    Unknown,
}

/// Which replies wait until what they depend on is [kept](Fate::Kept).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withholds {
    /// No reply waits.
    #[default]
    Nothing,
    /// Replies to commands that appended an effect.
    Writes,
    /// All replies: even a command that changed nothing may have seen effects that are cut later.
    Everything,
}

/// The condition for sending a reply, as the operator chose it (`appendfsync`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Replies wait until their effects are synced. One sync serves all sessions that wait.
    Always,
    /// Effects are synced once a second in the background; replies do not wait for it.
    #[default]
    EverySecond,
    /// Effects are written, and the server never syncs them.
    Never,
}

/// Accepts the effects of writes, in the order in which they happened.
///
/// Effects are appended while the shards they belong to are still locked, so for every key the
/// order of the stream agrees with that of the data. `slot` is the cluster's slot of the keys,
/// which determines the stream; without a cluster it is 0. With [`EVERY_SLOT`] an effect is appended to the
/// streams of all slots that this server decides about.
pub trait Journal: Send + Sync {
    /// Appends one effect: a command that repeats the change when it is replayed in `db`. This only
    /// copies into a buffer. Returns the position behind the effect.
    ///
    /// # Errors
    /// Fails if the effect is refused; then nothing is appended. The change has to be rolled back,
    /// which not every storage can do ([`Tx::roll_back`](crate::Tx::roll_back)). A journal that may
    /// refuse must therefore say so beforehand, in [`Journal::admit`].
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended;

    /// Like [`Journal::append`], for an effect that is already encoded in RESP.
    ///
    /// # Errors
    /// Fails like [`Journal::append`].
    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended;

    /// Appends effects that must be replayed together or not at all (`MULTI` … `EXEC`), each with
    /// its database. Without effects, returns the position behind the last one appended.
    ///
    /// # Errors
    /// Fails like [`Journal::append`].
    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended;

    /// Whether effects of `slot` would be accepted now. Called under the locks, before anything
    /// there may write. Effects that are admitted are accepted if they are appended under the same
    /// locks.
    ///
    /// # Errors
    /// Fails if they would be refused. The error is the reply, and the command is not executed.
    fn admit(&self, _slot: u16) -> std::result::Result<(), Refusal> {
        Ok(())
    }

    /// Whether [`Journal::admit`] has to be called. The answer never changes.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Appends a remark, text without line ends, which is returned in its place when the log is
    /// read (`Replay::note` in `storage-aof`). A journal that cannot keep remarks ignores it.
    fn note(&self, _text: &str) {}

    /// Passes on everything appended up to `position`. The append-only file writes it to the
    /// operating system, so that it survives the end of this process (but not of the machine).
    /// Called before replies are written; cheap if a call on another thread has already covered
    /// `position`. A failure is reported by [`Journal::failure`].
    fn write_up_to(&self, position: Position);

    /// Returns the fate of everything up to `position`. If it is pending, the waker is kept, and
    /// called when the fate may have been decided.
    fn poll(&self, position: Position, waker: &Waker) -> Fate;

    /// The position on which the reply to a command depends that appended nothing, and saw the
    /// effects up to `last`. Called under the command's locks after its execution, if
    /// [`Withholds::Everything`] is in force. `fence` is the cluster's fence behind which it was
    /// executed, if there is one. A position with number 0 depends on nothing. A journal that does
    /// not know whether other servers may have written returns a position in a stream of its own,
    /// whose fate is decided once it knows.
    fn seen(&self, last: Position, _fence: Option<u64>) -> Position {
        last
    }

    /// [`Journal::seen`] for a command behind no fence of one stream, which may have seen the data of
    /// all: `last` returns the last position in a stream of the shards that it used. The position
    /// that is returned may be one in [`SEVERAL`].
    fn seen_several(&self, last: &dyn Fn(u16) -> Position) -> Position {
        self.seen(last(LOG), None)
    }

    /// Passes each of the positions for which one in [`SEVERAL`] stands to `each`; another one as it
    /// is.
    fn parts(&self, position: Position, each: &mut dyn FnMut(Position)) {
        each(position);
    }

    /// Which replies wait for [`Journal::poll`]. This may change when [`Journal::set_durability`]
    /// is called.
    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    /// Writes and syncs everything appended before the call, whatever the policy (`WAITAOF`). A
    /// journal without a file has nothing to do.
    ///
    /// # Errors
    /// Fails if writing or syncing does.
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// The policy in force.
    fn durability(&self) -> Durability {
        Durability::Never
    }

    /// Changes the policy. For positions appended earlier the stricter of both policies applies.
    fn set_durability(&self, _durability: Durability) {}

    /// Delays every write to the file, for tests of slow disks.
    fn set_write_delay(&self, _delay: Duration) {}

    /// The reason why writes must be refused now (a failed write or sync, a full disk), if there is
    /// one.
    fn failure(&self) -> Option<String> {
        None
    }

    /// The number of bytes that are appended and not yet written to the file.
    fn backlog_bytes(&self) -> u64 {
        0
    }

    /// Figures for `INFO persistence`: names, as in Redis, and values.
    fn stats(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
