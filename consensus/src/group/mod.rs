//! A group: Raft, and what makes executing before agreeing safe.
//!
//! A leader executes a command first ([`Group::fence`] says whether it may), appends its effects
//! ([`Group::append`]), and withholds the reply until they are committed or, for what only read, until
//! it is sure that nobody else led meanwhile ([`Group::poll`]). Followers apply what is committed.
//!
//! | | |
//! | --- | --- |
//! | fence | a leader, in the term that the fence names, that has applied the first entry of that term |
//! | one term | a batch is proposed only by the leader of the term it was executed in, and applied only if its entry has that term |
//! | window | what is executed and not committed is bounded; beyond it nothing is executed |
//! | undo | what was executed and will not be committed is undone: the state is made again from the last snapshot and the log ([`Action::Restore`]) |
//! | removed | a leader that votes no longer hands over or steps down; a removed node votes until every member knows |
//! | quiet | a node that restarted neither votes nor campaigns for one election timeout: it may have promised a lease |
//!
//! Times are microseconds of a clock of this node's that never goes back.

mod apply;
mod reads;
mod speculation;
#[cfg(test)]
mod tests;

use crate::batch::Batch;
use crate::fault::{Fault, Faults};
use crate::lease::Lease;
use crate::message::{Base, Change, Entry, EntryKind, HardState, Membership, Message};
use crate::message::{MessageKind, NodeId, Step};
use crate::outcomes::{Outcome, Outcomes};
use crate::raft::{Raft, Recovered, Refused, Role, Status};
use crate::tikv::ELECTION_TICKS;
use bytes::Bytes;
pub use reads::Wait;
use speculation::Speculation;
pub use speculation::{Cut, CutOutcome};

/// Bytes of one record of effects, at most, in a server. Messages and records of the log end at 1 GiB.
pub const RECORD_MAX: usize = 960 << 20;

/// How a group is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node.
    pub id: NodeId,
    /// Between two ticks, and two heartbeats, microseconds.
    pub tick: u64,
    /// Bytes of one record of effects, at most: an entry has to fit into a message, and into a record of the log.
    pub record_max: usize,
    /// Bytes that may be executed and not committed.
    pub window_bytes: usize,
    /// Batches that may be executed and not committed.
    pub window_batches: usize,
    /// Entries that a learner may be behind when it becomes a voter.
    pub behind: u64,
    /// For the simulator.
    pub faults: Faults,
}

impl Settings {
    /// As a server uses them: heartbeats every 100 ms, an election timeout of a second.
    pub fn new(id: NodeId) -> Settings {
        Settings {
            id,
            tick: 100_000,
            record_max: RECORD_MAX,
            window_bytes: 64 << 20,
            window_batches: 10_000,
            behind: 1_000,
            faults: Faults::default(),
        }
    }

    /// The election timeout, microseconds.
    pub fn election(&self) -> u64 {
        self.tick * ELECTION_TICKS
    }
}

/// The right to execute, in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The term.
    pub term: u64,
}

/// Why nothing is executed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Another node leads; zero if nobody is known to.
    #[error("node {0} leads")]
    Elsewhere(NodeId),
    /// This node leads, and does not know everything yet that was committed before.
    #[error("not ready yet")]
    NotReady,
    /// Too much is executed and not committed.
    #[error("the window is full")]
    Full,
}

/// What the state machine has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Become what the snapshot of this base says.
    Restore(Base),
    /// Apply effects. Never those that were executed here already.
    Apply(Batch),
    /// These belong to the group from now on.
    Members(Membership),
}

/// What is to be done. `restore`, `hard_state` and `entries` are written, in this order, and synced
/// if `must_sync`; then [`Group::persisted`] is called and `after_sync` sent. `messages` and
/// `actions` need not wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// For [`Group::persisted`].
    pub number: u64,
    /// The snapshot that replaces log and state.
    pub restore: Option<Base>,
    /// Term and vote.
    pub hard_state: Option<HardState>,
    /// Entries, over those that are there.
    pub entries: Vec<Entry>,
    /// Whether anything has to be synced.
    pub must_sync: bool,
    /// To be sent now.
    pub messages: Vec<Message>,
    /// To be sent when synced.
    pub after_sync: Vec<Message>,
    /// For the state machine.
    pub actions: Vec<Action>,
}

/// Leading, as long as it lasts.
#[derive(Debug)]
struct Leading {
    term: u64,
    /// The first entry of the term: everything before it is committed once it is.
    first: u64,
    lease: Lease,
    /// Whether somebody waits for a round.
    wanted: bool,
}

/// One member of one group. See the module.
pub struct Group<R> {
    raft: R,
    settings: Settings,
    members: Membership,
    /// The last entry that is applied, and its term.
    applied: (u64, u64),
    /// The last effect of the committed part.
    seq: u64,
    /// The group's time, milliseconds.
    time: u64,
    leading: Option<Leading>,
    speculation: Speculation,
    outcomes: Outcomes,
    /// Until when this node neither votes nor campaigns.
    quiet_until: u64,
}

