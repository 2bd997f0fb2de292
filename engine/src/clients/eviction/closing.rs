//! Chooses the clients to evict, and decides when that is checked.

use crate::clients::{Client, ClientFlags, Clients, Ending};
use crate::config::{ConfigStore, Id};
use crate::observe::stats::Stats;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The smallest limit that is applied: with less, no client could connect to set another.
const LIMIT_MIN: u64 = 128 << 10;

/// Looked again after growth by this part of the limit.
const LOOKS_PER_LIMIT: u64 = 64;

/// `maxmemory-clients` in bytes; `None` when there is no limit.
fn limit(config: &ConfigStore) -> Option<u64> {
    let maxmemory = config.memory(Id::Maxmemory);
    let limit = match config.integer(Id::MaxmemoryClients) {
        0 => return None,
        percent @ ..0 if maxmemory > 0 => {
            (u128::from(maxmemory) * u128::from(percent.unsigned_abs()) / 100) as u64
        }
        ..0 => return None,
        bytes => bytes.unsigned_abs(),
    };
    Some(limit.max(LIMIT_MIN))
}

impl Clients {
    /// Applies `maxmemory-clients`, or the `maxmemory` it is a part of.
    pub(crate) fn update_memory_limit(&self, config: &ConfigStore, stats: &Stats) {
        let limited = limit(config).is_some();
        self.eviction.limited.store(limited, Ordering::Relaxed);
        self.evict(config, stats);
    }

    /// Reports that a client's buffers have grown by this many bytes.
    #[cold]
    pub(crate) fn note_growth(&self, bytes: usize, config: &ConfigStore, stats: &Stats) {
        let Some(limit) = limit(config) else { return };
        let bytes = bytes as u64;
        let grown = self.eviction.grown.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if grown >= limit / LOOKS_PER_LIMIT {
            self.evict(config, stats);
        }
    }

    /// Closes those clients that hold most, until the rest holds less than the limit.
    pub(crate) fn evict(&self, config: &ConfigStore, stats: &Stats) {
        let Some(limit) = limit(config) else { return };
        let Some(_evicting) = self.eviction.evicting.try_lock() else { return };
        self.eviction.grown.store(0, Ordering::Relaxed);
        let mut clients = self.list();
        clients.retain(|client| !client.is_killed() && !client.has_flag(ClientFlags::MONITOR));
        let mut held: u64 = clients.iter().map(|client| client.memory() as u64).sum();
        if held < limit {
            return;
        }
        clients.retain(|client| !client.has_flag(ClientFlags::NO_EVICT));
        clients.sort_by_cached_key(|client| client.memory());
        while held >= limit {
            let Some(client) = clients.pop() else {
                tracing::warn!(held, limit, "clients hold too much memory, and none may be closed");
                return;
            };
            held = held.saturating_sub(client.memory() as u64);
            evict(&client, stats);
        }
    }
}

fn evict(client: &Arc<Client>, stats: &Stats) {
    let (id, peer, memory) = (client.id, &client.peer, client.memory());
    tracing::info!(client = id, %peer, memory, "a client is closed for maxmemory-clients");
    stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
    client.end(Ending::Killed);
}
