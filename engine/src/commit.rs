//! The interface to journals and clusters that decide about effects: whether a request may be
//! executed here, whether its effects would be accepted, and on which position its reply depends.
//!
//! With a journal that accepts every effect and withholds no reads, and without a [`Cluster`], none
//! of this is called: a mark of the keyspace
//! ([`Keyspace::is_guarded`](crate::notify::keyspace::Keyspace)) leads here. Otherwise the order
//! is:
//!
//! 1. Before its locks are taken, a request is routed: this determines the stream of its slot, and
//!    the fence behind which it runs.
//! 2. Under its locks, the fence must still be valid, and the journal must admit the effects that
//!    the request may append. Otherwise nothing is executed. A read whose effects would not be
//!    admitted does not delete expired keys.
//! 3. Still under its locks, the position is determined on which its reply depends: that of its
//!    last effect or, if it appended none, the last position of the shards that it used.

use crate::cluster::{Cluster, Route, too_large};
use crate::command::{CommandEntry, Group, LockRule};
use crate::config::Id;
use crate::engine::Engine;
use crate::failure::{Failure, failure};
use crate::gate::Gate;
use crate::session::state::{Queued, SessionState};
use crc::{CRC_16_XMODEM, Crc};
use resp::Request;
use std::ops::Range;
use std::sync::Arc;
use storage::journal::{EVERY_SLOT, SEVERAL};
use storage::{Appended, Position, Refusal, Tx, Withholds};

pub use storage::SLOTS;

static XMODEM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key: the CRC-16 (XMODEM) of the key, or of the part between its first pair of
/// braces, if that is not empty. Source: Redis's cluster specification.
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let behind = &key[open + 1..];
        let len = behind.iter().position(|byte| *byte == b'}').filter(|len| *len > 0)?;
        Some(&behind[..len])
    });
    XMODEM.checksum(tag.unwrap_or(key)) % SLOTS
}

const CROSS_SLOT: Failure = failure("CROSSSLOT Keys in request don't hash to the same slot");
const TRY_AGAIN: Failure = failure("TRYAGAIN Multiple keys request during rehashing of slot");
const NOT_LOCAL: Failure =
    failure("ERR Script attempted to access a non local key in a cluster node");
const DOWN: Failure = failure("CLUSTERDOWN Hash slot not served");

/// The stream and fence that a route names.
fn served(slot: u16, route: Route) -> Result<(u16, u64), Failure> {
    let shown = if slot == EVERY_SLOT { 0 } else { slot };
    let redirect = |word, to: Box<str>| Err(Failure::text(format!("{word} {shown} {to}")));
    match route {
        Route::Serve { stream, fence } => Ok((stream, fence)),
        Route::Moved(to) => redirect("MOVED", to),
        Route::Ask(to) => redirect("ASK", to),
        Route::TryAgain | Route::Later(_) => Err(TRY_AGAIN),
        Route::Down => Err(DOWN),
    }
}

/// The number of bytes of a request that may become effects.
fn written(entry: &CommandEntry, request: Request<'_>) -> usize {
    match entry.appends() {
        true => request.iter().map(<[u8]>::len).sum(),
        false => 0,
    }
}

impl Engine {
    /// Sets the cluster that decides where requests are executed. To be called once, before
    /// anything is served.
    pub fn join(&self, cluster: Arc<dyn Cluster>) {
        let first = self.cluster.set(cluster).is_ok();
        debug_assert!(first, "a server is in one cluster");
        self.set_gate(Gate::CLUSTER, true);
        self.notify.keyspace.set_guarded(true);
    }

    /// Whether a cluster decides where requests are executed.
    pub fn is_in_cluster(&self) -> bool {
        self.gate().contains(Gate::CLUSTER)
    }

    /// The cluster that the server has joined, if any.
    pub fn cluster(&self) -> Option<&dyn Cluster> {
        self.cluster.get().map(|cluster| &**cluster)
    }

    /// Whether different servers may execute the requests for different slots.
    pub fn is_divided(&self) -> bool {
        self.cluster().is_some_and(Cluster::is_divided)
    }

    /// The slots whose keys this server shows to who asks for all keys, if it does not show all: those
    /// that it decides about. One that decides about none shows all that it has.
    pub fn shown_slots(&self) -> Option<Vec<Range<u16>>> {
        let cluster = self.cluster().filter(|cluster| cluster.is_divided())?;
        Some(cluster.shown()).filter(|shown| !shown.is_empty())
    }

    /// Whether the journal requires guarding, given its policy at the start of the engine.
    pub(crate) fn is_to_be_guarded(&self) -> bool {
        self.tee.journal.as_ref().is_some_and(|journal| {
            journal.may_refuse() || journal.withholds() == Withholds::Everything
        })
    }

    /// The cluster's slot of a key; 0 without a cluster.
    pub(crate) fn slot_of(&self, key: &[u8]) -> u16 {
        if self.gate().contains(Gate::CLUSTER) { slot(key) } else { 0 }
    }

