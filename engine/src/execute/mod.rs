//! Steps 6 and 7 of a command: its shards are locked, its handler runs, and while they are still
//! locked, its effects are logged and announced.
//!
//! | module | contents |
//! | --- | --- |
//! | `call` | locks the shards and calls the handler |
//! | `settle` | what follows the handler, still under the locks |
//! | `exec` | a transaction's commands, under the locks of all of them |
//! | `errands` | requests to other servers, and what follows them |
//! | `waiters` | serves clients that wait for a key |
//! | `changes` | [`Changes`]: the consequences of a call, from its handler until after the locks |
//! | `effects`, `logging` | what is logged of them |
//! | `conclude` | notifies others of them, once the locks are released |
//! | `containment` | what happens after a panic |
//!
//! A request is passed on as an [`Invocation`]. Under the locks, the invocation and the transaction make a
//! [`Cx`](crate::Cx).

mod call;
mod changes;
mod conclude;
pub(crate) mod containment;
mod effects;
mod errands;
mod exec;
mod logging;
mod settle;
mod waiters;

pub(crate) use changes::{Again, Changes, Ready, Rest};
pub(crate) use effects::Effects;
pub(crate) use logging::log;

use crate::command::CommandEntry;
use crate::session::state::SessionState;
use resp::{Output, Request};
use runtime::Now;

/// One request that is about to run.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub entry: &'a CommandEntry,
    pub request: Request<'a>,
    /// The hash of its first key, if it is known already.
    pub hash: Option<u64>,
}

/// A request with its context: the call, its session, the output for the reply, the time, and the
/// changes that are left to handle once the locks are released.
pub(crate) struct Invocation<'t> {
    pub call: &'t Call<'t>,
    pub session: &'t mut SessionState,
    pub out: &'t mut Output,
    pub now: Now,
    pub changes: &'t mut Changes,
}

impl Invocation<'_> {
    /// The same invocation, to be used once more.
    pub fn again(&mut self) -> Invocation<'_> {
        let Invocation { call, session, out, now, changes } = self;
        Invocation { call, session, out, now: *now, changes }
    }
}
