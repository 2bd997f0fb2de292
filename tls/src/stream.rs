//! [`TlsStream`]: a blocking TLS connection to another server, for replication. One thread reads
//! from it, while another one regularly writes acknowledgements.

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A TLS connection to another server. Time-outs are those of the socket.
#[derive(Clone)]
pub struct TlsStream(Arc<Inner>);

struct Inner {
    socket: TcpStream,
    connection: Mutex<ClientConnection>,
}

impl TlsStream {
    /// Performs the handshake with `host` over `socket`, which may take `patience` in all. `stop`
    /// is called whenever a read from the socket has timed out, and ends the handshake if it
    /// returns true.
    ///
    /// # Errors
    /// Fails with the errors of the socket; with `InvalidData` if the other end cannot be trusted
    /// or does not use TLS; with `TimedOut` if it takes too long or `stop` ends it.
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

    /// Reads from the socket once, and passes what was read to rustls.
    fn take(&self, connection: &mut ClientConnection) -> io::Result<()> {
        if connection.read_tls(&mut &self.socket)? == 0 && connection.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let processed = connection.process_new_packets().map_err(invalid);
        // rustls may have to answer a key update, or to send an alert that says why the connection
        // ends. It does not matter whether an alert arrives.
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
    /// Returns decrypted bytes. If there are none, reads from the socket once, for at most its
    /// time-out; a thread that writes waits meanwhile. Fails with `WouldBlock` if no whole record
    /// has arrived.
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

/// Whether a read has brought nothing for now.
fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
