//! Linearizable reads from a member that does not lead.
//!
//! The member asks the leader for its commit index ([`Group::want_read`]), which the leader tells once a quorum has
//! confirmed that it leads still. Once everything up to there is applied, a read shows all that was committed when it was
//! asked for ([`Group::reading`]). One round serves all reads that were asked for before it began.

use super::{Bytes, Fault, Group, NodeId, Raft};
use std::collections::VecDeque;

/// The highest number of rounds that are on their way, and of confirmed rounds that are not applied.
const ROUNDS_MAX: usize = 64;

/// The number of election timeouts after which a read whose round is not confirmed is given up.
const PATIENCE: u64 = 2;

/// The outcome of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The state shows what was committed when the read was asked for.
    Ready,
    /// It is not known yet how far the state has to be, or it is not there yet.
    Pending,
    /// No leader has answered for too long.
    Lost,
}

/// The read rounds of a member that does not lead.
#[derive(Debug)]
pub(super) struct Following {
    /// The number of the next round. A read waits for the round that begins after it.
    next: u64,
    /// Whether a read waits for the next round.
    wanted: bool,
    /// Rounds that were confirmed, with the entry up to which each must see applied.
    confirmed: VecDeque<(u64, u64)>,
    /// The last round whose entries are applied.
    done: u64,
    /// The last round that was given up.
    lost: u64,
    /// When the reads that wait last made progress, in microseconds; `None` if none waits.
    since: Option<u64>,
}

impl Default for Following {
    fn default() -> Following {
        let confirmed = VecDeque::new();
        Following { next: 1, wanted: false, confirmed, done: 0, lost: 0, since: None }
    }
}

/// A name that no other member uses, and no other life of this one: an answer may come late.
fn name_of(id: NodeId, nonce: u64, round: u64) -> Bytes {
    [id, nonce, round].map(u64::to_le_bytes).concat().into()
}

impl Following {
    /// The last round that has begun.
    fn begun(&self) -> u64 {
        self.next - 1
    }

    /// The last round that is confirmed, applied or given up.
    fn settled(&self) -> u64 {
        let confirmed = self.confirmed.back().map_or(0, |(round, _)| *round);
        confirmed.max(self.done).max(self.lost)
    }

    fn confirm(&mut self, round: u64, index: u64) {
        if round > self.begun() || round <= self.settled() {
            return;
        }
        if self.confirmed.len() >= ROUNDS_MAX {
            // Who waits for the last one waits for this one as well.
            self.confirmed.pop_back();
        }
        self.confirmed.push_back((round, index));
    }
}

impl<R: Raft> Group<R> {
    /// Asks for a read and returns its number, for [`Group::reading`]. The round begins with the next
    /// [`flush`](Self::flush). `now` is in microseconds.
    pub fn want_read(&mut self, now: u64) -> u64 {
        self.following.wanted = true;
        self.following.since.get_or_insert(now);
        self.following.next
    }

    /// The outcome of a read.
    pub fn reading(&self, read: u64) -> ReadOutcome {
        match &self.following {
            it if read <= it.done => ReadOutcome::Ready,
            it if read <= it.lost => ReadOutcome::Lost,
            _ => ReadOutcome::Pending,
        }
    }

    /// Notes that the state machine has taken all steps up to what is [applied](Self::applied), which is what reads wait
    /// for. `now` is in microseconds.
    pub fn release_reads(&mut self, now: u64) {
        let early = self.settings.faults.has(Fault::ReadsUnapplied);
        let applied = self.applied.0;
        let it = &mut self.following;
        while let Some((round, _)) = it.confirmed.pop_front_if(|(_, at)| early || *at <= applied) {
            it.done = round;
            it.since = Some(now);
        }
        if !it.wanted && it.begun() <= it.done.max(it.lost) {
            it.since = None;
        }
    }

    /// A quorum has confirmed a round of this member's: its commit index was `index` when it began, or later.
    pub(super) fn confirm_read(&mut self, name: &[u8], index: u64) {
        let of = |at: usize| name.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let mine = (Some(self.settings.id), Some(self.settings.nonce));
        if name.len() == 24
            && (of(0), of(8)) == mine
            && let Some(round) = of(16)
        {
            self.following.confirm(round, index);
        }
    }

    /// Begins a round, if a read waits for one and not too many are on their way.
    pub(super) fn begin_read(&mut self) {
        let it = &self.following;
        let open = it.begun() - it.settled().min(it.begun());
        if it.wanted && open < ROUNDS_MAX as u64 {
            self.ask_for_index();
        }
    }

    /// Rounds may be lost: while reads wait, each tick begins another, until they are given up.
    pub(super) fn repeat_read(&mut self, now: u64) {
        let patience = PATIENCE * self.settings.election();
        let it = &mut self.following;
        match it.since {
            Some(since) if now >= since.saturating_add(patience) => {
                (it.lost, it.wanted, it.since) = (it.next, false, None);
                it.next += 1;
                it.confirmed.clear();
            }
            Some(_) => self.ask_for_index(),
            None => {}
        }
    }

    fn ask_for_index(&mut self) {
        let round = self.following.next;
        self.following.next += 1;
        self.following.wanted = false;
        // Without a leader it is lost.
        self.raft.read_index(name_of(self.settings.id, self.settings.nonce, round));
        self.notice();
    }
}