    /// Determines which server executes a request, and records it in the session. Returns whether the request may run
    /// now; otherwise the session is woken when it may.
    ///
    /// # Errors
    /// Fails with Redis's error if another server is to execute it, or none can.
    pub(crate) fn route(
        &self,
        session: &mut SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> Result<bool, Failure> {
        if !self.gate().contains(Gate::CLUSTER) {
            return Ok(true);
        }
        let asked = session.take_asked(request);
        let mut slot = self.common_slot(None, entry, request)?;
        let mut bytes = written(entry, request);
        if entry.id == self.known.exec {
            let queue = session.multi.as_ref().map_or(&[][..], |multi| &multi.queue[..]);
            for queued in queue {
                let entry = self.commands.entry(queued.command);
                slot = self.common_slot(slot, entry, queued.request.view())?;
                bytes += written(entry, queued.request.view());
            }
        }
        session.slot = slot.unwrap_or(0);
        session.set_fence(None);
        if slot.is_some() && entry.is_message() {
            self.serving_channel(session.slot)?;
        } else if slot.is_some() {
            // What is queued is routed when all of it runs; and no write is executed by who does not lead.
            let runs = !session.in_multi() || entry.id == self.known.exec;
            let fence = match session.reads_index() && runs && bytes == 0 {
                true => match self.serving_read(session, asked)? {
                    None => return Ok(false),
                    fence => fence,
                },
                false => self.serving(session)?,
            };
            let most = self.cluster().map_or(usize::MAX, Cluster::largest_write);
            if bytes > most {
                return Err(Failure::text(too_large(most)));
            }
            session.set_fence(fence);
        }
        Ok(true)
    }

    /// The common slot of a request's keys, or shard channels, and of slot `before`.
    fn common_slot(
        &self,
        before: Option<u16>,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> Result<Option<u16>, Failure> {
        let keys = entry.routed(request).unwrap_or_default();
        let fixed = if keys.is_empty() { self.fixed_slot(entry) } else { None };
        let mut slots = keys.iter().map(|key| slot(request.arg(key.index))).chain(fixed);
        let Some(first) = before.or_else(|| slots.next()) else { return Ok(None) };
        if slots.all(|slot| slot == first) { Ok(Some(first)) } else { Err(CROSS_SLOT) }
    }

    /// The slot of a command without keys, if several groups have the slots: what changes libraries
    /// belongs to the first slot, and what changes all keys, to every slot that is served here.
    fn fixed_slot(&self, entry: &CommandEntry) -> Option<u16> {
        let takes_all = matches!(entry.spec.locks, LockRule::All) && entry.appends();
        (takes_all && self.is_divided())
            .then(|| if entry.spec.group == Group::Scripting { 0 } else { EVERY_SLOT })
    }

    /// Checks whether a script whose request was routed by its own keys may run a command: only on
    /// keys of the same slot, and not on all keys, if several groups have the slots.
    ///
    /// # Errors
    /// Fails with the error for the script.
    pub(crate) fn check_within_script(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> Result<(), Failure> {
        if !self.gate().contains(Gate::CLUSTER) || !self.is_divided() || entry.is_message() {
            return Ok(());
        }
        let own = session.fence().map(|_| session.slot);
        match self.common_slot(None, entry, request)? {
            None => Ok(()),
            slot if slot == own => Ok(()),
            _ => Err(NOT_LOCAL),
        }
    }

    /// The stream and the fence of the session's slot, if this server executes its requests.
    fn serving(&self, session: &SessionState) -> Result<Option<(u16, u64)>, Failure> {
        self.serving_slot(session.slot, session)
    }

    /// Checks whether this server has the shard channels of a slot.
    fn serving_channel(&self, slot: u16) -> Result<(), Failure> {
        let Some(cluster) = self.cluster.get() else { return Ok(()) };
        let when_down = self.config.boolean(Id::ClusterAllowPubsubshardWhenDown);
        served(slot, cluster.route_channel(slot, when_down)).map(drop)
    }

    /// The error that tells a client where to repeat a request that was never executed, if a
    /// cluster knows.
    pub(crate) fn redirect(&self, slot: u16, session: &SessionState) -> Option<Box<str>> {
        self.cluster.get()?;
        let serving = self.serving_slot(slot, session).and(Err::<(), _>(TRY_AGAIN));
        serving.err().map(|failure| failure.as_str().into())
    }

    /// The error for a client that waits for keys, if this server serves them no longer and will not do so in a
    /// moment. Nothing of its command was executed.
    pub(crate) fn sent_away(
        &self,
        session: &SessionState,
        slot: u16,
        writes: bool,
    ) -> Option<Failure> {
        let routed = self.serving_slot(slot, session);
        // Who may read from any server writes all the same where it is led.
        let admitted = match self.journal().filter(|_| writes) {
            Some(journal) => journal.admit(slot).map_err(|refusal| Failure::text(refusal.0)),
            None => Ok(()),
        };
        let error = routed.and(admitted).err()?;
        (!error.as_str().starts_with("TRYAGAIN")).then_some(error)
    }

    fn serving_slot(
        &self,
        slot: u16,
        session: &SessionState,
    ) -> Result<Option<(u16, u64)>, Failure> {
        let Some(cluster) = self.cluster.get() else { return Ok(None) };
        served(slot, cluster.route(slot, session)).map(Some)
    }

    /// [`Engine::serving`] for a linearizable read, of which `asked` is known already; `None` if that has to wait.
    fn serving_read(
        &self,
        session: &mut SessionState,
        asked: Option<u64>,
    ) -> Result<Option<(u16, u64)>, Failure> {
        let Some(cluster) = self.cluster.get() else { return Ok(None) };
        match cluster.route_read(session.slot, session, asked) {
            Route::Later(asked) => {
                session.set_asked(asked);
                Ok(None)
            }
            route => served(session.slot, route).map(Some),
        }
    }

    /// Checks under the locks whether a command may be executed now.
    ///
    /// # Errors
    /// The error that the client gets instead of the command's reply.
    pub(crate) fn guard(
        &self,
        session: &SessionState,
        entry: &CommandEntry,
    ) -> Result<(), Failure> {
        self.guard_any(session, entry.appends())
    }

    /// Like [`Engine::guard`], for all commands of a transaction.
    pub(crate) fn guard_all(
        &self,
        session: &SessionState,
        queue: &[Queued],
    ) -> Result<(), Failure> {
        let mut entries = queue.iter().map(|queued| self.commands.entry(queued.command));
        self.guard_any(session, entries.any(CommandEntry::appends))
    }

    fn guard_any(&self, session: &SessionState, writes: bool) -> Result<(), Failure> {
        if session.is_trusted() {
            return Ok(());
        }
        if let (Some((stream, fence)), Some(cluster)) = (session.fence(), self.cluster.get())
            && !cluster.is_current(session.slot, stream, fence)
        {
            // The leadership has changed since the request was routed, so this server may not
            // execute it.
            return self.serving(session).and(Err(TRY_AGAIN));
        }
        // A script without keys, say: it cannot write where several groups have the slots.
        let writes = writes && (session.fence().is_some() || !self.is_divided());
        match self.journal().filter(|_| writes).map(|journal| journal.admit(session.slot)) {
            Some(Err(refusal)) => Err(Failure::text(refusal.0)),
            _ => Ok(()),
        }
    }

    /// Whether effects of a slot would be accepted now. True if there is no journal.
    pub(crate) fn is_admitted(&self, slot: u16) -> bool {
        self.journal().is_none_or(|journal| journal.admit(slot).is_ok())
    }

    /// The last position that was appended to the locked shards. The reply to a read of them
    /// depends on it, if the journal withholds reads.
    pub(crate) fn seen(&self, session: &SessionState, tx: &dyn Tx) -> Option<Position> {
        let journal = self.tee.journal.as_ref()?;
        let unseen = session.is_trusted() || session.is_async();
        if unseen || journal.withholds() != Withholds::Everything {
            return None;
        }
        let seen = match session.fence() {
            Some((stream, fence)) if stream != SEVERAL => {
                journal.seen(tx.last(stream), Some(fence))
            }
            _ => journal.seen_several(&|stream| tx.last(stream)),
        };
        Some(seen).filter(|last| last.seq != 0)
    }

    /// Records in `tx` the position of the effects that were just appended. A position of zero
    /// means that only replicas are told of them.
    ///
    /// # Errors
    /// Fails with the journal's refusal. The changes of the transaction are then rolled back. If
    /// that is not possible the server ends, because data and journal would not agree.
    #[inline]
    pub(crate) fn note_appended(
        &self,
        tx: &mut dyn Tx,
        appended: Appended,
    ) -> Result<Position, Refusal> {
        let position = match appended {
            Ok(position) => position,
            Err(refusal) => {
                if !tx.roll_back() {
                    self.not_taken(&refusal);
                }
                return Err(refusal);
            }
        };
        if position.seq != 0 {
            tx.set_last(position);
        }
        Ok(position)
    }

    /// Like [`Engine::note_appended`], for effects that the journal has to accept, because it has
    /// admitted them.
    pub(crate) fn note_taken(&self, tx: &mut dyn Tx, appended: Appended) -> Option<Position> {
        match appended {
            Ok(_) => self.note_appended(tx, appended).ok(),
            Err(refusal) => {
                self.not_taken(&refusal);
                None
            }
        }
    }

    #[cold]
    fn not_taken(&self, refusal: &Refusal) {
        self.fail_stop(&format!("the journal does not take what was done: {}", refusal.0));
    }
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn slots_are_those_of_redis() {
        for (key, expected) in [
            ("", 0),
            ("foo", 12182),
            ("123456789", 12739),
            ("{user1000}.following", 3443),
            ("user1000", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("{bar", 4015),
            ("foo{bar}{zap}", 5061),
            ("bar", 5061),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
    }
}
