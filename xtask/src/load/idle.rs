//! Idle connections, which have each sent one PING: the memory that they cost a server.

use super::Endpoint;
use anyhow::{Context, Result, bail};
use rustls::StreamOwned;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection that is held: a socket, or one with its TLS session.
pub type Idle = Box<dyn Read>;

/// Opens `count` connections, each of which has had its PING answered; they close when dropped.
pub fn connect(server: &Endpoint, count: usize) -> Result<Vec<Idle>> {
    let numbered = |index: usize| one(server).with_context(|| format!("connection {}", index + 1));
    (0..count).map(numbered).collect()
}

fn one(server: &Endpoint) -> Result<Idle> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&server.addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    Ok(match server.shake_hands(&mut stream)? {
        None => {
            ping(&mut stream)?;
            Box::new(stream)
        }
        Some(session) => {
            let mut secure = StreamOwned::new(*session, stream);
            ping(&mut secure)?;
            Box::new(secure)
        }
    })
}

fn ping(stream: &mut (impl Read + Write)) -> Result<()> {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut reply = [0; 128];
    let length = stream.read(&mut reply)?;
    match reply[..length].first() {
        // The echo server's answer to everything of one word is +OK.
        Some(b'+') => Ok(()),
        _ => bail!("PING is answered {}", String::from_utf8_lossy(&reply[..length]).trim_end()),
    }
}
