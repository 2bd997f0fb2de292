//! Steps 6 and 7 of a command: its shards are locked, its handler runs, and while they are still
//! locked, what it did is logged and announced.
//!
//! | file | what |
//! | --- | --- |
//! | `call` | which shards, and the handler under their locks |
//! | `settle` | what follows the handler, still under the locks |
//! | `exec` | a transaction's commands, under the locks of all of them |
//! | `errands` | what other servers are asked to do, and what follows |
//! | `waiters` | who waits for a key is served |
//! | `changes` | [`Changes`]: what a call leaves behind, from its handler until after the locks |
//! | `effects` | what of it is logged |
//! | `containment` | what a panic in between may do |
//!
//! A request travels as a [`Turn`]; under the locks, the turn and they are a [`Cx`](crate::Cx).

mod call;
mod changes;
pub(crate) mod containment;
mod effects;
mod errands;
mod exec;
mod settle;
mod waiters;

pub(crate) use changes::{Again, Changes, Ready, Rest};
pub(crate) use effects::{Effects, log};

use crate::command::CommandEntry;
use crate::session::state::SessionState;
use resp::{Output, Request};
use runtime::Now;

/// One request about to run.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub entry: &'a CommandEntry,
    pub request: Request<'a>,
    /// The first key's hash, when it is known already.
    pub hash: Option<u64>,
}

/// A request on its way: what runs, for whom, where the reply goes, when, and what is left to do
/// once the locks are gone.
pub(crate) struct Turn<'t> {
    pub call: &'t Call<'t>,
    pub session: &'t mut SessionState,
    pub out: &'t mut Output,
    pub now: Now,
    pub changes: &'t mut Changes,
}

impl Turn<'_> {
    /// The same turn once more.
    pub fn again(&mut self) -> Turn<'_> {
        let Turn { call, session, out, now, changes } = self;
        Turn { call, session, out, now: *now, changes }
    }
}
