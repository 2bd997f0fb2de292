//! [`Source`]: the master that is followed, and the state of the link to it.

use super::Replication;
use replication::Resume;

/// The state of the link to a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// There is none yet, or it broke.
    #[default]
    Down,
    /// It is being made.
    Connecting,
    /// The master is being spoken to.
    Handshake,
    /// All data are being sent or loaded.
    Sync,
    /// The stream is followed.
    Up,
}

impl Link {
    /// As `ROLE` names it.
    pub fn name(self) -> &'static str {
        match self {
            Link::Down => "connect",
            Link::Connecting => "connecting",
            Link::Handshake => "handshake",
            Link::Sync => "sync",
            Link::Up => "connected",
        }
    }
}

/// The master, and the state of the link to it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The state of the link.
    pub link: Link,
    /// The time at which it was last not up, in Unix milliseconds.
    pub down_since_ms: u64,
    /// The time at which the master was last heard from, in Unix milliseconds.
    pub last_io_ms: u64,
    /// Bytes of the file that have come.
    pub file_read: u64,
    /// Bytes that are to come, where that is known.
    pub file_left: Option<u64>,
    /// The stream was followed at some time: it can be gone on with.
    pub can_resume: bool,
}

impl Replication {
    /// The master, and the state of the link to it.
    pub fn source(&self) -> Option<Source> {
        self.source.lock().clone()
    }

    /// The position from which to continue, if the current history can be continued.
    pub fn resume(&self) -> Option<Resume> {
        let can = self.source.lock().as_ref().is_some_and(|source| source.can_resume);
        can.then(|| self.out.resume())
    }

    /// Whether the master is still that of this generation.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        self.generation() == generation
    }
}
