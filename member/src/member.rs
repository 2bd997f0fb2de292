//! [`Member`]: the group as sessions on any thread see it.

use crate::FIRST_GROUP;
use crate::flaw::Flaws;
use crate::positions::{Kind, Meaning, Positions};
use consensus::{Blocked, Fence, Group, GroupId, NodeId, Outcome, ReadOutcome, TikvRaft, Wait};
use engine::cluster::{Cluster, Route};
use engine::session::SessionState;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
use runtime::Now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use storage::Position;

/// The clock. Calls that are made under shard locks bring no time with them.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Tells the thread that drives the node that there is work. It is called under locks, so it must
/// not block.
pub type Kick = Arc<dyn Fn() + Send + Sync>;

/// The addresses of nodes that clients are told, `host:port`.
pub(crate) type Addresses = Arc<RwLock<BTreeMap<NodeId, Box<str>>>>;

/// The fence of what any member may do.
const NO_FENCE: u64 = 0;

/// The bit that the fences of reads from a follower have, and terms have not.
const READS: u64 = 1 << 63;

/// A group of a node, and the replies of its sessions that are withheld.
pub struct Member {
    id: NodeId,
    group: GroupId,
    /// The stream of the group's effects.
    stream: u16,
    /// Whether there is no other group. Then clients are told by the engine that data are being loaded.
    is_only: bool,
    pub(crate) clock: Clock,
    kick: Kick,
    pub(crate) flaws: Flaws,
    /// The largest record of effects, in bytes.
    pub(crate) record_max: usize,
    /// The term in which sessions execute; zero while they may not.
    fence: AtomicU64,
    /// The fence of reads while this node follows; zero while its state is being made again.
    reads: AtomicU64,
    /// The current leader as far as it is known; zero for none.
    leader: AtomicU64,
    /// The last leader that was known; zero for none.
    last_leader: AtomicU64,
    addresses: Addresses,
    pub(crate) inner: Mutex<Inner>,
}

/// The part of a member that its lock protects.
pub(crate) struct Inner {
    pub group: Group<TikvRaft>,
    /// The fence, while sessions may execute.
    pub open: Option<Fence>,
    /// Whether the fence has fallen and sessions that executed behind it may not have appended yet.
    fallen: bool,
    /// The time when the fence fell, in microseconds.
    fell_us: u64,
    /// Whether the fence fell so long ago that sessions no longer wait for outcomes.
    gave_up: bool,
    pub positions: Positions,
    waiting: BTreeMap<Position, Vec<Waker>>,
    /// The clients that wait to read from a follower, with the numbers of their reads.
    readers: BTreeMap<u64, (u64, Waker)>,
    /// The number of fences that reads from a follower had.
    openings: u64,
    pub scratch: Vec<u8>,
}

impl Member {
    pub(crate) fn new(
        (id, group_id, is_only): (NodeId, GroupId, bool),
        group: Group<TikvRaft>,
        addresses: Addresses,
        (clock, kick): (Clock, Kick),
        flaws: Flaws,
    ) -> Member {
        let stream = stream_of_group(group_id);
        let record_max = group.settings().record_max;
        let inner = Inner {
            group,
            open: None,
            fallen: false,
            fell_us: 0,
            gave_up: false,
            positions: Positions::of(stream),
            waiting: BTreeMap::new(),
            readers: BTreeMap::new(),
            openings: 0,
            scratch: Vec::new(),
        };
        let [fence, reads, leader, last_leader] = [(); 4].map(|()| AtomicU64::new(0));
        let inner = Mutex::new(inner);
        Member {
            id,
            group: group_id,
            stream,
            is_only,
            clock,
            kick,
            flaws,
            record_max,
            fence,
            reads,
            leader,
            last_leader,
            addresses,
            inner,
        }
    }

