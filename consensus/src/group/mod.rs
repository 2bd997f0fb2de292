//! A group: Raft, and what makes it safe to execute a command before its effects are committed.
//!
//! A leader first executes a command, if [`Group::fence`] permits it, and appends the effects
//! ([`Group::append`]). It withholds the reply until the effects are committed or, for a read,
//! until it is certain that no other node led meanwhile ([`Group::poll`]). Followers apply what is
//! committed.
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
//! Times are microseconds of a monotonic clock of this node.

mod apply;
mod follow;
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
use follow::Following;
pub use follow::ReadOutcome;
pub use reads::Wait;
use speculation::Speculation;
pub use speculation::{Cut, CutOutcome};

/// The largest record of effects in a server, in bytes. Messages and log records are limited to 1
/// GiB.
pub const RECORD_MAX: usize = 960 << 20;

/// The parameters of a group.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The identity of this node.
    pub id: NodeId,
    /// The interval between two ticks, and between two heartbeats, in microseconds.
    pub tick: u64,
    /// The largest record of effects, in bytes: an entry has to fit into a message and into a
    /// record of the log.
    pub record_max: usize,
    /// The number of bytes that may be executed and not yet committed.
    pub window_bytes: usize,
    /// The number of batches that may be executed and not yet committed.
    pub window_batches: usize,
    /// The number of entries that a learner may be behind and still become a voter.
    pub behind: u64,
    /// A number that differs between the lives of a node: what it asked in one is not answered in the next.
    pub nonce: u64,
    /// The planted bug, for the simulator.
    pub faults: Faults,
}

impl Settings {
    /// The settings of a server: heartbeats every 100 ms, and an election timeout of one second.
    pub fn new(id: NodeId) -> Settings {
        Settings {
            id,
            tick: 100_000,
            record_max: RECORD_MAX,
            window_bytes: 64 << 20,
            window_batches: 10_000,
            behind: 1_000,
            nonce: 0,
            faults: Faults::default(),
        }
    }

    /// The election timeout in microseconds.
    pub fn election(&self) -> u64 {
        self.tick * ELECTION_TICKS
    }
}

/// The right to execute commands in one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The term in which commands may be executed.
    pub term: u64,
}

/// The reason why no command can be executed here now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Another node leads; zero if no leader is known.
    #[error("node {0} leads")]
    Elsewhere(NodeId),
    /// This node leads, and has not yet applied everything that was committed before its term.
    #[error("not ready yet")]
    NotReady,
    /// The bound on what is executed and not committed has been reached.
    #[error("the window is full")]
    Full,
}

/// A step for the state machine. Steps are to be taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Replace the state by the snapshot of this base.
    Restore(Base),
    /// Apply these effects. They are never effects that this node has executed already.
    Apply(Batch),
    /// These effects, which this node has executed, are committed. Only for those that were to be
    /// [reported](Group::report).
    Committed(Batch),
    /// The members of the group from now on.
    Members(Membership),
}

/// The work that a group has for its driver. `restore`, `hard_state` and `entries` are written in
/// this order and synced if `must_sync`; then the driver calls [`Group::persisted`] and sends
/// `after_sync`. `messages` and `actions` need not wait for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The number to pass to [`Group::persisted`].
    pub number: u64,
    /// The snapshot that replaces log and state.
    pub restore: Option<Base>,
    /// The hard state to write, if it has changed.
    pub hard_state: Option<HardState>,
    /// Entries to write; they may overwrite entries that are there.
    pub entries: Vec<Entry>,
    /// Whether what is written has to be synced.
    pub must_sync: bool,
    /// Messages to send at once.
    pub messages: Vec<Message>,
    /// Messages to send once everything above is synced.
    pub after_sync: Vec<Message>,
    /// Steps for the state machine, in order.
    pub actions: Vec<Action>,
}

/// The state of a leader during one term.
#[derive(Debug)]
struct Leading {
    term: u64,
    /// The index of the first entry of the term. Once it is committed, so is everything before it.
    first: u64,
    lease: Lease,
    /// Whether a reply waits for a read round that has not begun.
    wanted: bool,
}

