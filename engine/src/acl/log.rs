//! [`AclLog`]: the latest refusals, newest first.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Refusals that differ in time alone are one entry if not further apart than this.
const GROUPED_MS: u64 = 60_000;

/// Bytes of a key, channel or name that are kept.
const OBJECT_MAX: usize = 1024;

/// The origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A client.
    TopLevel,
    /// A client, to be queued, or run by `EXEC`.
    Multi,
    /// A script.
    Lua,
}

impl Context {
    /// As `ACL LOG` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// The reason why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Reason {
    /// AUTH failed.
    Auth = 0,
    /// The command is forbidden.
    Command = 1,
    /// A key is.
    Key = 2,
    /// A channel is.
    Channel = 3,
}

impl Reason {
    /// As `ACL LOG` names it.
    pub const fn name(self) -> &'static str {
        ["auth", "command", "key", "channel"][self as usize]
    }
}

/// Refusals of one kind.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The number of such refusals.
    pub count: u64,
    /// The reason why the request was denied.
    pub reason: Reason,
    /// The origin of the request.
    pub context: Context,
    /// The command, key or channel; for AUTH the word `AUTH` or `HELLO`.
    pub object: Vec<u8>,
    /// The user.
    pub user: Vec<u8>,
    /// The latest client, as `CLIENT LIST` shows it.
    pub client: String,
    /// Grows.
    pub id: u64,
    /// Unix milliseconds of the first.
    pub created_ms: u64,
    /// Unix milliseconds of the last.
    pub updated_ms: u64,
}

/// `ACL LOG`: the latest refusals, newest first, similar ones counted together.
#[derive(Default)]
pub struct AclLog {
    entries: Mutex<VecDeque<Denial>>,
    max_len: AtomicUsize,
    next_id: AtomicU64,
    /// Refusals by [`Reason`], for `INFO`.
    pub denied: [AtomicU64; 4],
}

impl AclLog {
    /// Adds a refusal, or counts it with one like it.
    pub(crate) fn add(&self, mut entry: Denial) {
        entry.object.truncate(OBJECT_MAX);
        entry.user.truncate(OBJECT_MAX);
        let mut entries = self.entries.lock();
        let alike = |old: &Denial| {
            (old.reason, old.context) == (entry.reason, entry.context)
                && entry.updated_ms.saturating_sub(old.updated_ms) <= GROUPED_MS
                && old.object == entry.object
                && old.user == entry.user
        };
        match entries.iter().position(alike).and_then(|at| entries.remove(at)) {
            Some(old) => {
                entry.count += old.count;
                (entry.id, entry.created_ms) = (old.id, old.created_ms);
            }
            None => entry.id = self.next_id.fetch_add(1, Ordering::Relaxed),
        }
        entries.push_front(entry);
        entries.truncate(self.max_len.load(Ordering::Relaxed));
    }

    /// The newest entries.
    pub fn newest(&self, count: usize) -> Vec<Denial> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.entries.lock().clear();
    }

    /// Sets `acllog-max-len`. As in Redis, surplus entries are removed with the next refusal.
    pub(crate) fn set_max_len(&self, max_len: usize) {
        self.max_len.store(max_len, Ordering::Relaxed);
    }
}
