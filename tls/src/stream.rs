//! [`TlsStream`]: a blocking connection to another server, as replication uses one: a thread reads a
//! piece at a time, and another says now and then that we are alive.

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A connection to another server through TLS. Time-outs are those of the socket.
#[derive(Clone)]
pub struct TlsStream(Arc<Inner>);

struct Inner {
    socket: TcpStream,
    connection: Mutex<ClientConnection>,
}

impl TlsStream {
    /// Shakes hands with `host` over `socket`, whose time-outs bound each step of it.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` where the other end cannot be trusted or speaks no TLS.
    pub fn connect(socket: TcpStream, host: &str, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidInput, error)),
        };
        let mut connection = ClientConnection::new(config, name).map_err(invalid)?;
        while connection.is_handshaking() {
            while connection.wants_write() {
                connection.write_tls(&mut &socket)?;
            }
            if connection.is_handshaking() && connection.read_tls(&mut &socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = connection.process_new_packets() {
                // The alert says why we do not go on; that it cannot be sent changes nothing.
                let _ = connection.write_tls(&mut &socket);
                return Err(invalid(error));
            }
        }
        Ok(TlsStream(Arc::new(Inner { socket, connection: Mutex::new(connection) })))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.0.socket
    }
}

impl Inner {
    fn flush(&self, connection: &mut ClientConnection) -> io::Result<()> {
        while connection.wants_write() {
            connection.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }
}

impl Read for &TlsStream {
    /// What has come; waits for the socket, for as long as its time-out says, where nothing has. Who
    /// writes waits meanwhile.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let inner = &*self.0;
        let mut connection = inner.connection.lock();
        loop {
            match connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            connection.read_tls(&mut &inner.socket)?;
            connection.process_new_packets().map_err(invalid)?;
            // Keys are renewed, and that is answered.
            inner.flush(&mut connection)?;
        }
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

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
