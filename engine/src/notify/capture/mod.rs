//! `CAPTURE`: sends clients every request with its time and its connection.
//!
//! This is the counterpart of `MONITOR` for programs. It sends records instead of text, reports
//! when connections open and close, and gives times in microseconds. A slow reader loses records,
//! and is told how many, so the server's buffer for it stays bounded.
//!
//! A record is a flat array (a push in RESP3):
//!
//! | record | |
//! | --- | --- |
//! | `open time client db resp` | the client is connected; one for each client at the start |
//! | `request time client db arg…` | a request was admitted: it runs now, or was queued by `MULTI` |
//! | `close time client` | the client has disconnected |
//! | `lost time count` | this number of records did not fit the buffer |
//!
//! Times are microseconds of the server's monotonic clock; requests that arrived together have the
//! same. As in `MONITOR`, administrative commands and credentials are left out.

mod feed;

use crate::clients::{Client, Event};
use parking_lot::Mutex;
use resp::Proto;
use runtime::Now;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that may wait for one reader, unless it says otherwise.
pub const BUFFER_DEFAULT: usize = 32 << 20;

/// The sizes of a buffer that a reader may ask for, bytes.
pub const BUFFER_RANGE: std::ops::RangeInclusive<usize> = (64 << 10)..=(1 << 30);

/// The largest size of a `lost` record, in bytes.
const LOST_BYTES: usize = 80;

/// The clients that capture.
#[derive(Debug, Default)]
pub struct Captures(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    readers: Vec<Reader>,
    /// One record as it is encoded, kept for its capacity.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Reader {
    client: Arc<Client>,
    limit: usize,
    /// Records the client's session has not taken yet.
    records: Vec<u8>,
    lost: u64,
    /// Whether the session was notified of records and has not taken them yet.
    told: bool,
}

impl Reader {
    fn new(client: Arc<Client>, limit: usize) -> Self {
        Reader { client, limit, records: Vec::new(), lost: 0, told: false }
    }

    /// Whether there is room for `bytes` more.
    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.records.len() + self.client.output_bytes.load(Ordering::Relaxed);
        waiting + bytes <= self.limit
    }

    /// Appends a record, or counts it as lost.
    fn offer(&mut self, record: &[u8], now: Now) {
        match self.has_room(record.len() + LOST_BYTES) {
            true => {
                self.say_lost(now);
                self.append(record);
            }
            false => self.lost += 1,
        }
        // A session that has lost records is notified as well, because it may have written some
        // output since.
        if !std::mem::replace(&mut self.told, true) {
            self.client.send(Event::Captured, 0);
        }
    }

    fn append(&mut self, record: &[u8]) {
        let start = self.records.len();
        self.records.extend_from_slice(record);
        if self.client.proto() == Proto::Resp3 {
            self.records[start] = b'>';
        }
    }

    fn say_lost(&mut self, now: Now) {
        if self.lost > 0 {
            let mut record = Vec::with_capacity(LOST_BYTES);
            head(&mut record, "lost", &[now.mono_us], 1);
            bulk(&mut record, std::mem::take(&mut self.lost).to_string().as_bytes());
            self.append(&record);
        }
    }
}

impl State {
    /// Passes the record that `encode` writes to every reader except the client that it is about.
    fn tell(&mut self, about: u64, now: Now, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode(&mut scratch);
        for reader in self.readers.iter_mut().filter(|reader| reader.client.id != about) {
            reader.offer(&scratch, now);
        }
        // One huge request must not keep its memory for ever.
        if scratch.capacity() <= 1 << 20 {
            self.scratch = scratch;
        }
    }
}

/// The record's name and its first numbers; `more` arguments follow.
fn head(out: &mut Vec<u8>, name: &str, numbers: &[u64], more: usize) {
    // A write to a vector cannot fail.
    let _ = write!(out, "*{}\r\n", 1 + numbers.len() + more);
    bulk(out, name.as_bytes());
    for number in numbers {
        bulk(out, number.to_string().as_bytes());
    }
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    let _ = write!(out, "${}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}
