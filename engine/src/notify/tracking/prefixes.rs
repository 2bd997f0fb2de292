//! [`Prefixes`]: the clients that are notified of all keys with a prefix. [`Stale`]: notices that
//! wait until a command has replied.

use super::Tracker;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Keys that changed, and whether the client whose command ran changed them last.
type Changed = BTreeMap<Box<[u8]>, bool>;

/// The invalidation notices to send when a command, a transaction or a script is done.
#[derive(Default)]
pub(crate) struct Stale {
    /// To the client whose command it was: one notice each, as [`super::Notice::Stale`] holds it.
    pub(super) own: Vec<Option<Bytes>>,
    /// By prefix: one notice each.
    pub(super) broadcast: BTreeMap<Bytes, Changed>,
}

impl Stale {
    /// Whether there are no notices.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.broadcast.is_empty()
    }

    /// Adds later notices.
    pub fn append(&mut self, later: Stale) {
        self.own.extend(later.own);
        for (prefix, keys) in later.broadcast {
            self.broadcast.entry(prefix).or_default().extend(keys);
        }
    }
}

#[derive(Default)]
struct State {
    by_name: BTreeMap<Bytes, Vec<Arc<Tracker>>>,
    /// The lengths that prefixes have, ascending: a key is looked up once for each.
    lengths: Vec<usize>,
}

/// The clients that asked for broadcasts, by prefix.
#[derive(Default)]
pub(super) struct Prefixes {
    state: RwLock<State>,
    count: AtomicUsize,
}

impl Prefixes {
    /// The number of different prefixes.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a tracker's prefixes out, and puts those of its successor in.
    pub fn replace(&self, before: Option<&Arc<Tracker>>, after: Option<&Arc<Tracker>>) {
        let mut state = self.state.write();
        let State { by_name, lengths } = &mut *state;
        let prefixes_of = |tracker: Option<&Arc<Tracker>>| {
            tracker.map_or(Vec::new(), |tracker| tracker.prefixes.clone())
        };
        for prefix in prefixes_of(before) {
            let Some(trackers) = by_name.get_mut(&prefix) else { continue };
            trackers.retain(|other| before.is_none_or(|before| !Arc::ptr_eq(other, before)));
            if trackers.is_empty() {
                by_name.remove(&prefix);
            }
        }
        for prefix in prefixes_of(after) {
            by_name.entry(prefix).or_default().extend(after.cloned());
        }
        lengths.clear();
        lengths.extend(by_name.keys().map(Bytes::len));
        lengths.sort_unstable();
        lengths.dedup();
        self.count.store(by_name.len(), Ordering::Relaxed);
    }

    /// Adds a key that changed to `stale`, under every prefix that it begins with. `own`: it was
    /// changed by the client whose command runs.
    pub fn collect(&self, key: &[u8], own: bool, stale: &mut Stale) {
        if self.len() == 0 {
            return;
        }
        let state = self.state.read();
        let lengths = state.lengths.iter().take_while(|&&length| length <= key.len());
        for prefix in lengths.filter_map(|&length| state.by_name.get_key_value(&key[..length])) {
            stale.broadcast.entry(prefix.0.clone()).or_default().insert(key.into(), own);
        }
    }

    /// The clients that asked for a prefix, in order of arrival.
    pub fn trackers(&self, prefix: &[u8]) -> Vec<Arc<Tracker>> {
        self.state.read().by_name.get(prefix).cloned().unwrap_or_default()
    }
}
