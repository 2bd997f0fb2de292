//! [`Changes`]: the consequences of a call other than its reply.

use super::effects::Effects;
use crate::clients::Message;
use crate::notify::blocking::{Block, LateReply, Waiter};
use crate::notify::tracking::Stale;
use crate::peers::Errand;
use smallvec::SmallVec;
use std::sync::Arc;
use storage::{Db, Position};

/// Keys that may serve waiting clients, collected under the locks.
pub(crate) type Ready = SmallVec<[(Db, Box<[u8]>); 1]>;

/// All consequences of a call other than its reply. The handler records them through
/// [`Cx`](crate::Cx). Some are settled under the locks; the rest follow once the locks are
/// released.
///
/// Nearly every call leaves at most a number of changes and a position, so everything else is in a
/// box.
#[derive(Default)]
pub(crate) struct Changes {
    /// The number of changes, as Redis counts them (`rdb_changes_since_last_save`).
    pub count: u64,
    /// The position in a stream of effects that the reply depends on.
    pub position: Option<Position>,
    /// The offset in the output at which that reply begins.
    pub start: usize,
    rest: Option<Box<Rest>>,
}

/// The rarer part of [`Changes`].
#[derive(Default)]
pub(crate) struct Rest {
    /// The effects to log.
    pub effects: Effects,
    /// The keys of the current database that did not exist; recorded only while clients are
    /// notified of new keys.
    pub absent: Vec<Box<[u8]>>,
    /// Keys that may serve waiting clients.
    pub ready: Ready,
    /// Messages to the client that sent the command; they follow its reply.
    pub messages: Vec<Message>,
    /// The keys that client-side caches must forget.
    pub stale: Stale,
    /// If set, nothing was done, and the request must run again.
    pub again: Option<Again>,
    /// If set, the handler wants the session to block.
    pub block: Option<Block>,
    /// If the session waits for replicas: the reply for when the time is over.
    pub late: Option<LateReply>,
    /// The requests to another server for which the session waits.
    pub errand: Option<Box<Errand>>,
    /// The wait of the session, with its time-out in microseconds.
    pub waiter: Option<(Arc<Waiter>, Option<u64>)>,
}

/// The condition for running a request again that has done nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// At once, with every shard locked, because a script touched a key outside its locks.
    Widened,
    /// When a key is no longer held.
    Held,
}

impl Changes {
    /// The changes of a call whose reply begins at `start`.
    #[inline(always)]
    pub fn at(start: usize) -> Self {
        Changes { start, ..Changes::default() }
    }

    /// The rarer part, created when it is first needed.
    pub fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// The rarer part, if it exists.
    #[inline(always)]
    pub fn rare(&mut self) -> Option<&mut Rest> {
        self.rest.as_deref_mut()
    }

    /// Takes the rarer part out.
    pub fn take_rest(&mut self) -> Option<Box<Rest>> {
        self.rest.take()
    }

    /// Whether the handler left anything to be settled under the locks.
    #[inline(always)]
    pub fn is_to_be_settled(&self) -> bool {
        self.count > 0 || self.rest.is_some()
    }

    /// Whether anything is left to do once the locks are released.
    #[inline(always)]
    pub fn is_to_be_concluded(&self) -> bool {
        self.position.is_some() || self.rest.is_some()
    }

    /// The effects to log.
    #[inline(always)]
    pub fn effects(&self) -> &Effects {
        self.rest.as_ref().map_or(&Effects::Verbatim, |rest| &rest.effects)
    }

    /// The time at which the request must be executed again, if it must.
    pub fn again(&self) -> Option<Again> {
        self.rest.as_ref()?.again
    }

    /// Whether nothing was done because a key is held.
    pub fn is_held(&self) -> bool {
        self.again() == Some(Again::Held)
    }

    /// The wait of the session, if the command blocks.
    pub fn waiter(&self) -> Option<&Waiter> {
        let (waiter, _) = self.rest.as_ref()?.waiter.as_ref()?;
        Some(waiter)
    }

    /// Adds keys that client-side caches must forget.
    pub fn make_stale(&mut self, stale: Stale) {
        if !stale.is_empty() {
            self.rest().stale.append(stale);
        }
    }

    /// Adds the changes of a call within this one, except for its effects: how those are logged is
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

    /// Takes out the keys that may serve waiting clients.
    pub fn take_ready(&mut self) -> Ready {
        self.rare().map(|rest| std::mem::take(&mut rest.ready)).unwrap_or_default()
    }
}