impl<R: Raft> Group<R> {
    /// The group as it was found. The state must be that of the log's base. `restarted`: this node
    /// may have voted, or promised a lease, before.
    pub fn new(raft: R, settings: Settings, restarted: bool, now: u64) -> Self {
        let base = raft.base().clone();
        let alone = base.members == Membership::of([settings.id]);
        let quiet = restarted && !alone && !settings.faults.has(Fault::VotesAtOnce);
        let mut group = Group {
            quiet_until: if quiet { now + settings.election() } else { now },
            members: base.members,
            applied: (base.index, base.term),
            seq: base.seq,
            time: base.time,
            leading: None,
            speculation: Speculation::default(),
            outcomes: Outcomes::default(),
            raft,
            settings,
        };
        if alone {
            group.raft.campaign();
            group.notice();
        }
        group
    }

    /// Takes a message of another member.
    pub fn step(&mut self, message: Message, now: u64) -> Result<(), Refused> {
        use MessageKind::{RequestPreVote, RequestVote, TimeoutNow};
        let votes = matches!(message.kind, RequestVote | RequestPreVote | TimeoutNow);
        if votes && now < self.quiet_until {
            return Ok(());
        }
        let done = self.raft.step(message);
        self.notice();
        done
    }

    /// A tick has passed.
    pub fn tick(&mut self, now: u64) {
        self.raft.tick();
        self.notice();
        self.hand_over_if_removed();
        self.begin_round(now);
    }

    /// Proposes what was executed since the last call, as one entry, and begins a round of reading if
    /// somebody waits for one. To be called when a turn's commands are done.
    pub fn flush(&mut self, now: u64) {
        self.propose_tail();
        if self.leading.as_ref().is_some_and(|leading| leading.wanted) {
            self.begin_round(now);
        }
    }

    /// What is to be done, if anything.
    pub fn work(&mut self) -> Option<Work> {
        let ready = match self.raft.ready() {
            Some(ready) => ready,
            None if self.speculation.undo => return Some(self.undo_only()),
            None => return None,
        };
        let mut actions = Vec::new();
        if let Some(base) = &ready.restore {
            self.restored(base, &mut actions);
        }
        if self.settings.faults.has(Fault::EarlyChange) {
            self.change_early(&ready.entries, &mut actions);
        }
        self.apply(ready.committed, &mut actions);
        let election = self.settings.election();
        if let Some(leading) = &mut self.leading {
            ready.reads.iter().for_each(|(name, _)| leading.lease.confirm(name, election));
        }
        self.notice();
        self.undo(&mut actions);
        Some(Work {
            number: ready.number,
            restore: ready.restore,
            hard_state: ready.hard_state,
            entries: ready.entries,
            must_sync: ready.must_sync,
            messages: ready.messages,
            after_sync: ready.after_sync,
            actions,
        })
    }

    /// Everything up to this [`Work::number`] is synced.
    pub fn persisted(&mut self, number: u64) {
        self.raft.persisted(number);
        self.notice();
    }

    /// Whether a command may be executed here now.
    pub fn fence(&self) -> Result<Fence, Blocked> {
        let fence = self.led()?;
        if self.speculation.is_full(&self.settings) { Err(Blocked::Full) } else { Ok(fence) }
    }

    /// [`fence`](Self::fence), however much is executed and not committed.
    pub fn led(&self) -> Result<Fence, Blocked> {
        let Some(leading) = &self.leading else {
            return Err(Blocked::Elsewhere(self.raft.status().leader));
        };
        let early = self.settings.faults.has(Fault::EarlyReads);
        let behind = self.applied.0 < leading.first || self.speculation.is_behind();
        let survives = self.settings.faults.has(Fault::LeaseSurvivesTransfer);
        let hands_over = (self.raft.status().hands_over && !survives) || self.is_removed();
        if self.speculation.undo || (!early && behind) || hands_over {
            return Err(Blocked::NotReady);
        }
        Ok(Fence { term: leading.term })
    }

    /// The effects of a command that was executed behind `fence`: `count` of them, at `time`
    /// milliseconds. They stay together in one entry. Returns the number of the last one. The window was
    /// looked at before they were executed: now they are taken.
    pub fn append(
        &mut self,
        fence: Fence,
        effects: &[u8],
        count: u64,
        time: u64,
    ) -> Result<u64, Blocked> {
        match self.led() {
            Ok(now) if now == fence => {}
            Ok(_) => return Err(Blocked::NotReady),
            Err(blocked) => return Err(blocked),
        }
        if self.speculation.tail_is_long(effects.len()) {
            self.propose_tail();
        }
        self.time = self.time.max(time);
        let run = self.run();
        Ok(self.speculation.append((fence.term, run), effects, count, self.seq, self.time))
    }

    /// Something was executed behind a fence that fell before its effects could be appended: the state is
    /// made again.
    pub fn abandon(&mut self) {
        self.speculation.undo = true;
    }

    /// What this node executes belongs to this run.
    fn run(&mut self) -> u64 {
        let Group { outcomes, seq, speculation, .. } = self;
        *speculation.run.get_or_insert_with(|| outcomes.begin(*seq))
    }

    /// The number of the last effect that the state has seen, committed or not.
    pub fn executed(&self) -> u64 {
        self.speculation.executed(self.seq)
    }

