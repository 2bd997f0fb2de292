//! The end of a call, once its locks are released: everyone whom its changes concern is notified.

use super::{Changes, Rest};
use crate::clients::{Client, Event};
use crate::engine::Engine;
use crate::notify::tracking::Issuer;
use crate::tuning::OutputClass;
use resp::Reply;
use runtime::Now;
use std::sync::Arc;
use storage::Position;

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
            engine.tell_stale(stale, Some(by.id), own);
        }
    }
}

impl Engine {
    /// Notifies everyone whom the changes concern, once the locks are released, unless a session
    /// does so itself. `by` is the client that made the changes. Returns the last position of the
    /// clients that were served.
    pub(crate) fn conclude(
        &self,
        mut changes: Changes,
        by: Option<&Arc<Client>>,
        now: Now,
    ) -> Option<Position> {
        let mut rest = changes.take_rest()?;
        match by {
            Some(by) => rest.tell(self, by, None),
            None => self.tell_stale(rest.stale, None, None),
        }
        if rest.ready.is_empty() { None } else { self.serve(rest.ready, now) }
    }
}
