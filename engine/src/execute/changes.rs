//! [`Changes`]: what a call leaves behind besides its reply.

use super::effects::Effects;
use crate::clients::{Client, Event, Message};
use crate::engine::Engine;
use crate::notify::blocking::{Block, LateReply, Waiter};
use crate::notify::tracking::{Issuer, Stale};
use crate::peers::Errand;
use crate::tuning::OutputClass;
use resp::Reply;
use runtime::Now;
use smallvec::SmallVec;
use std::sync::Arc;
use storage::{Db, Position};

/// Keys that may serve somebody who waits, collected while locks were held.
pub(crate) type Ready = SmallVec<[(Db, Box<[u8]>); 1]>;

/// Everything a call leaves behind besides its reply. The handler fills it through [`Cx`](crate::Cx); under
/// the locks it is settled; what then is still in it is done once they are gone.
///
/// Nearly every call leaves a number of changes and a position at most, so the rest is in a box.
#[derive(Default)]
pub(crate) struct Changes {
    /// Changes made, as Redis counts them (`rdb_changes_since_last_save`).
    pub count: u64,
    /// The position in a stream of effects that the reply depends on.
    pub position: Option<Position>,
    /// Where in the output that reply begins.
    pub start: usize,
    rest: Option<Box<Rest>>,
}

/// The rarer part of [`Changes`].
#[derive(Default)]
pub(crate) struct Rest {
    /// The effects to log.
    pub effects: Effects,
    /// Keys of the current database that were not there, while it is told when one is made.
    pub absent: Vec<Box<[u8]>>,
    /// Keys that may serve somebody.
    pub ready: Ready,
    /// Messages to the client whose command it was: they follow its reply.
    pub messages: Vec<Message>,
    /// The keys that caches are told to forget.
    pub stale: Stale,
    /// Nothing was done: the request is to run again.
    pub again: Option<Again>,
    /// The handler wants the session to wait.
    pub block: Option<Block>,
    /// That is a wait for replicas: what to reply when the time is over.
    pub late: Option<LateReply>,
    /// The work of other servers that the session waits for.
    pub errand: Option<Box<Errand>>,
    /// The session waits, for so many microseconds at most.
    pub waiter: Option<(Arc<Waiter>, Option<u64>)>,
}

/// When a request that did nothing is to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// At once, with every shard locked: a script touched a key outside of its locks.
    Widened,
    /// When a key is held no longer.
    Held,
}

impl Changes {
    /// For a call whose reply begins at `start`.
    #[inline(always)]
    pub fn at(start: usize) -> Self {
        Changes { start, ..Changes::default() }
    }

    /// The rarer part, made when it is first needed.
    pub fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// The rarer part, if there is one.
    #[inline(always)]
    pub fn rare(&mut self) -> Option<&mut Rest> {
        self.rest.as_deref_mut()
    }

    /// The rarer part, taken out.
    pub fn take_rest(&mut self) -> Option<Box<Rest>> {
        self.rest.take()
    }

    /// Whether the handler left anything to settle under the locks.
    #[inline(always)]
    pub fn is_to_be_settled(&self) -> bool {
        self.count > 0 || self.rest.is_some()
    }

    /// Whether there is anything to do once the locks are gone.
    #[inline(always)]
    pub fn is_to_be_concluded(&self) -> bool {
        self.position.is_some() || self.rest.is_some()
    }

    /// The effects to log.
    #[inline(always)]
    pub fn effects(&self) -> &Effects {
        self.rest.as_ref().map_or(&Effects::Verbatim, |rest| &rest.effects)
    }

    /// Why the request is to run again, if it is.
    pub fn again(&self) -> Option<Again> {
        self.rest.as_ref()?.again
    }

    /// Whether nothing was done because of a key that is held.
    pub fn is_held(&self) -> bool {
        self.again() == Some(Again::Held)
    }

    /// Who waits, if the command has not come to its end.
    pub fn waiter(&self) -> Option<&Waiter> {
        let (waiter, _) = self.rest.as_ref()?.waiter.as_ref()?;
        Some(waiter)
    }

    /// Adds what caches are to be told.
    pub fn make_stale(&mut self, stale: Stale) {
        if !stale.is_empty() {
            self.rest().stale.append(stale);
        }
    }

    /// Takes over what a call within this one did, its effects excepted: how they are logged is
    /// decided here.
    pub fn absorb(&mut self, inner: Changes) {
        self.count += inner.count;
        self.position = inner.position.or(self.position);
        let Some(mut inner) = inner.rest else { return };
        if !inner.ready.is_empty() || !inner.messages.is_empty() || !inner.stale.is_empty() {
            let rest = self.rest();
            rest.ready.append(&mut inner.ready);
            rest.messages.append(&mut inner.messages);
            rest.stale.append(inner.stale);
        }
    }

    /// The keys that may serve somebody, taken out.
    pub fn take_ready(&mut self) -> Ready {
        self.rare().map(|rest| std::mem::take(&mut rest.ready)).unwrap_or_default()
    }
}

impl Rest {
    /// Tells all but those who wait for a key. `by` is the client whose command it was, `own` its
    /// session, if that has just replied.
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
    /// Tells everyone whom changes concern, once the locks are gone, unless a session does so itself.
    /// `by` is the client whose changes they are; the last position of who was served is returned.
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