    /// Up to where the state is committed: entry, its term, and number of effects.
    pub fn applied(&self) -> (u64, u64, u64) {
        (self.applied.0, self.applied.1, self.seq)
    }

    /// Whether the state has nothing in it that is not committed.
    pub fn is_settled(&self) -> bool {
        self.speculation.is_settled()
    }

    /// How it is run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The group's time, given this node's wall clock, both in milliseconds. It never goes back.
    pub fn time(&self, wall: u64) -> u64 {
        self.time.max(wall)
    }

    /// Proposes a change of members. A node must be a learner, and near the end of the log, before it
    /// can vote.
    pub fn change(&mut self, change: &Change) -> Result<(), Refused> {
        let last = self.raft.status().last;
        let may_vote = |id: &NodeId| {
            let near = self
                .raft
                .matched(*id)
                .is_some_and(|at| at > 0 && at + self.settings.behind >= last);
            self.members.voters.contains(id) || (self.members.learners.contains(id) && near)
        };
        let allowed = |step: &Step| match step {
            Step::Voter(id) => may_vote(id),
            Step::Learner(_) | Step::Remove(_) => true,
        };
        if self.members.is_joint() || !change.steps.iter().all(allowed) {
            return Err(Refused::Change);
        }
        self.propose_tail();
        let done = self.raft.change(change);
        self.notice();
        done
    }

    /// Hands the leadership over. The lease goes first, for the rest of the term.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), Refused> {
        self.propose_tail();
        if let Some(leading) = &mut self.leading
            && !self.settings.faults.has(Fault::LeaseSurvivesTransfer)
        {
            leading.lease.drop_for_term();
        }
        let done = self.raft.transfer(to);
        self.notice();
        done
    }

    /// A leader that votes no longer cannot propose either: it hands over to who has most.
    fn hand_over_if_removed(&mut self) {
        if self.leading.is_none() || self.members.voters.contains(&self.settings.id) {
            return;
        }
        if let Some(to) = self.successors().first().copied() {
            // Refused only by who does not lead.
            let _ = self.transfer(to);
        }
    }

    /// The other voters, the best first to whom the leadership may be handed: who was heard of, and of those who has most
    /// of the log. Known to the leader only.
    pub fn successors(&self) -> Vec<NodeId> {
        if self.leading.is_none() {
            return Vec::new();
        }
        let others = self.members.voters.iter().copied().filter(|id| *id != self.settings.id);
        let mut others: Vec<NodeId> = others.collect();
        let worth = |id: &NodeId| (self.raft.is_active(*id), self.raft.matched(*id), *id);
        others.sort_by_key(|id| std::cmp::Reverse(worth(id)));
        others
    }

    /// How far a member has the log, as far as the leader knows.
    pub fn matched(&self, id: NodeId) -> Option<u64> {
        self.raft.matched(id)
    }

    /// Whether nothing is known of the group here: no member, no entry, no vote.
    pub fn is_blank(&self) -> bool {
        let status = self.raft.status();
        (status.term, status.last) == (0, 0) && self.members.all().is_empty()
    }

    /// A snapshot of `base` is kept and synced, and the log store knows it.
    pub fn compact(&mut self, base: Base) {
        self.raft.compact(base);
    }

    /// Sending a snapshot to a member has ended.
    pub fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        self.raft.snapshot_sent(to, ok);
        self.notice();
    }

    /// Whether this node belonged to the group, and does no longer. It goes on voting: who does not know
    /// yet may need its vote. It may go once every member knows.
    pub fn is_removed(&self) -> bool {
        !self.members.voters.is_empty() && !self.members.all().contains(&self.settings.id)
    }

    /// Who belongs to the group, as far as it is applied here.
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// How the member is doing.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Whether a member waits for a snapshot newer than the last: one is to be taken soon.
    pub fn wants_snapshot(&self) -> bool {
        self.raft.wants_snapshot()
    }

    /// Where its log begins.
    pub fn base(&self) -> &Base {
        self.raft.base()
    }

    /// The entries of the log behind `index`.
    pub fn entries_behind(&self, index: u64) -> Vec<Entry> {
        self.raft.entries_behind(index)
    }

    /// Looks whether this node has begun or ceased to lead. To be called after every call of Raft's.
    fn notice(&mut self) {
        let status = self.raft.status();
        let leads = status.role == Role::Leader;
        if let Some(leading) = &self.leading
            && (!leads || leading.term != status.term)
        {
            self.step_down();
        }
        if leads && self.leading.is_none() {
            let (term, first) = (status.term, status.last);
            let lease = Lease::new(term);
            self.leading = Some(Leading { term, first, lease, wanted: false });
            self.speculation.run = None;
        }
    }
}

/// The log of a group that is founded by these voters: everybody's first log is the same. It begins
/// behind a snapshot of nothing, from which others can learn who founded it.
pub fn founded(voters: impl IntoIterator<Item = NodeId>) -> Recovered {
    let base = Base { index: 1, term: 1, members: Membership::of(voters), seq: 0, time: 0 };
    Recovered { base, ..Recovered::default() }
}
