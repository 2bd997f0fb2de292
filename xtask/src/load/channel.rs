//! Where and how to connect, and the bytes of a connection: those of its socket, or those inside TLS.

use anyhow::{Context, Result};
use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

/// A server's address, and how to talk to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its address.
    pub addr: SocketAddr,
    /// TLS, by these settings; none for plain connections.
    pub tls: Option<Arc<ClientConfig>>,
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Endpoint {
        Endpoint { addr, tls: None }
    }
}

impl Endpoint {
    /// The TLS session of `stream`, a blocking socket connected to this server, once both ends have
    /// agreed on one; none for plain connections.
    pub(super) fn shake_hands(
        &self,
        stream: &mut std::net::TcpStream,
    ) -> Result<Option<Box<ClientConnection>>> {
        let Some(config) = &self.tls else { return Ok(None) };
        let mut session = ClientConnection::new(config.clone(), self.addr.ip().into())?;
        while session.is_handshaking() {
            session.complete_io(stream).with_context(|| format!("TLS with {}", self.addr))?;
        }
        Ok(Some(Box::new(session)))
    }
}

/// A non-blocking socket, and the TLS session in it.
pub(super) struct Channel {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Channel {
    pub(super) fn new(stream: TcpStream, session: Option<Box<ClientConnection>>) -> Channel {
        Channel { stream, session }
    }

    /// Whether a read that does not fill its buffer has emptied the socket: a record of TLS ends wherever
    /// its sender liked.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.session.is_none()
    }

    /// Takes some of `bytes`; `WouldBlock` if the socket takes none.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.stream.write(bytes) };
        // What was taken before goes out first, so that a session holds no more than one such part.
        send(session, &mut self.stream)?;
        let taken = session.writer().write(bytes)?;
        match send(session, &mut self.stream) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(taken),
            sent => sent.map(|()| taken),
        }
    }

    /// Sends what was taken, as far as the socket lets it.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        match send(session, &mut self.stream) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    /// Reads into `room`: 0 at the end, `WouldBlock` once the socket is drained.
    #[inline]
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.stream.read(room) };
        loop {
            match session.reader().read(room) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let refused = |error| io::Error::new(ErrorKind::InvalidData, error);
            session.process_new_packets().map_err(refused)?;
        }
    }
}

fn send(session: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(stream)?;
    }
    Ok(())
}
