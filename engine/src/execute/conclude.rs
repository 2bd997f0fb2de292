//! The end of a call, once its locks are released: those whom its changes concern are notified.

use super::Rest;
use crate::clients::{Client, Event};
use crate::engine::Engine;
use crate::notify::tracking::Issuer;
use crate::tuning::OutputClass;
use resp::Reply;
use std::sync::Arc;

impl Rest {
    /// Notifies everyone except clients that wait for a key. `by` is the client that sent the
    /// command; `own` is its session, if that has just replied.
    pub fn tell(&mut self, engine: &Engine, by: &Arc<Client>, mut own: Option<Issuer<'_>>) {
        for message in std::mem::take(&mut self.messages) {
            match &mut own {
                Some(own) => message.write(&mut Reply::new(own.out, by.proto())),
                None => {
                    by.send(Event::Message(message), engine.tuning.push_limit(OutputClass::PubSub))
                }
            }
        }
        let stale = std::mem::take(&mut self.stale);
        if !stale.is_empty() {
            engine.notify.tracking.tell_stale(&engine.clients, stale, Some(by.id), own);
        }
    }
}
