//! Other servers, as commands speak to them: the engine knows no sockets, its
//! [`Host`](crate::Host) does.

use std::time::Duration;

/// Another server, and how patient to be with it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// How long connecting, and each time nothing can be read or written, may take.
    pub timeout: Duration,
}

/// What kept two servers from speaking to each other; shown as Redis words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// No address, or nobody answered there in time.
    Connecting,
    /// The connection was refused, or broke while the requests were sent.
    Writing,
    /// It broke, or nothing came in time, before every reply was there.
    Reading,
}

impl PeerError {
    /// The error reply of `MIGRATE`.
    pub fn reply(self) -> &'static str {
        match self {
            PeerError::Connecting => "IOERR error or timeout connecting to the client",
            PeerError::Writing => "IOERR error or timeout writing to target instance",
            PeerError::Reading => "IOERR error or timeout reading to target instance",
        }
    }
}
