//! The bare echo server, which shows what a machine's network stack permits if the server does
//! nothing else.
//!
//! It has one thread and one poller. It counts the requests in its input by their lengths and sends
//! a fixed reply to each: `$N…` to two-word requests (which look like reads), `+OK` to all others.

use anyhow::{Result, bail};
use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LISTENER: Token = Token(usize::MAX);

/// Read buffer, bytes; also the longest request that is understood.
const BUFFER: usize = 1 << 20;

/// Output a peer may leave unread before it is dropped.
const OUT_MAX: usize = 64 << 20;

/// A stall to inject, for testing how the load generator accounts for it.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// Before every this many requests …
    pub every: u64,
    /// … sleep so long.
    pub time: Duration,
}

/// Options of the server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Length of the value that two-word requests get, bytes.
    pub value_size: usize,
    /// Injected stalls.
    pub stall: Option<Stall>,
}

/// The command line of `cargo xtask echo`.
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// Port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Bytes of the value that two-word requests get
    #[arg(long, default_value_t = 64)]
    value_size: usize,
}

/// Runs the subcommand, until it is killed.
pub fn run(args: &EchoArgs) -> Result<()> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", args.port))?;
    let options = Options { value_size: args.value_size, stall: None };
    serve(listener, &options, &AtomicBool::new(false)).map(|_| ())
}

struct Peer {
    stream: TcpStream,
    partial: Vec<u8>,
    out: Vec<u8>,
    written: usize,
}

struct Server {
    poll: Poll,
    peers: Vec<Option<Peer>>,
    buffer: Vec<u8>,
    read_reply: Vec<u8>,
    stall: Option<Stall>,
    requests: u64,
}

/// Serves until `stop`; returns how many requests were counted.
pub fn serve(listener: std::net::TcpListener, options: &Options, stop: &AtomicBool) -> Result<u64> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut read_reply = format!("${}\r\n", options.value_size).into_bytes();
    read_reply.resize(read_reply.len() + options.value_size, b'v');
    read_reply.extend_from_slice(b"\r\n");
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (peers, buffer) = (Vec::new(), vec![0; BUFFER]);
    let mut server = Server { poll, peers, buffer, read_reply, stall: options.stall, requests: 0 };
    let mut events = Events::with_capacity(1024);
    while !stop.load(Ordering::Relaxed) {
        match server.poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&listener)?;
            } else {
                server.event(event.token().0);
            }
        }
    }
    Ok(server.requests)
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let free = self.peers.iter().position(Option::is_none);
            let token = free.unwrap_or(self.peers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(token), interest)?;
            let peer = Peer { stream, partial: Vec::new(), out: Vec::new(), written: 0 };
            match free {
                Some(slot) => self.peers[slot] = Some(peer),
                None => self.peers.push(Some(peer)),
            }
        }
        Ok(())
    }

    fn event(&mut self, token: usize) {
        let Some(mut peer) = self.peers.get_mut(token).and_then(Option::take) else { return };
        if self.exchange(&mut peer).is_ok() {
            self.peers[token] = Some(peer);
        }
    }

    /// Reads all there is, answers it, writes; an error means that the peer is gone.
    fn exchange(&mut self, peer: &mut Peer) -> Result<()> {
        loop {
            let kept = peer.partial.len();
            if kept == self.buffer.len() {
                bail!("a request longer than the buffer");
            }
            self.buffer[..kept].copy_from_slice(&peer.partial);
            let got = match peer.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => bail!("closed"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let length = kept + got;
            let taken = self.answer(length, &mut peer.out)?;
            peer.partial.clear();
            peer.partial.extend_from_slice(&self.buffer[taken..length]);
            if length < self.buffer.len() {
                break;
            }
        }
        flush(peer)
    }

    /// Answers the complete requests at the front of the buffer; returns their length.
    fn answer(&mut self, length: usize, out: &mut Vec<u8>) -> Result<usize> {
        let mut at = 0;
        while let Some((words, taken)) = scan(&self.buffer[at..length])? {
            at += taken;
            self.requests += 1;
            if let Some(stall) = self.stall
                && self.requests.is_multiple_of(stall.every)
            {
                std::thread::sleep(stall.time);
            }
            out.extend_from_slice(if words == 2 { &self.read_reply } else { b"+OK\r\n" });
        }
        Ok(at)
    }
}

fn flush(peer: &mut Peer) -> Result<()> {
    while peer.written < peer.out.len() {
        match peer.stream.write(&peer.out[peer.written..]) {
            Ok(n) => peer.written += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock && peer.out.len() < OUT_MAX => {
                return Ok(());
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    peer.out.clear();
    peer.written = 0;
    Ok(())
}

/// Number of words and length of the first request, `None` while it is incomplete.
#[inline]
fn scan(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some((words, mut at)) = header(bytes, b'*')? else { return Ok(None) };
    for _ in 0..words {
        let Some((length, taken)) = header(&bytes[at.min(bytes.len())..], b'$')? else {
            return Ok(None);
        };
        at += taken + length + 2;
    }
    Ok((at <= bytes.len()).then_some((words, at)))
}

/// The number in the line `<kind><number>\r\n`, and the line's length.
#[inline]
fn header(bytes: &[u8], kind: u8) -> Result<Option<(usize, usize)>> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    if first != kind {
        bail!("not RESP");
    }
    let mut number = 0usize;
    for (i, &byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' if number < BUFFER => number = number * 10 + usize::from(byte - b'0'),
            b'\r' => return Ok((i + 1 < rest.len()).then_some((number, i + 3))),
            _ => bail!("not RESP"),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanning_finds_whole_requests_only() {
        let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n";
        assert_eq!(scan(request).unwrap(), Some((3, request.len())));
        for cut in 0..request.len() {
            assert_eq!(scan(&request[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert!(scan(b"GET / HTTP/1.1\r\n").is_err());
        assert!(scan(b"*x\r\n").is_err());
    }
}
