//! The connection to the server that is recorded.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The largest record in bytes; if it is incomplete after that, it is invalid.
const RECORD_MAX: usize = 2 << 30;

/// The time within which a reply must arrive.
const ANSWER: Duration = Duration::from_secs(10);

/// A server's facts about itself.
pub(super) struct About {
    pub server: String,
    pub keys: Option<u64>,
    pub used_memory: Option<u64>,
}

/// Whether bytes may still come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    Open,
    Closed,
}

/// The connection to the server that is recorded.
pub(super) struct Source {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Source {
    /// Connects and authenticates.
    pub(super) fn connect(from: &str, user: Option<&str>, pass: Option<&str>) -> Result<Source> {
        let addr = from.to_socket_addrs().with_context(|| from.to_string())?.next();
        let addr = addr.with_context(|| format!("{from} has no address"))?;
        let stream = TcpStream::connect_timeout(&addr, ANSWER)
            .with_context(|| format!("connecting to {from}"))?;
        stream.set_nodelay(true)?;
        let mut source = Source { stream, buffer: Vec::new() };
        let answer = match (user, pass) {
            (Some(user), Some(pass)) => source.ask(&["AUTH", user, pass])?,
            (None, Some(pass)) => source.ask(&["AUTH", pass])?,
            _ => Ok(()),
        };
        match answer {
            Ok(()) => Ok(source),
            Err(error) => bail!("AUTH is answered: {error}"),
        }
    }

    /// Asks the server for `INFO` and returns the facts found there; facts that it lacks are left
    /// unknown.
    pub(super) fn about(&mut self) -> Result<About> {
        self.send(&["INFO"])?;
        let reply = self.reply()?;
        let text = String::from_utf8_lossy(&reply);
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_string())
        };
        let version = match field("varve_version") {
            Some(version) => format!("varve {version}"),
            None => format!("redis {}", field("redis_version").unwrap_or_else(|| "?".into())),
        };
        let keys = text.lines().filter(|line| line.starts_with("db")).filter_map(|line| {
            let count = line.split_once(":keys=")?.1;
            count.split(',').next()?.parse::<u64>().ok()
        });
        let keys = text.contains("# Keyspace").then(|| keys.sum());
        let used_memory = field("used_memory").and_then(|value| value.parse().ok());
        Ok(About { server: version, keys, used_memory })
    }

    /// Sends a request; the text of its error, if that is the answer.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<Result<(), String>> {
        self.send(words)?;
        let reply = self.reply()?;
        let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_string();
        Ok(if reply[0] == b'-' { Err(text) } else { Ok(()) })
    }

    fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut request = Vec::new();
        resp::encode_command(words, &mut request);
        Ok(self.stream.write_all(&request)?)
    }

    /// Reads one complete reply. Bytes behind it stay in the buffer.
    fn reply(&mut self) -> Result<Vec<u8>> {
        let started = Instant::now();
        loop {
            if let Some(length) = resp::skip_reply(&self.buffer) {
                return Ok(self.buffer.drain(..length).collect());
            }
            if self.fill(Duration::from_millis(100))? == Filled::Closed {
                bail!("the server closed the connection");
            }
            if started.elapsed() > ANSWER {
                bail!("no answer for {} s", ANSWER.as_secs());
            }
        }
    }

    /// Waits for bytes, at most so long.
    pub(super) fn fill(&mut self, wait: Duration) -> Result<Filled> {
        const CHUNK: usize = 1 << 20;
        if self.buffer.len() > RECORD_MAX {
            bail!("a record longer than {RECORD_MAX} bytes");
        }
        self.stream.set_read_timeout(Some(wait))?;
        let kept = self.buffer.len();
        self.buffer.resize(kept + CHUNK, 0);
        let read = self.stream.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(Filled::Closed),
            Ok(_) => Ok(Filled::Open),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Ok(Filled::Open)
                }
                ErrorKind::ConnectionReset => Ok(Filled::Closed),
                _ => Err(error.into()),
            },
        }
    }

    /// The bytes received and not yet consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.buffer.drain(..count);
    }
}
