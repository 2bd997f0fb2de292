//! Bugs that are planted on purpose, to prove that the simulator finds them.

use consensus::Fault;
use member::Flaw;

/// A planted bug. The numbers are those of the issues that followed from Jepsen's report about
/// RedisRaft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planted {
    /// Term and vote are not written to the disk.
    VoteNotKept,
    /// Entries are acknowledged before they are synced.
    AcknowledgedUnsynced,
    /// A leader serves commands before the first entry of its term is committed (#18, #19).
    EarlyReads,
    /// Replies to reads wait neither for a lease nor for a read round.
    NoLeaseCheck,
    /// The reply of a command whose condition failed is not withheld.
    ConditionNotWithheld,
    /// Effects that were executed in an older term are proposed, and applied.
    OlderTerm,
    /// A follower deletes expired keys by its own clock.
    FollowerExpires,
    /// Effects that were executed and then cut stay in the state (#17, #44).
    NoUndo,
    /// At start, log and snapshot are one entry apart (#43).
    OneApart,
    /// The log is compacted before the snapshot is synced, and a damaged snapshot is loaded without
    /// a check (#654).
    TornSnapshot,
    /// Followers acknowledge entries and do not apply them (#14).
    FollowerDoesNotApply,
    /// Changes of the membership take effect before a quorum agrees on them (#28, #48).
    EarlyChange,
    /// The reply to a write is `MOVED` although the write is committed later (#23).
    MovedForCommitted,
    /// A restarted node votes at once, although the lease of the leader that it has forgotten may
    /// still hold. No seed of the first 300 has found this: it takes a candidate that has the whole
    /// log and does not hear the leader, within 800 ms of the restart.
    VotesAtOnce,
    /// A lease outlives the transfer of the leadership.
    LeaseSurvivesTransfer,
    /// A transaction is split into several entries.
    ExecSplit,
    /// After a crash an effect is applied twice (#52).
    AppliedTwice,
    /// A follower answers a read before it has applied what it must show.
    ReadsUnapplied,
    /// A group takes a unit of slots before the other one has given it away.
    AcquiredEarly,
    /// A group goes on changing a unit of slots that it has given away.
    ReleasedUnfenced,
}

impl Planted {
    /// All planted bugs.
    pub const ALL: &[Planted] = &[
        Planted::VoteNotKept,
        Planted::AcknowledgedUnsynced,
        Planted::EarlyReads,
        Planted::NoLeaseCheck,
        Planted::ConditionNotWithheld,
        Planted::OlderTerm,
        Planted::FollowerExpires,
        Planted::NoUndo,
        Planted::OneApart,
        Planted::TornSnapshot,
        Planted::FollowerDoesNotApply,
        Planted::EarlyChange,
        Planted::MovedForCommitted,
        Planted::VotesAtOnce,
        Planted::LeaseSurvivesTransfer,
        Planted::ExecSplit,
        Planted::AppliedTwice,
        Planted::ReadsUnapplied,
        Planted::AcquiredEarly,
        Planted::ReleasedUnfenced,
    ];

    /// The corresponding fault of the crate `consensus`, if the bug is one of those.
    pub fn of_group(self) -> Option<Fault> {
        Some(match self {
            Planted::EarlyReads => Fault::EarlyReads,
            Planted::NoLeaseCheck => Fault::NoLeaseCheck,
            Planted::OlderTerm => Fault::OlderTerm,
            Planted::NoUndo => Fault::NoUndo,
            Planted::FollowerDoesNotApply => Fault::FollowerDoesNotApply,
            Planted::EarlyChange => Fault::EarlyChange,
            Planted::MovedForCommitted => Fault::CutWhatCommits,
            Planted::VotesAtOnce => Fault::VotesAtOnce,
            Planted::LeaseSurvivesTransfer => Fault::LeaseSurvivesTransfer,
            Planted::ReadsUnapplied => Fault::ReadsUnapplied,
            _ => return None,
        })
    }

    /// The corresponding flaw of the crate `member`, if the bug is one of those.
    pub fn of_member(self) -> Option<Flaw> {
        Some(match self {
            Planted::VoteNotKept => Flaw::VoteNotKept,
            Planted::AcknowledgedUnsynced => Flaw::AcknowledgedUnsynced,
            Planted::ConditionNotWithheld => Flaw::ConditionNotWithheld,
            Planted::OneApart => Flaw::OneApart,
            Planted::TornSnapshot => Flaw::TornSnapshot,
            Planted::ExecSplit => Flaw::ExecSplit,
            Planted::AppliedTwice => Flaw::AppliedTwice,
            Planted::AcquiredEarly => Flaw::AcquiredEarly,
            Planted::ReleasedUnfenced => Flaw::ReleasedUnfenced,
            _ => return None,
        })
    }
}
