//! [`TlsFilter`]: the server's side of TLS, without input or output of its own.
//!
//! rustls keeps no bytes here: it works in a buffer of the thread. So a connection that waits owns its keys, and of its
//! input no more than an unfinished record.

use resp::Output;
use runtime::filter::{Broken, Filter, Inward};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeTlsData, EncryptError, UnbufferedStatus};
use std::cell::Cell;

/// The most bytes of input that are kept until there are enough to go on, as in [`rustls::ServerConnection`]: the largest
/// message of a handshake. A record is shorter.
const HELD_MAX: usize = 0xFFFF;

/// The room in which an announcement of the end fits, in bytes.
const GOODBYE: usize = 256;

/// The content of a record, in bytes at most, and what encryption adds to it at most.
const RECORD: usize = 16 * 1024;
const ADDED: usize = 64;

/// The largest buffer that a thread keeps, in bytes.
const KEPT_MAX: usize = 256 * 1024;

thread_local! {
    /// Taken while it is used.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One connection's TLS.
pub struct TlsFilter {
    connection: Box<UnbufferedServerConnection>,
    /// The beginning of a record, or of a message of the handshake.
    held: Vec<u8>,
    /// Whether the peer has announced its end. What it sends after that is not looked at.
    ended: bool,
}

/// The state after one step of rustls.
enum Step {
    /// It goes on at once.
    More,
    /// It has processed all complete records.
    Done,
    Ended,
    Failed(String),
}

impl TlsFilter {
    /// Around a fresh connection.
    pub fn new(connection: UnbufferedServerConnection) -> Self {
        TlsFilter { connection: Box::new(connection), held: Vec::new(), ended: false }
    }

    /// Lets rustls process `records`, and passes on the decrypted bytes. Returns the number of bytes that it is done
    /// with.
    fn process(
        &mut self,
        records: &mut [u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> (usize, Result<Inward, Broken>) {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut records[taken..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        taken += record.discard;
                        plain(record.payload);
                    }
                    Step::More
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, wire),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::More
                }
                Ok(ConnectionState::PeerClosed) => Step::Ended,
                Ok(ConnectionState::ReadEarlyData(_)) => Step::Failed("early data".to_owned()),
                Ok(_) => Step::Done,
                Err(error) => Step::Failed(error.to_string()),
            };
            taken += discard;
            match step {
                Step::More => {}
                Step::Done => return (taken, Ok(Inward::Open)),
                Step::Ended => return (taken, Ok(Inward::Ended)),
                Step::Failed(reason) => {
                    self.last_words(&mut records[taken..], wire);
                    return (taken, Err(Broken(reason)));
                }
            }
        }
    }

    /// Moves what rustls has to say after a failure to `wire`. It says that before it looks at `records`, which it must
    /// not do again.
    fn last_words(&mut self, records: &mut [u8], wire: &mut Output) {
        while self.connection.wants_write() {
            match self.connection.process_tls_records(records).state {
                Ok(ConnectionState::EncodeTlsData(data)) => drop(encode(data, wire)),
                _ => return,
            }
        }
    }

    /// Appends what `encrypt` writes into a buffer of `room` bytes to `wire`, behind what rustls has to say itself.
    fn encrypted(
        &mut self,
        wire: &mut Output,
        mut room: usize,
        encrypt: impl Fn(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) {
        let mut buffer = BUFFER.take();
        loop {
            match self.connection.process_tls_records(&mut self.held).state {
                Ok(ConnectionState::EncodeTlsData(data)) => drop(encode(data, wire)),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if buffer.len() < room {
                        buffer.resize(room, 0);
                    }
                    match encrypt(&mut traffic, &mut buffer) {
                        Ok(written) => wire.extend(&buffer[..written]),
                        Err(EncryptError::InsufficientSize(size)) => {
                            room = size.required_size;
                            continue;
                        }
                        // After 2⁶⁴ records, of which there never are so many.
                        Err(EncryptError::EncryptExhausted) => {}
                    }
                    break;
                }
                // The filter is open, so there is no other state.
                _ => break,
            }
        }
        keep(buffer);
    }
}

type Traffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Gives a buffer back to the thread, unless it has become large.
fn keep(buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_MAX {
        BUFFER.set(buffer);
    }
}

/// Appends a message of rustls' own to `wire`.
fn encode(
    mut data: EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    wire: &mut Output,
) -> Step {
    use rustls::unbuffered::EncodeError;
    let mut message = Vec::new();
    loop {
        match data.encode(&mut message) {
            Ok(written) => {
                wire.extend(&message[..written]);
                return Step::More;
            }
            Err(EncodeError::InsufficientSize(size)) => message.resize(size.required_size, 0),
            Err(error) => return Step::Failed(error.to_string()),
        }
    }
}

impl Filter for TlsFilter {
    fn unwrap(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken> {
        if self.ended {
            return Ok(Inward::Ended);
        }
        let mut buffer = BUFFER.take();
        buffer.clear();
        buffer.extend_from_slice(&self.held);
        buffer.extend_from_slice(bytes);
        let (taken, inward) = self.process(&mut buffer, plain, wire);
        self.ended = inward != Ok(Inward::Open);
        // Memory exactly for what is left, and none if nothing is.
        self.held = match self.ended {
            true => Vec::new(),
            false => buffer[taken..].to_vec(),
        };
        keep(buffer);
        match self.held.len() > HELD_MAX {
            true => Err(Broken("a message of the handshake is too long".to_owned())),
            false => inward,
        }
    }

    fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut Output) {
        let room = plain.len() + (plain.len() / RECORD + 2) * ADDED;
        self.encrypted(wire, room, |traffic, buffer| traffic.encrypt(plain, buffer));
    }

    fn close(&mut self, wire: &mut Output) {
        self.encrypted(wire, GOODBYE, |traffic, buffer| traffic.queue_close_notify(buffer));
    }

    fn held(&self) -> usize {
        self.held.len()
    }
}
