//! [`TlsFilter`]: the server's side of TLS, without input or output of its own.

use resp::Output;
use runtime::filter::{Broken, Filter, Inward};
use rustls::ServerConnection;
use std::io::{self, BufRead, IoSlice, Write};

/// One connection's TLS.
pub struct TlsFilter {
    connection: Box<ServerConnection>,
    records: Records,
}

impl TlsFilter {
    /// Around a fresh connection.
    pub fn new(mut connection: ServerConnection) -> Self {
        // The filter's portion bounds how much is encrypted at once.
        connection.set_buffer_limit(None);
        TlsFilter { connection: Box::new(connection), records: Records::default() }
    }

    /// Lets rustls process its input, and passes on the decrypted bytes.
    fn process(&mut self, plain: &mut dyn FnMut(&[u8])) -> Result<Inward, Broken> {
        let state = self.connection.process_new_packets().map_err(|e| Broken(e.to_string()))?;
        let mut left = state.plaintext_bytes_to_read();
        let ended = state.peer_has_closed();
        let mut reader = self.connection.reader();
        while left > 0 {
            let piece = reader.fill_buf().map_err(|e| Broken(e.to_string()))?;
            let taken = piece.len();
            if taken == 0 {
                break;
            }
            plain(piece);
            reader.consume(taken);
            left = left.saturating_sub(taken);
        }
        Ok(if ended { Inward::Ended } else { Inward::Open })
    }

    /// Moves what rustls has to say to `wire`.
    fn flush(&mut self, wire: &mut Output) {
        while self.connection.wants_write() {
            // Memory takes everything.
            let Ok(1..) = self.connection.write_tls(&mut Wire(wire)) else { return };
        }
    }
}

impl Filter for TlsFilter {
    fn unwrap(
        &mut self,
        mut bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken> {
        self.records.count(bytes);
        let mut inward = Ok(Inward::Open);
        while !bytes.is_empty() && inward == Ok(Inward::Open) {
            inward = match self.connection.read_tls(&mut bytes) {
                Ok(0) => break,
                Ok(_) => self.process(plain),
                Err(error) => Err(Broken(error.to_string())),
            };
        }
        self.flush(wire);
        inward
    }

    fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut Output) {
        // Without a limit, rustls takes everything.
        let taken = self.connection.writer().write_all(plain);
        debug_assert!(taken.is_ok());
        self.flush(wire);
    }

    fn close(&mut self, wire: &mut Output) {
        self.connection.send_close_notify();
        self.flush(wire);
    }

    fn held(&self) -> usize {
        self.records.arrived
    }
}

/// The destination to which rustls writes its records.
struct Wire<'a>(&'a mut Output);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        slices.iter().for_each(|slice| self.0.extend(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of a record's header (RFC 8446 §5.1): type, version, length.
const HEADER: usize = 5;

/// The number of bytes of an unfinished record that have arrived. rustls keeps these bytes without
/// telling their number.
#[derive(Default)]
struct Records {
    arrived: usize,
    /// The length in the header, as far as its bytes have come.
    length: usize,
}

impl Records {
    fn count(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.arrived < HEADER {
                if self.arrived >= HEADER - 2 {
                    self.length = (self.length << 8) | usize::from(first);
                }
                self.arrived += 1;
                bytes = rest;
            } else {
                let taken = bytes.len().min(HEADER + self.length - self.arrived);
                self.arrived += taken;
                bytes = &bytes[taken..];
            }
            if self.arrived >= HEADER && self.arrived == HEADER + self.length {
                *self = Records::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unfinished_record_counts() {
        let wire: Vec<u8> = [&[23, 3, 3, 1, 2][..], &[7; 258], &[22, 3, 3, 0, 0, 21, 3]].concat();
        for step in [1, 2, 3, 7, 100, wire.len()] {
            let mut records = Records::default();
            wire.chunks(step).for_each(|piece| records.count(piece));
            assert_eq!(records.arrived, 2, "in pieces of {step}");
            records.count(&[3, 0, 9, 1, 1]);
            assert_eq!(records.arrived, 7);
        }
    }
}
