//! `SLOWLOG`: commands that took longer than `slowlog-log-slower-than`.

use crate::clients::Client;
use crate::monitor::is_secret;
use parking_lot::Mutex;
use resp::Request;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Arguments kept per entry; the last says how many more there were.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Unique, growing.
    pub id: u64,
    /// Unix seconds.
    pub time_s: u64,
    /// How long it took, microseconds.
    pub duration_us: u64,
    /// The arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: String,
}

/// The slow log.
#[derive(Debug)]
pub struct SlowLog {
    /// `slowlog-log-slower-than` in microseconds; negative: off.
    pub threshold_us: AtomicI64,
    /// `slowlog-max-len`.
    pub max_len: AtomicUsize,
    entries: Mutex<(u64, VecDeque<SlowEntry>)>,
}

impl Default for SlowLog {
    fn default() -> Self {
        SlowLog {
            threshold_us: AtomicI64::new(10_000),
            max_len: AtomicUsize::new(128),
            entries: Mutex::default(),
        }
    }
}

impl SlowLog {
    /// Whether a command of this duration belongs in the log.
    #[inline]
    pub fn is_slow(&self, duration_us: u64) -> bool {
        let threshold = self.threshold_us.load(Ordering::Relaxed);
        threshold >= 0 && duration_us >= threshold as u64
    }

    /// Adds an entry, dropping the oldest beyond the limit.
    pub fn add(&self, request: Request<'_>, duration_us: u64, client: &Client, now_ms: u64) {
        let mut entries = self.entries.lock();
        let entry = SlowEntry {
            id: entries.0,
            time_s: now_ms / 1000,
            duration_us,
            args: shorten(request),
            peer: client.peer.to_string(),
            name: client.names.lock().name.clone(),
        };
        entries.0 += 1;
        entries.1.push_front(entry);
        entries.1.truncate(self.max_len.load(Ordering::Relaxed));
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().1.iter().take(count).cloned().collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `SLOWLOG RESET`.
    pub fn clear(&self) {
        self.entries.lock().1.clear();
    }
}

/// The arguments as Redis keeps them: at most 32, each at most 128 bytes.
fn shorten(request: Request<'_>) -> Vec<Vec<u8>> {
    let argc = request.len();
    let kept = if argc > ARGS_MAX { ARGS_MAX - 1 } else { argc };
    let mut args: Vec<Vec<u8>> = request
        .iter()
        .take(kept)
        .enumerate()
        .map(|(at, arg)| match is_secret(request, at) {
            true => b"(redacted)".to_vec(),
            false => shorten_arg(arg),
        })
        .collect();
    if argc > ARGS_MAX {
        args.push(format!("... ({} more arguments)", argc - kept).into_bytes());
    }
    args
}

fn shorten_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    short
}
