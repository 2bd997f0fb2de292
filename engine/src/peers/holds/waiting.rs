//! Holds keys, and determines which requests have to wait for them.

use super::Holds;
use crate::clients::Event;
use crate::command::{CommandTable, Flag, Group, LockRule};
use crate::execute::{Call, Ready};
use crate::notify::keyspace::Keyspace;
use crate::session::state::{Queued, SessionState};

impl Holds {
    /// Holds keys from now on. The caller has their shards locked.
    pub fn hold(&self, keyspace: &Keyspace, keys: &[Box<[u8]>]) {
        let mut holds = self.0.lock();
        holds.keys.extend(keys.iter().cloned());
        keyspace.set_holding(!holds.keys.is_empty());
    }

    /// Lets go of keys. Sessions that waited try again; who else may be served now is returned.
    pub(crate) fn let_go(&self, keyspace: &Keyspace, keys: &[Box<[u8]>]) -> Ready {
        let mut holds = self.0.lock();
        for key in keys {
            holds.keys.remove(key);
        }
        keyspace.set_holding(!holds.keys.is_empty());
        let sessions = std::mem::take(&mut holds.sessions);
        let ready = std::mem::take(&mut holds.ready);
        drop(holds);
        sessions.values().for_each(|client| client.send(Event::Poke, 0));
        ready.into_iter().collect()
    }

    /// Returns whether a request has to wait because of a key that is held; it is then noted that it does.
    /// The caller has the shards of the request locked, so that none of its keys becomes held
    /// behind its back.
    #[cold]
    pub(crate) fn hold_up(&self, call: &Call<'_>, session: &SessionState) -> bool {
        if session.is_holder() || session.is_trusted() {
            return false;
        }
        let spec = call.entry.spec;
        let keys = call.entry.keys(call.request).unwrap_or_default();
        let mut holds = self.0.lock();
        let is_held = |index: usize| holds.keys.contains(call.request.arg(index));
        let held = match spec.keys.is_empty() {
            // Whole databases are not emptied or exchanged meanwhile; reading them does no harm.
            true => {
                let all = matches!(spec.locks, LockRule::All) && call.entry.has(Flag::Write);
                all && spec.group != Group::Scripting && !holds.keys.is_empty()
            }
            false => keys.iter().any(|key| is_held(key.index)),
        };
        if held && session.is_served() {
            let keys = keys.iter().map(|key| (session.db, call.request.arg(key.index).into()));
            holds.ready.extend(keys);
        } else if held {
            holds.sessions.insert(session.client().id, session.client().clone());
        }
        held
    }

    /// Returns whether one of the commands of a transaction has to wait.
    pub(crate) fn hold_up_any(
        &self,
        commands: &CommandTable,
        queue: &[Queued],
        session: &SessionState,
    ) -> bool {
        queue.iter().any(|queued| {
            let entry = commands.entry(queued.command);
            let call = Call { entry, request: queued.request.view(), hash: None };
            self.hold_up(&call, session)
        })
    }
}
