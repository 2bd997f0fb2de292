//! `SLOWLOG`: commands that took longer than `slowlog-log-slower-than`.

use crate::blocking::Waiter;
use crate::clients::Client;
use crate::command::{Entry, Flag};
use crate::engine::Engine;
use parking_lot::Mutex;
use resp::Request;
use runtime::Now;
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

impl Engine {
    /// A command is over that was not measured by its session: it is counted, and kept if it was
    /// long. `client` as in [`Engine::note_slow`].
    pub(crate) fn note_call(
        &self,
        entry: &Entry,
        request: Request<'_>,
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        self.note_moment(entry, nanos, now);
        self.note_over(entry, request, nanos, client, now);
    }

    /// Counts a command that waited, and keeps it if it was long: once, when it is over. Its moments
    /// were noted as they were.
    pub(crate) fn note_waited(&self, waiter: &Waiter, now: Now) {
        let entry = self.commands.entry(waiter.command);
        self.note_over(entry, waiter.sent(), waiter.spent(), Some(&waiter.client), now);
    }

    fn note_over(
        &self,
        entry: &Entry,
        request: Request<'_>,
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        self.stats.ran(entry.id, 1, nanos);
        self.note_slow(entry, request, nanos, client, now);
    }

    /// Keeps a command in the slow log if it took long. `client` is who sent it: a script is
    /// nobody, as in Redis.
    pub(crate) fn note_slow(
        &self,
        entry: &Entry,
        request: Request<'_>,
        nanos: u64,
        client: Option<&Client>,
        now: Now,
    ) {
        let duration_us = nanos / 1000;
        if !self.slowlog.is_slow(duration_us) || entry.has(Flag::SkipSlowlog) {
            return;
        }
        let args = shorten(self.commands.shown(entry, request), request.len());
        self.slowlog.add(SlowEntry::new(args, duration_us, client, now));
    }

    /// Keeps a run of quick commands that was long as a whole. Which of them it was cannot be told, so
    /// none is blamed: `last` gives the command's name. From now on it could be, for a while.
    pub(crate) fn note_slow_run(
        &self,
        entry: &Entry,
        last: Request<'_>,
        calls: u64,
        nanos: u64,
        client: &Client,
        now: Now,
    ) {
        self.look_closely(now);
        if entry.has(Flag::SkipSlowlog) {
            return;
        }
        let run = format!("... ({calls} in one pipeline, which took so long together)");
        let args = vec![shorten_arg(last.arg(0)), run.into_bytes()];
        self.slowlog.add(SlowEntry::new(args, nanos / 1000, Some(client), now));
    }
}

/// The arguments as Redis keeps them: at most 32, each at most 128 bytes.
fn shorten<'r>(args: impl Iterator<Item = &'r [u8]>, argc: usize) -> Vec<Vec<u8>> {
    let kept = if argc > ARGS_MAX { ARGS_MAX - 1 } else { argc };
    let mut args: Vec<Vec<u8>> = args.take(kept).map(shorten_arg).collect();
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
