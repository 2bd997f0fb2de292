//! Redis's replication (PSYNC), both ends, sans-IO.
//!
//! A *history* is a stream of commands that a master wrote. It has an [`Id`], and positions in it
//! are counted in bytes. A replica that has applied a history up to a position can continue from
//! there ([`History::answer`]), if the bytes behind it are still in a [`Backlog`]. Otherwise it is
//! sent all data once, as an RDB file (whose end [`Framing`] finds), and then the stream from the
//! moment of that file on.
//!
//! | at the replica | at the master |
//! | --- | --- |
//! | [`Handshake`]: the requests to a master, line by line | [`History`]: which requests can be continued |
//! | [`Framing`]: where the RDB file ends | [`Backlog`]: the last bytes of the stream |
//! | [`Stream`]: commands out of the bytes, by database and transaction | [`Acks`]: how far each replica is |
//! | `acks` | `Acks`: how far each replica says it is |
//! | `backlog` | `Backlog`: the last bytes of a stream, for replicas that come back and for those that are behind |
//! | `framing` | `Framing`: where the RDB file of a full synchronization begins and ends in what a master sends |
//! | `handshake` | `Handshake`: how a replica introduces itself to its master, line by line |
//! | `history` | `History`: which stream this is, and who may go on in it |
//! | `stream` | `Stream`: commands out of the bytes of a master, each with its database, transactions whole |
//!
//! Nothing here reads a clock, a socket or a random source: times, bytes and ids are passed in.
//!
//! Source: Redis 7.2's `replication.c` for the protocol.

mod acks;
mod backlog;
mod framing;
mod handshake;
mod history;
mod stream;

pub use acks::{Ack, Acks};
pub use backlog::Backlog;
pub use framing::{Framing, FramingError};
pub use handshake::{Handshake, Login, Presence, Resume, Step};
pub use history::{Answer, History, Id};
pub use stream::{Stream, StreamError, Unit, command};
