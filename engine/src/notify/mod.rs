//! Notifications of clients: of keys that change, of messages, of commands that run.
//!
//! | module | which clients are notified |
//! | --- | --- |
//! | [`keyspace`] | transactions that watch a key; subscribers of keyspace events |
//! | [`blocking`] | sessions that wait for a key |
//! | [`tracking`] | clients that cache keys |
//! | [`pubsub`] | subscribers of channels |
//! | [`monitor`], [`capture`] | clients that are sent every command, as text or as records |

pub mod blocking;
pub mod capture;
pub mod keyspace;
pub mod monitor;
pub mod pubsub;
pub mod tracking;

use crate::clients::Event;
use crate::config::KeyspaceEvents;
use crate::tuning::{OutputClass, Tuning};
use blocking::{Blocking, Waiter};
use capture::Captures;
use keyspace::{Class, Keyspace};
use monitor::Monitors;
use pubsub::{PubSub, Publisher};
use std::sync::Arc;
use storage::Db;
use tracking::Tracking;

/// Everyone who is to be notified.
#[derive(Default)]
pub struct Notify {
    /// Watched keys and keyspace events.
    pub keyspace: Keyspace,
    /// Clients that wait for keys.
    pub blocking: Blocking,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Client-side caching.
    pub tracking: Tracking,
    /// Clients that see every command (`MONITOR`).
    pub monitors: Monitors,
    /// Clients that are sent every request (`CAPTURE`).
    pub captures: Captures,
}

impl Notify {
    /// Registers a waiter; see [`Blocking`].
    pub(crate) fn park(&self, waiter: &Arc<Waiter>) {
        self.keyspace.add_interest();
        self.blocking.add(waiter);
    }

    /// Ends a client's wait with its time-out reply, or with an error. Returns false if the client
    /// does not wait. Once this returns, no key is given to the client.
    pub fn unblock(&self, id: u64, error: Option<&'static str>) -> bool {
        let Some(waiter) = self.blocking.of_client(id).filter(|waiter| waiter.end()) else {
            return false;
        };
        self.unpark(&waiter);
        waiter.client.send(Event::Unblocked { error }, 0);
        true
    }

    /// Has clients that wait for keys that this server does not serve find out who does: each is sent an
    /// error if it is not this server, and waits no longer. To be called again and again in a cluster.
    pub fn reroute(&self, is_served: impl Fn(&[u8]) -> bool) {
        if self.blocking.clients() > 0 {
            let clients = self.blocking.clients_at(|key| !is_served(key));
            clients.iter().for_each(|client| client.send(Event::Rerouted, 0));
        }
    }

    /// Removes a waiter from all its queues.
    pub(crate) fn unpark(&self, waiter: &Arc<Waiter>) {
        self.blocking.remove(waiter);
        self.keyspace.release_interest();
    }

    /// Publishes a keyspace event if its class is listened to; `own` as in [`PubSub::publish`].
    /// Source: Redis's "Keyspace notifications" documentation.
    pub(crate) fn event(
        &self,
        tuning: &Tuning,
        (db, key): (Db, &[u8]),
        (class, event): (Class, &str),
        mut own: Option<Publisher<'_>>,
    ) {
        let events = self.keyspace.events();
        if events.bits() & class as u32 == 0 {
            return;
        }
        let limit = tuning.push_limit(OutputClass::PubSub);
        if events.contains(KeyspaceEvents::KEYSPACE) {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            let own = own.as_mut().map(|(own, kept)| (*own, &mut **kept));
            self.pubsub.publish(false, &channel, event.as_bytes(), limit, own);
        }
        if events.contains(KeyspaceEvents::KEYEVENT) {
            let channel = format!("__keyevent@{db}__:{event}");
            self.pubsub.publish(false, channel.as_bytes(), key, limit, own);
        }
    }
}