    /// Locks the group for a look at its state.
    pub fn group(&self) -> MappedMutexGuard<'_, Group<TikvRaft>> {
        MutexGuard::map(self.inner.lock(), |inner| &mut inner.group)
    }

    /// Runs `what` on the group. If this ends the leadership, the fence falls.
    pub fn with<R>(&self, what: impl FnOnce(&mut Group<TikvRaft>) -> R) -> R {
        let mut inner = self.inner.lock();
        let done = what(&mut inner.group);
        let leader = inner.group.status().leader;
        self.leader.store(leader, Ordering::SeqCst);
        if leader != 0 {
            self.last_leader.store(leader, Ordering::Relaxed);
        }
        if let Some(open) = inner.open
            && inner.group.led() != Ok(open)
        {
            self.lower(&mut inner);
        }
        done
    }

    /// Lowers the fence: sessions that are behind it append what they have executed, and nobody executes
    /// any more.
    fn lower(&self, inner: &mut Inner) {
        (inner.open, inner.fallen) = (None, true);
        inner.fell_us = (self.clock)().mono_us;
        self.fence.store(0, Ordering::SeqCst);
    }

    /// Whether the fence has fallen, and sessions that executed behind it may not have appended yet.
    pub(crate) fn has_fallen(&self) -> bool {
        self.inner.lock().has_fallen()
    }

    /// All sessions that executed behind a fence that has fallen are done.
    pub(crate) fn note_drained(&self) {
        self.inner.lock().fallen = false;
    }

    /// Whether [`Member::raise`] would let sessions execute.
    pub(crate) fn may_raise(&self) -> bool {
        let inner = self.inner.lock();
        inner.open.is_none() && !inner.fallen && inner.group.led().is_ok()
    }

    /// Lets sessions execute if this node leads the group. All sessions that executed behind an
    /// earlier fence must be done, and no committed effects may be left to apply. To be called while
    /// one of the group's shards is locked: who has all of them finds the same groups led here until it
    /// is done, or fewer.
    pub(crate) fn raise(&self) {
        let mut inner = self.inner.lock();
        if inner.open.is_none()
            && !inner.fallen
            && let Ok(fence) = inner.group.led()
        {
            (inner.open, inner.gave_up) = (Some(fence), false);
            self.fence.store(fence.term, Ordering::SeqCst);
        }
    }

    /// Once there has been no fence for `patience_us` microseconds, replies that depend on an
    /// earlier one are no longer withheld: clients are told that the outcome is unknown.
    pub(crate) fn give_up_after(&self, patience_us: u64) {
        let now = (self.clock)().mono_us;
        let mut inner = self.inner.lock();
        inner.gave_up |= inner.open.is_none() && now >= inner.fell_us.saturating_add(patience_us);
    }

    /// Wakes the sessions whose replies are decided.
    pub(crate) fn settle(&self) {
        let mut woken = Vec::new();
        let mut inner = self.inner.lock();
        let waiting = std::mem::take(&mut inner.waiting);
        for (position, wakers) in waiting {
            match inner.told(position) {
                Outcome::Pending => drop(inner.waiting.insert(position, wakers)),
                _ => woken.extend(wakers),
            }
        }
        drop(inner);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The state is about to be made again: it will be older for a moment than reads have been promised,
    /// and a leader must not add to it. To be called before its shards are locked for that.
    pub(crate) fn close(&self) {
        self.reads.store(0, Ordering::SeqCst);
        let mut inner = self.inner.lock();
        // What is to be undone may have been executed since the group was last asked who leads.
        if inner.open.is_some() {
            self.lower(&mut inner);
        }
    }

    /// The state has all that is applied: wakes the sessions whose reads may go on, or never will.
    pub(crate) fn open_reads(&self) {
        let now = (self.clock)().mono_us;
        let mut inner = self.inner.lock();
        inner.group.release_reads(now);
        if self.reads.load(Ordering::SeqCst) == 0 {
            inner.openings += 1;
            self.reads.store(READS | inner.openings, Ordering::SeqCst);
        }
        let follows = self.leader().is_some_and(|leader| leader != self.id);
        let readers = std::mem::take(&mut inner.readers);
        let pending = |read| follows && inner.group.reading(read) == ReadOutcome::Pending;
        let (stay, woken): (BTreeMap<_, _>, BTreeMap<_, _>) =
            readers.into_iter().partition(|(_, (read, _))| pending(*read));
        inner.readers = stay;
        drop(inner);
        woken.into_values().for_each(|(_, waker)| waker.wake());
    }

    /// [`Cluster::route_read`] at a node that follows a known leader.
    fn read(&self, session: &SessionState, asked: Option<u64>) -> Route {
        let mut inner = self.inner.lock();
        let read = asked.unwrap_or_else(|| inner.group.want_read((self.clock)().mono_us));
        let fence = self.reads.load(Ordering::SeqCst);
        match inner.group.reading(read) {
            ReadOutcome::Ready if fence != 0 => return Route::Serve { stream: self.stream, fence },
            ReadOutcome::Lost => return Route::Down,
            ReadOutcome::Ready | ReadOutcome::Pending => {}
        }
        let client = session.client();
        inner.readers.insert(client.id, (read, client.waker().clone()));
        drop(inner);
        self.kick();
        Route::Later(read)
    }

    /// Whether the state is being made again and the engine tells clients so. A node that has just joined has
    /// none yet.
    fn is_loading_again(&self) -> bool {
        self.is_only && self.inner.lock().openings > 0
    }

    /// The identity of the group.
    pub fn group_id(&self) -> GroupId {
        self.group
    }

    /// Whether sessions may execute here.
    pub(crate) fn is_open(&self) -> bool {
        self.fence.load(Ordering::SeqCst) != 0
    }

    /// The identity of the node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The current leader, if it is known.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.leader.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }

    /// The current leader or, if there is none, the last one that was known.
    pub fn last_leader(&self) -> Option<NodeId> {
        Some(self.last_leader.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// The address of a node that clients are told, `host:port`.
    pub fn address(&self, id: NodeId) -> Option<Box<str>> {
        self.addresses.read().get(&id).cloned()
    }

    pub(crate) fn kick(&self) {
        (self.kick)();
    }
}

/// The stream of a group's effects: that of the first is [`storage::journal::LOG`].
pub(crate) fn stream_of_group(group: GroupId) -> u16 {
    (group - FIRST_GROUP) as u16
}

impl Inner {
    /// See [`Member::has_fallen`].
    pub fn has_fallen(&self) -> bool {
        self.fallen
    }

    /// The outcome of what a position stands for.
    pub fn outcome(&self, position: Position) -> Outcome {
        match self.positions.meaning(position) {
            Meaning::Committed => Outcome::Kept,
            Meaning::Cut | Meaning::TooLarge => Outcome::Cut,
            Meaning::Read(wait) => self.group.poll(&wait),
            Meaning::Executed { run, seq } => {
                self.group.poll(&Wait { term: 0, run, seq, round: None })
            }
        }
    }

    /// The outcome as sessions learn it: [`outcome`](Self::outcome), unless that takes too long.
    fn told(&self, position: Position) -> Outcome {
        match (self.outcome(position), self.gave_up) {
            (Outcome::Pending, true) => match self.positions.meaning(position) {
                // A read changed nothing, so it may be repeated.
                Meaning::Read(_) => Outcome::Cut,
                _ => Outcome::Unknown,
            },
            (outcome, _) => outcome,
        }
    }

    /// The outcome as sessions learn it. If it is pending, `waker` is kept and called when it is
    /// decided.
    pub fn wait(&mut self, position: Position, waker: &Waker) -> Outcome {
        let outcome = self.told(position);
        if outcome == Outcome::Pending {
            let wakers = self.waiting.entry(position).or_default();
            if !wakers.iter().any(|known| known.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        }
        outcome
    }

    /// The position of effects that a session has just appended behind the fence `fence`.
    pub fn executed(&mut self, fence: Fence, seq: u64, now_us: u64) -> Position {
        let run = self.group.wait(fence.term, seq, true, now_us).run;
        self.positions.give(Kind::Run(run), seq)
    }

    /// The position of effects that can no longer be appended. They are undone.
    pub fn too_late(&mut self) -> Position {
        self.group.abandon();
        self.positions.give(Kind::Cut, 0)
    }

    /// The position of effects that are larger than an entry may be. They are undone.
    pub fn too_large(&mut self) -> Position {
        self.group.abandon();
        self.positions.give(Kind::TooLarge, 0)
    }

    /// The position that the reply to a read depends on. The read saw everything up to `last`, and
    /// was executed behind the fence of `term`, if behind any.
    pub fn seen(&mut self, last: Position, term: Option<u64>, now_us: u64) -> Position {
        let term = term.filter(|term| *term != NO_FENCE && term & READS == 0);
        if matches!(self.positions.meaning(last), Meaning::Cut | Meaning::TooLarge) {
            return self.positions.never();
        }
        let undecided =
            |inner: &Inner| matches!(inner.outcome(last), Outcome::Pending | Outcome::Cut);
        match (self.open, term) {
            (Some(open), Some(term)) if open.term == term => {
                let run = self.group.wait(term, 0, true, now_us).run;
                let seq = match self.positions.meaning(last) {
                    Meaning::Executed { run: of, seq } if of == run => seq,
                    // Before this node began to lead, everything that other nodes executed was
                    // decided.
                    _ => 0,
                };
                let wait = self.group.wait(term, seq, false, now_us);
                match wait.round {
                    Some(_) => self.positions.read(wait),
                    None if undecided(self) => last,
                    None => Position::default(),
                }
            }
            (_, Some(_)) => self.positions.never(),
            (_, None) if undecided(self) => last,
            (_, None) => Position::default(),
        }
    }
}

impl Cluster for Member {
    fn route(&self, _slot: u16, session: &SessionState) -> Route {
        let fence = self.fence.load(Ordering::SeqCst);
        if fence != 0 {
            return Route::Serve { stream: self.stream, fence };
        }
        let reads = self.reads.load(Ordering::SeqCst);
        match self.leader() {
            Some(leader) if leader == self.id => Route::TryAgain,
            // The session does not write: a write needs a fence.
            Some(_) if session.reads_anywhere() && (reads != 0 || self.is_loading_again()) => {
                Route::Serve { stream: self.stream, fence: reads }
            }
            Some(leader) => match self.address(leader) {
                Some(address) => Route::Moved(address),
                None => Route::Down,
            },
            None => Route::Down,
        }
    }

    fn route_read(&self, slot: u16, session: &SessionState, asked: Option<u64>) -> Route {
        match (self.fence.load(Ordering::SeqCst), self.leader()) {
            (0, Some(leader)) if leader != self.id => self.read(session, asked),
            _ => self.route(slot, session),
        }
    }

    fn route_channel(&self, _slot: u16, when_down: bool) -> Route {
        // All members have all channels: messages reach them all.
        let leader = if when_down { self.last_leader() } else { self.leader() };
        leader.map_or(Route::Down, |_| Route::Serve { stream: self.stream, fence: NO_FENCE })
    }

    fn is_current(&self, _slot: u16, _stream: u16, fence: u64) -> bool {
        let current = if fence & READS == 0 { &self.fence } else { &self.reads };
        current.load(Ordering::SeqCst) == fence
    }

    fn largest_write(&self) -> usize {
        self.record_max
    }
}

impl Member {
    /// Whether effects would be accepted now.
    pub(crate) fn may_append(&self) -> Result<(), Blocked> {
        let inner = self.inner.lock();
        match inner.open {
            Some(open) => match inner.group.fence() {
                Ok(now) if now == open => Ok(()),
                Ok(_) => Err(Blocked::NotReady),
                Err(blocked) => Err(blocked),
            },
            None => Err(match self.leader() {
                Some(leader) if leader == self.id => Blocked::NotReady,
                leader => Blocked::Elsewhere(leader.unwrap_or(0)),
            }),
        }
    }
}
