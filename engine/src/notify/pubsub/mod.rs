//! Publish and subscribe: who listens to which channel.

mod between_servers;

use crate::clients::{Client, Event, Message};
use crate::text::glob;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;
use resp::Reply;
use std::sync::Arc;

/// The three name spaces of subscriptions; also the index in [`Client::subscriptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Space {
    /// `SUBSCRIBE`
    Channel = 0,
    /// `PSUBSCRIBE`
    Pattern = 1,
    /// `SSUBSCRIBE`
    Shard = 2,
}

type Listeners = HashMap<Bytes, Vec<Arc<Client>>>;

/// All subscriptions of a server.
#[derive(Default)]
pub struct PubSub {
    spaces: [RwLock<Listeners>; 3],
}

/// The client that publishes, and where messages to itself go: they are to follow its reply.
pub type Publisher<'a> = (&'a Arc<Client>, &'a mut Vec<Message>);

impl PubSub {
    /// Adds a subscription; the session keeps its own set, so it is not there yet.
    pub fn subscribe(&self, space: Space, name: &Bytes, client: &Arc<Client>) {
        let mut listeners = self.spaces[space as usize].write();
        listeners.entry(name.clone()).or_default().push(client.clone());
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, space: Space, name: &Bytes, client: &Arc<Client>) {
        let mut listeners = self.spaces[space as usize].write();
        let Some(clients) = listeners.get_mut(name) else { return };
        clients.retain(|c| !Arc::ptr_eq(c, client));
        if clients.is_empty() {
            listeners.remove(name);
        }
    }

    /// Sends `payload` to all subscribers of `channel`, and returns their number. `limit_bytes` is
    /// the output limit of subscribers. Messages to `own` are kept instead of sent.
    pub fn publish<'a>(
        &self,
        shard: bool,
        channel: &'a [u8],
        payload: &'a [u8],
        limit_bytes: usize,
        own: Option<Publisher<'a>>,
    ) -> usize {
        let mut delivery = Delivery { channel, payload, limit_bytes, own, made: None, count: 0 };
        if shard {
            delivery.exact(&self.spaces[Space::Shard as usize].read(), "smessage");
        } else {
            delivery.exact(&self.spaces[Space::Channel as usize].read(), "message");
            delivery.patterns(&self.spaces[Space::Pattern as usize].read());
        }
        delivery.count
    }

    /// Channels with at least one listener, matching `pattern` if given.
    pub fn channels(&self, space: Space, pattern: Option<&[u8]>) -> Vec<Bytes> {
        let listeners = self.spaces[space as usize].read();
        let wanted = |name: &&Bytes| pattern.is_none_or(|p| glob::matches(p, name, false));
        listeners.keys().filter(wanted).cloned().collect()
    }

    /// The subscribers of names for which `wanted` returns true. A client may occur several times.
    pub fn listeners_where(
        &self,
        space: Space,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<Arc<Client>> {
        let listeners = self.spaces[space as usize].read();
        let found = listeners.iter().filter(|(name, _)| wanted(name));
        found.flat_map(|(_, clients)| clients.iter().cloned()).collect()
    }

    /// Number of listeners of one channel.
    pub fn listeners(&self, space: Space, name: &[u8]) -> usize {
        self.spaces[space as usize].read().get(name).map_or(0, Vec::len)
    }

    /// Number of distinct names listened to.
    pub fn len(&self, space: Space) -> usize {
        self.spaces[space as usize].read().len()
    }
}

/// Writes the confirmation of a change of subscriptions, of which there are `count` now: `word` is
/// what changed (`sunsubscribe`), and `name` where.
pub fn confirm(reply: &mut Reply<'_>, word: &str, name: Option<&[u8]>, count: i64) {
    reply.push(3);
    reply.bulk(word.as_bytes());
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count);
}

/// One message on its way to its listeners. The shared bytes are made when the first is found.
struct Delivery<'a> {
    channel: &'a [u8],
    payload: &'a [u8],
    limit_bytes: usize,
    own: Option<Publisher<'a>>,
    made: Option<(Bytes, Bytes)>,
    count: usize,
}

impl Delivery<'_> {
    fn exact(&mut self, listeners: &Listeners, kind: &'static str) {
        for client in listeners.get(self.channel).into_iter().flatten() {
            self.send(kind, None, client);
        }
    }

    fn patterns(&mut self, listeners: &Listeners) {
        for (pattern, clients) in listeners {
            if glob::matches(pattern, self.channel, false) {
                clients.iter().for_each(|c| self.send("pmessage", Some(pattern.clone()), c));
            }
        }
    }

    fn send(&mut self, kind: &'static str, pattern: Option<Bytes>, client: &Arc<Client>) {
        let (channel, payload) = self.made.get_or_insert_with(|| {
            (Bytes::copy_from_slice(self.channel), Bytes::copy_from_slice(self.payload))
        });
        let message = Message { kind, pattern, channel: channel.clone(), payload: payload.clone() };
        self.count += 1;
        match &mut self.own {
            Some((own, kept)) if Arc::ptr_eq(own, client) => kept.push(message),
            _ => client.send(Event::Message(message), self.limit_bytes),
        }
    }
}
