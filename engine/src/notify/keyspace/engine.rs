//! Keyspace events as they are published.

use super::Class;
use crate::config::KeyspaceEvents;
use crate::engine::Engine;
use crate::notify::pubsub;
use crate::tuning::OutputClass;
use storage::Db;

impl Engine {
    /// Publishes a keyspace event if its class is listened to; `own` as in [`PubSub::publish`](pubsub::PubSub::publish). Source: Redis's
    /// "Keyspace notifications" documentation.
    pub fn notify_event(
        &self,
        db: Db,
        key: &[u8],
        class: Class,
        event: &str,
        mut own: Option<pubsub::Publisher<'_>>,
    ) {
        let events = self.notify.keyspace.events();
        if events.bits() & class as u32 == 0 {
            return;
        }
        let limit = self.tuning.push_limit(OutputClass::PubSub);
        if events.contains(KeyspaceEvents::KEYSPACE) {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            let own = own.as_mut().map(|(own, kept)| (*own, &mut **kept));
            self.notify.pubsub.publish(false, &channel, event.as_bytes(), limit, own);
        }
        if events.contains(KeyspaceEvents::KEYEVENT) {
            let channel = format!("__keyevent@{db}__:{event}");
            self.notify.pubsub.publish(false, channel.as_bytes(), key, limit, own);
        }
    }
}
