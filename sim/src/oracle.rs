//! The invariants that must hold after every step, whatever the faults.

use crate::digest;
use consensus::{Base, Entry, Group, GroupId, NodeId, Raft, Role};
use std::collections::{BTreeMap, HashMap};

/// Checks the invariants with a view of all nodes and groups. It keeps the first violation.
#[derive(Debug, Default)]
pub struct Oracle {
    groups: BTreeMap<GroupId, Judge>,
    /// The first violation, in words.
    pub violation: Option<String>,
}

impl Oracle {
    /// Records a violation.
    pub fn blame(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Asks the judge of a group.
    pub fn at<R>(&mut self, group: GroupId, what: impl FnOnce(&mut Judge) -> R) -> R {
        let judge = self.groups.entry(group).or_default();
        let done = what(judge);
        if let Some(violation) = judge.violation.take() {
            self.blame(format!("group {group}: {violation}"));
        }
        done
    }

    /// The index of the last entry of a group that any node knows to be committed.
    pub fn commit(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(BEFORE, Judge::commit)
    }
}

/// Checks the invariants of one group.
#[derive(Debug, Default)]
pub struct Judge {
    /// The leader of each term.
    leaders: BTreeMap<u64, NodeId>,
    /// A digest of each entry, by index and term.
    entries: HashMap<(u64, u64), u64>,
    /// The committed entries from index 2 on (the first is the same for everybody): the term of
    /// each, and the term in which it was found to be committed.
    committed: Vec<(u64, u64)>,
    /// By index: a digest of the state behind that entry, and the number of effects in it.
    states: HashMap<u64, (u64, u64)>,
    /// A violation, in words.
    violation: Option<String>,
}

/// The number of entries before the first one in `committed`.
const BEFORE: u64 = 1;

impl Judge {
    fn blame(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The index of the last entry that any node knows to be committed.
    pub fn commit(&self) -> u64 {
        BEFORE + self.committed.len() as u64
    }

    /// A node writes entries. Entries of the same index and term must be the same on all nodes.
    pub fn wrote(&mut self, id: NodeId, entries: &[Entry]) {
        for entry in entries {
            let sum = digest::of(&entry.data);
            let known = *self.entries.entry((entry.index, entry.term)).or_insert(sum);
            if known != sum {
                let Entry { index, term, .. } = entry;
                self.blame(format!("node {id} has another entry {index} of term {term}"));
            }
        }
    }

    /// Checks a node after it did something: each term has one leader, and committed and applied
    /// entries agree with those of other nodes.
    pub fn look<R: Raft>(&mut self, id: NodeId, group: &Group<R>) {
        let status = group.status();
        if status.role == Role::Leader {
            let is_new = !self.leaders.contains_key(&status.term);
            let leader = *self.leaders.entry(status.term).or_insert(id);
            if leader != id {
                self.blame(format!("{leader} and {id} lead term {}", status.term));
            }
            if is_new {
                self.has_all(id, group);
            }
            self.advance(id, status.commit, group);
        }
        let (index, term, _) = group.applied();
        // A leader may have committed its own removal, and lead no longer.
        self.advance(id, index, group);
        if let Some(at) = self.term_of(index)
            && at != term
        {
            self.blame(format!("node {id} applied {index} of term {term}, not {at}"));
        }
    }

    fn term_of(&self, index: u64) -> Option<u64> {
        self.committed.get(index.checked_sub(BEFORE + 1)? as usize).map(|(term, _)| *term)
    }

    /// Checks that a new leader has every entry that was committed in earlier terms. Entries of
    /// later terms do not count, because a paused node may find out late that it was elected.
    fn has_all<R: Raft>(&mut self, id: NodeId, group: &Group<R>) {
        let (base, led) = (group.base().index, group.status().term);
        let entries = group.entries_behind(base);
        let known = self.committed.iter().take_while(|(_, since)| *since < led).count();
        for index in base + 1..=BEFORE + known as u64 {
            let has = entries.get((index - base - 1) as usize).map(|entry| entry.term);
            if index > BEFORE && has != self.term_of(index) {
                return self.blame(format!("node {id} leads without the committed entry {index}"));
            }
        }
    }

    /// Records that everything up to `commit` is committed.
    fn advance<R: Raft>(&mut self, id: NodeId, commit: u64, group: &Group<R>) {
        let known = self.commit();
        if commit <= known {
            return;
        }
        if group.base().index > known {
            return self.blame(format!("node {id} has a snapshot ahead of what is committed"));
        }
        let (new, since) = (group.entries_behind(known), group.status().term);
        let new = new.iter().take((commit - known) as usize);
        self.committed.extend(new.map(|entry| (entry.term, since)));
    }

    /// Compares the state behind entry `index`, all of it committed, with that of other nodes.
    pub fn state(&mut self, id: NodeId, index: u64, digest: u64, seq: u64) {
        let known = *self.states.entry(index).or_insert((digest, seq));
        if known != (digest, seq) {
            self.blame(format!("node {id} has another state at {index}: effect {seq}"));
        }
    }

    /// A node writes a snapshot to its disk. It must not be ahead of what is committed.
    pub fn kept(&mut self, id: NodeId, base: &Base, digest: u64) {
        if base.index > self.commit() {
            self.blame(format!("node {id} keeps a snapshot at {}, ahead of all", base.index));
        }
        self.state(id, base.index, digest, base.seq);
    }
}
