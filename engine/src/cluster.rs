//! [`Cluster`]: who executes, where several servers agree on that.

use crate::session::state::SessionState;

/// Who is to execute a request; texts are `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This server. Effects go to `stream`; `fence` is what [`Cluster::is_current`] is asked about.
    Serve {
        /// The stream of the slot's effects.
        stream: u16,
        /// Stands for the time during which this server executes: a term of leadership.
        fence: u64,
    },
    /// Another, from now on.
    Moved(Box<str>),
    /// Another, this once.
    Ask(Box<str>),
    /// Nobody at this moment: some of the keys are there, some here.
    TryAgain,
    /// Nobody that is known.
    Down,
}

/// Who executes now, where several servers agree on that ([`Engine::join`]). Without it this server
/// executes everything, and nobody is asked.
pub trait Cluster: Send + Sync {
    /// Who executes requests for `slot` of this session (which may have said `READONLY` or
    /// `ASKING`). Asked before the locks are taken.
    fn route(&self, slot: u16, session: &SessionState) -> Route;

    /// Whether [`Route::Serve`] with this stream and fence would still be the answer. Asked while the
    /// shards of the keys are locked: who steps down lowers the fence first, then takes every shard
    /// once, and knows then that nothing more is executed behind it. Has to be cheap.
    fn is_current(&self, stream: u16, fence: u64) -> bool;
}
