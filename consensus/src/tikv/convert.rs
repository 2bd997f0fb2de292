//! Conversion between our messages and those of the crate `raft`, field by field.

use crate::message::{Base, Change, Entry, EntryKind, HardState, Membership};
use crate::message::{Message, MessageKind, Step};
use raft::prelude as pb;
use raft::prelude::{ConfChangeTransition, ConfChangeType, EntryType, MessageType};

/// The kinds of message that peers exchange. The crate's other kinds are calls of a member to
/// itself, or proposals, which are never forwarded.
const KINDS: &[(MessageKind, MessageType)] = &[
    (MessageKind::Append, MessageType::MsgAppend),
    (MessageKind::AppendResponse, MessageType::MsgAppendResponse),
    (MessageKind::RequestVote, MessageType::MsgRequestVote),
    (MessageKind::RequestVoteResponse, MessageType::MsgRequestVoteResponse),
    (MessageKind::Snapshot, MessageType::MsgSnapshot),
    (MessageKind::Heartbeat, MessageType::MsgHeartbeat),
    (MessageKind::HeartbeatResponse, MessageType::MsgHeartbeatResponse),
    (MessageKind::TimeoutNow, MessageType::MsgTimeoutNow),
    (MessageKind::ReadIndex, MessageType::MsgReadIndex),
    (MessageKind::ReadIndexResponse, MessageType::MsgReadIndexResp),
    (MessageKind::RequestPreVote, MessageType::MsgRequestPreVote),
    (MessageKind::RequestPreVoteResponse, MessageType::MsgRequestPreVoteResponse),
    (MessageKind::TransferLeader, MessageType::MsgTransferLeader),
];

/// Converts an entry for the crate. A change goes into `context`, so that the crate finds no data
/// to parse.
pub fn entry_in(entry: Entry) -> pb::Entry {
    let mut out = pb::Entry { index: entry.index, term: entry.term, ..Default::default() };
    match entry.kind {
        EntryKind::Normal => out.data = entry.data,
        EntryKind::Change => {
            out.set_entry_type(EntryType::EntryConfChangeV2);
            out.context = entry.data;
        }
    }
    out
}

/// The reverse of [`entry_in`].
pub fn entry_out(entry: &pb::Entry) -> Entry {
    let (kind, data) = match entry.get_entry_type() {
        EntryType::EntryNormal => (EntryKind::Normal, entry.data.clone()),
        _ => (EntryKind::Change, entry.context.clone()),
    };
    Entry { index: entry.index, term: entry.term, kind, data }
}

/// Converts members for the crate.
pub fn members_in(members: &Membership) -> pb::ConfState {
    let mut out = pb::ConfState::default();
    out.set_voters(members.voters.clone());
    out.set_learners(members.learners.clone());
    out.set_voters_outgoing(members.voters_outgoing.clone());
    out.set_learners_next(members.learners_next.clone());
    out.auto_leave = members.auto_leave;
    out
}

/// The reverse of [`members_in`], in ascending order.
pub fn members_out(state: &pb::ConfState) -> Membership {
    let sorted = |list: &[u64]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list
    };
    Membership {
        voters: sorted(state.get_voters()),
        learners: sorted(state.get_learners()),
        voters_outgoing: sorted(state.get_voters_outgoing()),
        learners_next: sorted(state.get_learners_next()),
        auto_leave: state.auto_leave,
    }
}

/// Converts a base to a snapshot for the crate. Its data are sixteen bytes of ours; the state
/// itself is sent separately.
pub fn base_in(base: &Base) -> pb::Snapshot {
    let mut out = pb::Snapshot::default();
    let meta = out.mut_metadata();
    meta.index = base.index;
    meta.term = base.term;
    meta.set_conf_state(members_in(&base.members));
    out.data = [base.seq.to_le_bytes(), base.time.to_le_bytes()].concat().into();
    out
}

/// The reverse of [`base_in`].
pub fn base_out(snapshot: &pb::Snapshot) -> Base {
    let meta = snapshot.get_metadata();
    let number = |at: usize| {
        let bytes = snapshot.data.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let members = members_out(meta.get_conf_state());
    Base { index: meta.index, term: meta.term, members, seq: number(0), time: number(8) }
}

/// Converts a hard state for the crate.
pub fn hard_state_in(state: HardState) -> pb::HardState {
    let HardState { term, vote, commit } = state;
    pb::HardState { term, vote, commit, ..Default::default() }
}

/// The reverse of [`hard_state_in`].
pub fn hard_state_out(state: &pb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

/// Converts a change for the crate.
pub fn change_in(change: &Change) -> pb::ConfChangeV2 {
    let mut out = pb::ConfChangeV2::default();
    let single = |step: &Step| {
        let (kind, node_id) = match *step {
            Step::Voter(id) => (ConfChangeType::AddNode, id),
            Step::Learner(id) => (ConfChangeType::AddLearnerNode, id),
            Step::Remove(id) => (ConfChangeType::RemoveNode, id),
        };
        let mut single = pb::ConfChangeSingle { node_id, ..Default::default() };
        single.set_change_type(kind);
        single
    };
    out.set_transition(ConfChangeTransition::Auto);
    out.set_changes(change.steps.iter().map(single).collect::<Vec<_>>().into());
    out
}

/// Converts a message for the crate.
pub fn message_in(message: Message) -> pb::Message {
    let kind = KINDS.iter().find(|(ours, _)| *ours == message.kind);
    let mut out = pb::Message {
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
        ..Default::default()
    };
    out.set_msg_type(kind.map_or(MessageType::MsgHeartbeatResponse, |(_, theirs)| *theirs));
    if matches!(message.kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse) {
        // The crate keeps the name of a read round as the data of an entry; our messages have it in
        // `context`.
        let data = std::mem::take(&mut out.context);
        out.set_entries(vec![pb::Entry { data, ..Default::default() }].into());
    } else {
        out.set_entries(message.entries.into_iter().map(entry_in).collect::<Vec<_>>().into());
    }
    if let Some(base) = &message.snapshot {
        out.set_snapshot(base_in(base));
    }
    out
}

/// The reverse of [`message_in`]; `None` for kinds that are not sent to peers.
pub fn message_out(message: &pb::Message) -> Option<Message> {
    let theirs = message.get_msg_type();
    let (kind, _) = *KINDS.iter().find(|(_, kind)| *kind == theirs)?;
    let reads = matches!(kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse);
    let first = message.get_entries().first();
    let context = match first.filter(|_| reads) {
        Some(entry) => entry.data.clone(),
        None => message.context.clone(),
    };
    let entries = message.get_entries().iter().filter(|_| !reads).map(entry_out).collect();
    Some(Message {
        kind,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries,
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: (kind == MessageKind::Snapshot).then(|| base_out(message.get_snapshot())),
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context,
        priority: message.priority,
    })
}
