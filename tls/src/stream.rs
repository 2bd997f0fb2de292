//! [`TlsStream`]: a blocking connection to another server, as replication uses one: a thread reads a
//! piece at a time, and another says now and then that we are alive.

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection to another server through TLS. Time-outs are those of the socket.
#[derive(Clone)]
pub struct TlsStream(Arc<Inner>);

struct Inner {
    socket: TcpStream,
    connection: Mutex<ClientConnection>,
}

impl TlsStream {
    /// Shakes hands with `host` over `socket`, within `patience` in all. `stop` is asked whenever a read
    /// of the socket has timed out.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` where the other end cannot be trusted or speaks no TLS;
    /// `TimedOut`, also when it is to stop.
    pub fn connect(
        socket: TcpStream,
        host: &str,
        config: Arc<ClientConfig>,
        patience: Duration,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Self> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidInput, error)),
        };
        let connection = ClientConnection::new(config, name).map_err(invalid)?;
        let inner = Inner { socket, connection: Mutex::new(connection) };
        let until = Instant::now() + patience;
        inner.shake_hands(&|| stop() || Instant::now() >= until)?;
        Ok(TlsStream(Arc::new(inner)))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.0.socket
    }
}

impl Inner {
    fn shake_hands(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        let mut connection = self.connection.lock();
        while connection.is_handshaking() {
            self.flush(&mut connection)?;
            if stop() {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the TLS handshake takes too long",
                ));
            }
            match self.take(&mut connection) {
                Err(error) if is_nothing(&error) => {}
                taken => taken?,
            }
        }
        self.flush(&mut connection)
    }

    /// Reads from the socket once, and has rustls work on it.
    fn take(&self, connection: &mut ClientConnection) -> io::Result<()> {
        if connection.read_tls(&mut &self.socket)? == 0 && connection.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let processed = connection.process_new_packets().map_err(invalid);
        // Keys are renewed, and that is answered; or an alert says why we do not go on, and whether it
        // arrives changes nothing.
        let flushed = self.flush(connection);
        processed.and(flushed)
    }

    fn flush(&self, connection: &mut ClientConnection) -> io::Result<()> {
        while connection.wants_write() {
            connection.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }
}

impl Read for &TlsStream {
    /// What has come. Where nothing has, the socket is read once, for as long as its time-out says; who
    /// writes waits meanwhile. `WouldBlock` when that brought nothing whole.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = &*self.0;
        let mut connection = inner.connection.lock();
        match connection.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        inner.take(&mut connection)?;
        connection.reader().read(buffer)
    }
}

impl Write for &TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut connection = self.0.connection.lock();
        let taken = connection.writer().write(bytes)?;
        self.0.flush(&mut connection)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a read brought nothing, for now.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
