//! A non-blocking stream socket, TCP or Unix-domain, with the operations that runtimes need.

use crate::{Listener, Peer, Stream};
use resp::Output;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The number of chunks in one `writev`.
const SLICES_MAX: usize = 64;

/// The number of bytes of unread input that are discarded on closing. With unread input, closing
/// would reset the connection and destroy replies on their way.
const DISCARD_MAX: usize = 1 << 20;

/// An accepted connection. Closed when dropped.
#[derive(Debug)]
pub struct Socket(socket2::Socket);

/// The result of [`Socket::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything is written.
    All,
    /// The socket accepts no more for now.
    Blocked,
    /// The limit was reached; more may be written at once.
    Limit,
}

impl Stream {
    /// Accepts one connection and makes it non-blocking, without Nagle's delay.
    ///
    /// # Errors
    /// Fails like `accept`, with `WouldBlock` if no connection waits; see
    /// [`accept_failed_for_good`].
    pub fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Stream::Tcp(listener) => {
                let (stream, remote) = listener.accept()?;
                tcp(stream, remote)
            }
            Stream::Unix(listener, path) => unix(listener.accept()?.0.into(), path),
        }
    }

    /// Takes a connection that the system has accepted here, and makes it non-blocking, without Nagle's delay.
    ///
    /// # Errors
    /// Fails if the peer has vanished meanwhile.
    pub fn accepted(&self, fd: OwnedFd) -> io::Result<(Socket, Peer)> {
        match self {
            Stream::Tcp(_) => {
                let stream = TcpStream::from(fd);
                let remote = stream.peer_addr()?;
                tcp(stream, remote)
            }
            Stream::Unix(_, path) => unix(fd, path),
        }
    }
}

fn tcp(stream: TcpStream, remote: SocketAddr) -> io::Result<(Socket, Peer)> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    stream.set_nonblocking(true)?;
    Ok((Socket(stream.into()), Peer::Tcp { remote, local }))
}

fn unix(fd: OwnedFd, path: &str) -> io::Result<(Socket, Peer)> {
    let socket = socket2::Socket::from(fd);
    socket.set_nonblocking(true)?;
    Ok((Socket(socket), Peer::Unix(path.to_owned())))
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(listener) => listener.as_raw_fd(),
            Stream::Unix(listener, _) => listener.as_raw_fd(),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

/// Whether an error of [`Stream::accept`] concerns the listener or the process (out of file
/// descriptors, out of memory), so that trying again at once would fail again. Other errors concern
/// one peer that vanished while it waited.
pub fn accept_failed_for_good(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    let one_peer = [ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected];
    !one_peer.contains(&error.kind())
}

impl Socket {
    /// Reads once into `buffer`. Returns zero if the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived; for any other error the connection is gone.
    #[inline]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Whether the next thing to read is the peer's end of input.
    pub fn at_end(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match self.0.peek(&mut byte) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Writes `output` until it is empty, the socket would block, or about `limit` bytes are
    /// written.
    ///
    /// # Errors
    /// Fails if the connection is gone.
    #[inline(always)]
    pub fn send(&self, output: &mut Output, limit: usize) -> io::Result<Sent> {
        let mut left = limit;
        while !output.is_empty() {
            if left == 0 {
                return Ok(Sent::Limit);
            }
            match self.send_once(output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    output.consume(n);
                    left = left.saturating_sub(n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent::Blocked),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    #[inline]
    fn send_once(&self, output: &Output) -> io::Result<usize> {
        let front = output.front();
        if front.len() == output.len() {
            return (&self.0).write(front);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = output.slices(&mut slices);
        (&self.0).write_vectored(&slices[..filled])
    }

    /// Ends the sending side and discards what the peer has sent meanwhile: with unread input,
    /// closing would reset the connection, and the peer might lose the last replies.
    pub fn finish(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
        let mut scratch = [0; 4096];
        let mut discarded = 0;
        while discarded < DISCARD_MAX {
            match self.receive(&mut scratch) {
                Ok(0) | Err(_) => return,
                Ok(n) => discarded += n,
            }
        }
    }

    /// Sends a few last bytes, as far as the new socket's buffer takes them, and ends the sending
    /// side.
    pub fn refuse(&self, bytes: &[u8]) {
        let _ = (&self.0).write(bytes);
        self.finish();
    }
}

impl AsRef<Socket> for Socket {
    fn as_ref(&self) -> &Socket {
        self
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
