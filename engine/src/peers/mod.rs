//! Communication with other servers, for commands. The engine uses no sockets; its
//! [`Host`](crate::Host) does. Keys that are being sent are held (`holds`).
//!
//! Everything that a server depends on and that may fail has a circuit breaker ([`breaker`],
//! [`breakers`]), so that nobody waits for it again and again.

pub mod breaker;
pub mod breakers;
pub(crate) mod holds;

use crate::failure::Failure;
use crate::notify::blocking::Waiter;
use breakers::Breakers;
use holds::Holds;
use std::sync::Arc;
use std::time::Duration;

/// The state of this server's dealings with others.
#[derive(Default)]
pub struct Peers {
    /// The circuit breakers of what this server depends on.
    pub breakers: Arc<Breakers>,
    /// Keys that are being sent to another server.
    pub(crate) holds: Holds,
}

/// Another server, and how patient to be with it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// The time that connecting, each 64 KiB written and each reply may take.
    pub timeout: Duration,
    /// The time that everything together may take.
    pub limit: Duration,
}

/// Two groups of requests to another server, each request answered by one line. The second group is
/// sent only if every answer to the first was `+OK`.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The requests that authenticate and select the database.
    pub greeting: Vec<u8>,
    /// The number of these requests.
    pub greetings: usize,
    /// The encoded requests of the second group, which do the work.
    pub work: Vec<u8>,
    /// The number of these requests.
    pub works: usize,
}

/// The answers of another server to [`Requests`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// For each request of the second group that was answered: whether the reply was `+OK`.
    pub done: Vec<bool>,
    /// The first error it answered with, without the `-`.
    pub refusal: Option<String>,
    /// The error because of which the remaining answers were not received, if any.
    pub broken: Option<PeerError>,
}

impl Answers {
    /// The answers of a server that could not be spoken to.
    pub fn none(broken: PeerError) -> Self {
        Answers { broken: Some(broken), ..Answers::default() }
    }

    /// The error reply for the client, if there is one.
    pub fn failure(&self) -> Option<Failure> {
        match (&self.refusal, self.broken) {
            (Some(refusal), _) => {
                Some(Failure::text(format!("ERR Target instance replied with error: {refusal}")))
            }
            (None, Some(broken)) => Some(crate::failure::failure(broken.reply())),
            (None, None) => None,
        }
    }
}

/// An error in the communication with another server, displayed in Redis's words where it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerError {
    /// There is no such address, or no server answered there in time.
    Connecting,
    /// The connection was refused, or broke while the requests were sent.
    Writing,
    /// It broke, timed out, or received something invalid, before every reply had arrived.
    Reading,
    /// The server did not answer lately, and is left alone for a while: its breaker is open.
    Silent,
}

impl PeerError {
    /// The error reply of `MIGRATE`.
    pub fn reply(self) -> &'static str {
        match self {
            PeerError::Connecting => "IOERR error or timeout connecting to the client",
            PeerError::Writing => "IOERR error or timeout writing to target instance",
            PeerError::Reading => "IOERR error or timeout reading to target instance",
            PeerError::Silent => {
                "IOERR the target instance did not answer lately, and is tried again in a moment"
            }
        }
    }
}

/// Keys for another server, while their client waits: see [`crate::Host::run_aside`].
pub struct Errand {
    /// The other server's host name or address.
    pub host: String,
    /// Its port; no server listens on port 0.
    pub port: u16,
    /// The time that connecting, and each exchange, may take.
    pub timeout: Duration,
    /// The requests to send.
    pub requests: Requests,
    /// The keys, in the order of the requests.
    pub keys: Vec<Box<[u8]>>,
    /// They stay here, too, and are not held.
    pub copies: bool,
    /// The waiter of the session; set once the client is blocked.
    pub waiter: Option<Arc<Waiter>>,
}

impl Errand {
    /// The server to which it is sent.
    pub fn target(&self) -> Target<'_> {
        let Errand { host, port, timeout, .. } = self;
        Target { host, port: *port, timeout: *timeout, limit: Duration::MAX }
    }

    /// The requests to send to the other server.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }
}
