//! [`Member`]: the group as sessions see it, from any thread.

use crate::flaw::Flaws;
use crate::positions::{Kind, Meaning, Positions};
use consensus::{Blocked, Fence, Group, NodeId, Outcome, TikvRaft, Wait};
use engine::cluster::{Cluster, Route};
use engine::session::SessionState;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};
use runtime::Now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use storage::Position;
use storage::journal::LOG;

/// Tells the time: what is asked under the locks of shards has none with it.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Tells whoever drives the node that there is something to do. Called under locks: it must not wait.
pub type Kick = Box<dyn Fn() + Send + Sync>;

/// What a session runs behind that is content with what a follower has.
const NO_FENCE: u64 = 0;

/// The one group of a node, and what its sessions wait for. See the crate.
pub struct Member {
    id: NodeId,
    pub(crate) clock: Clock,
    kick: Kick,
    pub(crate) flaws: Flaws,
    /// Bytes of one record of effects, at most.
    pub(crate) record_max: usize,
    /// The term behind whose fence sessions execute; zero while nobody does.
    fence: AtomicU64,
    /// Who leads, as far as is known; zero for nobody.
    leader: AtomicU64,
    /// Who led last, as far as is known; zero for nobody.
    last_leader: AtomicU64,
    /// Where clients find the nodes.
    addresses: RwLock<BTreeMap<NodeId, Box<str>>>,
    pub(crate) inner: Mutex<Inner>,
}

/// The part behind the lock.
pub(crate) struct Inner {
    pub group: Group<TikvRaft>,
    /// The fence, while it stands.
    pub open: Option<Fence>,
    /// It fell, and whoever executed behind it may not be done.
    fallen: bool,
    /// When it fell, microseconds.
    fell_us: u64,
    /// It fell so long ago that nobody waits any longer to hear what became of it.
    gave_up: bool,
    pub positions: Positions,
    waiting: BTreeMap<Position, Vec<Waker>>,
    pub scratch: Vec<u8>,
}

impl Member {
    pub(crate) fn new(
        id: NodeId,
        group: Group<TikvRaft>,
        addresses: BTreeMap<NodeId, Box<str>>,
        clock: Clock,
        kick: Kick,
        flaws: Flaws,
    ) -> Member {
        let record_max = group.settings().record_max;
        let inner = Inner {
            group,
            open: None,
            fallen: false,
            fell_us: 0,
            gave_up: false,
            positions: Positions::default(),
            waiting: BTreeMap::new(),
            scratch: Vec::new(),
        };
        let (fence, leader) = (AtomicU64::new(0), AtomicU64::new(0));
        let addresses = RwLock::new(addresses);
        let last_leader = AtomicU64::new(0);
        let inner = Mutex::new(inner);
        Member { id, clock, kick, flaws, record_max, fence, leader, last_leader, addresses, inner }
    }

    /// The group, to be looked at.
    pub fn group(&self) -> MappedMutexGuard<'_, Group<TikvRaft>> {
        MutexGuard::map(self.inner.lock(), |inner| &mut inner.group)
    }

    /// Does something to the group. The fence falls with it if that ended its leading.
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
            (inner.open, inner.fallen) = (None, true);
            inner.fell_us = (self.clock)().mono_us;
            self.fence.store(0, Ordering::SeqCst);
        }
        done
    }

    /// Whether the fence has fallen since the last call.
    pub(crate) fn has_fallen(&self) -> bool {
        std::mem::take(&mut self.inner.lock().fallen)
    }

    /// Lets sessions execute, if the group is led here. Nobody may execute behind an earlier fence, and
    /// nothing may be left to apply.
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

    /// After so many microseconds without a fence it is not waited any longer for what was executed behind
    /// the last one: a client is told that nobody knows, instead of nothing.
    pub(crate) fn give_up_after(&self, patience_us: u64) {
        let now = (self.clock)().mono_us;
        let mut inner = self.inner.lock();
        inner.gave_up |= inner.open.is_none() && now >= inner.fell_us.saturating_add(patience_us);
    }

    /// Wakes whoever waits for what is decided by now.
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

    /// The node's.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.leader.load(Ordering::SeqCst)).filter(|id| *id != 0)
    }

    /// Who leads, or led last if nobody does now, as far as is known.
    pub fn last_leader(&self) -> Option<NodeId> {
        Some(self.last_leader.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Where clients find a node.
    pub fn address(&self, id: NodeId) -> Option<Box<str>> {
        self.addresses.read().get(&id).cloned()
    }

    /// Clients find the nodes there from now on.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, Box<str>>) {
        *self.addresses.write() = addresses;
    }

    pub(crate) fn kick(&self) {
        (self.kick)();
    }
}