/// One member of one group.
pub struct Group<R> {
    raft: R,
    settings: Settings,
    members: Membership,
    /// The index and term of the last entry that is applied.
    applied: (u64, u64),
    /// The number of the last committed effect.
    seq: u64,
    /// The group's time in milliseconds.
    time: u64,
    leading: Option<Leading>,
    following: Following,
    speculation: Speculation,
    outcomes: Outcomes,
    /// The time until which this node neither votes nor campaigns.
    quiet_until: u64,
    /// The time since which its state is being replaced, if it is.
    loading_since: Option<u64>,
}

impl<R: Raft> Group<R> {
    /// Creates the member from its log. The state machine must have the state of the log's base.
    /// `restarted` says whether this node may have voted, or promised a lease, before.
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
            following: Following::default(),
            speculation: Speculation::default(),
            outcomes: Outcomes::default(),
            loading_since: None,
            raft,
            settings,
        };
        if alone {
            group.raft.campaign();
            group.notice();
        }
        group
    }

    /// Handles a message of another member.
    pub fn step(&mut self, message: Message, now: u64) -> Result<(), Refused> {
        use MessageKind::{RequestPreVote, RequestVote, TimeoutNow};
        let votes = matches!(message.kind, RequestVote | RequestPreVote | TimeoutNow);
        if votes && now < self.quiet_until {
            return Ok(());
        }
        if message.kind == TimeoutNow && self.loading_since.is_some() {
            return Ok(());
        }
        if message.kind == MessageKind::TransferLeader {
            self.asked_to_hand_over(&message);
            return Ok(());
        }
        let done = self.raft.step(message);
        self.notice();
        done
    }

    /// Reports that a tick has passed.
    pub fn tick(&mut self, now: u64) {
        self.raft.tick(self.loading_since.is_none());
        self.notice();
        self.hand_over_if_unfit(now);
        self.begin_round(now);
        self.repeat_read(now);
    }

    /// Proposes the effects of the commands that were executed since the last call, as one entry,
    /// and begins a read round if a reply waits for one. To be called at the end of a turn.
    pub fn flush(&mut self, now: u64) {
        self.propose_tail();
        if self.leading.as_ref().is_some_and(|leading| leading.wanted) {
            self.begin_round(now);
        }
        self.begin_read();
    }

    /// Reports that the state is being replaced, which takes some time, or that it is there. Meanwhile
    /// this node votes, but does not become the leader; if it leads, it hands over after an election
    /// timeout. `now` is in microseconds.
    pub fn set_loading(&mut self, loading: bool, now: u64) {
        self.loading_since = loading.then_some(self.loading_since.unwrap_or(now));
    }

    /// Takes the work that is to be done; `None` if there is none.
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
        ready.reads.iter().for_each(|(name, index)| self.confirm_read(name, *index));
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

    /// Reports that everything up to this [`Work::number`] is synced.
    pub fn persisted(&mut self, number: u64) {
        self.raft.persisted(number);
        self.notice();
    }

    /// Whether a command may be executed here now.
    pub fn fence(&self) -> Result<Fence, Blocked> {
        let fence = self.led()?;
        if self.speculation.is_full(&self.settings) { Err(Blocked::Full) } else { Ok(fence) }
    }

    /// Like [`fence`](Self::fence), but without a bound on what is executed and not committed.
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

    /// Appends the effects of a command that was executed under `fence`: `count` effects, executed
    /// at `time` in milliseconds. They stay together in one entry. Returns the number of the last
    /// one. The bound on uncommitted effects was checked before the command was executed, so it
    /// does not apply here.
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

    /// Reports that a command was executed under a fence that fell before its effects could be
    /// appended. The state will be built again.
    pub fn abandon(&mut self) {
        self.speculation.undo = true;
    }

    /// The number of the current run; begins one if there is none.
    fn run(&mut self) -> u64 {
        let Group { outcomes, seq, speculation, .. } = self;
        *speculation.run.get_or_insert_with(|| outcomes.begin(*seq))
    }

    /// The number of the last effect that the state contains, committed or not.
    pub fn executed(&self) -> u64 {
        self.speculation.executed(self.seq)
    }

    /// How far the state is committed: the index and term of the last applied entry, and the number
    /// of the last effect.
    pub fn applied(&self) -> (u64, u64, u64) {
        (self.applied.0, self.applied.1, self.seq)
    }

    /// Whether everything in the state is committed.
    pub fn is_settled(&self) -> bool {
        self.speculation.is_settled()
    }

    /// The parameters of the group.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The group's time in milliseconds, given this node's wall clock in milliseconds. It never
    /// goes back.
    pub fn time(&self, wall: u64) -> u64 {
        self.time.max(wall)
    }

    /// Proposes a change of the membership. Before a node can become a voter, it must be a learner
    /// and be at most [`Settings::behind`] entries behind.
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

    /// Hands the leadership over to a voter. The lease is given up first, for the rest of the term.
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

    /// Makes this member the leader: it asks the current leader to hand over or, if that is
    /// `silent`, the others for their votes. Nothing happens if it leads already, has no vote, is
    /// loading its state, or may not campaign yet. The request may be lost or refused.
    pub fn take_over(&mut self, silent: bool, now: u64) {
        let votes = self.members.voters.contains(&self.settings.id);
        let loads = self.loading_since.is_some();
        if self.leading.is_some() || !votes || loads || now < self.quiet_until {
            return;
        }
        match silent {
            true => self.raft.campaign(),
            false => self.raft.ask_to_lead(),
        }
        self.notice();
    }

    /// A member would like to lead. What it said in another term counts no longer.
    fn asked_to_hand_over(&mut self, message: &Message) {
        let status = self.raft.status();
        let votes = self.members.voters.contains(&message.from);
        if votes && message.term == status.term && !status.hands_over {
            // Refused only by who does not lead.
            let _ = self.transfer(message.from);
        }
    }

    /// A leader that is no longer a voter cannot propose, and one that has been loading its state for
    /// long serves nobody: it hands over to the voter with the longest log.
    fn hand_over_if_unfit(&mut self, now: u64) {
        let election = self.settings.election();
        let loads = self.loading_since.is_some_and(|since| now >= since + election);
        let fit = self.members.voters.contains(&self.settings.id) && !loads;
        if self.leading.is_none() || fit {
            return;
        }
        if let Some(to) = self.successors().first().copied() {
            // Only a node that does not lead refuses.
            let _ = self.transfer(to);
        }
    }

    /// The other voters, best successor first: those that the leader has heard from come first, and
    /// among them those that have most of the log. Empty if this node does not lead.
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

    /// The index of the last entry that the leader knows a member to have.
    pub fn matched(&self, id: NodeId) -> Option<u64> {
        self.raft.matched(id)
    }

    /// Whether this node knows nothing of the group: no member, no entry, no term.
    pub fn is_blank(&self) -> bool {
        let status = self.raft.status();
        (status.term, status.last) == (0, 0) && self.members.all().is_empty()
    }

    /// Reports that a snapshot of `base` is written and synced, and that the log store knows of it.
    pub fn compact(&mut self, base: Base) {
        self.raft.compact(base);
    }

    /// Reports that sending a snapshot to a member has ended; `ok` says whether it arrived.
    pub fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        self.raft.snapshot_sent(to, ok);
        self.notice();
    }

    /// Whether this node has been removed from the group. It goes on voting, because a member that
    /// does not know yet may need its vote; it may be shut down once every member knows.
    pub fn is_removed(&self) -> bool {
        !self.members.voters.is_empty() && !self.members.all().contains(&self.settings.id)
    }

    /// The members of the group, as of the last entry that is applied here.
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// The state of this member.
    pub fn status(&self) -> Status {
        self.raft.status()
    }

    /// Whether some member needs a snapshot newer than the last one, so that one should be taken
    /// soon.
    pub fn wants_snapshot(&self) -> bool {
        self.raft.wants_snapshot()
    }

    /// The point where the log begins.
    pub fn base(&self) -> &Base {
        self.raft.base()
    }

    /// The entries of the log behind `index`.
    pub fn entries_behind(&self, index: u64) -> Vec<Entry> {
        self.raft.entries_behind(index)
    }

    /// Notices whether this node has begun or ceased to lead. To be called after every call to
    /// Raft.
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

/// The log of a new group of these voters. It is the same for every founding member, and begins
/// behind an empty snapshot, from which nodes that join later learn who founded the group.
pub fn founded(voters: impl IntoIterator<Item = NodeId>) -> Recovered {
    let base = Base { index: 1, term: 1, members: Membership::of(voters), seq: 0, time: 0 };
    Recovered { base, ..Recovered::default() }
}
