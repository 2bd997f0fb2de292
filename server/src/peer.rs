//! Requests to another server over TCP, for `MIGRATE`: sent at once, answered line by line.

use engine::peers::{PeerError, Target};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

/// Longest line of a reply that is read.
const LINE_MAX: u64 = 64 << 10;

/// Sends `requests` and reads `expected` lines: those that came, and what went wrong.
pub(crate) fn exchange(
    target: &Target<'_>,
    requests: &[u8],
    expected: usize,
) -> (Vec<Vec<u8>>, Option<PeerError>) {
    let mut lines = Vec::new();
    let done = connect(target).and_then(|stream| {
        (&stream).write_all(requests).map_err(|_| PeerError::Writing)?;
        let mut reader = BufReader::new(&stream);
        while lines.len() < expected {
            lines.push(line(&mut reader).ok_or(PeerError::Reading)?);
        }
        Ok(())
    });
    (lines, done.err())
}

fn connect(target: &Target<'_>) -> Result<TcpStream, PeerError> {
    let addresses = (target.host, target.port).to_socket_addrs();
    let address = addresses.ok().and_then(|mut all| all.next()).ok_or(PeerError::Connecting)?;
    let stream = TcpStream::connect_timeout(&address, target.timeout).map_err(|error| {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => PeerError::Connecting,
            // Redis connects in the background, and learns of this when it writes.
            _ => PeerError::Writing,
        }
    })?;
    let timeout = Some(target.timeout);
    let set = stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout));
    set.and_then(|()| stream.set_nodelay(true)).map_err(|_| PeerError::Connecting)?;
    Ok(stream)
}

/// The next line without its end; `None` when the connection ended, or nothing came in time.
fn line(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut line).ok()?;
    line.strip_suffix(b"\r\n").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    fn target(port: u16) -> Target<'static> {
        Target { host: "127.0.0.1", port, timeout: Duration::from_millis(200) }
    }

    /// A server that reads once, writes `reply` and hangs up after a while.
    fn server(reply: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            stream.write_all(reply).unwrap();
            thread::sleep(Duration::from_millis(500));
        });
        port
    }

    #[test]
    fn lines_come_back_and_silence_is_told() {
        let (lines, error) = exchange(&target(server(b"+OK\r\n-ERR no\r\n")), b"x\r\n", 2);
        assert_eq!((lines, error), (vec![b"+OK".to_vec(), b"-ERR no".to_vec()], None));
        let (lines, error) = exchange(&target(server(b"+OK\r\n+O")), b"x\r\n", 2);
        assert_eq!((lines, error), (vec![b"+OK".to_vec()], Some(PeerError::Reading)));
    }

    #[test]
    fn nobody_there_is_told() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(exchange(&target(port), b"x\r\n", 1).1, Some(PeerError::Writing));
        let nowhere = Target { host: "host.invalid", ..target(1) };
        assert_eq!(exchange(&nowhere, b"x\r\n", 1).1, Some(PeerError::Connecting));
    }
}
