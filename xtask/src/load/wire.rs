//! A non-blocking connection with the bytes that are still to be written, and the beginning of an
//! incomplete reply.

use super::Endpoint;
use super::channel::Channel;
use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use std::io::ErrorKind;
use std::time::Duration;

/// Longest reply that is waited for, bytes: twice Redis's limit of a bulk string.
const REPLY_MAX: usize = 1 << 30;

/// A non-blocking connection with its buffers.
pub(super) struct Wire {
    channel: Channel,
    out: Vec<u8>,
    written: usize,
    partial: Vec<u8>,
}

impl Wire {
    /// Connects, and registers with `poll` under `token`.
    pub(super) fn open(server: &Endpoint, poll: &Poll, token: Token) -> Result<Wire> {
        let addr = server.addr;
        let mut stream = std::net::TcpStream::connect_timeout(&addr, Duration::from_secs(5))
            .with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        let session = server.shake_hands(&mut stream)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, token, interest)?;
        let channel = Channel::new(stream, session);
        Ok(Wire { channel, out: Vec::new(), written: 0, partial: Vec::new() })
    }

    /// Where to append what [`Wire::flush`] is to send.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        &mut self.out
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.channel.write(&self.out[self.written..]) {
                Ok(0) => bail!("the server takes no more"),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(self.channel.flush()?)
    }

    /// Reads until the socket is drained, through `buffer` (shared by all connections, so that it
    /// stays in the cache). `take` gets the received bytes, and returns how many belong to complete
    /// replies. The rest is kept for the next call.
    #[inline]
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<usize>,
    ) -> Result<()> {
        loop {
            let kept = self.partial.len();
            if kept > REPLY_MAX {
                bail!("a reply longer than {REPLY_MAX} bytes");
            }
            if buffer.len() < kept * 2 {
                buffer.resize(kept * 2, 0);
            }
            buffer[..kept].copy_from_slice(&self.partial);
            let room = buffer.len() - kept;
            let got = match self.channel.read(&mut buffer[kept..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let taken = take(&buffer[..kept + got])?;
            self.partial.clear();
            self.partial.extend_from_slice(&buffer[taken..kept + got]);
            if got < room && self.channel.is_plain() {
                return Ok(());
            }
        }
    }
}
