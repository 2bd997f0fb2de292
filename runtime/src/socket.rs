//! One non-blocking stream socket, TCP or Unix-domain, with the four things runtimes do to it.

use crate::{Listener, Peer, Stream};
use resp::Output;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Chunks handed to one `writev`.
const SLICES_MAX: usize = 64;

/// Bytes of unread input thrown away when closing, so that the close is not a reset which would
/// destroy answers still on their way.
const DISCARD_MAX: usize = 1 << 20;

/// An accepted connection. Closed when dropped.
#[derive(Debug)]
pub struct Socket(socket2::Socket);

/// How far [`Socket::send`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything is written.
    All,
    /// The kernel takes no more for now.
    Blocked,
    /// The limit was reached; more may be written at once.
    Limit,
}

impl Stream {
    /// Accepts one connection and makes it non-blocking, without Nagle's delay.
    ///
    /// # Errors
    /// Those of `accept`: `WouldBlock` when nobody waits; see [`accept_failed_for_good`].
    pub fn accept(&self) -> io::Result<(Socket, Peer)> {
        let (socket, peer) = match self {
            Stream::Tcp(listener) => {
                let (stream, remote) = listener.accept()?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                (socket2::Socket::from(stream), Peer::Tcp { remote, local })
            }
            Stream::Unix(listener, path) => {
                let (stream, _) = listener.accept()?;
                (OwnedFd::from(stream).into(), Peer::Unix(path.clone()))
            }
        };
        socket.set_nonblocking(true)?;
        Ok((Socket(socket), peer))
    }
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
/// descriptors, out of memory), so that trying again at once would spin. The others concern one
/// peer that vanished while it waited.
pub fn accept_failed_for_good(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    let one_peer = [ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected];
    !one_peer.contains(&error.kind())
}

impl Socket {
    /// Reads once into `buffer`; zero means the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; others mean the connection is gone.
    #[inline]
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Whether the peer's end of input is the very next thing to read.
    pub fn at_end(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match self.0.peek(&mut byte) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Writes what is in `output` until it is empty, the kernel blocks or about `limit` bytes
    /// are gone.
    ///
    /// # Errors
    /// The connection is gone.
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

    /// Ends the sending side and throws away what the peer has sent meanwhile: with unread input
    /// a close would be a reset, and the peer might lose the last answers.
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

    /// Sends a few bytes of farewell, as far as the fresh socket's buffer takes them, and ends the
    /// sending side.
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
