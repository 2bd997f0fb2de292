//! `SLOWLOG`: commands that took longer than `slowlog-log-slower-than`.

mod recording;

use crate::clients::Client;
use parking_lot::Mutex;
use runtime::Now;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Unique, growing.
    pub id: u64,
    /// Unix seconds.
    pub time_s: u64,
    /// Its execution time in microseconds.
    pub duration_us: u64,
    /// The arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub peer: String,
    /// The client's name.
    pub name: String,
}

impl SlowEntry {
    fn new(args: Vec<Vec<u8>>, duration_us: u64, client: Option<&Client>, now: Now) -> Self {
        SlowEntry {
            id: 0,
            time_s: now.wall_ms / 1000,
            duration_us,
            args,
            peer: client.map_or_else(|| "?:0".to_owned(), |client| client.peer.to_string()),
            name: client.map(|client| client.names.lock().name.clone()).unwrap_or_default(),
        }
    }
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

    /// Adds an entry, giving it its number, and drops the oldest beyond the limit.
    fn add(&self, mut entry: SlowEntry) {
        let max_len = self.max_len.load(Ordering::Relaxed);
        if max_len == 0 {
            return;
        }
        let mut entries = self.entries.lock();
        entry.id = entries.0;
        entries.0 += 1;
        entries.1.push_front(entry);
        entries.1.truncate(max_len);
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
