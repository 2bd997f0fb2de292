//! [`Affected`]: who is to hear of a change once the locks are gone.

use crate::clients::{Client, Event, Message};
use crate::engine::Engine;
use crate::tracking::{Own, Stale};
use crate::tuning::OutputClass;
use resp::Reply;
use smallvec::SmallVec;
use std::sync::Arc;
use storage::Db;

/// Keys that may serve somebody who waits, collected while locks were held.
pub(crate) type Ready = SmallVec<[(Db, Box<[u8]>); 1]>;

/// What changes leave to be done when the transaction has ended.
#[derive(Default)]
pub(crate) struct Affected {
    /// Keys that may serve somebody.
    pub ready: Ready,
    /// Messages to the client whose command it was: they follow its reply.
    pub messages: Vec<Message>,
    /// What caches are to be told.
    pub stale: Stale,
}

impl Affected {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.messages.is_empty() && self.stale.is_empty()
    }

    /// Adds what came later.
    pub fn append(&mut self, mut later: Affected) {
        self.ready.append(&mut later.ready);
        self.messages.append(&mut later.messages);
        self.stale.append(later.stale);
    }

    /// Tells all but those who wait for a key. `by` is the client whose command it was, `own` its
    /// session, if that has just replied.
    pub fn tell(&mut self, engine: &Engine, by: &Arc<Client>, mut own: Option<Own<'_>>) {
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
