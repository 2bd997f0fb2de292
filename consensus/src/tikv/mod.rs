//! [`Raft`] implemented with TiKV's crate `raft`. No other module names that crate.
//!
//! The crate has pitfalls, which are handled here:
//!
//! - Its election timeout is random. It is overwritten after every call by a function of seed, node
//!   and term, so that two runs are the same.
//! - Followers would forward proposals, so they are given none.
//! - A read round that begins before the first commit of a term is dropped; the caller repeats it.
//! - Between the `ready` of a snapshot and its sync, the crate believes that it has applied entries
//!   which are gone from the log, and panics if it campaigns. It is kept from campaigning then.
//! - A leader that removed itself panics when it persists the next entry. It steps down when it
//!   applies its removal.
//! - It panics when told that entries are committed which it does not have, or that a group has no
//!   members. Such messages are refused before.

mod convert;
mod mirror;

use crate::message::{Base, Change, Entry, Membership, Message, MessageKind, NodeId};
use crate::raft::{Raft, Ready, Recovered, Refused, Role, Status};
use bytes::Bytes;
use convert::{change_in, entry_out, message_in, message_out};
use convert::{hard_state_out, members_out};
use mirror::Mirror;
use raft::{Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};
use slog::{Discard, Logger, o};

/// The number of ticks without a message from the leader after which a follower may campaign.
pub const ELECTION_TICKS: u64 = 10;

/// The approximate number of bytes of entries in one message.
const MESSAGE_BYTES: u64 = 1 << 20;

/// The number of unanswered messages to a follower.
const IN_FLIGHT: usize = 256;

/// A member of a group, implemented with the crate `raft`.
pub struct TikvRaft {
    node: RawNode<Mirror>,
    seed: u64,
    /// The snapshot that replaces the log and is not synced yet: the number of its `ready`, and its
    /// index.
    restoring: Option<(u64, u64)>,
}

impl TikvRaft {
    /// Creates a member from the log that was found at start; the state machine has the state of
    /// `found.base`. `seed` determines its election timeouts. `None` if `id` is zero or the log
    /// contradicts itself.
    pub fn new(id: NodeId, seed: u64, found: Recovered) -> Option<TikvRaft> {
        let mut found = found;
        let first = found.base.index + 1;
        let ascending = |(at, entry): (usize, &Entry)| entry.index == first + at as u64;
        if id == 0 || !found.entries.iter().enumerate().all(ascending) {
            return None;
        }
        // The last hard state may be older than the snapshot, or ahead of entries that were not
        // synced.
        let last = found.base.index + found.entries.len() as u64;
        found.hard_state.commit = found.hard_state.commit.clamp(found.base.index, last);
        found.hard_state.term = found.hard_state.term.max(found.base.term);
        let config = Config {
            id,
            election_tick: ELECTION_TICKS as usize,
            heartbeat_tick: 1,
            applied: found.base.index,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            ..Config::default()
        };
        let node = RawNode::new(&config, Mirror::new(found), &Logger::root(Discard, o!())).ok()?;
        let mut member = TikvRaft { node, seed, restoring: None };
        member.settle();
        Some(member)
    }

    /// Overwrites the election timeout that the crate chose at random. To be called whenever it may
    /// have chosen one.
    fn settle(&mut self) {
        let raft = &mut self.node.raft;
        let mixed = mix(self.seed ^ mix(raft.id) ^ mix(raft.term).rotate_left(17));
        let ticks = ELECTION_TICKS + mixed % ELECTION_TICKS;
        raft.set_randomized_election_timeout(ticks as usize);
    }

    fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Checks whether a message may be given to the crate.
    fn check(&self, message: &Message) -> Result<(), Refused> {
        let raft = &self.node.raft;
        if message.to != raft.id || message.from == raft.id || message.from == 0 {
            return Err(Refused::Message);
        }
        let first = message.index + 1;
        let apart = |(at, entry): (usize, &Entry)| {
            entry.index != first + at as u64 || entry.term > message.term
        };
        if message.entries.iter().enumerate().any(apart) {
            return Err(Refused::Message);
        }
        match (message.kind, &message.snapshot) {
            (MessageKind::Snapshot, None) => Err(Refused::Message),
            (_, Some(base)) if base.index == 0 || !base.members.is_sound() => Err(Refused::Message),
            (MessageKind::Heartbeat, _)
                if message.term >= raft.term && message.commit > raft.raft_log.last_index() =>
            {
                Err(Refused::Emptied)
            }
            (MessageKind::AppendResponse, _)
                if !message.reject && message.index > raft.raft_log.last_index() =>
            {
                Err(Refused::Message)
            }
            _ => Ok(()),
        }
    }
}

/// Mixes the bits of a number: one step of SplitMix64.
pub(crate) fn mix(value: u64) -> u64 {
    SplitMix64::seed_from_u64(value).next_u64()
}

