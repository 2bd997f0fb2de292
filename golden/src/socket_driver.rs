//! [`SocketDriver`]: runs scripts against any RESP server.

use crate::transcript::ScriptDriver;
use resp::Value;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The time that a reply may take before the command counts as waiting.
const ANSWER: Duration = Duration::from_millis(400);

/// The time that emptying the server may take: it may still be busy with what an earlier script
/// began.
const EMPTIED: Duration = Duration::from_secs(60);

/// The time for which messages to other clients are awaited.
const ELSEWHERE: Duration = Duration::from_millis(15);

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
}

/// Drives a server through TCP.
pub struct SocketDriver {
    address: SocketAddr,
    protocol: u8,
    connections: BTreeMap<String, Connection>,
}

impl SocketDriver {
    /// A driver for the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        SocketDriver { address, protocol: 2, connections: BTreeMap::new() }
    }

    fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect(self.address).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut connection = Connection { stream, buffer: Vec::new(), closed: false };
        if self.protocol == 3 {
            connection.send(&[b"HELLO".to_vec(), b"3".to_vec()])?;
            connection.read(ANSWER, true)?;
        }
        Ok(connection)
    }
}

impl Connection {
    fn send(&mut self, args: &[Vec<u8>]) -> Result<(), String> {
        let mut bytes = Vec::new();
        resp::encode_command(args, &mut bytes);
        // A server that closed the connection shows when reading.
        match self.stream.write_all(&bytes) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// Reads until `patience` is over, or (with `one`) until an answer is there.
    fn read(&mut self, patience: Duration, one: bool) -> Result<Vec<Option<Value>>, String> {
        let until = Instant::now() + patience;
        let mut values = Vec::new();
        loop {
            while let Some((value, used)) = resp::decode(&self.buffer).map_err(|e| e.to_string())? {
                self.buffer.drain(..used);
                values.push(Some(value));
            }
            // Pushes may come before the answer itself.
            let answered = values.iter().any(|v| !matches!(v, Some(Value::Push(_))));
            let left = until.saturating_duration_since(Instant::now());
            if one && answered && self.buffer.is_empty() && !self.closed {
                // The server may have closed behind its answer.
                self.fill(Duration::from_millis(1), &mut values)?;
            }
            if self.closed || left.is_zero() || one && answered && self.buffer.is_empty() {
                return Ok(values);
            }
            self.fill(left, &mut values)?;
        }
    }

    fn fill(&mut self, wait: Duration, values: &mut Vec<Option<Value>>) -> Result<(), String> {
        let wait = wait.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(wait)).map_err(|e| e.to_string())?;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                self.closed = true;
                values.push(None);
            }
            Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                self.closed = true;
                values.push(None);
            }
            Err(e) => return Err(e.to_string()),
        }
        Ok(())
    }
}

impl ScriptDriver for SocketDriver {
    fn reset(&mut self, protocol: u8) -> Result<(), String> {
        self.connections.clear();
        self.protocol = 2;
        let mut cleaner = self.connect()?;
        cleaner.send(&[b"FLUSHALL".to_vec()])?;
        let cleaned = cleaner.read(EMPTIED, true)?;
        if !matches!(cleaned.first(), Some(Some(Value::Simple(_)))) {
            return Err(format!("FLUSHALL answered {cleaned:?}"));
        }
        self.protocol = protocol;
        Ok(())
    }

    fn send(&mut self, client: &str, args: &[Vec<u8>]) -> Result<(), String> {
        if !self.connections.contains_key(client) {
            let connection = self.connect()?;
            self.connections.insert(client.to_owned(), connection);
        }
        self.connections.get_mut(client).ok_or("no such client")?.send(args)
    }

    fn receive(&mut self, client: &str, awaited: bool) -> Result<Vec<Option<Value>>, String> {
        let connection = self.connections.get_mut(client).ok_or("no such client")?;
        if connection.closed {
            return Ok(Vec::new());
        }
        connection.read(if awaited { ANSWER } else { ELSEWHERE }, awaited)
    }

    fn clients(&self) -> Vec<String> {
        self.connections.keys().cloned().collect()
    }

    fn advance(&mut self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn close(&mut self, client: &str) {
        self.connections.remove(client);
        // Give the server a moment to notice.
        std::thread::sleep(Duration::from_millis(20));
    }
}
