//! Bugs that are planted on purpose, to see whether they are found.

use consensus::Fault;
use member::Flaw;

/// A bug. The numbers are those of issues that Jepsen's report on RedisRaft led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planted {
    /// Term and vote are not written.
    VoteNotKept,
    /// Entries are acknowledged before they are synced.
    AcknowledgedUnsynced,
    /// A leader serves before its term's first commit (#18, #19).
    EarlyReads,
    /// Replies wait for no lease and no round.
    NoLeaseCheck,
    /// The reply of a failed condition is not withheld.
    ConditionNotWithheld,
    /// What an older term executed is proposed, and applied.
    OlderTerm,
    /// A follower deletes what expired by its own clock.
    FollowerExpires,
    /// What was executed and cut stays in the state (#17, #44).
    NoUndo,
    /// At start, log and snapshot are one entry apart (#43).
    OneApart,
    /// A snapshot is not synced before the log is cut, and taken as it is (#654).
    TornSnapshot,
    /// Followers acknowledge and do not apply (#14).
    FollowerDoesNotApply,
    /// Changes of members count before they are agreed on (#28, #48).
    EarlyChange,
    /// `MOVED` for a write that is committed later (#23).
    MovedForCommitted,
    /// A restarted node votes at once: the lease of the leader it has forgotten may still hold. Not found yet, in 300 seeds: it takes
    /// a candidate that is neither behind nor hears the leader, within 800 ms of the restart.
    VotesAtOnce,
    /// A lease outlives a transfer.
    LeaseSurvivesTransfer,
    /// A transaction becomes several entries.
    ExecSplit,
    /// After a crash, an effect is applied twice (#52).
    AppliedTwice,
}

impl Planted {
    /// All of them.
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
    ];

    /// The fault of the group that it is, if it is one.
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
            _ => return None,
        })
    }

    /// The flaw of the member that it is, if it is one.
    pub fn of_member(self) -> Option<Flaw> {
        Some(match self {
            Planted::VoteNotKept => Flaw::VoteNotKept,
            Planted::AcknowledgedUnsynced => Flaw::AcknowledgedUnsynced,
            Planted::ConditionNotWithheld => Flaw::ConditionNotWithheld,
            Planted::OneApart => Flaw::OneApart,
            Planted::TornSnapshot => Flaw::TornSnapshot,
            Planted::ExecSplit => Flaw::ExecSplit,
            Planted::AppliedTwice => Flaw::AppliedTwice,
            _ => return None,
        })
    }
}
