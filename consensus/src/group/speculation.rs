//! Effects that were executed and are not committed: their bound, and how they are undone.

use super::{Action, Base, Batch, Bytes, Fault, Group, Raft, Settings, Work};
use std::collections::VecDeque;

/// The number of bytes of effects after which a batch is proposed before the turn ends.
const BATCH_BYTES: usize = 1 << 20;

/// A batch that this node proposed and whose outcome is not decided.
#[derive(Debug)]
pub(super) struct Proposed {
    pub index: u64,
    pub term: u64,
    pub run: u64,
    pub first: u64,
    pub last: u64,
    bytes: usize,
    /// Whether the state contains the batch. It no longer does after an undo.
    pub executed: bool,
    /// Whether it is to be reported when it is committed, see [`Group::report`].
    pub reported: bool,
}

/// Effects that are executed and not yet proposed.
#[derive(Debug, Default)]
struct Tail {
    term: u64,
    run: u64,
    first: u64,
    count: u64,
    time: u64,
    effects: Vec<u8>,
    reported: bool,
}

/// Everything that was executed or proposed here and is not committed.
#[derive(Debug, Default)]
pub(super) struct Speculation {
    tail: Tail,
    pub proposed: VecDeque<Proposed>,
    bytes: usize,
    /// Whether the state contains something that will never be committed.
    pub undo: bool,
    /// The run to which new effects belong; `None` before the first one.
    pub run: Option<u64>,
    cut: Option<(Cut, Option<CutOutcome>)>,
}

/// The entry behind which a snapshot of the executed state was taken. The snapshot may not be kept
/// before that entry is committed, because no disk may be ahead of the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The index of the entry.
    pub index: u64,
    /// The term of the entry.
    pub term: u64,
    /// The number of the last effect in the snapshot.
    pub seq: u64,
    /// The group's time in milliseconds.
    pub time: u64,
}

/// The outcome of a [`Cut`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CutOutcome {
    /// The entry is committed: the snapshot may be kept, and the log may begin behind this base.
    Kept(Base),
    /// It is not decided whether the entry will be committed.
    Pending,
    /// The snapshot contains effects that were never committed, and must be thrown away.
    Lost,
}

impl Speculation {
    /// Adds `count` effects and returns the number of the last one. `whose` is the term and the
    /// run; `seq`, the number of the last committed effect.
    pub fn append(
        &mut self,
        whose: (u64, u64),
        bytes: &[u8],
        count: u64,
        seq: u64,
        time: u64,
    ) -> u64 {
        if self.tail.count == 0 {
            let ((term, run), first) = (whose, self.executed(seq) + 1);
            self.tail = Tail { term, run, first, time, ..Tail::default() };
        }
        self.tail.count += count;
        self.tail.time = time;
        self.tail.effects.extend_from_slice(bytes);
        self.tail.first + self.tail.count - 1
    }

    /// The number of the last executed effect, where `seq` is the last committed one.
    pub fn executed(&self, seq: u64) -> u64 {
        if self.tail.count > 0 {
            return self.tail.first + self.tail.count - 1;
        }
        let last = self.proposed.back().filter(|last| last.executed);
        last.map_or(seq, |last| last.last)
    }

    pub fn tail_is_long(&self, more: usize) -> bool {
        self.tail.count > 0 && self.tail.effects.len() + more > BATCH_BYTES
    }

    pub fn is_full(&self, settings: &Settings) -> bool {
        self.bytes + self.tail.effects.len() >= settings.window_bytes
            || self.proposed.len() >= settings.window_batches
    }

    pub fn is_settled(&self) -> bool {
        self.tail.count == 0 && !self.undo && !self.proposed.iter().any(|it| it.executed)
    }

    /// Whether entries of this node are undecided and, after an undo, no longer in the state.
    pub fn is_behind(&self) -> bool {
        self.proposed.iter().any(|it| !it.executed)
    }

    fn push(&mut self, index: u64, term: u64, tail: Tail) {
        let (first, last) = (tail.first, tail.first + tail.count - 1);
        let (run, bytes, reported) = (tail.run, tail.effects.len(), tail.reported);
        self.bytes += bytes;
        let executed = true;
        let proposed = Proposed { index, term, run, first, last, bytes, executed, reported };
        self.proposed.push_back(proposed);
    }

    pub fn pop(&mut self) -> Option<Proposed> {
        let front = self.proposed.pop_front()?;
        self.bytes -= front.bytes;
        Some(front)
    }
}

impl<R: Raft> Group<R> {
    /// The batch of the effects that were appended last is to be reported when it is committed
    /// ([`Action::Committed`]): some of them change the state only then. Until that is done no snapshot
    /// is taken.
    pub fn report(&mut self) {
        self.speculation.tail.reported = true;
    }

    /// Proposes the executed effects, or drops them if this node no longer leads their term.
    pub(super) fn propose_tail(&mut self) {
        if self.speculation.tail.count == 0 {
            return;
        }
        let status = self.raft.status();
        let older = self.settings.faults.has(Fault::OlderTerm);
        let led = self.leading.as_ref().map(|leading| leading.term);
        if older && led.is_none() {
            return;
        }
        if led != Some(self.speculation.tail.term) && !(older && led.is_some()) {
            return self.drop_tail();
        }
        let tail = &self.speculation.tail;
        let batch = Batch {
            term: tail.term,
            first: tail.first,
            count: tail.count,
            time: tail.time,
            effects: Bytes::copy_from_slice(&tail.effects),
        };
        if self.raft.propose(batch.encode()).is_err() {
            return self.drop_tail();
        }
        let tail = std::mem::take(&mut self.speculation.tail);
        self.speculation.push(self.raft.status().last, status.term, tail);
    }

