//! Idle connections, which have each sent one PING: the memory that they cost a server.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Opens `count` connections, each of which has had its PING answered; they close when dropped.
pub fn connect(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count).map(|index| one(addr).with_context(|| format!("connection {}", index + 1))).collect()
}

fn one(addr: SocketAddr) -> Result<TcpStream> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&addr, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut reply = [0; 128];
    let length = stream.read(&mut reply)?;
    match reply[..length].first() {
        // The echo server's answer to everything of one word is +OK.
        Some(b'+') => Ok(stream),
        _ => bail!("PING is answered {}", String::from_utf8_lossy(&reply[..length]).trim_end()),
    }
}
