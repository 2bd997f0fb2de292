//! A blocking client for the few questions the bench asks a server by itself.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest reply that is waited for, bytes.
const REPLY_MAX: usize = 16 << 20;

/// One connection.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects; every later read and write waits at most five seconds.
    pub fn connect(addr: SocketAddr) -> Result<Client> {
        let limit = Duration::from_secs(5);
        let stream = TcpStream::connect_timeout(&addr, limit)
            .with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Client { stream })
    }

    /// Sends one request, returns the reply's bytes as they came.
    pub fn call(&mut self, words: &[&str]) -> Result<Vec<u8>> {
        let mut request = Vec::new();
        resp::encode_command(words, &mut request);
        self.stream.write_all(&request)?;
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some(length) = resp::skip_reply(&reply) {
                reply.truncate(length);
                return Ok(reply);
            }
            match self.stream.read(&mut chunk)? {
                0 => bail!("the server closed the connection"),
                _ if reply.len() > REPLY_MAX => bail!("a reply longer than {REPLY_MAX} bytes"),
                n => reply.extend_from_slice(&chunk[..n]),
            }
        }
    }

    /// Whether it serves: `false` while it is loading, an error when it will not serve us.
    pub fn is_ready(&mut self) -> Result<bool> {
        let reply = self.call(&["PING"])?;
        match reply.first() {
            Some(b'+') => Ok(true),
            Some(b'-') if reply.starts_with(b"-LOADING") => Ok(false),
            _ => bail!("PING is answered {}", String::from_utf8_lossy(&reply).trim_end()),
        }
    }

    /// The value of one field of INFO.
    pub fn info(&mut self, section: &str, field: &str) -> Result<Option<String>> {
        let reply = self.call(&["INFO", section])?;
        let text = String::from_utf8_lossy(&reply);
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.map(|value| value.trim().to_string()))
    }

    /// Keys in all databases.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub fn all_keys(&mut self) -> Result<u64> {
        let reply = self.call(&["INFO", "keyspace"])?;
        let text = String::from_utf8_lossy(&reply);
        let counts = text.lines().filter_map(|line| {
            let count = line.strip_prefix("db")?.split_once(":keys=")?.1;
            count.split(',').next()?.parse::<u64>().ok()
        });
        Ok(counts.sum())
    }

    /// Keys in the selected database.
    pub fn key_count(&mut self) -> Result<u64> {
        let reply = self.call(&["DBSIZE"])?;
        let text = String::from_utf8_lossy(&reply);
        text.trim_start_matches(':').trim_end().parse().context("DBSIZE")
    }
}