    /// Drops effects that were executed and not proposed; they will never be committed.
    fn drop_tail(&mut self) {
        let tail = std::mem::take(&mut self.speculation.tail);
        if tail.count > 0 {
            self.outcomes.cut(tail.run, tail.first);
            self.speculation.undo = true;
        }
    }

    /// Ends the leadership: no command is executed from here on.
    pub(super) fn step_down(&mut self) {
        self.leading = None;
        if self.settings.faults.has(Fault::CutWhatCommits) {
            self.outcomes.cut(self.speculation.run.unwrap_or(0), self.seq + 1);
        }
        if !self.settings.faults.has(Fault::OlderTerm) {
            self.drop_tail();
        }
    }

    /// Another entry was committed in the place of one that this node had proposed. Everything
    /// executed after it depended on it, and is cut as well.
    pub(super) fn cut_proposed(&mut self) {
        while let Some(it) = self.speculation.pop() {
            self.outcomes.cut(it.run, it.first);
            self.speculation.undo |= it.executed;
        }
        self.lose_cut();
    }

    /// A snapshot replaces the state. It does not say which of the pending effects it contains.
    pub(super) fn restored(&mut self, base: &Base, actions: &mut Vec<Action>) {
        while let Some(it) = self.speculation.pop() {
            self.outcomes.lose(it.run);
        }
        self.drop_tail();
        self.speculation.undo = false;
        self.lose_cut();
        self.applied = (base.index, base.term);
        (self.seq, self.time) = (base.seq, self.time.max(base.time));
        self.members = base.members.clone();
        actions.push(Action::Restore(base.clone()));
        actions.push(Action::Members(base.members.clone()));
    }

    /// Builds the state again if it contains something that will not be committed.
    pub(super) fn undo(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.speculation.undo) || self.settings.faults.has(Fault::NoUndo) {
            return;
        }
        self.drop_tail();
        (self.speculation.undo, self.speculation.run) = (false, None);
        self.speculation.proposed.iter_mut().for_each(|it| it.executed = false);
        self.lose_cut();
        actions.retain(|action| matches!(action, Action::Members(_)));
        let base = self.raft.base().clone();
        let behind = self.raft.entries_behind(base.index);
        actions.push(Action::Restore(base));
        let applied = behind.into_iter().take_while(|entry| entry.index <= self.applied.0);
        actions.extend(applied.filter_map(|entry| self.batch_of(&entry)).map(Action::Apply));
    }

    /// Work that consists of an undo alone.
    pub(super) fn undo_only(&mut self) -> Work {
        let mut actions = Vec::new();
        self.undo(&mut actions);
        Work {
            number: 0,
            restore: None,
            hard_state: None,
            entries: Vec::new(),
            must_sync: false,
            messages: Vec::new(),
            after_sync: Vec::new(),
            actions,
        }
    }

    /// Whether a snapshot may be taken: every effect in the state belongs to an entry of the log, the
    /// state has all effects up to there, and the last snapshot is decided.
    pub fn may_cut(&mut self) -> bool {
        self.propose_tail();
        let Speculation { undo, cut, proposed, .. } = &self.speculation;
        let reported = proposed.iter().any(|it| it.reported);
        !undo && cut.is_none() && !reported && proposed.back().is_none_or(|last| last.executed)
    }

    /// Returns the place in the log of a snapshot of the current state. The caller must copy the
    /// state before anything else is executed or applied. `None` while no snapshot may be taken,
    /// see [`may_cut`](Self::may_cut).
    pub fn cut(&mut self) -> Option<Cut> {
        if !self.may_cut() {
            return None;
        }
        let last = self.speculation.proposed.back();
        let (index, term) = last.map_or(self.applied, |last| (last.index, last.term));
        let cut = Cut { index, term, seq: self.executed(), time: self.time };
        let at_once = (index == self.applied.0).then(|| CutOutcome::Kept(self.base_of(&cut)));
        self.speculation.cut = Some((cut, at_once));
        Some(cut)
    }

    /// The outcome of the last cut; `None` if there is none. A decided outcome is returned once;
    /// after that another cut can be made.
    pub fn cut_outcome(&mut self) -> Option<CutOutcome> {
        match &mut self.speculation.cut {
            Some((_, outcome @ Some(_))) => {
                let outcome = outcome.take();
                self.speculation.cut = None;
                outcome
            }
            Some((_, None)) => Some(CutOutcome::Pending),
            None => None,
        }
    }

    fn base_of(&self, cut: &Cut) -> Base {
        let Cut { index, term, seq, time } = *cut;
        Base { index, term, members: self.members.clone(), seq, time }
    }

    fn lose_cut(&mut self) {
        if let Some((_, outcome @ None)) = &mut self.speculation.cut {
            *outcome = Some(CutOutcome::Lost);
        }
    }

    /// Decides the cut if the entry just applied stands where the snapshot was taken.
    pub(super) fn decide_cut(&mut self) {
        let Some((cut, None)) = &self.speculation.cut else { return };
        if cut.index == self.applied.0 {
            let kept = cut.term == self.applied.1;
            let outcome = if kept { CutOutcome::Kept(self.base_of(cut)) } else { CutOutcome::Lost };
            if let Some((_, undecided)) = &mut self.speculation.cut {
                *undecided = Some(outcome);
            }
        }
    }
}
