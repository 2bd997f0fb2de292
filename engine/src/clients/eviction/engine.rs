//! Chooses the clients to evict, and decides when that is checked.

use crate::clients::{Client, ClientFlags, Ending};
use crate::config::Id;
use crate::engine::Engine;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The smallest limit that is applied: with less, no client could connect to set another.
const LIMIT_MIN: u64 = 128 << 10;

/// Looked again after growth by this part of the limit.
const LOOKS_PER_LIMIT: u64 = 64;

impl Engine {
    /// `maxmemory-clients` in bytes; `None` when there is no limit.
    fn client_memory_limit(&self) -> Option<u64> {
        let maxmemory = self.config.memory(Id::Maxmemory);
        let limit = match self.config.integer(Id::MaxmemoryClients) {
            0 => return None,
            percent @ ..0 if maxmemory > 0 => {
                (u128::from(maxmemory) * u128::from(percent.unsigned_abs()) / 100) as u64
            }
            ..0 => return None,
            bytes => bytes.unsigned_abs(),
        };
        Some(limit.max(LIMIT_MIN))
    }

    /// Applies `maxmemory-clients`, or the `maxmemory` it is a part of.
    pub(crate) fn update_client_limit(&self) {
        let limited = self.client_memory_limit().is_some();
        self.clients.eviction.limited.store(limited, Ordering::Relaxed);
        self.evict_clients();
    }

    /// Reports that a client's buffers have grown by this many bytes.
    #[cold]
    pub(crate) fn note_client_growth(&self, bytes: usize) {
        let Some(limit) = self.client_memory_limit() else { return };
        let bytes = bytes as u64;
        let grown = self.clients.eviction.grown.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if grown >= limit / LOOKS_PER_LIMIT {
            self.evict_clients();
        }
    }

    /// Closes those clients that hold most, until the rest holds less than the limit.
    pub(crate) fn evict_clients(&self) {
        let Some(limit) = self.client_memory_limit() else { return };
        let Some(_evicting) = self.clients.eviction.evicting.try_lock() else { return };
        self.clients.eviction.grown.store(0, Ordering::Relaxed);
        let mut clients = self.clients.list();
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
            self.evict_client(&client);
        }
    }

    fn evict_client(&self, client: &Arc<Client>) {
        let (id, peer, memory) = (client.id, &client.peer, client.memory());
        tracing::info!(client = id, %peer, memory, "a client is closed for maxmemory-clients");
        self.observe.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
        client.end(Ending::Killed);
    }
}