impl Inner {
    /// What has become of what a position stands for.
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

    /// What whoever waits for a position is told: its [`outcome`](Self::outcome), unless that takes too long.
    fn told(&self, position: Position) -> Outcome {
        match (self.outcome(position), self.gave_up) {
            (Outcome::Pending, true) => match self.positions.meaning(position) {
                // It changed nothing.
                Meaning::Read(_) => Outcome::Cut,
                _ => Outcome::Unknown,
            },
            (outcome, _) => outcome,
        }
    }

    /// [`told`](Self::told); whoever has to wait is noted.
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

    /// The position of effects that a session has just appended behind the fence `open`.
    pub fn executed(&mut self, fence: Fence, seq: u64, now_us: u64) -> Position {
        let run = self.group.wait(fence.term, seq, true, now_us).run;
        self.positions.give(Kind::Run(run), seq)
    }

    /// The position of what was executed, and can be appended no more.
    pub fn too_late(&mut self) -> Position {
        self.group.abandon();
        self.positions.give(Kind::Cut, 0)
    }

    /// The position of what was executed, and is more than an entry may hold: it is undone.
    pub fn too_large(&mut self) -> Position {
        self.group.abandon();
        self.positions.give(Kind::TooLarge, 0)
    }

    /// What a reply depends on that saw what is up to `last`, behind the fence of `term` if any.
    pub fn seen(&mut self, last: Position, term: Option<u64>, now_us: u64) -> Position {
        let term = term.filter(|term| *term != NO_FENCE);
        if matches!(self.positions.meaning(last), Meaning::Cut | Meaning::TooLarge) {
            return Positions::never();
        }
        let undecided =
            |inner: &Inner| matches!(inner.outcome(last), Outcome::Pending | Outcome::Cut);
        match (self.open, term) {
            (Some(open), Some(term)) if open.term == term => {
                let run = self.group.wait(term, 0, true, now_us).run;
                let seq = match self.positions.meaning(last) {
                    Meaning::Executed { run: of, seq } if of == run => seq,
                    // Whoever leads has decided everything that others executed.
                    _ => 0,
                };
                let wait = self.group.wait(term, seq, false, now_us);
                match wait.round {
                    Some(_) => self.positions.read(wait),
                    None if undecided(self) => last,
                    None => Position::default(),
                }
            }
            (_, Some(_)) => Positions::never(),
            (_, None) if undecided(self) => last,
            (_, None) => Position::default(),
        }
    }
}

impl Cluster for Member {
    fn route(&self, _slot: u16, session: &SessionState) -> Route {
        let fence = self.fence.load(Ordering::SeqCst);
        if fence != 0 {
            return Route::Serve { stream: LOG, fence };
        }
        match self.leader() {
            Some(leader) if leader == self.id => Route::TryAgain,
            // It does not write: what it would have to, nobody admits.
            Some(_) if session.is_readonly() => Route::Serve { stream: LOG, fence: NO_FENCE },
            Some(leader) => match self.address(leader) {
                Some(address) => Route::Moved(address),
                None => Route::Down,
            },
            None => Route::Down,
        }
    }

    fn is_current(&self, _stream: u16, fence: u64) -> bool {
        self.fence.load(Ordering::SeqCst) == fence
    }

    fn largest_write(&self) -> usize {
        self.record_max
    }
}

impl Member {
    /// Whether effects would be taken now.
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
