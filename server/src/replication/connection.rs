//! [`Connection`]: a connection to a master, read a piece at a time with an eye on what else happens.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The time that a read waits before the thread looks for other work.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Longest line that is waited for.
const LINE_MAX: usize = 64 << 10;

/// The stream to a master, plain or through TLS.
#[derive(Clone)]
pub(super) enum Wire {
    Plain(std::sync::Arc<TcpStream>),
    #[cfg(feature = "tls")]
    Encrypted(tls::stream::TlsStream),
}

/// The way to connect to masters (`tls-replication`).
#[derive(Clone, Default)]
pub(super) struct Speech {
    #[cfg(feature = "tls")]
    pub encrypted: Option<std::sync::Arc<tls::ClientConfig>>,
}

impl Wire {
    fn new(
        socket: TcpStream,
        host: &str,
        speech: &Speech,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Wire> {
        #[cfg(feature = "tls")]
        if let Some(config) = &speech.encrypted {
            let (config, patience) = (config.clone(), tls::HANDSHAKE_PATIENCE);
            let stream = tls::stream::TlsStream::connect(socket, host, config, patience, stop)?;
            return Ok(Wire::Encrypted(stream));
        }
        let _ = (host, speech, stop);
        Ok(Wire::Plain(std::sync::Arc::new(socket)))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Wire::Encrypted(stream) => stream.socket(),
        }
    }
}

impl Read for &Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => (&**socket).read(buffer),
            #[cfg(feature = "tls")]
            Wire::Encrypted(stream) => (&mut &*stream).read(buffer),
        }
    }
}

impl Write for &Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => (&**socket).write(bytes),
            #[cfg(feature = "tls")]
            Wire::Encrypted(stream) => (&mut &*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection, with the bytes that were received and not used yet.
pub(super) struct Connection {
    stream: Wire,
    buffer: Vec<u8>,
    timeout: Duration,
    last_contact: Instant,
}

impl Connection {
    /// Connects within `timeout`, which later is how long the other end may be silent.
    /// `stop` is asked while hands are shaken.
    pub fn open(
        (host, port): (&str, u16),
        timeout: Duration,
        speech: &Speech,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(TICK))?;
                    stream.set_write_timeout(Some(timeout))?;
                    match Wire::new(stream, host, speech, stop) {
                        Ok(stream) => {
                            let (buffer, last_contact) = (Vec::new(), Instant::now());
                            return Ok(Connection { stream, buffer, timeout, last_contact });
                        }
                        Err(error) => last = error,
                    }
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Both ends: theirs, ours.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let socket = self.stream.socket();
        Ok((socket.peer_addr()?, socket.local_addr()?))
    }

    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.stream).write_all(bytes)
    }

    /// Another handle for sending, for a thread that says that we are alive.
    pub fn sender(&self) -> Wire {
        self.stream.clone()
    }

    /// Bytes that have come and are not used yet; [`Connection::used`] takes them away.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops bytes at the front that were used.
    pub fn used(&mut self, count: usize) {
        self.buffer.drain(..count);
    }

    /// Reads once, for at most a tick; whether anything came.
    pub fn fill(&mut self) -> io::Result<bool> {
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = (&self.stream).read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "the master closed the connection"))
            }
            Ok(_) => {
                self.last_contact = Instant::now();
                Ok(true)
            }
            Err(error) if is_nothing(&error) && self.last_contact.elapsed() > self.timeout => {
                Err(io::Error::new(ErrorKind::TimedOut, "the master is silent"))
            }
            Err(error) if is_nothing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The next line without its end, if it is there.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            if self.buffer.len() > LINE_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "the master sends no lines"));
            }
            return Ok(None);
        };
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.truncate(line.trim_ascii_end().len());
        Ok(Some(line))
    }

    /// Long work was done meanwhile: the silence was ours.
    pub fn forgive(&mut self) {
        self.last_contact = Instant::now();
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