impl Raft for TikvRaft {
    fn propose(&mut self, data: Bytes) -> Result<(), Refused> {
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        let result = self.node.propose(Vec::new(), data.into());
        self.settle();
        result.map_err(|_| Refused::NotLeader)
    }

    fn step(&mut self, message: Message) -> Result<(), Refused> {
        self.check(&message)?;
        if self.restoring.is_some() && message.kind == MessageKind::TimeoutNow {
            return Ok(());
        }
        // A message that the crate refuses is ignored: it came from a node that is no longer a
        // member.
        let _ = self.node.step(message_in(message));
        self.settle();
        Ok(())
    }

    fn tick(&mut self, may_lead: bool) {
        if self.restoring.is_none() && (may_lead || self.leads()) {
            self.node.tick();
        } else if self.restoring.is_none() {
            // As the crate counts, which would campaign some ticks later.
            let elapsed = &mut self.node.raft.election_elapsed;
            *elapsed = (*elapsed + 1).min(ELECTION_TICKS as usize);
        }
        self.settle();
    }

    fn campaign(&mut self) {
        let _ = self.node.campaign();
        self.settle();
    }

    fn ready(&mut self) -> Option<Ready> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let restore = (!ready.snapshot().is_empty()).then(|| convert::base_out(ready.snapshot()));
        if let Some(base) = &restore {
            self.node.mut_store().restore(base.clone());
            self.restoring = Some((ready.number(), base.index));
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        let reads = ready.take_read_states().into_iter();
        let out = Ready {
            number: ready.number(),
            restore,
            hard_state: ready.hs().map(hard_state_out),
            entries: entries.iter().map(entry_out).collect(),
            must_sync: ready.must_sync(),
            messages: ready.take_messages().iter().filter_map(message_out).collect(),
            after_sync: ready.take_persisted_messages().iter().filter_map(message_out).collect(),
            committed: ready.take_committed_entries().iter().map(entry_out).collect(),
            reads: reads.map(|state| (state.request_ctx.into(), state.index)).collect(),
        };
        self.node.advance_append_async(ready);
        self.settle();
        Some(out)
    }

    fn persisted(&mut self, number: u64) {
        self.node.on_persist_ready(number);
        if let Some((_, index)) = self.restoring.filter(|(of, _)| *of <= number) {
            self.node.advance_apply_to(index);
            self.restoring = None;
        }
        self.settle();
    }

    fn applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
        self.settle();
    }

    fn read_index(&mut self, name: Bytes) {
        self.node.read_index(name.into());
        self.settle();
    }

    fn change(&mut self, change: &Change) -> Result<(), Refused> {
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        if self.node.raft.has_pending_conf() {
            return Err(Refused::Change);
        }
        let result = self.node.propose_conf_change(change.encode().into(), change_in(change));
        self.settle();
        result.map_err(|_| Refused::Change)
    }

    fn apply_change(&mut self, change: &Change) -> Result<Membership, Refused> {
        let state = self.node.apply_conf_change(&change_in(change));
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && raft.prs().get(raft.id).is_none() {
            raft.become_follower(raft.term, 0);
        }
        self.settle();
        state.map(|state| members_out(&state)).map_err(|_| Refused::Change)
    }

    #[cfg(feature = "planted")]
    fn forget_change(&mut self) {
        self.node.raft.pending_conf_index = 0;
    }

    fn transfer(&mut self, to: NodeId) -> Result<(), Refused> {
        if !self.leads() {
            return Err(Refused::NotLeader);
        }
        self.node.transfer_leader(to);
        self.settle();
        Ok(())
    }

    fn ask_to_lead(&mut self) {
        if self.node.raft.state == StateRole::Follower {
            // The crate sends it on to the leader.
            self.node.transfer_leader(self.node.raft.id);
            self.settle();
        }
    }

    fn compact(&mut self, base: Base) {
        if base.index > self.node.store().base.index {
            self.node.mut_store().compact(base);
        }
    }

    fn snapshot_sent(&mut self, to: NodeId, ok: bool) {
        let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to, status);
        self.settle();
    }

    fn status(&self) -> Status {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        Status {
            role,
            term: raft.term,
            leader: raft.leader_id,
            commit: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            hands_over: raft.lead_transferee.is_some(),
        }
    }

    fn entries_behind(&self, index: u64) -> Vec<Entry> {
        self.node.store().behind(index).iter().map(entry_out).collect()
    }

    fn base(&self) -> &Base {
        &self.node.store().base
    }

    fn wants_snapshot(&self) -> bool {
        self.leads() && self.node.store().wanted.get()
    }

    fn is_active(&self, id: NodeId) -> bool {
        self.node.raft.prs().get(id).is_some_and(|progress| progress.recent_active)
    }

    fn matched(&self, id: NodeId) -> Option<u64> {
        self.node.raft.prs().get(id).map(|progress| progress.matched)
    }
}
